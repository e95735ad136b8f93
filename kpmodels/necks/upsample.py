"""A light decoder: bilinear upsampling with skips from the backbone (as FPN and U-Net do), cheap enough for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class UpsampleNeck(nn.Module):
    """From the coarsest map up to ``out_stride``: upsample x2, add the backbone's map of that stride, 3x3 convolution.

    A skip enters by a 1x1 convolution and an addition (FPN: Lin et al., CVPR 2017), each level ends in a 3x3 convolution
    with batch norm and ReLU. Strides that the backbone lacks are bridged without a skip. Below stride 4 each level has
    half the channels of the one before (at least 16), as in a U-Net: there a cell costs four times as many.

    Attributes:
        out_channels: Of the result.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], out_stride: int, width: int) -> None:
        """``channels`` and ``strides`` of the backbone's maps, finest first; ``width``: channels from stride 4 on."""
        super().__init__()
        self.steps = halving_steps(strides[-1], out_stride)
        self.coarsest = strides[-1]
        self.index = {stride: i for i, stride in enumerate(strides) if stride >= out_stride}
        self.laterals = nn.ModuleDict(
            {str(s): nn.Conv2d(channels[i], level_width(s, width), 1, bias=False) for s, i in self.index.items()}
        )
        self.narrow, self.smooth = nn.ModuleList(), nn.ModuleList()
        for stride in self.steps:
            before, after = level_width(2 * stride, width), level_width(stride, width)
            self.narrow.append(nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False))
            self.smooth.append(conv_norm_relu(after, after))
        self.out_channels = level_width(min(out_stride, self.coarsest), width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = self.laterals[str(self.coarsest)](maps[self.index[self.coarsest]])
        for stride, narrow, smooth in zip(self.steps, self.narrow, self.smooth, strict=True):
            x = F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            if stride in self.index:
                x = x + self.laterals[str(stride)](maps[self.index[stride]])
            x = smooth(x)
        return x


def level_width(stride: int, width: int) -> int:
    """Channels of the neck at a stride: ``width`` from 4 on, and half of it for each halving below, but 16 at least.

    >>> [level_width(stride, 64) for stride in (8, 4, 2, 1)]
    [64, 64, 32, 16]
    """
    return width if stride >= 4 else min(width, max(16, width * stride // 4))


def halving_steps(start: int, end: int) -> list[int]:
    """The strides on the way from ``start`` (not with it) down to ``end`` (with it) by halves.

    >>> halving_steps(32, 4)
    [16, 8, 4]
    """
    steps = []
    while start > end:
        start //= 2
        steps.append(start)
    return steps


def conv_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
