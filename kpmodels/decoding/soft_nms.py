"""Soft non-maximum suppression of boxes (Bodla et al., Soft-NMS, ICCV 2017), as the corner detectors use it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kpmodels.decoding.array_rows import ArrayRows
from kpmodels.decoding.corner_pairs import Boxes, best_boxes

Method = Literal["gaussian", "linear", "hard"]


def soft_nms(
    boxes: Boxes,
    number: int = 100,
    method: Method = "gaussian",
    sigma: float = 0.5,
    overlap: float = 0.5,
    threshold: float = 0.001,
    extent: float = 0.0,
    merge: bool = False,
    merge_exponent: float = 8.0,
    published_rows: bool = False,
) -> Boxes:
    """The best boxes of each image, where each one chosen lowers the scores of those of its category that it overlaps.

    Again and again the box with the highest score is taken, and the scores of the rest are multiplied with a decay that
    follows from their intersection over union o with it: ``gaussian`` exp(-o^2 / sigma); ``linear`` 1 - o and ``hard`` 0
    where o is above ``overlap``. As scores only fall, the first ``number`` boxes taken are the best ``number`` of the
    whole procedure, and it stops there; all images and categories take each step together.

    Args:
        boxes: Rows with a score below ``threshold`` are no boxes.
        number: Rows of the answer, at most as many as there are boxes, best first; missing ones have score -1.
        method, sigma, overlap: The decay, see above. CornerNet and CenterNet have sigma 0.5, CentripetalNet 0.7.
        threshold: Boxes whose score falls below it are dropped.
        extent: Added to widths and heights: 1 where x2 and y2 are the last pixel inside, as in the published programs.
        merge: Move each box taken to a weighted mean with those that it lowers (CornerNet's test at several scales): the
            left and top edges weighted with the scores of the top left corners, the others with those of the bottom right
            ones, both times (1 - decay) to the power of ``merge_exponent`` for boxes other than itself.
        published_rows: For ``merge``, take the corner scores from where the published program reads them: it exchanges
            the rows of its array without these two columns, so boxes get other boxes' corner scores. Rows are counted
            within an image, so each should hold one category.
    """
    if not published_rows:
        boxes = best_boxes(boxes, int((boxes.scores_BD >= threshold).sum(1).max()) if len(boxes.scores_BD) else 0)
    scores = torch.where(boxes.scores_BD >= threshold, boxes.scores_BD, -1)
    edges = boxes.boxes_BD4.permute(2, 0, 1).contiguous()
    sizes = (edges[2:] - edges[:2] + extent).prod(0)
    rows = ArrayRows(scores >= threshold) if published_rows else None
    taken, final, places = [], [], []
    for step in range(min(number, scores.shape[1])):
        score, index = scores.max(1, keepdim=True)
        shared = _intersection(edges, index, extent)
        decay = _decay(shared / (sizes + sizes.gather(1, index) - shared).clamp(min=1e-12), method, sigma, overlap)
        decay = torch.where(boxes.labels_BD == boxes.labels_BD.gather(1, index), decay, 1)
        lowered = scores * decay
        lowered = torch.where(lowered < threshold, -1, lowered).scatter_(1, index, -1)
        if merge:
            row_of = rows.take(index, step, (scores >= threshold) & (lowered < threshold)) if rows else None
            weights = torch.where(scores >= threshold, (1 - decay) ** merge_exponent, 0).scatter(1, index, 1)
            places.append(_merged(boxes, weights, row_of))
        scores = lowered
        taken.append(index)
        final.append(score)
    return _chosen(boxes, taken, final, places)


def _intersection(edges_4BD: Tensor, index_B1: Tensor, extent: float) -> Tensor:
    """Area that each box ``[B, D]`` shares with the chosen one of its image."""
    chosen = edges_4BD.gather(2, index_B1.expand(4, -1, -1))
    low, high = torch.maximum(edges_4BD[:2], chosen[:2]), torch.minimum(edges_4BD[2:], chosen[2:])
    width, height = (high - low + extent).clamp_(min=0)
    return width * height


def _decay(overlaps: Tensor, method: Method, sigma: float, limit: float) -> Tensor:
    if method == "gaussian":
        return overlaps.square().mul_(-1 / sigma).exp_()
    return torch.where(overlaps > limit, 1 - overlaps if method == "linear" else 0.0, 1.0)


def _merged(boxes: Boxes, weights_BD: Tensor, row_of_BD: Tensor | None) -> Tensor:
    """The weighted mean ``[B, 4]`` of the boxes; ``row_of_BD``: the rows whose corner scores count for each."""
    means = []
    for scores, edges in ((boxes.top_left_BD, slice(0, 2)), (boxes.bottom_right_BD, slice(2, 4))):
        weights = weights_BD * (scores if row_of_BD is None else scores.gather(1, row_of_BD))
        total = (weights[..., None] * boxes.boxes_BD4[..., edges]).sum(1)
        means.append(total / weights.sum(1, keepdim=True).clamp(min=1e-12))
    return torch.cat(means, dim=1)


def _chosen(boxes: Boxes, taken: list[Tensor], scores: list[Tensor], places: list[Tensor]) -> Boxes:
    if not taken:
        return best_boxes(boxes, 0)
    index = torch.cat(taken, dim=1)
    where = boxes.boxes_BD4.gather(1, index[..., None].expand(-1, -1, 4))
    merged = torch.stack(places, dim=1) if places else where
    others = (values.gather(1, index) for values in boxes[2:])
    return Boxes(merged, torch.cat(scores, dim=1), *others)
