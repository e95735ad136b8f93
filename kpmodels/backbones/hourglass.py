"""The hourglass networks of CornerNet (Law & Deng, ECCV 2018, section 3.5), after Newell et al. (ECCV 2016).

A stem takes the image to stride 4. Each stack goes five times down, by a residual block of stride 2 instead of pooling, and
up again with a residual skip per level; the maps of all stacks are supervised. Hourglass-104 has two stacks, hourglass-52
(Duan et al., ICCV 2019) one.

Suffixes: B images, C channels, H and W of the map.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kpmodels.necks.upsample import conv_norm_relu

STACKS = {"hourglass-52": 1, "hourglass-104": 2}
WIDTHS = (256, 256, 384, 384, 384, 512)  # channels at strides 4 to 128
BLOCKS = (2, 2, 2, 2, 2, 4)  # residual blocks per level and direction
STRIDE = 4
DEEPEST = 128  # stride of the innermost map
LEAST_STEM = 16  # with 8 channels, oneDNN 3 on AVX-512 writes past its memory (1x1, stride 2, channels last, backward)


class Hourglass(nn.Module):
    """Stem and stacks. Sizes that 128 does not divide are rounded up on the way down and cut on the way up.

    Attributes:
        out_channels: Of the maps of stride 4 (the width).
        coarsest_channels: Of the innermost map.
    """

    def __init__(self, stacks: int, width: int = 256) -> None:
        """``width``: channels at stride 4; all others keep the paper's proportions to it."""
        super().__init__()
        widths = [width * w // WIDTHS[0] for w in WIDTHS]
        narrow = max(width // 2, LEAST_STEM)
        stem = nn.Conv2d(3, narrow, 7, stride=2, padding=3, bias=False)
        self.stem = nn.Sequential(
            stem, nn.BatchNorm2d(narrow), nn.ReLU(inplace=True), Residual(narrow, width, stride=2)
        )
        self.stacks = nn.ModuleList(Level(widths, BLOCKS) for _ in range(stacks))
        self.outputs = nn.ModuleList(conv_norm_relu(width, width) for _ in range(stacks))
        self.bridges = nn.ModuleList(Bridge(width) for _ in range(stacks - 1))
        self.out_channels, self.coarsest_channels = width, widths[-1]

    def forward(self, images_B3HW: Tensor) -> tuple[list[Tensor], Tensor]:
        """The map ``[B, C, H / 4, W / 4]`` of each stack, and the innermost map of the last (stride 128)."""
        x = self.stem(images_B3HW)
        maps: list[Tensor] = []
        for index, (stack, output) in enumerate(zip(self.stacks, self.outputs, strict=True)):
            if index:
                x = self.bridges[index - 1](x, maps[-1])
            inside, coarsest = stack(x)
            maps.append(output(inside))
        return maps, coarsest


class Level(nn.Module):
    """One level of a stack with all that lies deeper."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        """``widths`` of this level and the deeper ones; ``blocks``: residual blocks per level, likewise."""
        super().__init__()
        here, below, count = widths[0], widths[1], blocks[0]
        self.skip = residuals(here, here, count)
        self.down = nn.Sequential(Residual(here, below, stride=2), residuals(below, below, count - 1))
        self.is_deepest = len(widths) == 2
        self.inner = residuals(below, below, blocks[1]) if self.is_deepest else Level(widths[1:], blocks[1:])
        self.up = nn.Sequential(residuals(below, below, count - 1), Residual(below, here))

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The level's result, like ``x_BCHW``, and the innermost map of the stack."""
        skip = self.skip(x_BCHW)
        inner = self.inner(self.down(x_BCHW))
        inner, coarsest = (inner, inner) if self.is_deepest else inner
        up = F.interpolate(self.up(inner), scale_factor=2.0, mode="nearest")
        return skip + up[..., : skip.shape[-2], : skip.shape[-1]], coarsest


class Bridge(nn.Module):
    """From a stack's input and its output map to the next stack's input: 1x1 convolutions with norm, their sum's ReLU, and
    a residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_input, self.of_map = (projection(width, width) for _ in range(2))
        self.residual = Residual(width, width)

    def forward(self, input_BCHW: Tensor, map_BCHW: Tensor) -> Tensor:
        return self.residual(F.relu(self.of_input(input_BCHW) + self.of_map(map_BCHW)))


class Residual(nn.Module):
    """Two 3x3 convolutions with norm, the first with ``stride``; the input, projected where it differs, is added."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else projection(inputs, outputs, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.body(x_BCHW) + self.shortcut(x_BCHW), inplace=True)


def residuals(inputs: int, outputs: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(inputs if i == 0 else outputs, outputs) for i in range(count)))


def projection(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
