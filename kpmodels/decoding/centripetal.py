"""Boxes from corners that point to the middle of their box (CentripetalNet, Dong et al., CVPR 2020)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kpmodels.decoding.corner_pairs import (
    Boxes,
    areas,
    best_pairs,
    central_region,
    mean_scores,
    possible_pairs,
    strictly_inside,
)
from kpmodels.decoding.keypoint_peaks import Points


def centers_of_corners(corners_BK2: Tensor, shifts_BK2: Tensor, corner: Literal["top_left", "bottom_right"]) -> Tensor:
    """``[B, K, 2]``: the middle of the box that each corner predicts (section 3.2).

    Args:
        corners_BK2: x, y in map cells.
        shifts_BK2: Logarithms of the distances to the middle, in map cells.
        corner: Towards the middle is right and down from the top left, left and up from the bottom right.
    """
    return corners_BK2 + (1 if corner == "top_left" else -1) * shifts_BK2.exp()


def pair_by_centripetal_shift(
    top_left: Points,
    bottom_right: Points,
    top_left_BK2: Tensor,
    bottom_right_BK2: Tensor,
    top_left_centers_BK2: Tensor,
    bottom_right_centers_BK2: Tensor,
    scale_B: Tensor | float = 1.0,
    small_area: float = 3500.0,
    n_small: float = 2.1,
    n_large: float = 2.4,
    region_weight: bool = True,
    number: int = 1000,
) -> Boxes:
    """The best pairs of corners whose predicted middles agree (CentripetalNet, section 3.2).

    A pair needs two points of one category, the top left corner neither right of nor below the other one, and both
    middles strictly inside the central region of its box, which is concentric and 1 / n as wide and high. Its score
    is the mean of the two, times ``exp(-|dx dy| / area of the region)`` for middles that are (dx, dy) apart.

    Args:
        top_left, bottom_right: As :func:`kpmodels.decoding.keypoint_peaks.top_points` gives them.
        top_left_BK2, bottom_right_BK2: Their places (x, y), in any unit.
        top_left_centers_BK2, bottom_right_centers_BK2: The middles they predict, in the same unit.
        scale_B: Pixels per unit.
        small_area: Boxes up to so many square pixels have ``n_small``, larger ones ``n_large``.
        region_weight: Weight the scores; the published program does not.
        number: Rows of the answer, K * K at most, best first; those that are no pair have score -1.
    """
    allowed = possible_pairs(top_left, bottom_right, top_left_BK2, bottom_right_BK2)
    B, K, M = allowed.shape
    corners = (top_left_BK2[:, :, None].expand(B, K, M, 2), bottom_right_BK2[:, None].expand(B, K, M, 2))
    boxes = torch.cat(corners, dim=-1)
    region = central_region(boxes, torch.where(areas(boxes, scale_B) <= small_area, n_small, n_large))
    from_first, from_second = top_left_centers_BK2[:, :, None], bottom_right_centers_BK2[:, None]
    allowed = allowed & strictly_inside(from_first, region) & strictly_inside(from_second, region)
    scores = mean_scores(top_left, bottom_right)
    if region_weight:
        apart = (from_second - from_first).prod(-1).abs()
        scores = scores * torch.exp(-apart / areas(region, 1.0))
    scores = torch.where(allowed, scores, -1)
    return best_pairs(scores, top_left, bottom_right, top_left_BK2, bottom_right_BK2, number)
