"""Keypoint coordinates from heatmaps, finer than a cell, and the merging of mirrored predictions.

All functions take maps_BKHW and give xy_BK2 (x, y) in map cells.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kpmodels.decoding.blur import blurred_to_same_peak, gaussian_blur


def argmax_xy(heatmaps_BKHW: Tensor, absent: float | None = None) -> tuple[Tensor, Tensor]:
    """The cell of each map's maximum (the first one of several), and its value.

    Args:
        heatmaps_BKHW: Any range of values.
        absent: Coordinate given to maps without a positive value: 0 in Simple Baselines and HRNet, -1 in mmpose;
            None leaves the cell of the maximum.

    Returns:
        xy_BK2 in float32 and scores_BK.
    """
    W = heatmaps_BKHW.shape[-1]
    flat = heatmaps_BKHW.flatten(-2)
    index = flat.argmax(-1)
    scores = flat.gather(-1, index[..., None])[..., 0]
    xy = torch.stack([index % W, torch.div(index, W, rounding_mode="floor")], dim=-1).float()
    if absent is not None:
        xy = torch.where((scores > 0)[..., None], xy, absent)
    return xy, scores


def quarter_shift(heatmaps_BKHW: Tensor, xy_BK2: Tensor, margins: Literal["joint", "per-axis"] = "joint") -> Tensor:
    """Maxima moved a quarter of a cell towards the greater neighbour, not at all where both are equal.

    Args:
        heatmaps_BKHW: The maps.
        xy_BK2: Cells of the maxima.
        margins: Which maxima move. ``joint`` (Simple Baselines, HRNet): those with 1 < x < W - 1 and 1 < y < H - 1.
            ``per-axis`` (mmpose): x moves if 1 < x < W - 1 and 0 < y < H, and y if 1 < y < H - 1 and 0 < x < W.
    """
    H, W = heatmaps_BKHW.shape[-2:]
    x, y = xy_BK2.round().long().unbind(-1)
    inner_x, inner_y = (x > 1) & (x < W - 1), (y > 1) & (y < H - 1)
    if margins == "joint":
        inner_x = inner_y = inner_x & inner_y
    else:
        inner_x, inner_y = inner_x & (y > 0) & (y < H), inner_y & (x > 0) & (x < W)
    right, left = _read(heatmaps_BKHW, x + 1, y), _read(heatmaps_BKHW, x - 1, y)
    below, above = _read(heatmaps_BKHW, x, y + 1), _read(heatmaps_BKHW, x, y - 1)
    step_x = torch.sign(right - left) * inner_x
    step_y = torch.sign(below - above) * inner_y
    return xy_BK2 + 0.25 * torch.stack([step_x, step_y], dim=-1).to(xy_BK2.dtype)


def dark_refine(heatmaps_BKHW: Tensor, xy_BK2: Tensor, blur_kernel: int = 11, max_step: float | None = 2.0) -> Tensor:
    """Maxima refined by one Newton step on the logarithm of the blurred map (DARK, Zhang et al., CVPR 2020).

    Derivatives are central differences: of one cell for the gradient and the mixed term, of two cells for the second
    derivatives. Maxima within two cells of the edge stay as they are, as those without curvature.

    Args:
        heatmaps_BKHW: The maps.
        xy_BK2: Cells of the maxima.
        blur_kernel: Odd width of the Gaussian blur in cells.
        max_step: Longest step along an axis in cells, which saves flat maps from jumping; None is the original form.
    """
    H, W = heatmaps_BKHW.shape[-2:]
    log = blurred_to_same_peak(heatmaps_BKHW.float(), blur_kernel).clamp(min=1e-10).log()
    x, y = xy_BK2.round().long().unbind(-1)

    def at(dx: int, dy: int) -> Tensor:
        return _read(log, x + dx, y + dy)

    gradient = torch.stack([0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))], dim=-1)
    dxx = 0.25 * (at(2, 0) - 2 * at(0, 0) + at(-2, 0))
    dyy = 0.25 * (at(0, 2) - 2 * at(0, 0) + at(0, -2))
    dxy = 0.25 * (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1))
    determinant = dxx * dyy - dxy**2
    inner = (x > 1) & (x < W - 2) & (y > 1) & (y < H - 2) & (determinant != 0)
    step = _newton_step(gradient, dxx, dyy, dxy, max_step)
    return xy_BK2 + torch.where(inner[..., None], step, 0).to(xy_BK2.dtype)


def udp_refine(heatmaps_BKHW: Tensor, xy_BK2: Tensor, blur_kernel: int = 11, max_step: float | None = 2.0) -> Tensor:
    """Maxima refined by one Newton step on the logarithm of the blurred map, everywhere (UDP-DARK).

    Unlike :func:`dark_refine`: the blurred map is clipped to [0.001, 50], all differences have a step of one cell, the
    map is continued by one cell at its edges, so that maxima at the edge are refined too.

    Args: as for :func:`dark_refine`.
    """
    blurred = blurred_to_same_peak(heatmaps_BKHW.float(), blur_kernel)
    log = torch.nn.functional.pad(blurred.clamp(1e-3, 50).log(), (1, 1, 1, 1), mode="replicate")
    x, y = (xy_BK2.round().long() + 1).unbind(-1)

    def at(dx: int, dy: int) -> Tensor:
        return _read(log, x + dx, y + dy)

    gradient = torch.stack([0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))], dim=-1)
    tiny = torch.finfo(torch.float32).eps
    dxx = at(1, 0) - 2 * at(0, 0) + at(-1, 0) + tiny
    dyy = at(0, 1) - 2 * at(0, 0) + at(0, -1) + tiny
    beside = at(1, 0) + at(-1, 0) + at(0, 1) + at(0, -1)
    dxy = 0.5 * (at(1, 1) + at(-1, -1) + 2 * at(0, 0) - beside)
    return xy_BK2 + _newton_step(gradient, dxx, dyy, dxy, max_step).to(xy_BK2.dtype)


def flip_back(heatmaps_BKHW: Tensor, flip_index: list[int], shift: bool = False) -> Tensor:
    """Maps of the mirrored image in the frame of the image: mirrored, left and right keypoints swapped.

    Args:
        heatmaps_BKHW: Maps that the network gave for the mirrored image.
        flip_index: ``flip_index[k]`` is the keypoint that k becomes in the mirror.
        shift: Move the result one cell to the right, column 0 staying, as Simple Baselines and HRNet do; it makes up
            for a map / input ratio that does not map edges to edges, so it is not used with ``udp``.
    """
    flipped = heatmaps_BKHW.flip(-1)[:, torch.as_tensor(flip_index, device=heatmaps_BKHW.device)]
    if shift:
        flipped = torch.cat([flipped[..., :1], flipped[..., :-1]], dim=-1)
    return flipped


def flip_average(heatmaps_BKHW: Tensor, mirrored_BKHW: Tensor, flip_index: list[int], shift: bool = False) -> Tensor:
    """The mean of the maps of an image and of those of its mirror image, see :func:`flip_back`."""
    return 0.5 * (heatmaps_BKHW + flip_back(mirrored_BKHW, flip_index, shift))


def decode_udp_combined(
    maps_BK3HW: Tensor, radius: float, blur_kernel: int = 11, wrap_absent: bool = False
) -> tuple[Tensor, Tensor]:
    """Keypoints from maps (mask, dx, dy): the maximum of the blurred mask plus the offset read there.

    Args:
        maps_BK3HW: As :func:`kpmodels.targets.offsets.udp_combined` makes them.
        radius: The same radius in map cells.
        blur_kernel: The mask is blurred with a Gaussian of width 2 * blur_kernel + 1.
        wrap_absent: A keypoint without a positive mask gets (-1, -1) plus an offset read out of another keypoint's
            map, as mmpose does, instead of (-1, -1).

    Returns:
        xy_BK2 in map cells and scores_BK of the blurred mask.
    """
    masks, offsets = maps_BK3HW[:, :, 0], maps_BK3HW[:, :, 1:]
    K, H, W = masks.shape[1:]
    xy, scores = argmax_xy(gaussian_blur(masks, 2 * blur_kernel + 1, padding="reflect"), absent=-1)
    x, y = xy.long().unbind(-1)
    maps = torch.arange(K, device=xy.device) * (H * W)
    index = (x + y * W + maps) % (K * H * W)
    flat = offsets.permute(0, 2, 1, 3, 4).flatten(2)
    offset = flat.gather(2, index[:, None].expand(-1, 2, -1)).transpose(1, 2).to(xy.dtype) * radius
    return xy + (offset if wrap_absent else torch.where((scores > 0)[..., None], offset, 0)), scores


def _read(maps_BKHW: Tensor, x_BK: Tensor, y_BK: Tensor) -> Tensor:
    """One value per map at integer cells; cells outside read the nearest one inside."""
    H, W = maps_BKHW.shape[-2:]
    index = y_BK.clamp(0, H - 1) * W + x_BK.clamp(0, W - 1)
    return maps_BKHW.flatten(-2).gather(-1, index[..., None])[..., 0]


def _newton_step(gradient: Tensor, dxx: Tensor, dyy: Tensor, dxy: Tensor, max_step: float | None) -> Tensor:
    """``-H^-1 g`` with each coordinate limited; zero where the Hessian is singular."""
    gx, gy = gradient.unbind(-1)
    determinant = dxx * dyy - dxy**2
    safe = torch.where(determinant == 0, 1, determinant)
    step = -torch.stack([dyy * gx - dxy * gy, dxx * gy - dxy * gx], dim=-1) / safe[..., None]
    step = torch.where((determinant == 0)[..., None], 0, step)
    return step if max_step is None else step.clamp(-max_step, max_step)
