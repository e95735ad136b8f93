"""Gaussian heatmaps as targets, and the coordinate systems between network input and output map."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Codec = Literal["udp", "dark", "msra", "udp-mmpose"]
Form = Literal["float", "rounded", "udp"]

_CHUNK_ELEMENTS = 1 << 22


def form_of(codec: Codec) -> Form:
    """The Gaussian that each coordinate system was published with."""
    forms: dict[Codec, Form] = {"msra": "rounded", "dark": "float", "udp": "udp", "udp-mmpose": "udp"}
    return forms[codec]


def to_map(xy: Tensor, input_size: tuple[int, int], map_size: tuple[int, int], codec: Codec = "udp") -> Tensor:
    """Points ``[..., 2]`` (x, y) from pixels of the network input to cells of the output map.

    Args:
        xy: Points; pixel (0, 0) is the centre of the top left pixel.
        input_size, map_size: (height, width).
        codec: ``udp`` maps the centres of the outermost pixels onto the centres of the outermost cells, ratio
            (map - 1) / (input - 1) (Huang et al., CVPR 2020, section 3.2). ``dark`` and ``msra`` use the plain ratio
            map / input of Simple Baselines and HRNet. ``udp-mmpose`` encodes as ``udp``.
    """
    return xy * xy.new_tensor(_ratio(input_size, map_size, codec in ("udp", "udp-mmpose")))


def from_map(xy: Tensor, input_size: tuple[int, int], map_size: tuple[int, int], codec: Codec = "udp") -> Tensor:
    """The inverse of :func:`to_map`.

    ``udp-mmpose`` departs from the paper as mmpose does: it decodes with input / (map - 1).
    """
    if codec == "udp-mmpose":
        ratio = [side / max(cells - 1, 1) for side, cells in zip(input_size[::-1], map_size[::-1], strict=True)]
    else:
        ratio = [1 / r for r in _ratio(input_size, map_size, codec == "udp")]
    return xy * xy.new_tensor(ratio)


def _ratio(input_size: tuple[int, int], map_size: tuple[int, int], unbiased: bool) -> list[float]:
    pairs = zip(input_size[::-1], map_size[::-1], strict=True)
    if unbiased:
        return [max(cells - 1, 1) / max(side - 1, 1) for side, cells in pairs]
    return [cells / side for side, cells in pairs]


def gaussian_heatmaps(
    keypoints_BNK3: Tensor,
    size: tuple[int, int],
    sigma: float,
    form: Form = "float",
) -> tuple[Tensor, Tensor]:
    """One map per keypoint with a Gaussian of peak 1 on every visible keypoint; instances are merged by maximum.

    Args:
        keypoints_BNK3: x, y in map cells, then visibility; a keypoint counts when its visibility is above 0.5.
        size: (height, width) of the maps.
        sigma: Standard deviation in map cells.
        form: ``float``: centred on the keypoint, over the whole map (DARK, Zhang et al., CVPR 2020, section 3.2).
            ``rounded``: centred on the nearest cell int(x + 0.5), zero beyond 3 sigma (Simple Baselines, HRNet).
            ``udp``: centred on the keypoint, zero beyond 3 sigma of the nearest cell (UDP, Huang et al., CVPR 2020).

    Returns:
        heatmaps_BKHW in float32 (float64 for float64 input), and weights_BNK: 1 where the keypoint is visible and its
        3 sigma box touches the map, else 0.
    """
    B, N, K, _ = keypoints_BNK3.shape
    H, W = size
    xy, visible = keypoints_BNK3[..., :2], keypoints_BNK3[..., 2] > 0.5
    xy = xy if xy.dtype == torch.float64 else xy.float()
    xy = torch.where(visible[..., None], xy, -1e4)  # so that a NaN of an invisible keypoint goes nowhere
    centre = xy if form == "float" else torch.trunc(xy + 0.5)
    weights = visible & touches(centre, size, 3 * sigma)
    heatmaps = xy.new_zeros((B, K, H, W))
    step = max(1, _CHUNK_ELEMENTS // max(1, B * K * H * W))
    for first in range(0, N, step):
        part = slice(first, first + step)
        drawn = weights[:, part, :, None]
        x_BNKW = _profile(xy[:, part, :, 0], centre[:, part, :, 0], W, sigma, form) * drawn
        y_BNKH = _profile(xy[:, part, :, 1], centre[:, part, :, 1], H, sigma, form)
        gaussians = y_BNKH[..., :, None] * x_BNKW[..., None, :]
        torch.maximum(heatmaps, gaussians.amax(1), out=heatmaps)
    return heatmaps, weights.to(heatmaps.dtype)


def touches(centre: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    """Whether the box of that radius around each centre ``[..., 2]`` (x, y) holds a cell of a map (height, width).

    The condition is that of the original heatmap code: it counts one cell beyond the box on the left and top.
    """
    x, y = centre.unbind(-1)
    inside_x = (x - radius < size[1]) & (x + radius + 1 >= 0)
    return inside_x & (y - radius < size[0]) & (y + radius + 1 >= 0)


def _profile(mean: Tensor, centre: Tensor, cells: int, sigma: float, form: Form) -> Tensor:
    """One axis of the Gaussians ``[..., cells]``: they are products of a row and a column profile."""
    grid = torch.arange(cells, device=mean.device, dtype=mean.dtype)
    around = centre if form == "rounded" else mean
    profile = torch.exp(-((grid - around[..., None]) ** 2) / (2 * sigma**2))
    if form != "float":
        profile = profile * ((grid - centre[..., None]).abs() <= 3 * sigma)
    return profile
