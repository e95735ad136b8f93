"""Affine maps between image, network input and output map."""

from __future__ import annotations

import torch
from torch import Tensor


def similarity(
    centre_B2: Tensor, width_B: Tensor, output_size: tuple[int, int], rotation_B: Tensor | float = 0.0
) -> Tensor:
    """The maps ``[B, 2, 3]`` that take a rotated region of an image onto an output, keeping angles.

    This is the crop of Simple Baselines and HRNet: the region's centre lands on (W / 2, H / 2) and its width on W; the
    height follows. There is no half pixel shift.

    Args:
        centre_B2: Centre (x, y) of the region in the image.
        width_B: Its width in image pixels.
        output_size: (height, width) of the output.
        rotation_B: Rotation of the region in degrees, clockwise as one sees it.
    """
    H, W = output_size
    angle = torch.deg2rad(torch.as_tensor(rotation_B, dtype=centre_B2.dtype, device=centre_B2.device))
    angle = angle.expand(len(centre_B2))
    scale = W / width_B
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    linear = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    middle = centre_B2.new_tensor([W / 2, H / 2])
    shift = middle - (linear @ centre_B2[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], dim=-1)


def invert(affine_B23: Tensor) -> Tensor:
    """The inverse maps ``[B, 2, 3]``."""
    linear = torch.linalg.inv(affine_B23[..., :2])
    return torch.cat([linear, -linear @ affine_B23[..., 2:]], dim=-1)


def transform_points(xy_BK2: Tensor, affine_B23: Tensor) -> Tensor:
    """Points ``[B, ..., 2]`` (x, y) through one map per row: ``A @ (x, y, 1)``."""
    lead = (len(affine_B23),) + (1,) * (xy_BK2.ndim - 2)
    linear, shift = affine_B23[..., :2].view(*lead, 2, 2), affine_B23[..., 2].view(*lead, 2)
    return (linear @ xy_BK2.to(affine_B23.dtype)[..., None])[..., 0] + shift
