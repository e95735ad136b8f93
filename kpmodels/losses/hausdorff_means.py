"""How a piece of the pairs of pixels and points adds to the generalized means and their derivatives.

Distances are in units of the largest of their map. The element of a pixel with probability p at distance d of a point
is ``1 - p + p d + eps``; pieces hold m maps with c points each.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Means(Protocol):
    """The means of the points of some maps, piece by piece."""

    def add(self, squared_mcHW: Tensor, room_mcHW: Tensor, weights_mc: Tensor) -> Tensor:
        """Take in a piece.

        Args:
            squared_mcHW: Squared distances; is overwritten.
            room_mcHW: Is overwritten.
            weights_mc: Of the points; 0 for those that do not count.

        Returns:
            weights_mc times the mean of each point, no longer in units of the largest distance.
        """

    def slope(self) -> Tensor | None:
        """Derivative of the sum of all that :meth:`add` returned by the probabilities, ``[m, H, W]``."""


def means_of(probabilities_m1HW: Tensor, furthest_m1: Tensor, eps: float, alpha: float, with_slope: bool) -> Means:
    """Of exponent ``alpha``, below 0; ``furthest_m1`` are the largest distances, in the same units as ``eps``."""
    if alpha == -1:
        return _HarmonicMeans(probabilities_m1HW, furthest_m1, eps, with_slope)
    return _GeneralMeans(probabilities_m1HW, furthest_m1, eps, with_slope, alpha)


class _HarmonicMeans:
    """Exponent -1: in place and with as few steps through a piece as can be, since they are what it costs.

    Let a be the element and t = p (1 - d) / a. Then 1 / a = (1 + t) / (1 + eps), whose sum over the pixels is the
    mean's, and (1 - d) / a^2 = t (1 + t) / (p (1 + eps)), of which its derivative consists. t is the inverse of
    ((1 - p + eps) + (1 + eps) / (1 / d - 1)) / p, which needs only the inverse root and loses no digits where
    p, d or 1 - d is near 0.
    """

    def __init__(self, probabilities_m1HW: Tensor, furthest_m1: Tensor, eps: float, with_slope: bool) -> None:
        least = torch.finfo(probabilities_m1HW.dtype).eps ** 2  # instead of 0: p only has to cancel out of t / p
        p = probabilities_m1HW.clamp(min=least)
        self.furthest_m1 = furthest_m1
        self.whole_m1 = 1 + eps / furthest_m1
        self.whole_m1HW = self.whole_m1[..., None, None] / p
        self.idle_m1HW = (1 - probabilities_m1HW).add_((eps / furthest_m1)[..., None, None]).div_(p)
        self.sum_m1X = torch.zeros_like(p).flatten(2) if with_slope else None

    def add(self, squared_mcHW: Tensor, room_mcHW: Tensor, weights_mc: Tensor) -> Tensor:
        pixels = squared_mcHW[0, 0].numel()
        t = squared_mcHW.rsqrt_().sub_(1)
        torch.addcdiv(self.idle_m1HW, self.whole_m1HW, t, out=t).reciprocal_()
        mean = pixels * self.whole_m1 / (t.sum((-2, -1)) + pixels)
        mean = torch.where(weights_mc > 0, mean, 0)
        weighted = mean * weights_mc * self.furthest_m1
        if self.sum_m1X is not None:
            factor = weighted * mean / (-pixels * self.whole_m1**2)
            self.sum_m1X.baddbmm_(factor[:, None], t.addcmul_(t, t).flatten(2))
        return weighted

    def slope(self) -> Tensor | None:
        return None if self.sum_m1X is None else self.sum_m1X.view_as(self.whole_m1HW).mul_(self.whole_m1HW)[:, 0]


class _GeneralMeans:
    """Any exponent below 0."""

    def __init__(
        self, probabilities_m1HW: Tensor, furthest_m1: Tensor, eps: float, with_slope: bool, alpha: float
    ) -> None:
        self.probabilities_m1HW = probabilities_m1HW
        self.furthest_m1 = furthest_m1
        self.idle_m1HW = (1 - probabilities_m1HW).add_((eps / furthest_m1)[..., None, None])
        self.sum_m1X = torch.zeros_like(probabilities_m1HW).flatten(2) if with_slope else None
        self.alpha = alpha

    def add(self, squared_mcHW: Tensor, room_mcHW: Tensor, weights_mc: Tensor) -> Tensor:
        distance = squared_mcHW.sqrt_()
        torch.addcmul(self.idle_m1HW, self.probabilities_m1HW, distance, out=room_mcHW)
        mean, factor = generalized_mean(room_mcHW, self.alpha)
        if self.sum_m1X is not None:
            factor.mul_(weights_mc * self.furthest_m1)
            self.sum_m1X.baddbmm_(factor[:, None], distance.sub_(1).mul_(room_mcHW).flatten(2))
        return mean * weights_mc * self.furthest_m1

    def slope(self) -> Tensor | None:
        return None if self.sum_m1X is None else self.sum_m1X.view_as(self.idle_m1HW)[:, 0]


def generalized_mean(a_mcHW: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The generalized means over the cells of positive elements, and what their derivatives are made of.

    With exponents below -1 all is divided by the least element, so that neither the powers nor their sum leave the
    range of float32.

    Args:
        a_mcHW: Is overwritten with ``(a / least) ** (alpha - 1)``, where least is 1 if nothing was divided.
        alpha: Below 0.

    Returns:
        mean_mc, and factor_mc: times the overwritten elements it is the derivative of the mean by each element.
    """
    pixels = a_mcHW.shape[-2] * a_mcHW.shape[-1]
    least = a_mcHW.amin((-2, -1), keepdim=True) if alpha < -1 else a_mcHW.new_ones(())
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
