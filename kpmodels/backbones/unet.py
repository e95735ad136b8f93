"""The U-Net of the Weighted Hausdorff paper (Ribera et al., CVPR 2019, section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 128, 256, 512)  # channels at strides 1, 2, 4, 8; deeper levels stay at 512


class UNet(nn.Module):
    """Eight max-pool downs to a bottleneck of 1x1 at 256 pixels, and bilinear ups with skips back to ``out_stride``.

    Inputs that 256 does not divide get as many downs as they can be halved (``depth``). The last down has no batch norm,
    since a 1x1 map of one image has no variance; the last up has no final activation, as in the paper.

    Attributes:
        out_channels, bottleneck_channels: Channels of the two maps that ``forward`` returns.
        depth: Number of downs.
    """

    def __init__(self, input_size: int, out_stride: int = 1, depth: int | None = None) -> None:
        super().__init__()
        self.depth = depth or halvings(input_size, most=8)
        levels = out_stride.bit_length() - 1
        if levels >= self.depth:
            raise ValueError(f"a U-Net of {self.depth} levels has no map of stride {out_stride}")
        widths = [WIDTHS[min(level, 3)] for level in range(self.depth + 1)]
        self.stem = double_conv(3, widths[0])
        self.downs = nn.ModuleList(
            double_conv(widths[i], widths[i + 1], norm=i + 1 < self.depth) for i in range(self.depth)
        )
        self.ups = nn.ModuleList()
        width = widths[-1]
        for level in range(self.depth - 1, levels - 1, -1):
            narrower = widths[max(level - 1, 0)]
            self.ups.append(double_conv(width + widths[level], narrower, last=level == levels))
            width = narrower
        self.out_channels, self.bottleneck_channels = width, widths[-1]

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[B, out_channels, H / out_stride, W / out_stride]`` and the bottleneck."""
        skips = [self.stem(images_B3HW)]
        for down in self.downs:
            skips.append(down(F.max_pool2d(skips[-1], 2)))
        x = bottleneck = skips.pop()
        for up in self.ups:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
            x = up(torch.cat([skip, x], dim=1))
        return x, bottleneck


def halvings(size: int, most: int) -> int:
    """How often ``size`` can be halved without a rest, at most ``most`` times."""
    return min(most, (size & -size).bit_length() - 1)


def double_conv(inputs: int, outputs: int, norm: bool = True, last: bool = False) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm and ReLU; ``last`` leaves out the final norm's activation."""
    layers: list[nn.Module] = []
    for index, width in enumerate((inputs, outputs)):
        layers.append(nn.Conv2d(width, outputs, 3, padding=1))
        if norm:
            layers.append(nn.BatchNorm2d(outputs))
        if not (last and index == 1):
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
