"""Local maxima of maps: several points per map."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kpmodels.decoding.blur import gaussian_blur
from kpmodels.decoding.suppression import greedy_keep


def find_peaks(
    maps_BKHW: Tensor,
    top: int,
    threshold: float = 0.0,
    min_distance: float = 1.0,
    blur: int = 0,
    refine: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """The highest local maxima of each map, best first, no two nearer to each other than ``min_distance``.

    Args:
        maps_BKHW: Any floating type.
        top: Most peaks per map, N.
        threshold: Peaks at or below it do not count.
        min_distance: In cells; of two peaks nearer than this the higher one stays.
        blur: Odd width of a Gaussian blur before the search, 0 for none; it makes one peak of a plateau (the middle).
        refine: Move peaks to the top of the parabola through their neighbours, along each axis, by half a cell at most.

    Returns:
        xy_BKN2 in map cells, scores_BKN (values of the map before the blur) and found_BKN; zeros where not found.
    """
    B, K, H, W = maps_BKHW.shape
    values = maps_BKHW if maps_BKHW.dtype == torch.float64 else maps_BKHW.float()
    searched = gaussian_blur(values, blur) if blur > 1 else values
    candidates = min(H * W, 4 * top)
    height, index = _local_maxima(searched.flatten(0, 1), min_distance, threshold, values.flatten(0, 1), candidates)
    if not torch.compiler.is_compiling():  # most maps hold few: the rest need not be compared with each other
        most = max(int((height > -torch.inf).sum(1).max()), 1) if height.numel() else 0
        height, index = height[:, :most], index[:, :most]
    xy = torch.stack([index % W, torch.div(index, W, rounding_mode="floor")], dim=-1)
    found = height > -torch.inf
    apart = torch.cdist(xy.double(), xy.double(), compute_mode="donot_use_mm_for_euclid_dist") >= min_distance
    found = found & greedy_keep(~apart & found[:, None] & found[..., None])
    order = torch.argsort(found.to(torch.uint8), dim=1, descending=True, stable=True)[:, :top]
    found, index, xy = found.gather(1, order), index.gather(1, order), xy.gather(1, order[..., None].expand(-1, -1, 2))
    scores = values.flatten(0, 1).flatten(1).gather(1, index) * found
    places = xy.to(values.dtype)
    if refine:
        places = places + _parabola_step(searched.flatten(0, 1), xy)
    places = torch.where(found[..., None], places, 0)
    missing = (0, top - places.shape[1])
    scores, found = F.pad(scores, missing).view(B, K, top), F.pad(found, missing).view(B, K, top)
    return F.pad(places, (0, 0, *missing)).view(B, K, top, 2), scores, found


def _local_maxima(
    maps_MHW: Tensor, min_distance: float, threshold: float, values_MHW: Tensor, number: int
) -> tuple[Tensor, Tensor]:
    """Heights and cells ``[M, number]`` of the highest local maxima, best first; height -inf where there are fewer.

    The neighbourhood is the square that fits into the circle of ``min_distance``, and at least 3x3. Of equal
    neighbours the first one counts.
    """
    M, H, W = maps_MHW.shape
    radius = min(max(1, math.floor((min_distance - 1e-9) / math.sqrt(2))), max(H, W))
    highest = _max_around(maps_MHW, radius) == maps_MHW
    rank = torch.arange(H * W, 0, -1, device=maps_MHW.device, dtype=torch.float32).view(1, H, W) * highest
    first = highest & (_max_around(rank, radius) == rank)
    peaks = first & (values_MHW > threshold)
    height = torch.where(peaks, maps_MHW, -torch.inf).flatten(1)
    best, index = height.topk(number, dim=1)
    return best.view(M, number), index


def _max_around(maps_MHW: Tensor, radius: int) -> Tensor:
    """The maximum over the square of that radius; one axis after the other."""
    side = 2 * radius + 1
    rows = F.max_pool2d(maps_MHW[:, None], (1, side), stride=1, padding=(0, radius))
    return F.max_pool2d(rows, (side, 1), stride=1, padding=(radius, 0))[:, 0]


def _parabola_step(maps_MHW: Tensor, xy_MN2: Tensor) -> Tensor:
    """From cells to the top of the parabola through three cells along each axis, zero at the edge."""
    H, W = maps_MHW.shape[-2:]
    x, y = xy_MN2.unbind(-1)

    def at(dx: int, dy: int) -> Tensor:
        index = (y + dy).clamp(0, H - 1) * W + (x + dx).clamp(0, W - 1)
        return maps_MHW.flatten(1).gather(1, index)

    centre = at(0, 0)
    steps = []
    for before, after, inner in (
        (at(-1, 0), at(1, 0), (x > 0) & (x < W - 1)),
        (at(0, -1), at(0, 1), (y > 0) & (y < H - 1)),
    ):
        curvature = 2 * centre - before - after
        step = 0.5 * (after - before) / torch.where(curvature > 0, curvature, 1)
        steps.append(torch.where(inner & (curvature > 0), step.clamp(-0.5, 0.5), 0))
    return torch.stack(steps, dim=-1)
