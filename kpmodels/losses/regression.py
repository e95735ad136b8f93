"""Losses of numbers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def count_loss(counts_B: Tensor, truth_B: Tensor, beta: float = 1.0) -> Tensor:
    """The smooth L1 loss of estimated counts, mean over the images (Ribera et al., CVPR 2019, equation 7).

    Args:
        counts_B, truth_B: Numbers of points per image.
        beta: Differences below it are squared.
    """
    return F.smooth_l1_loss(counts_B.float(), truth_B.float(), beta=beta)
