"""The pairs of pixels and points of the weighted Hausdorff distance, in pieces that fit into a processor's cache.

Maps are sorted by their number of points and taken in blocks; of a block, a few points of each map are taken at a
time. All pixels of a map are in one piece, so a point's generalized mean is known before its gradient is added up.
Inside, all lengths are in units of the largest distance of their map.

Threads of a CPU share the blocks and not the single operations: they wait for each other once and not ten times per
piece, which costs most where other programs keep the processors busy.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from kpmodels.losses.hausdorff_means import means_of

_CPU_PAIRS, _ACCELERATOR_PAIRS = 1 << 19, 1 << 24
_MOST_THREADS = 8  # each has a piece of its own in memory
_FAR = 1e5  # diagonals in x or y; nothing is further, since float32 must tell 1 - 1 / distance from 1


@dataclass
class _Maps:
    """All maps; each row's present points are at its front."""

    probabilities_BHW: Tensor
    points_BN2: Tensor
    counts_B: Tensor
    scale_B2: Tensor
    furthest_B: Tensor
    eps: float


@dataclass
class _Job:
    """Some points of some maps; a single map is a slice, so that indexing copies nothing."""

    maps: slice | Tensor
    points: slice


@dataclass
class _Plan:
    """Jobs; each takes so many points of each of its maps at a time, which makes so many pairs at most."""

    jobs: list[_Job]
    points: int
    pairs: int


def nearest_and_means(
    probabilities_BHW: Tensor,
    points_BN2: Tensor,
    present_BN: Tensor,
    scale_B2: Tensor,
    furthest_B: Tensor,
    alpha: float,
    eps: float,
    with_slope: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What both terms are made of.

    Returns:
        nearest_BHW: Distance from each pixel to the nearest point in units of ``furthest_B``; 0 where a map has no
            point.
        means_B: Mean over the points of the generalized mean over the pixels of
            ``(1 - p) * furthest + p * distance + eps``.
        slope_BHW: Derivative of ``means_B`` by the probabilities, or None where it is not asked for.
    """
    counts_B = present_BN.sum(1)
    points = _points_first(points_BN2.to(probabilities_BHW), present_BN)
    maps = _Maps(probabilities_BHW, points, counts_B, scale_B2, furthest_B, eps)
    threads = _threads(probabilities_BHW.device)
    plan = _plan(counts_B, probabilities_BHW[0].numel(), threads)
    means = torch.zeros_like(furthest_B)
    nearest = torch.zeros_like(probabilities_BHW)
    slope = torch.zeros_like(probabilities_BHW) if with_slope else None
    local = threading.local()

    def run(job: _Job) -> tuple[Tensor, Tensor, Tensor | None]:
        with torch.inference_mode():
            scratch = _scratch(local, probabilities_BHW, plan.pairs)
            return _run(maps, job, plan.points, scratch, alpha, with_slope)

    with _mapper(min(threads, len(plan.jobs))) as in_order:
        for job, (mean_m, nearest_mHW, slope_mHW) in zip(plan.jobs, in_order(run, plan.jobs), strict=True):
            further = job.points.start > 0
            means[job.maps] += mean_m
            nearest[job.maps] = torch.minimum(nearest[job.maps], nearest_mHW) if further else nearest_mHW
            if slope is not None:
                slope[job.maps] = slope[job.maps] + slope_mHW if further else slope_mHW
    return nearest, means, slope


def _threads(device: torch.device) -> int:
    return min(torch.get_num_threads(), _MOST_THREADS) if device.type == "cpu" else 1


@contextmanager
def _mapper(threads: int) -> Iterator[Callable[..., Iterator]]:
    """``map``, by so many threads; inside, operations run in the thread that calls them alone."""
    if threads <= 1:
        yield map
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # of this thread, and new ones begin with it
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)


def _plan(counts_B: Tensor, pixels: int, threads: int) -> _Plan:
    """Cut up the work. With several threads no job is much more than half of what each has to do."""
    order_B = torch.argsort(counts_B, descending=True, stable=True)
    rows, counts = torch.stack([order_B, counts_B[order_B]]).tolist()
    most_pairs = _CPU_PAIRS if counts_B.device.type == "cpu" else _ACCELERATOR_PAIRS
    full = sum(count > 0 for count in counts)
    size = min(max(1, most_pairs // pixels), max([1, *counts]))
    maps = min(max(1, most_pairs // (size * pixels)), max(1, full))
    most = max(size, math.ceil(sum(counts) / (2 * threads * maps))) if threads > 1 else max([1, *counts])
    jobs = []
    for first in range(0, full, maps):
        block = slice(rows[first], rows[first] + 1) if maps == 1 else order_B[first : min(first + maps, full)]
        step = math.ceil(counts[first] / math.ceil(counts[first] / most))
        for point in range(0, counts[first], step):
            jobs.append(_Job(block, slice(point, min(point + step, counts[first]))))
    return _Plan(jobs, size, maps * size * pixels)


def _points_first(points_BN2: Tensor, present_BN: Tensor) -> Tensor:
    """Each row's present points moved to its front, the others infinitely far away."""
    order = torch.argsort(present_BN.to(torch.uint8), dim=1, descending=True, stable=True)
    moved = torch.where(present_BN[..., None], points_BN2, torch.inf)
    return moved.gather(1, order[..., None].expand(-1, -1, 2))


def _scratch(local: threading.local, like: Tensor, pairs: int) -> Tensor:
    """Room for the pairs of a piece twice, the same for all jobs of a thread."""
    if not hasattr(local, "room"):
        local.room = like.new_empty((2, pairs))
    return local.room


def _run(
    maps: _Maps, job: _Job, size: int, scratch: Tensor, alpha: float, with_slope: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Go through the points of a job, ``size`` of each map at a time.

    Returns:
        The sum over these points of mean divided by the map's number of points, ``[m]``; distances to the nearest of
        them in units of the largest, ``[m, H, W]``; and the derivative of the first.
    """
    probabilities = maps.probabilities_BHW[job.maps][:, None]
    m, _, H, W = probabilities.shape
    furthest = maps.furthest_B[job.maps]
    means = means_of(probabilities, furthest[:, None], maps.eps, alpha, with_slope)
    nearest = torch.full_like(probabilities[:, 0], torch.inf)
    total = torch.zeros_like(furthest)
    columns = _squared_and_weights(maps, job)
    for squared_x, squared_y, weights in zip(*(column.split(size, dim=1) for column in columns), strict=True):
        c = weights.shape[1]
        squared, room = scratch[:, : m * c * H * W].view(2, m, c, H, W).unbind()
        torch.add(squared_x, squared_y, out=squared)
        torch.minimum(nearest, squared.amin(1) if c > 1 else squared[:, 0], out=nearest)
        total += means.add(squared, room, weights).sum(1)
    return total, nearest.sqrt_(), means.slope()


def _squared_and_weights(maps: _Maps, job: _Job) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances in x ``[m, n, 1, W]`` and in y ``[m, n, H, 1]``, and weights ``[m, n]``, which make a mean."""
    H, W = maps.probabilities_BHW.shape[1:]
    points, counts = maps.points_BN2[job.maps][:, job.points], maps.counts_B[job.maps][:, None]
    scale = (maps.scale_B2 / maps.furthest_B[:, None])[job.maps][:, None]
    columns, lines = (torch.arange(size, device=points.device, dtype=points.dtype) for size in (W, H))
    squared_x = (columns - points[..., :1]).mul_(scale[..., :1]).square_().clamp_(max=_FAR**2)
    squared_y = (lines - points[..., 1:]).mul_(scale[..., 1:]).square_().clamp_(max=_FAR**2)
    own = torch.arange(job.points.start, job.points.stop, device=points.device) < counts
    return squared_x[:, :, None, :], squared_y[:, :, :, None], own.to(points.dtype) / counts
