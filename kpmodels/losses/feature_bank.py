"""The memory of CoKe: one prototype per keypoint class and a queue of clutter features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpmodels.distributed import all_gather_rows, sum_over_processes

UpdateMean = Literal["visible", "batch"]


class FeatureBank(nn.Module):
    """Unit vectors that features are compared with; they carry no gradient and are saved with the model.

    Bai et al., "CoKe: Contrastive Learning for Robust Keypoint Detection", WACV 2023, section 3.

    Attributes:
        prototypes_KD: One per keypoint class, updated with momentum.
        clutter_CD: The latest clutter features, the oldest overwritten first.
        pointer: Row of ``clutter_CD`` that is written next.
        filled: Rows of ``clutter_CD`` that hold features seen so far; the others are left out of the loss.
        seen_K: Features that each prototype was made of so far.
    """

    prototypes_KD: Tensor
    clutter_CD: Tensor
    pointer: Tensor
    filled: Tensor
    seen_K: Tensor

    def __init__(self, keypoints: int, dim: int, clutter_rows: int, momentum: float = 0.9, seed: int = 0) -> None:
        """An empty bank.

        Args:
            keypoints: Number of classes K.
            dim: Length D of the features.
            clutter_rows: Length C of the queue: clutter points per image times batch size times batches held.
            momentum: How much of a prototype stays at each update.
            seed: Of the random prototypes at the start, equal in all processes.
        """
        super().__init__()
        self.momentum = momentum
        start = torch.randn((keypoints, dim), generator=torch.Generator().manual_seed(seed))
        self.register_buffer("prototypes_KD", F.normalize(start, dim=1))
        self.register_buffer("clutter_CD", torch.zeros((clutter_rows, dim)))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self.register_buffer("seen_K", torch.zeros(keypoints, dtype=torch.long))

    @torch.no_grad()
    def update(
        self, features_BNKD: Tensor, visible_BNK: Tensor, clutter_BMD: Tensor, mean: UpdateMean = "visible"
    ) -> None:
        """Take in the features of this step, of all processes; every process must call it and ends with equal banks.

        Args:
            features_BNKD, clutter_BMD: Unit vectors.
            visible_BNK: bool; features of keypoints that are False are not used.
            mean: ``visible``: a prototype moves towards the mean of its visible features, and stays where there is
                none (the paper). ``batch``: towards their sum divided by the number of rows B * N, so that it moves
                less the fewer are visible (the original code).
        """
        visible_BNK = visible_BNK.bool()
        rows = all_gather_rows(features_BNKD[visible_BNK].float())
        classes = all_gather_rows(visible_BNK.nonzero()[:, -1])
        batch = sum_over_processes(rows.new_tensor(visible_BNK[..., 0].numel()))
        sums_KD = torch.zeros_like(self.prototypes_KD).index_add_(0, classes, rows)
        counts_K = torch.bincount(classes, minlength=len(self.prototypes_KD))
        self.seen_K += counts_K
        divisor_K1 = counts_K.clamp(min=1)[:, None] if mean == "visible" else batch.clamp(min=1)
        moved = self.momentum * self.prototypes_KD + (1 - self.momentum) * sums_KD / divisor_K1
        self.prototypes_KD.copy_(F.normalize(moved, dim=1))
        self._remember(all_gather_rows(clutter_BMD.flatten(0, 1).float()))

    def _remember(self, clutter_RD: Tensor) -> None:
        """Write clutter into the queue, row after row; of more rows than it holds, the last ones."""
        length = len(self.clutter_CD)
        rows = len(clutter_RD)
        if length == 0 or rows == 0:
            return
        index = (self.pointer + torch.arange(rows, device=clutter_RD.device)) % length
        self.clutter_CD[index[-length:]] = clutter_RD[-length:]
        self.pointer.copy_((self.pointer + rows) % length)
        self.filled.copy_((self.filled + rows).clamp(max=length))
