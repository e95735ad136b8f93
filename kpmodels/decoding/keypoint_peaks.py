"""The highest points of the maps of an image, over all categories: corners and centres of boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Points(NamedTuple):
    """K points of each image, best first; where there are fewer, the last ones have score, label and cell 0."""

    scores_BK: Tensor
    labels_BK: Tensor
    """The category, which is the number of the map."""
    cells_BK: Tensor
    """``y * W + x`` of the cell in the map."""


def top_points(maps_BLHW: Tensor, number: int, kernel: int = 3, logits: bool = False) -> Points:
    """The ``number`` highest local maxima over the maps of all L categories (CornerNet, Law and Deng, ECCV 2018, section 4.2).

    A cell counts when no cell of the square of side ``kernel`` around it is higher; all cells of a plateau count.
    The order of equal scores is not defined.

    The maximum of a row is a local maximum when no row within reach has a higher one. The lowest of the best K of
    these bounds the K best points from below, so only rows that reach the bound are looked at: for 80 maps these are
    one row in a hundred, and the whole maps are read once.

    Args:
        maps_BLHW: Probabilities; zeros are no points. Or logits, whose sigmoid then is taken of the K scores only.
        number: K.
        kernel: Odd, in cells.
        logits: What the maps are.
    """
    B, L, H, W = maps_BLHW.shape
    floor = -torch.inf if logits else 0.0
    row_maxima_BLH = maps_BLHW.amax(-1)
    rows = row_maxima_BLH.flatten(1)
    summits = torch.where(rows == _highest_near(row_maxima_BLH, kernel).flatten(1), rows, floor)
    bound = summits.topk(number, dim=1).values[:, -1:] if 0 < number <= L * H else rows.new_full((B, 1), floor)
    needed = ((rows >= bound) & (rows > floor)).sum(1)
    chosen = rows.topk(max(1, int(needed.max())) if B else 1, dim=1).indices
    maxima = _maxima_of_rows(maps_BLHW, chosen, kernel, floor).flatten(1)
    scores, places = maxima.topk(min(number, maxima.shape[1]), dim=1)
    row = chosen.gather(1, places // W)
    found = scores > floor
    scores = torch.where(found, scores.sigmoid(), 0) if logits else scores
    label, cell = row // H * found, (row % H * W + places % W) * found
    missing = (0, number - scores.shape[1])
    return Points(F.pad(scores, missing), F.pad(label, missing), F.pad(cell, missing))


def _maxima_of_rows(maps_BLHW: Tensor, rows_BR: Tensor, kernel: int, floor: float) -> Tensor:
    """The chosen rows ``[B, R, W]``, row ``label * H + y``, with ``floor`` where a neighbour is higher."""
    B, _, H, _ = maps_BLHW.shape
    images = torch.arange(B, device=rows_BR.device)
    steps = torch.arange(kernel, device=rows_BR.device) - kernel // 2
    first = rows_BR // H * H
    near = (rows_BR[..., None] + steps).clamp(first[..., None], first[..., None] + H - 1)
    flat = maps_BLHW.flatten(1, 2)
    values = flat[images[:, None], rows_BR]
    columns = flat[images[:, None, None], near].amax(2)
    return torch.where(values == _highest_near(columns, kernel), values, floor)


def _highest_near(values_BRW: Tensor, kernel: int) -> Tensor:
    """The highest of the values within reach along the last dimension."""
    return F.max_pool2d(values_BRW[:, None], (1, kernel), stride=1, padding=(0, kernel // 2))[:, 0]


def gather_at(maps_BCHW: Tensor, cells_BK: Tensor) -> Tensor:
    """The values ``[B, K, C]`` of the maps in the cells ``y * W + x``."""
    index = cells_BK[:, None].expand(-1, maps_BCHW.shape[1], -1)
    return maps_BCHW.flatten(2).gather(2, index).transpose(1, 2)


def positions(cells_BK: Tensor, offsets_B2HW: Tensor) -> Tensor:
    """``xy_BK2`` in map cells: the cell plus the offset (x, y) that the map holds there."""
    W = offsets_B2HW.shape[-1]
    xy = torch.stack([cells_BK % W, cells_BK // W], dim=-1)
    return xy + gather_at(offsets_B2HW, cells_BK)
