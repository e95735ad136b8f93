"""The weighted Hausdorff distance between a probability map and a set of points.

Written from equations 5 and 6 of Ribera, Gueera, Chen and Delp, "Locating Objects Without Bounding Boxes", CVPR 2019.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kpmodels.distributed import world_mean
from kpmodels.losses.hausdorff_kernel import nearest_and_means

MaxDistance = Literal["scaled", "map"]


def weighted_hausdorff(
    probabilities_BHW: Tensor,
    points_BN2: Tensor,
    present_BN: Tensor,
    *,
    alpha: float = -1.0,
    false_alarm_weight: float = 1.0,
    miss_weight: float = 1.0,
    empty_penalty: float = 1.0,
    scale_B2: Tensor | None = None,
    max_distance: MaxDistance = "scaled",
    counted_B: Tensor | None = None,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch of maps, each with its own number of points, and its two terms.

    The false alarm term is the mean distance from activation to the nearest point. The miss term is the mean over the
    points of how far activation is from them. A map without points has no distances: its false alarm term is the mean
    activation times the map's diagonal times ``empty_penalty``, so that it is pushed towards zero everywhere.

    Args:
        probabilities_BHW: In [0, 1], any floating type; computed in float32 (float64 for float64), under autocast too.
        points_BN2: (x, y) in map cells; they may lie outside the map.
        present_BN: bool, False in padding rows.
        alpha: Exponent of the generalized mean, below 0; towards minus infinity it becomes the minimum.
        false_alarm_weight, miss_weight: Weights of the two terms in the total.
        empty_penalty: See above.
        scale_B2: (x, y) original pixels per map cell; distances are then in original pixels.
        max_distance: ``scaled``: the diagonal in the same unit as the distances (the paper). ``map``: in map cells,
            whatever the scale (the original code).
        counted_B: bool; maps that are False do not count at all (nothing is known of them). None: all count.
        eps: Added to the denominator of the first term and to each element of the generalized mean.

    Returns:
        total, false alarm term and miss term: means over the maps (of all processes) in units of distance;
        total = false_alarm_weight * false alarm term + miss_weight * miss term.
    """
    H, W = probabilities_BHW.shape[-2:]
    false_alarm_B, miss_B, mass_B = _terms_and_mass(
        probabilities_BHW, points_BN2, present_BN, alpha, scale_B2, max_distance, eps
    )
    diagonal_B = _diagonal(H, W, len(probabilities_BHW), None if max_distance == "map" else scale_B2, false_alarm_B)
    penalty_B = empty_penalty * mass_B / (H * W) * diagonal_B
    false_alarm_B = torch.where(present_BN.any(1), false_alarm_B, penalty_B)
    false_alarm, miss = _means(torch.stack([false_alarm_B, miss_B]), counted_B)
    return false_alarm_weight * false_alarm + miss_weight * miss, false_alarm, miss


def _means(terms_2B: Tensor, counted_B: Tensor | None) -> Tensor:
    """The mean of each term over the maps that count, of all processes."""
    if counted_B is None:
        return terms_2B.mean(1)
    counted = counted_B.to(terms_2B.dtype)
    return world_mean((terms_2B * counted).sum(1), counted.sum())


def hausdorff_of_heatmaps(
    probabilities_BKHW: Tensor, keypoints_BNK3: Tensor, ignore_empty: bool = True, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of heatmaps with one map per keypoint class; each map has the points of its class.

    Args:
        probabilities_BKHW: In [0, 1].
        keypoints_BNK3: x, y in map cells, then visibility; keypoints with visibility 0 are no points.
        ignore_empty: Maps without a point do not count, since the keypoint may be there without a label; else they
            are penalized as empty.
        options: Of :func:`weighted_hausdorff`.
    """
    keypoints = keypoints_BNK3.transpose(1, 2).flatten(0, 1)
    present = keypoints[..., 2] > 0
    counted = present.any(1) if ignore_empty else None
    return weighted_hausdorff(
        probabilities_BKHW.flatten(0, 1), keypoints[..., :2], present, counted_B=counted, **options
    )


def hausdorff_terms(
    probabilities_BHW: Tensor,
    points_BN2: Tensor,
    present_BN: Tensor,
    *,
    alpha: float = -1.0,
    scale_B2: Tensor | None = None,
    max_distance: MaxDistance = "scaled",
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """The false alarm and the miss term of each map, ``[B]`` each, 0 for maps without points; see above."""
    return _terms_and_mass(probabilities_BHW, points_BN2, present_BN, alpha, scale_B2, max_distance, eps)[:2]


def _terms_and_mass(
    probabilities_BHW: Tensor,
    points_BN2: Tensor,
    present_BN: Tensor,
    alpha: float,
    scale_B2: Tensor | None,
    max_distance: MaxDistance,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Both terms and the sum of the probabilities of each map."""
    if alpha >= 0:
        raise ValueError(f"the generalized mean needs an exponent below 0, not {alpha}")
    B, H, W = probabilities_BHW.shape
    like = probabilities_BHW.new_ones((), dtype=_precision(probabilities_BHW))
    scale = like.new_ones((B, 2)) if scale_B2 is None else scale_B2.to(like)
    furthest = _diagonal(H, W, B, None if max_distance == "map" else scale, like)
    with torch.autocast(probabilities_BHW.device.type, enabled=False):
        false_alarm, miss, mass = _HausdorffTerms.apply(
            probabilities_BHW, points_BN2.detach(), present_BN.bool(), scale, furthest, float(alpha), eps
        )
    return false_alarm, miss, mass


def _precision(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _diagonal(H: int, W: int, B: int, scale_B2: Tensor | None, like: Tensor) -> Tensor:
    """The diagonal of each map, in map cells or scaled."""
    size = like.new_tensor([W, H]).expand(B, 2)
    return torch.linalg.vector_norm(size if scale_B2 is None else size * scale_B2.to(like), dim=1)


class _HausdorffTerms(torch.autograd.Function):
    """Computes value and gradient together, piece by piece; keeps two maps per map and nothing per pair.

    The gradient of a saturated cell on a point can leave the range of float16; it is limited to it, so that the zero
    slope of the sigmoid still makes it zero and no NaN.
    """

    @staticmethod
    def forward(
        ctx: Any,
        probabilities_BHW: Tensor,
        points_BN2: Tensor,
        present_BN: Tensor,
        scale_B2: Tensor,
        furthest_B: Tensor,
        alpha: float,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.dtype = probabilities_BHW.dtype
        probabilities_BHW = probabilities_BHW.to(_precision(probabilities_BHW)).contiguous()
        nearest_BHW, miss_B, slope_BHW = nearest_and_means(
            probabilities_BHW, points_BN2, present_BN, scale_B2, furthest_B, alpha, eps, ctx.needs_input_grad[0]
        )
        mass_B = probabilities_BHW.sum((1, 2))
        furthest_per_mass_B = furthest_B / (mass_B + eps)
        moved_B = torch.linalg.vecdot(probabilities_BHW.flatten(1), nearest_BHW.flatten(1))
        false_alarm_B = moved_B * furthest_per_mass_B
        if slope_BHW is not None:
            ctx.save_for_backward(nearest_BHW, slope_BHW, false_alarm_B / furthest_B, furthest_per_mass_B)
        return false_alarm_B, miss_B, mass_B

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_false_alarm_B: Tensor, grad_miss_B: Tensor, grad_mass_B: Tensor
    ) -> tuple[Tensor | None, ...]:
        nearest_BHW, slope_BHW, false_alarm_B, furthest_per_mass_B = ctx.saved_tensors
        per_distance_B = grad_false_alarm_B * furthest_per_mass_B
        everywhere_B = grad_mass_B - per_distance_B * false_alarm_B
        gradient = torch.addcmul(everywhere_B[:, None, None], slope_BHW, grad_miss_B[:, None, None])
        gradient.addcmul_(nearest_BHW, per_distance_B[:, None, None])
        if ctx.dtype == torch.float16:
            gradient.clamp_(-torch.finfo(ctx.dtype).max, torch.finfo(ctx.dtype).max)
        return gradient.to(ctx.dtype), None, None, None, None, None, None
