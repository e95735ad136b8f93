"""Boxes from pairs of corners (CornerNet, Law and Deng, ECCV 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kpmodels.decoding.keypoint_peaks import Points


class Boxes(NamedTuple):
    """D boxes of each image; rows with a negative score are no boxes."""

    boxes_BD4: Tensor
    """x1, y1, x2, y2 in the units of the corners."""
    scores_BD: Tensor
    labels_BD: Tensor
    top_left_BD: Tensor
    """Score of the top left corner."""
    bottom_right_BD: Tensor
    """Score of the bottom right corner."""


def pair_corners(
    top_left: Points,
    bottom_right: Points,
    top_left_BK2: Tensor,
    bottom_right_BK2: Tensor,
    top_left_tags_BK: Tensor,
    bottom_right_tags_BK: Tensor,
    tag_distance: float = 0.5,
    number: int = 1000,
) -> Boxes:
    """The best pairs of a top left and a bottom right corner (CornerNet, section 4.2).

    A pair needs two points of one category, embeddings that differ by ``tag_distance`` at most, and the top left
    corner neither right of nor below the other one. Its score is the mean of the two.

    Args:
        top_left, bottom_right: As :func:`kpmodels.decoding.keypoint_peaks.top_points` gives them.
        top_left_BK2, bottom_right_BK2: Their places (x, y), in any unit.
        top_left_tags_BK, bottom_right_tags_BK: Their embeddings.
        tag_distance: Largest difference of embeddings.
        number: Rows of the answer, K * K at most, best first; those that are no pair have score -1.
    """
    allowed = possible_pairs(top_left, bottom_right, top_left_BK2, bottom_right_BK2)
    allowed &= (top_left_tags_BK[:, :, None] - bottom_right_tags_BK[:, None]).abs() <= tag_distance
    scores = torch.where(allowed, mean_scores(top_left, bottom_right), -1)
    return best_pairs(scores, top_left, bottom_right, top_left_BK2, bottom_right_BK2, number)


def possible_pairs(top_left: Points, bottom_right: Points, top_left_BK2: Tensor, bottom_right_BK2: Tensor) -> Tensor:
    """bool ``[B, K, K]``: both are points, of one category, and the first is neither right of nor below the second."""
    present = (top_left.scores_BK > 0)[:, :, None] & (bottom_right.scores_BK > 0)[:, None]
    same = top_left.labels_BK[:, :, None] == bottom_right.labels_BK[:, None]
    upright = (top_left_BK2[:, :, None] <= bottom_right_BK2[:, None]).all(-1)
    return present & same & upright


def mean_scores(top_left: Points, bottom_right: Points) -> Tensor:
    """``[B, K, K]``: the mean of the scores of each pair."""
    return (top_left.scores_BK[:, :, None] + bottom_right.scores_BK[:, None]) / 2


def best_pairs(
    scores_BKK: Tensor,
    top_left: Points,
    bottom_right: Points,
    top_left_BK2: Tensor,
    bottom_right_BK2: Tensor,
    number: int,
) -> Boxes:
    """The ``number`` pairs (at most all of them) with the highest scores, best first."""
    scores, pair = scores_BKK.flatten(1).topk(min(number, scores_BKK[0].numel()), dim=1)
    first, second = pair // scores_BKK.shape[2], pair % scores_BKK.shape[2]
    corners = [
        xy.gather(1, index[..., None].expand(-1, -1, 2))
        for xy, index in ((top_left_BK2, first), (bottom_right_BK2, second))
    ]
    return Boxes(
        torch.cat(corners, dim=-1),
        scores,
        top_left.labels_BK.gather(1, first),
        top_left.scores_BK.gather(1, first),
        bottom_right.scores_BK.gather(1, second),
    )


def best_boxes(boxes: Boxes, number: int) -> Boxes:
    """The ``number`` rows (at most all of them) with the highest scores, best first; of equals the earlier first."""
    order = torch.argsort(boxes.scores_BD, dim=1, descending=True, stable=True)[:, :number]
    places = boxes.boxes_BD4.gather(1, order[..., None].expand(-1, -1, 4))
    return Boxes(places, *(values.gather(1, order) for values in boxes[1:]))


def mirrored(boxes: Boxes, width_B: Tensor | float) -> Boxes:
    """The boxes of a mirrored image in the image itself: x becomes width - x, so left edges come from right ones.

    Args:
        width_B: Of the image (or of each one), in the units of the boxes. Where x counts cells and cell c covers
            [c, c + 1) it is the number of cells, not one less.
    """
    width = torch.as_tensor(width_B, dtype=boxes.boxes_BD4.dtype, device=boxes.boxes_BD4.device).reshape(-1, 1)
    x1, y1, x2, y2 = boxes.boxes_BD4.unbind(-1)
    return boxes._replace(boxes_BD4=torch.stack([width - x2, y1, width - x1, y2], dim=-1))


def concatenated(parts: Sequence[Boxes]) -> Boxes:
    """The boxes of the same images from several looks at them (mirrored, of other scales), one list per image."""
    return Boxes(*(torch.cat(values, dim=1) for values in zip(*parts, strict=True)))


def central_region(boxes_x4: Tensor, parts_x: Tensor) -> Tensor:
    """The concentric box that is 1 / ``parts_x`` as wide and as high (CenterNet, Duan et al., ICCV 2019, eq. 1)."""
    low, high = boxes_x4[..., :2], boxes_x4[..., 2:]
    n = parts_x[..., None].to(boxes_x4.dtype)
    near, far = (n + 1) / (2 * n), (n - 1) / (2 * n)
    return torch.cat([near * low + far * high, far * low + near * high], dim=-1)


def strictly_inside(points_x2: Tensor, boxes_x4: Tensor) -> Tensor:
    """bool: the point lies in the box and not on its edge."""
    return ((points_x2 > boxes_x4[..., :2]) & (points_x2 < boxes_x4[..., 2:])).all(-1)


def areas(boxes_BD4: Tensor, scale_B: Tensor | float) -> Tensor:
    """``[B, ...]``: the areas in square pixels of boxes whose unit is ``scale_B`` pixels long."""
    extent = boxes_BD4[..., 2:] - boxes_BD4[..., :2]
    scale = torch.as_tensor(scale_B, dtype=boxes_BD4.dtype, device=boxes_BD4.device)
    return extent.prod(-1).abs() * scale.square().view(-1, *[1] * (boxes_BD4.ndim - 2))
