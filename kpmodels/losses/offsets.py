"""Losses of vectors that are predicted in the cells of objects: offsets and shifts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kpmodels.distributed import world_mean


def offset_loss(
    predictions_BNC: Tensor,
    targets_BNC: Tensor,
    present_BN: Tensor,
    beta: float = 1.0,
    count: Tensor | float | None = None,
) -> Tensor:
    """Smooth L1, summed over the numbers of each object's vector, over the number of objects of all processes.

    This is the offset loss of CornerNet (Law and Deng, ECCV 2018, eq. 3), and of CentripetalNet (Dong et al., CVPR 2020,
    sections 3.2 and 3.3) those of the guiding and the centripetal shift: of each kind of corner one term.

    Args:
        predictions_BNC: Read from the map in the cells of the objects; computed with in float32.
        targets_BNC: Of the same shape.
        present_BN: bool; other rows do not matter, whatever they hold.
        beta: Differences below it are squared.
        count: What to divide by in place of the number of objects: CornerNet's program adds 1e-4 to it, and
            CentripetalNet's counts the positive cells of its heatmaps.
    """
    difference = torch.where(present_BN[..., None], predictions_BNC.float() - targets_BNC, 0)
    total = F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="sum", beta=beta)
    return world_mean(total, present_BN.sum() if count is None else count)
