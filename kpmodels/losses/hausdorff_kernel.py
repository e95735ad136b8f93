"""The pairs of pixels and points of the weighted Hausdorff distance, in pieces that fit into a processor's cache.

Maps are sorted by their number of points and taken in blocks; of a block, a few points of each map are taken at a
time. All pixels of a map are in one piece, so a point's generalized mean is known before its gradient is added up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CPU_PAIRS, _ACCELERATOR_PAIRS = 1 << 17, 1 << 24
_FAR = 1e7


@dataclass
class _Block:
    """Some maps m, their points c at a time, and what is gathered over the points."""

    probabilities_m1HW: Tensor
    furthest_m111: Tensor
    nearest_mHW: Tensor
    slope_mHW: Tensor | None
    miss_m: Tensor


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
    points = _points_first(points_BN2.to(probabilities_BHW), present_BN) * scale_B2[:, None]
    pairs = _CPU_PAIRS if probabilities_BHW.device.type == "cpu" else _ACCELERATOR_PAIRS
    maps = max(1, pairs // (H * W))
    for first in range(0, full, maps):
        rows = order[first : min(first + maps, full)]
        block = _Block(
            probabilities_BHW[rows][:, None],
            furthest_B[rows].view(-1, 1, 1, 1),
            torch.full_like(probabilities_BHW[rows], torch.inf),
            torch.zeros_like(probabilities_BHW[rows]) if with_slope else None,
            probabilities_BHW.new_zeros(len(rows)),
        )
        _block(block, points[rows, : counts[first]], counts_B[rows], scale_B2[rows], alpha, eps, pairs)
        nearest[rows] = block.nearest_mHW.sqrt_()
        means[rows] = block.miss_m
        if slope is not None and block.slope_mHW is not None:
            slope[rows] = block.slope_mHW
    return nearest, means, slope


def _points_first(points_BN2: Tensor, present_BN: Tensor) -> Tensor:
    """Each row's present points moved to its front, the others far away."""
    order = torch.argsort(present_BN.to(torch.uint8), dim=1, descending=True, stable=True)
    moved = torch.where(present_BN[..., None], points_BN2, _FAR)
    return moved.gather(1, order[..., None].expand(-1, -1, 2))


def _block(
    block: _Block, points_mN2: Tensor, counts_m: Tensor, scale_m2: Tensor, alpha: float, eps: float, pairs: int
) -> None:
    """Run through the points of a block of maps; adds to ``nearest_mHW`` (squared), ``slope_mHW`` and ``miss_m``."""
    m, _, H, W = block.probabilities_m1HW.shape
    rows = torch.arange(H, device=points_mN2.device, dtype=points_mN2.dtype) * scale_m2[:, 1, None]
    columns = torch.arange(W, device=points_mN2.device, dtype=points_mN2.dtype) * scale_m2[:, 0, None]
    size = max(1, pairs // (m * H * W))
    number = points_mN2.shape[1]
    distance = points_mN2.new_empty((m, min(size, number), H, W))
    element = torch.empty_like(distance)
    constant = block.furthest_m111 + eps
    for first in range(0, number, size):
        part = points_mN2[:, first : first + size]
        c = part.shape[1]
        taken_mc = torch.arange(first, first + c, device=part.device) < counts_m[:, None]
        weight_mc = taken_mc.to(part.dtype) / counts_m[:, None]
        offset_x = (columns[:, None] - part[..., 0, None]).square_()
        offset_y = (rows[:, None] - part[..., 1, None]).square_()
        d, a = distance[:, :c], element[:, :c]
        torch.add(offset_x[:, :, None, :], offset_y[:, :, :, None], out=d)
        torch.minimum(block.nearest_mHW, d.amin(1) if c > 1 else d[:, 0], out=block.nearest_mHW)
        d.sqrt_().sub_(block.furthest_m111)
        torch.addcmul(constant, block.probabilities_m1HW, d, out=a)
        mean_mc, factor_mc = generalized_mean(a, alpha)
        block.miss_m += (mean_mc * weight_mc).sum(1)
        if block.slope_mHW is not None:
            d.mul_(a)
            weighted = factor_mc * weight_mc
            if c == 1:
                block.slope_mHW.addcmul_(d[:, 0], weighted[:, :, None])
            else:
                block.slope_mHW.view(m, 1, H * W).baddbmm_(weighted[:, None], d.reshape(m, c, H * W))


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
    least_mc = a_mcHW.amin((-2, -1)) if alpha < -2 else a_mcHW.new_ones(a_mcHW.shape[:2])
    if alpha < -2:
        a_mcHW /= least_mc[..., None, None]
    if alpha == -1:
        power_sum = a_mcHW.reciprocal_().sum((-2, -1))
        a_mcHW.square_()
    else:
        inverse = a_mcHW.reciprocal()
        _power_(a_mcHW, alpha)
        power_sum = a_mcHW.sum((-2, -1))
        a_mcHW.mul_(inverse)
    relative_mc = (power_sum / pixels) ** (1 / alpha)
    return relative_mc * least_mc, relative_mc ** (1 - alpha) / pixels


def _power_(values: Tensor, exponent: float) -> Tensor:
    """``values ** exponent`` in place; whole negative exponents by repeated multiplication."""
    if exponent != round(exponent):
        return values.pow_(exponent)
    base = values.reciprocal()
    values.fill_(1)
    remaining = round(-exponent)
    while remaining:
        if remaining & 1:
            values.mul_(base)
        remaining >>= 1
        if remaining:
            base.square_()
    return values
