"""The quick training-time accuracy of heatmaps: PCK between the maxima of two sets of maps."""

from __future__ import annotations

import torch
from torch import Tensor

from kpmodels.decoding.subpixel import argmax_xy


def heatmap_pck(
    heatmaps_BKHW: Tensor, targets_BKHW: Tensor, threshold: float = 0.5, swapped_norm: bool = False
) -> tuple[Tensor, Tensor]:
    """Part of the keypoints whose maximum is nearer to the target's than ``threshold`` tenths of the map (HRNet).

    Distances are measured after dividing x by W / 10 and y by H / 10. Targets whose maximum lies in column or row 0 or
    1, which are those without a keypoint, do not count.

    Args:
        heatmaps_BKHW, targets_BKHW: Predicted and true maps.
        threshold: In tenths of the map.
        swapped_norm: Divide x by H / 10 and y by W / 10, as the original code does.

    Returns:
        accuracy_K, -1 for keypoints without a target, and the mean over the others (0 if there are none).
    """
    H, W = heatmaps_BKHW.shape[-2:]
    predicted, target = argmax_xy(heatmaps_BKHW, absent=0)[0], argmax_xy(targets_BKHW, absent=0)[0]
    norm = predicted.new_tensor([H, W] if swapped_norm else [W, H]) / 10
    distance_BK = torch.linalg.vector_norm((predicted - target) / norm, dim=-1)
    valid_BK = (target > 1).all(-1)
    correct_K = ((distance_BK < threshold) & valid_BK).sum(0)
    counted_K = valid_BK.sum(0)
    accuracy_K = torch.where(counted_K > 0, correct_K / counted_K.clamp(min=1), -1.0)
    present = counted_K > 0
    average = (accuracy_K * present).sum() / present.sum().clamp(min=1)
    return accuracy_K, average
