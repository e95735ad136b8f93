"""From probability maps to points: threshold, then a Gaussian mixture or local maxima."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from kpmodels.decoding.mixture import mixture_points
from kpmodels.decoding.peaks import find_peaks
from kpmodels.decoding.threshold import ThresholdMethod, threshold_maps

MOST_POINTS = 1024  # per map, so that a map of noise costs no more than a crowded one


def points_of_maps(
    maps_BHW: Tensor,
    counts_B: Tensor | None,
    *,
    threshold: ThresholdMethod,
    threshold_value: float,
    form: Literal["mixture", "peaks"],
    min_distance: float,
) -> list[Tensor]:
    """The points ``[N, 3]`` of each map: x and y in cells, and a score in [0, 1].

    Args:
        maps_BHW: In [0, 1].
        counts_B: How many points each map has (rounded here; fewer come where the mask has fewer), or None: as many as
            there are peaks.
        threshold, threshold_value: Which cells count, see :func:`threshold_maps`.
        form: ``mixture``: means of a Gaussian mixture fitted to the cells that count (Ribera et al., section 4.2), with
            the mean value of their cells as score; ``peaks``: the highest local maxima, with the value there.
        min_distance: Peaks nearer than this (cells) are one.
    """
    maps = maps_BHW.float().clamp(0, 1)
    _, mask_BHW = threshold_maps(maps, threshold, threshold_value)
    counts = [None] * len(maps) if counts_B is None else [round(count) for count in counts_B.tolist()]
    found = []
    for map_HW, mask_HW, count in zip(maps, mask_BHW, counts, strict=True):
        number = MOST_POINTS if count is None else min(MOST_POINTS, count)
        if form == "mixture":
            if count is None:
                number = len(_peaks(map_HW * mask_HW, number, min_distance))
            xy_N2, scores_N = mixture_points(map_HW, mask_HW, number)
            found.append(torch.cat([xy_N2, scores_N[:, None]], dim=1))
        else:
            found.append(_peaks(map_HW * mask_HW, number, min_distance))
    return found


def _peaks(map_HW: Tensor, count: int, min_distance: float) -> Tensor:
    """The highest peaks ``[N, 3]``; a slight blur makes one of each plateau."""
    if count <= 0 or not bool((map_HW > 0).any()):
        return map_HW.new_zeros((0, 3))
    blur = 2 * max(1, math.ceil(min_distance / 2)) + 1
    xy, scores, kept = find_peaks(map_HW[None, None], count, min_distance=max(1.0, min_distance), blur=blur)
    return torch.cat([xy[0, 0], scores[0, 0][:, None]], dim=1)[kept[0, 0]]
