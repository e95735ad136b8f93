"""The pairs of pixels and points of the weighted Hausdorff distance, in pieces that fit into a processor's cache.

Maps are sorted by their number of points and taken in blocks; of a block, a few points of each map are taken at a
time. All pixels of a map are in one piece, so a point's generalized mean is known before its gradient is added up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CPU_PAIRS, _ACCELERATOR_PAIRS = 1 << 19, 1 << 24
_MOST_THREADS = 8  # more of them share a piece that is no larger
_FAR = 1e7


@dataclass
class _Block:
    """Some maps m with n points each (those beyond a map's own have weight 0), and what is gathered over the points."""

    probabilities_m1HW: Tensor
    furthest_m111: Tensor
    squared_x_mn1W: Tensor
    squared_y_mnH1: Tensor
    weights_mn: Tensor
    nearest_mHW: Tensor
    slope_mHW: Tensor | None


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
        nearest_BHW: Distance from each pixel to the nearest point; 0 where a map has no point.
        means_B: Mean over the points of the generalized mean over the pixels of
            ``(1 - p) * furthest + p * distance + eps``.
        slope_BHW: Derivative of ``means_B`` by the probabilities, or None where it is not asked for.
    """
    B, H, W = probabilities_BHW.shape
    nearest = torch.zeros_like(probabilities_BHW)
    slope = torch.zeros_like(probabilities_BHW) if with_slope else None
    means = probabilities_BHW.new_zeros(B)
    counts_B = present_BN.sum(1)
    order = torch.argsort(counts_B, descending=True, stable=True)
    counts = counts_B[order].tolist()
    full = sum(count > 0 for count in counts)
    points = _points_first(points_BN2.to(probabilities_BHW), present_BN)
    pairs = _pairs_at_once(probabilities_BHW.device)
    size = min(max(1, pairs // (H * W)), max([1, *counts]))
    maps = min(max(1, pairs // (size * H * W)), max(1, full))
    scratch = probabilities_BHW.new_empty((2, maps * size * H * W))
    for first in range(0, full, maps):
        rows = order[first : min(first + maps, full)]
        block = _gather(probabilities_BHW, points[:, : counts[first]], counts_B, scale_B2, furthest_B, rows, with_slope)
        means[rows] = _run(block, alpha, eps, size, scratch)
        nearest[rows] = block.nearest_mHW.sqrt_()
        if slope is not None and block.slope_mHW is not None:
            slope[rows] = block.slope_mHW
    return nearest, means, slope


def _pairs_at_once(device: torch.device) -> int:
    if device.type != "cpu":
        return _ACCELERATOR_PAIRS
    return _CPU_PAIRS * min(torch.get_num_threads(), _MOST_THREADS)


def _points_first(points_BN2: Tensor, present_BN: Tensor) -> Tensor:
    """Each row's present points moved to its front, the others far away."""
    order = torch.argsort(present_BN.to(torch.uint8), dim=1, descending=True, stable=True)
    moved = torch.where(present_BN[..., None], points_BN2, _FAR)
    return moved.gather(1, order[..., None].expand(-1, -1, 2))


def _gather(
    probabilities_BHW: Tensor,
    points_Bn2: Tensor,
    counts_B: Tensor,
    scale_B2: Tensor,
    furthest_B: Tensor,
    rows_m: Tensor,
    with_slope: bool,
) -> _Block:
    """The block of the maps ``rows_m``."""
    probabilities, counts, scale = probabilities_BHW[rows_m], counts_B[rows_m, None], scale_B2[rows_m, None]
    points = points_Bn2[rows_m] * scale
    H, W = probabilities.shape[1:]
    columns = torch.arange(W, device=points.device, dtype=points.dtype) * scale[..., :1]
    lines = torch.arange(H, device=points.device, dtype=points.dtype) * scale[..., 1:]
    taken = torch.arange(points.shape[1], device=points.device) < counts
    return _Block(
        probabilities_m1HW=probabilities[:, None],
        furthest_m111=furthest_B[rows_m].view(-1, 1, 1, 1),
        squared_x_mn1W=(columns - points[..., :1]).square_()[:, :, None, :],
        squared_y_mnH1=(lines - points[..., 1:]).square_()[:, :, :, None],
        weights_mn=taken.to(points.dtype) / counts,
        nearest_mHW=torch.full_like(probabilities, torch.inf),
        slope_mHW=torch.zeros_like(probabilities) if with_slope else None,
    )


def _run(block: _Block, alpha: float, eps: float, size: int, scratch: Tensor) -> Tensor:
    """Go through the points, ``size`` of each map at a time; fills ``nearest_mHW`` (squared) and ``slope_mHW``.

    Returns:
        The mean over the points of their generalized means, ``[m]``.
    """
    m, _, H, W = block.probabilities_m1HW.shape
    idle_m1HW = (1 - block.probabilities_m1HW).mul_(block.furthest_m111).add_(eps)
    means = []
    columns = (block.squared_x_mn1W, block.squared_y_mnH1, block.weights_mn)
    for squared_x, squared_y, weights in zip(*(column.split(size, dim=1) for column in columns), strict=True):
        c = weights.shape[1]
        distance, element = scratch[:, : m * c * H * W].view(2, m, c, H, W).unbind()
        torch.add(squared_x, squared_y, out=distance)
        torch.minimum(block.nearest_mHW, distance.amin(1) if c > 1 else distance[:, 0], out=block.nearest_mHW)
        torch.addcmul(idle_m1HW, block.probabilities_m1HW, distance.sqrt_(), out=element)
        mean, factor = generalized_mean(element, alpha)
        means.append(mean)
        if block.slope_mHW is None:
            continue
        distance.sub_(block.furthest_m111).mul_(element)
        factor.mul_(weights)
        block.slope_mHW.view(m, 1, H * W).baddbmm_(factor[:, None], distance.view(m, c, H * W))
    return (torch.cat(means, dim=1) * block.weights_mn).sum(1)


def generalized_mean(a_mcHW: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The generalized means over the cells of positive elements, and what their derivatives are made of.

    With exponents below -2 all is divided by the least element, so that neither the powers nor their sum leave the
    range of float32.

    Args:
        a_mcHW: Is overwritten with ``(a / least) ** (alpha - 1)``, where least is 1 if nothing was divided.
        alpha: Below 0.

    Returns:
        mean_mc, and factor_mc: times the overwritten elements it is the derivative of the mean by each element.
    """
    pixels = a_mcHW.shape[-2] * a_mcHW.shape[-1]
    if alpha == -1:
        mean = pixels / a_mcHW.reciprocal_().sum((-2, -1))
        a_mcHW.square_()
        return mean, mean.square().div_(pixels)
    least = a_mcHW.amin((-2, -1), keepdim=True) if alpha < -2 else a_mcHW.new_ones(())
    inverse = a_mcHW.div_(least).reciprocal()
    _power_(a_mcHW, inverse, alpha)
    relative = (a_mcHW.sum((-2, -1)) / pixels) ** (1 / alpha)
    a_mcHW.mul_(inverse)
    return relative * least.view(least.shape[:2]), relative ** (1 - alpha) / pixels


def _power_(values: Tensor, inverse: Tensor, exponent: float) -> None:
    """``values ** exponent`` in place, given 1 / values; whole negative exponents by repeated multiplication."""
    if exponent != round(exponent):
        values.pow_(exponent)
        return
    square = inverse.clone()
    values.fill_(1)
    remaining = round(-exponent)
    while remaining:
        if remaining & 1:
            values.mul_(square)
        remaining >>= 1
        if remaining:
            square.square_()
