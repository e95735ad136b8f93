"""Gaussians of different widths drawn into one map per category."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_CHUNK_CELLS = 1 << 19
_FEW_CELLS = 1 << 17


def gaussian_maps(
    cells_P2: Tensor, maps_P: Tensor, radii_P: Tensor, shape: tuple[int, int, int], divisor: float = 6.0
) -> Tensor:
    """:func:`draw_gaussians` into new float32 maps of a shape (number of maps, height, width)."""
    maps_MHW = _zeros(shape, cells_P2.device)
    draw_gaussians(maps_MHW, cells_P2, maps_P, radii_P, divisor)
    return maps_MHW


def draw_gaussians(maps_MHW: Tensor, cells_P2: Tensor, maps_P: Tensor, radii_P: Tensor, divisor: float = 6.0) -> None:
    """Draw a Gaussian of peak 1 around each point, cut off at its radius; the map keeps the maximum.

    The standard deviation is (2 r + 1) / ``divisor`` cells (CornerNet, Law and Deng, section 3.2: a third of the
    radius). Points of about the same radius are drawn together, and only the cells around them are computed: the
    memory needed besides the maps does not grow with the number of points.

    Args:
        maps_MHW: float32, contiguous, 0 or more; changed in place.
        cells_P2: Column and row of each point, whole numbers inside the map.
        maps_P: The map that each one belongs to.
        radii_P: Radii r in cells, whole numbers.
    """
    limits = _size_limits(max(maps_MHW.shape[1:]))
    classes_P = torch.bucketize(radii_P.contiguous(), torch.tensor(limits[:-1], device=radii_P.device))
    points_P4 = torch.stack([*cells_P2.unbind(1), maps_P, radii_P], dim=1)[classes_P.argsort(descending=True)]
    groups = _groups(limits, torch.bincount(classes_P, minlength=len(limits)).tolist())
    for radius, points_Q4 in zip(groups, points_P4.split(list(groups.values())), strict=True):
        step = max(1, _CHUNK_CELLS // (2 * radius + 1) ** 2)
        for some_Q4 in points_Q4.split(step):
            _draw(maps_MHW, some_Q4, radius, divisor)


def _size_limits(largest: int) -> list[int]:
    """Upper limits of classes of radii: each 0.4 above the one before, up to the largest side of the map."""
    limits, radius = [], 0
    while radius < largest:
        limits.append(radius)
        radius = max(radius + 1, int(1.4 * radius))
    return [*limits, largest]


def _groups(limits: list[int], counts: list[int]) -> dict[int, int]:
    """How many points are drawn together, by the half side of their windows, from large to small.

    Points of a smaller class join the class before while that makes few cells: it saves a round.
    """
    groups: dict[int, int] = {}
    radius = 0
    for limit, count in zip(reversed(limits), reversed(counts), strict=True):
        if count == 0:
            continue
        together = groups.get(radius, 0) + count
        if not groups or together * (2 * radius + 1) ** 2 > _FEW_CELLS:
            radius, together = limit, count
        groups[radius] = together
    return groups


def _draw(maps_MHW: Tensor, points_Q4: Tensor, window: int, divisor: float) -> None:
    """Draw points (x, y, map, radius) of radii up to ``window``: a Gaussian is the product of a row and a column.

    Cells outside the map or the radius are drawn as zeros at the map's edge, where they change nothing.
    """
    _, H, W = maps_MHW.shape
    steps = torch.arange(-window, window + 1, device=points_Q4.device)
    radii_Q1 = points_Q4[:, 3:]
    factors_Q1 = -0.5 * (divisor / (2 * radii_Q1 + 1)).square()
    profiles_QS = torch.exp(factors_Q1 * steps.square()) * (steps.abs() <= radii_Q1)
    xy_2QS = points_Q4[:, :2].T[..., None] + steps
    inside_2QS = torch.stack([xy_2QS[0].clamp(0, W - 1), xy_2QS[1].clamp(0, H - 1)])
    across_QS, down_QS = profiles_QS * (inside_2QS == xy_2QS)
    starts_QS = (points_Q4[:, 2:3] * H + inside_2QS[1]) * W
    places_QSS = starts_QS[:, :, None] + inside_2QS[0][:, None]
    values_QSS = down_QS[:, :, None] * across_QS[:, None]
    maps_MHW.view(-1).scatter_reduce_(0, places_QSS.view(-1), values_QSS.view(-1), "amax")


def _zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Zeros. On a CPU NumPy's come from the system as such, and in large pages; torch writes every one of them."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(shape, np.float32))
    return torch.zeros(shape, device=device)
