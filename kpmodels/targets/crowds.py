"""Crowds: regions in which nothing is a mistake, since their objects are not labelled one by one."""

from __future__ import annotations

import torch
from torch import Tensor

ALMOST = 1 - 1e-4
"""A target that is no positive and whose negative loss, (1 - target)^4, vanishes."""


def ignore_crowds(heatmaps_BLHW: Tensor, boxes_BN4: Tensor, labels_BN: Tensor, crowd_BN: Tensor) -> Tensor:
    """The focal loss's targets, with cells in crowd boxes of their category raised to almost 1: they then cost nothing.

    Args:
        heatmaps_BLHW: Targets in [0, 1]; positives, which are 1, stay.
        boxes_BN4: x1, y1, x2, y2 in map cells; cell c covers [c, c + 1).
        labels_BN: Categories from 0.
        crowd_BN: bool; which boxes are crowds.
    """
    image_P, row_P = crowd_BN.nonzero(as_tuple=True)
    if not len(image_P):
        return heatmaps_BLHW
    B, L, H, W = heatmaps_BLHW.shape
    boxes_P4 = boxes_BN4[image_P, row_P].to(heatmaps_BLHW.dtype)
    columns_PW = _covered(boxes_P4[:, 0], boxes_P4[:, 2], W)
    rows_PH = _covered(boxes_P4[:, 1], boxes_P4[:, 3], H)
    ignored_PHW = rows_PH[:, :, None] * columns_PW[:, None] * ALMOST
    maps_P = image_P * L + labels_BN[image_P, row_P]
    index_PHW = maps_P[:, None, None].expand_as(ignored_PHW)
    raised = heatmaps_BLHW.flatten(0, 1).scatter_reduce(0, index_PHW, ignored_PHW, "amax")
    return raised.view(B, L, H, W)


def _covered(first_P: Tensor, last_P: Tensor, size: int) -> Tensor:
    """1 for the cells that an interval touches, else 0: ``[P, size]``."""
    cells = torch.arange(size, device=first_P.device, dtype=first_P.dtype)
    return ((cells + 1 > first_P[:, None]) & (cells < last_P[:, None])).to(first_P.dtype)
