"""Gaussians of different widths drawn into one map per category."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_CHUNK_CELLS = 1 << 19


def gaussian_maps(
    cells_P2: Tensor, maps_P: Tensor, radii_P: Tensor, shape: tuple[int, int, int], divisor: float = 6.0
) -> Tensor:
    """A Gaussian of peak 1 around each point, cut off at its radius; in each map merged by maximum.

    The standard deviation is (2 r + 1) / ``divisor`` cells (CornerNet, Law and Deng, section 3.2: a third of the
    radius). Only the cells within the radius are computed: memory does not grow with the number of points.

    Args:
        cells_P2: Column and row of each point, whole numbers inside the map.
        maps_P: The map that each one belongs to.
        radii_P: Radii r in cells, whole numbers.
        shape: (number of maps, height, width).

    Returns:
        float32 maps of the shape.
    """
    maps_MHW = _zeros(shape, cells_P2.device)
    flat = maps_MHW.view(-1)
    rows = _rows(cells_P2, maps_P, radii_P, shape, divisor)
    ends = rows.lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    limits = torch.arange(_CHUNK_CELLS, total + _CHUNK_CELLS, _CHUNK_CELLS, device=ends.device)
    bounds = torch.searchsorted(ends, limits, right=True).tolist()
    first = 0
    for last in [*bounds, len(ends)]:
        if last > first:
            places, values = rows.cells(first, last)
            flat.scatter_reduce_(0, places, values, "amax")
            first = last
    return maps_MHW


class _Rows:
    """The rows of the windows of all points, one after another."""

    def __init__(self, starts: Tensor, lengths: Tensor, left: Tensor, exponents: Tensor, factors: Tensor) -> None:
        self.starts = starts
        """Place of the first cell of each row in the flattened maps."""
        self.lengths = lengths
        self.left = left
        """Column of the first cell, counted from the point's column."""
        self.exponents = exponents
        """The part of the exponent that comes from the row's distance to the point."""
        self.factors = factors
        """What the square of a column's distance is multiplied with in the exponent."""

    def cells(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Place in the flattened maps and value of all cells of some of the rows."""
        lengths = self.lengths[first:last]
        row = torch.repeat_interleave(lengths)
        steps = torch.arange(len(row), device=row.device) - (lengths.cumsum(0) - lengths)[row]
        distance = (steps + self.left[first:last][row]).float()
        values = torch.exp(self.exponents[first:last][row] + self.factors[first:last][row] * distance.square_())
        return steps.add_(self.starts[first:last][row]), values


def _rows(cells_P2: Tensor, maps_P: Tensor, radii_P: Tensor, shape: tuple[int, int, int], divisor: float) -> _Rows:
    _, H, W = shape
    x, y = cells_P2.unbind(-1)
    top, bottom = (y - radii_P).clamp(min=0), (y + radii_P).clamp(max=H - 1)
    left, right = (x - radii_P).clamp(min=0), (x + radii_P).clamp(max=W - 1)
    heights = bottom - top + 1
    point = torch.repeat_interleave(heights)
    row = torch.arange(len(point), device=x.device) - (heights.cumsum(0) - heights - top)[point]
    factors = -0.5 * (divisor / (2 * radii_P + 1).float()).square()
    return _Rows(
        starts=(maps_P * H)[point].add_(row).mul_(W).add_(left[point]),
        lengths=(right - left + 1)[point],
        left=(left - x)[point],
        exponents=factors[point] * (row - y[point]).float().square(),
        factors=factors[point],
    )


def _zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Zeros. On a CPU NumPy's come from the system as such and cost nothing; torch writes every one of them."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, np.float32))
    return torch.zeros(shape, device=device)
