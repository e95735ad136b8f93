"""Gaussian blur of heatmaps with OpenCV's kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


@lru_cache(maxsize=32)
def gaussian_kernel(width: int) -> tuple[float, ...]:
    """The kernel that OpenCV uses for an odd width when no sigma is given: sigma = 0.3 ((width - 1) / 2 - 1) + 0.8."""
    import cv2

    return tuple(float(value) for value in cv2.getGaussianKernel(width, 0)[:, 0])


def gaussian_blur(maps_BKHW: Tensor, width: int, padding: Literal["zero", "reflect"] = "zero") -> Tensor:
    """Maps blurred with a Gaussian of an odd width in cells; beyond the edge they are zero or mirrored at the edge."""
    B, K, H, W = maps_BKHW.shape
    kernel = maps_BKHW.new_tensor(gaussian_kernel(width))
    half = width // 2
    maps = maps_BKHW.reshape(B * K, 1, H, W)
    if padding == "reflect":
        maps = maps[:, :, _mirrored(H, half, maps.device)][..., _mirrored(W, half, maps.device)]
    else:
        maps = F.pad(maps, (half, half, half, half))
    maps = F.conv2d(F.conv2d(maps, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return maps.view(B, K, H, W)


def blurred_to_same_peak(maps_BKHW: Tensor, width: int) -> Tensor:
    """Blurred maps scaled so that their maximum is again that of the map before (DARK, equation 11)."""
    blurred = gaussian_blur(maps_BKHW, width)
    before, after = maps_BKHW.amax((-2, -1), keepdim=True), blurred.amax((-2, -1), keepdim=True)
    return blurred * (before / (after + 1e-12))


def _mirrored(cells: int, margin: int, device: torch.device) -> Tensor:
    """Indices -margin .. cells + margin - 1 mirrored into the map without repeating its edge."""
    if cells == 1:
        return torch.zeros(2 * margin + 1, dtype=torch.long, device=device)
    period = 2 * (cells - 1)
    index = torch.arange(-margin, cells + margin, device=device) % period
    return torch.where(index < cells, index, period - index)
