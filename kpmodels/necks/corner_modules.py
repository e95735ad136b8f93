"""The feature-sampling modules of CornerNet and CenterNet: residual blocks whose first convolutions are pooled.

CornerNet (Law & Deng, ECCV 2018, section 3.3, figure 7): corner pooling. CenterNet (Duan et al., ICCV 2019, section 3.2,
figures 4 and 5): cascade corner pooling, which looks into the object from its border, and center pooling.

Suffixes: B images, C channels, H rows, W columns, I inner channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from kpmodels.necks.corner_pool import bottom_pool, left_pool, right_pool, top_pool
from kpmodels.necks.upsample import conv_norm_relu

Corner = Literal["top_left", "bottom_right"]
POOLS = {"top_left": (top_pool, left_pool), "bottom_right": (bottom_pool, right_pool)}  # along columns, along rows


class PooledBlock(nn.Module, ABC):
    """Two 3x3 branches of fewer channels, pooled along columns and along rows and added; a 3x3 convolution with batch norm
    back to the channels of the input, whose 1x1 projection is added; ReLU; a last 3x3 convolution with batch norm and ReLU.
    """

    def __init__(self, channels: int, inner: int | None = None) -> None:
        """``channels``: of input and output (256 in the papers); ``inner``: of the branches, half of them if not given."""
        super().__init__()
        self.inner = inner or max(1, channels // 2)
        self.vertical = conv_norm_relu(channels, self.inner)
        self.horizontal = conv_norm_relu(channels, self.inner)
        self.merge = nn.Sequential(plain_conv(self.inner, channels, 3), nn.BatchNorm2d(channels))
        self.shortcut = nn.Sequential(plain_conv(channels, channels, 1), nn.BatchNorm2d(channels))
        self.last = conv_norm_relu(channels, channels)

    @abstractmethod
    def pooled(self, features_BCHW: Tensor) -> Tensor:
        """The sum of both branches after pooling, ``[B, I, H, W]``."""

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """``[B, C, H, W]``, not below 0."""
        return self.last(F.relu(self.merge(self.pooled(features_BCHW)) + self.shortcut(features_BCHW)))


class CornerPooling(PooledBlock):
    """CornerNet's module: a top left corner collects the maxima below it and right of it, a bottom right one those above
    and left."""

    def __init__(self, channels: int, corner: Corner, inner: int | None = None) -> None:
        super().__init__(channels, inner)
        self.along_columns, self.along_rows = POOLS[corner]

    def pooled(self, features_BCHW: Tensor) -> Tensor:
        return self.along_columns(self.vertical(features_BCHW)) + self.along_rows(self.horizontal(features_BCHW))


class CascadeCornerPooling(PooledBlock):
    """CenterNet's module: before a branch is pooled along the object's border it has looked from there into the object.

    To the branch that is pooled along columns a third branch is added, which is pooled along rows, and a 3x3 convolution
    without norm follows; the other branch likewise, with rows and columns exchanged.
    """

    def __init__(self, channels: int, corner: Corner, inner: int | None = None) -> None:
        super().__init__(channels, inner)
        self.along_columns, self.along_rows = POOLS[corner]
        self.look_along_rows = conv_norm_relu(channels, self.inner)
        self.look_along_columns = conv_norm_relu(channels, self.inner)
        self.vertical_looked = plain_conv(self.inner, self.inner, 3)
        self.horizontal_looked = plain_conv(self.inner, self.inner, 3)

    def pooled(self, features_BCHW: Tensor) -> Tensor:
        inside = self.along_rows(self.look_along_rows(features_BCHW))
        vertical = self.along_columns(self.vertical_looked(self.vertical(features_BCHW) + inside))
        inside = self.along_columns(self.look_along_columns(features_BCHW))
        horizontal = self.along_rows(self.horizontal_looked(self.horizontal(features_BCHW) + inside))
        return vertical + horizontal


class CenterPooling(PooledBlock):
    """CenterNet's module for centers: every cell gets the maximum of its column plus the maximum of its row."""

    def pooled(self, features_BCHW: Tensor) -> Tensor:
        columns_BI1W = self.vertical(features_BCHW).max(dim=2, keepdim=True).values
        rows_BIH1 = self.horizontal(features_BCHW).max(dim=3, keepdim=True).values
        return columns_BI1W + rows_BIH1


def plain_conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A convolution without bias that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
