"""A light decoder: bilinear upsampling with skips from the backbone (as FPN and U-Net do), cheap enough for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class UpsampleNeck(nn.Module):
    """From the coarsest map up to ``out_stride``: upsample x2, add the backbone's map of that stride, 3x3 convolution.

    A skip enters by a 1x1 convolution and an addition (FPN: Lin et al., CVPR 2017), each level ends in a 3x3 convolution
    with batch norm and ReLU. Strides that the backbone lacks are bridged without a skip.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], out_stride: int, width: int) -> None:
        """``channels`` and ``strides`` of the backbone's maps, finest first; ``width``: channels of the result."""
        super().__init__()
        self.out_channels = width
        self.levels = halving_steps(strides[-1], out_stride)
        self.index = {stride: i for i, stride in enumerate(strides) if stride >= out_stride}
        self.laterals = nn.ModuleDict(
            {str(stride): nn.Conv2d(channels[i], width, 1, bias=False) for stride, i in self.index.items()}
        )
        self.smooth = nn.ModuleList(conv_norm_relu(width, width) for _ in self.levels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        coarsest = max(self.index)
        x = self.laterals[str(coarsest)](maps[self.index[coarsest]])
        for stride, smooth in zip(self.levels, self.smooth, strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            if stride in self.index:
                x = x + self.laterals[str(stride)](maps[self.index[stride]])
            x = smooth(x)
        return x


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
