"""How far a corner may be off for its box still to overlap enough (CornerNet, Law and Deng, ECCV 2018, section 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

RadiusForm = Literal["exact", "unnormalised"]


def gaussian_radius(
    heights: Tensor, widths: Tensor, overlap: float | Tensor = 0.3, form: RadiusForm = "exact"
) -> Tensor:
    """The largest r for which moving both corners by r in x and y leaves an intersection over union of ``overlap``.

    The corners may move alike (the box is shifted), both inwards (it shrinks) or both outwards (it grows). Each case
    is a quadratic equation of r; the smallest of their positive roots is the answer. It is not rounded.

    Args:
        heights, widths: Sizes of boxes, of any (broadcastable) shape and unit; r has the same unit.
        overlap: In (0, 1]. CornerNet's experiments have 0.3.
        form: ``exact`` solves the equations. ``unnormalised`` is what the first release of CornerNet and the program of
            CenterNet (Duan et al., ICCV 2019) compute: the other roots of the first two equations, and none divided by
            twice the leading coefficient. From an overlap of 1/4 on these radii are larger, and boxes so far off overlap less.

    Returns:
        Radii in float32, or float64 where heights are.
    """
    h = heights if heights.dtype == torch.float64 else heights.float()
    w, t = widths.to(h.dtype), torch.as_tensor(overlap, dtype=h.dtype, device=h.device)
    around, area = h + w, h * w
    shifted = (torch.ones_like(t), around, area * (1 - t) / (1 + t))
    shrunk = (torch.full_like(t, 4), 2 * around, area * (1 - t))
    grown = (4 * t, -2 * t * around, area * (t - 1))
    roots = [_root(*equation, form) for equation in (shifted, shrunk, grown)]
    return torch.minimum(torch.minimum(roots[0], roots[1]), roots[2])


def _root(a: Tensor, b: Tensor, c: Tensor, form: RadiusForm) -> Tensor:
    """The smallest positive root of a r^2 - b r + c = 0, where b and c have one sign and a is positive.

    It is 2 c / (b + sign(b) sqrt(b^2 - 4 a c)), which does not subtract nearly equal numbers.
    """
    root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
    if form == "unnormalised":
        return (b + root) / 2
    denominator = b + torch.where(b < 0, -root, root)
    return torch.where(denominator == 0, 0, 2 * c / torch.where(denominator == 0, 1, denominator))


def cell_radius(heights: Tensor, widths: Tensor, overlap: float | Tensor = 0.3, form: RadiusForm = "exact") -> Tensor:
    """The radius in whole cells (int64), rounded down, of boxes whose sizes in cells are first rounded up."""
    return gaussian_radius(heights.ceil(), widths.ceil(), overlap, form).clamp(min=0).long()
