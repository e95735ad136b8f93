"""The two loss families that any heatmap can carry, by configuration alone: ``losses.hausdorff`` and ``losses.contrastive``.

Suffixes: B rows, N instances (padded), K maps (keypoints or categories), D length of the embeddings, H and W of the map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kpmodels.config import LossOptions
from kpmodels.distributed import world_size
from kpmodels.losses.contrastive import contrastive_loss, sample_clutter, sample_features, similarity_map
from kpmodels.losses.feature_bank import FeatureBank
from kpmodels.losses.hausdorff import hausdorff_of_heatmaps


class ExtraLosses(nn.Module):
    """The added terms of a detector's loss, and what they add to its prediction.

    Attributes:
        project: From features to embeddings, a 1x1 convolution; None without the contrastive loss.
        bank: Prototypes and clutter; None without the contrastive loss.
        step: Batches trained on so far: with it the random choice of clutter is the same after a resume.
    """

    step: Tensor

    def __init__(self, options: LossOptions, channels: int, maps: int, stride: int, batch_size: int) -> None:
        """``channels`` and ``stride`` (input pixels per cell) of the feature map; ``batch_size`` over all workers."""
        super().__init__()
        self.options, self.stride = options, stride
        self.project: nn.Module | None = None
        self.bank: FeatureBank | None = None
        contrastive = options.contrastive
        if contrastive.weight > 0:
            self.project = nn.Conv2d(channels, contrastive.dim, 1)
            rows = contrastive.clutter_points * contrastive.clutter_groups * batch_size
            self.bank = FeatureBank(maps, contrastive.dim, rows, contrastive.momentum)
            self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def training_memory(self) -> list[str]:
        """Entries of the state that only training needs; a saved model leaves them out."""
        return [] if self.bank is None else ["bank.clutter_CD", "bank.pointer", "bank.filled"]

    def embed(self, features_BCHW: Tensor) -> dict[str, Tensor]:
        """``embeddings`` ``[B, D, H, W]`` where they are needed, else nothing; belongs to ``forward``."""
        if self.project is None or not (self.training or self.options.contrastive.inference):
            return {}
        return {"embeddings": self.project(features_BCHW)}

    def mix_in(self, probabilities_BKHW: Tensor, outputs: dict[str, Tensor]) -> Tensor:
        """The maps to decode: with ``losses.contrastive.inference`` a weighted mean with the similarity to the prototypes."""
        if self.bank is None or not self.options.contrastive.inference:
            return probabilities_BKHW
        similarity = similarity_map(outputs["embeddings"], self.bank.prototypes_KD).clamp(min=0)
        return torch.lerp(probabilities_BKHW, similarity, self.options.contrastive.inference_weight)

    def terms(
        self,
        outputs: dict[str, Tensor],
        probabilities_BKHW: Tensor,
        keypoints_BNK3: Tensor,
        input_xy_BNK2: Tensor,
    ) -> dict[str, Tensor]:
        """The weighted terms of the families that have a weight.

        Args:
            outputs: Of ``forward``.
            probabilities_BKHW: In [0, 1].
            keypoints_BNK3: x, y in map cells; visibility 0 for what does not count.
            input_xy_BNK2: The same points in pixels of the network's input.
        """
        terms: dict[str, Tensor] = {}
        if self.options.hausdorff.weight > 0:
            terms |= self._hausdorff(probabilities_BKHW, keypoints_BNK3)
        if self.bank is not None and "embeddings" in outputs:
            terms |= self._contrastive(self.bank, outputs["embeddings"], keypoints_BNK3[..., 2] > 0, input_xy_BNK2)
        return terms

    def _hausdorff(self, probabilities_BKHW: Tensor, keypoints_BNK3: Tensor) -> dict[str, Tensor]:
        """Both terms of the weighted Hausdorff distance of each map to the points of its keypoint, in map diagonals."""
        options = self.options.hausdorff
        _, false_alarm, miss = hausdorff_of_heatmaps(
            probabilities_BKHW, keypoints_BNK3, alpha=options.alpha, empty_penalty=options.empty_penalty
        )
        weight = options.weight / math.hypot(*probabilities_BKHW.shape[-2:])
        return {
            "hausdorff_false_alarm": weight * options.false_alarm_weight * false_alarm,
            "hausdorff_miss": weight * options.miss_weight * miss,
        }

    def _contrastive(
        self, bank: FeatureBank, embeddings_BDHW: Tensor, visible_BNK: Tensor, xy_BNK2: Tensor
    ) -> dict[str, Tensor]:
        """Cross-entropy against the bank, and the regularizer of clutter; in training the bank then takes the batch in."""
        options = self.options.contrastive
        features = sample_features(embeddings_BDHW, xy_BNK2, self.stride)
        clutter = sample_clutter(
            embeddings_BDHW, xy_BNK2, visible_BNK, options.clutter_points, self.stride, self._generator(embeddings_BDHW)
        )
        main, regularization = contrastive_loss(
            features,
            visible_BNK,
            xy_BNK2,
            clutter,
            bank,
            temperature=options.temperature,
            clutter_weight=options.clutter_weight,
            exclusion_radius=options.exclusion_radius,
            regularizer=options.clutter_regularizer,
        )
        if self.training:
            bank.update(features.detach(), visible_BNK, clutter.detach())
            self.step += 1
        return {"contrastive": options.weight * main, "clutter": options.weight * regularization}

    def _generator(self, maps_BDHW: Tensor) -> torch.Generator:
        """Random numbers of this step; a worker skips those of the workers before it, so all draw as one would."""
        generator = torch.Generator().manual_seed(int(self.step))
        if world_size() > 1:
            B, _, H, W = maps_BDHW.shape
            torch.rand((torch.distributed.get_rank() * B, H * W), generator=generator)
        return generator
