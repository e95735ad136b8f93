"""Offset targets: the combined classification and regression maps of UDP."""

from __future__ import annotations

import torch
from torch import Tensor


def udp_combined(keypoints_BK3: Tensor, size: tuple[int, int], radius: float) -> tuple[Tensor, Tensor]:
    """For each keypoint a disc and, over the whole map, the way to the keypoint (Huang et al., CVPR 2020, section 3.3).

    Args:
        keypoints_BK3: x, y in map cells, then visibility; a keypoint counts when its visibility is above 0.5.
        size: (height, width) of the maps.
        radius: Radius of the disc in map cells; the offsets are divided by it.

    Returns:
        maps_BK3HW (mask, dx, dy), zeros for invisible keypoints, and weights_BK (1 visible, 0 not).
    """
    H, W = size
    xy, visible = keypoints_BK3[..., :2], keypoints_BK3[..., 2] > 0.5
    xy = xy if xy.dtype == torch.float64 else xy.float()
    xy = torch.where(visible[..., None], xy, 0)
    columns = torch.arange(W, device=xy.device, dtype=xy.dtype)
    rows = torch.arange(H, device=xy.device, dtype=xy.dtype)
    dx = ((xy[..., 0, None] - columns) / radius)[..., None, :].expand(*xy.shape[:-1], H, W)
    dy = ((xy[..., 1, None] - rows) / radius)[..., :, None].expand(*xy.shape[:-1], H, W)
    mask = (dx**2 + dy**2 <= 1).to(dx.dtype)
    maps = torch.stack([mask, dx, dy], dim=2) * visible[..., None, None, None]
    return maps, visible.to(xy.dtype)
