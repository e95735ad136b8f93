"""Thresholds that separate the points of a probability map from its background."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kpmodels.decoding.beta_mixture import fit_beta_mixture

ThresholdMethod = Literal["otsu", "beta", "fixed"]


def threshold_maps(maps_BHW: Tensor, method: ThresholdMethod = "otsu", least: float = 0.5) -> tuple[Tensor, Tensor]:
    """The threshold of each map and the mask of cells that pass it.

    Args:
        maps_BHW: In [0, 1].
        method: ``otsu`` and ``beta`` find a threshold for each map; ``fixed`` is ``least``.
        least: With all methods, cells below it never pass; 0 leaves the choice to the method.

    Returns:
        tau_B and mask_BHW.
    """
    if method == "fixed":
        return maps_BHW.new_full((len(maps_BHW),), least), maps_BHW >= least
    tau, mask = otsu_threshold(maps_BHW) if method == "otsu" else beta_threshold(maps_BHW)
    return tau, mask & (maps_BHW >= least)


def otsu_threshold(maps_BHW: Tensor) -> tuple[Tensor, Tensor]:
    """Otsu's threshold on 256 levels between each map's least and greatest value (Otsu, 1979).

    Returns:
        tau_B, and mask_BHW of the cells whose level is above it; a map of one value has none.
    """
    flat = maps_BHW.flatten(1).float()
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    span = (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    level = ((flat - low) / span * 255).round().long().clamp(0, 255)
    offset = torch.arange(len(flat), device=flat.device)[:, None] * 256
    counts = torch.bincount((level + offset).flatten(), minlength=256 * len(flat)).view(-1, 256).double()
    share = counts / counts.sum(1, keepdim=True)
    below = share.cumsum(1)
    moment = (share * torch.arange(256, device=flat.device)).cumsum(1)
    between = (moment[:, -1:] * below - moment).square() / (below * (1 - below))
    tiny = torch.finfo(torch.float32).eps
    best = torch.where(torch.minimum(below, 1 - below) < tiny, -1, between).argmax(1, keepdim=True)
    mask = (level > best) & (high > low)
    return (low + best / 255 * (high - low))[:, 0], mask.view(maps_BHW.shape)


def beta_threshold(maps_BHW: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the upper of two beta distributions fitted to the values of each map (Ribera et al., CVPR 2019).

    Returns:
        tau_B in float64, and mask_BHW of the cells with tau <= value <= 1.
    """
    a_B2, b_B2, _ = fit_beta_mixture(maps_BHW.flatten(1))
    tau_B = (a_B2 / (a_B2 + b_B2))[:, 1]
    values = maps_BHW.double()
    return tau_B, (values >= tau_B[:, None, None]) & (values <= 1)
