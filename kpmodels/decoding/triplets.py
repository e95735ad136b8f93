"""Boxes checked by the points in their middle (CenterNet: Keypoint Triplets, Duan et al., ICCV 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kpmodels.decoding.corner_pairs import Boxes, areas, central_region, strictly_inside


def verify_with_centers(
    boxes: Boxes,
    centers_BM2: Tensor,
    center_scores_BM: Tensor,
    center_labels_BM: Tensor,
    scale_B: Tensor | float = 1.0,
    small_side: float = 150.0,
    n_small: float = 3.0,
    n_large: float = 5.0,
    choice: Literal["best", "first"] = "best",
) -> Boxes:
    """The boxes with a center of their category strictly inside their central region (section 3.2).

    The central region is the concentric box 1 / n as wide and high. The score of a box that stays is the mean of its
    two corners' and its center's; the others get -1. The rows keep their places.

    Args:
        boxes: Scores are means of two corners.
        centers_BM2: x, y in the units of the boxes, M > 0.
        center_scores_BM: 0 where there is no center.
        center_labels_BM: Categories.
        scale_B: Pixels of the original image per unit of the boxes.
        small_side: Boxes whose area in the original image is at most the square of it have ``n_small``, others
            ``n_large``.
        choice: The center that counts where there are several: the one with the highest score, or the first in the
            list, as in the published program, where the list of the mirrored image follows that of the image.
    """
    small = areas(boxes.boxes_BD4, scale_B) <= small_side**2
    region = central_region(boxes.boxes_BD4, torch.where(small, n_small, n_large))
    matches = strictly_inside(centers_BM2[:, None], region[:, :, None])
    matches &= (boxes.labels_BD[:, :, None] == center_labels_BM[:, None]) & (center_scores_BM > 0)[:, None]
    scores = torch.where(matches, center_scores_BM[:, None], 0)
    first = matches.to(torch.uint8).argmax(-1, keepdim=True)
    center = scores.amax(-1) if choice == "best" else scores.gather(-1, first)[..., 0]
    kept = matches.any(-1) & (boxes.scores_BD >= 0)
    return boxes._replace(scores_BD=torch.where(kept, (2 * boxes.scores_BD + center) / 3, -1))
