"""Options of the network that turns images into features."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kpmodels.config.base import Options


class BackboneOptions(Options):
    """The network that turns images into features."""

    name: str = Field(
        "tf_efficientnet_lite0",
        description="Any timm model with feature maps; 'unet', the U-Net of the Hausdorff paper; 'hourglass-52' or "
        "'hourglass-104', those of the corner papers (their stride is 4).",
    )
    pretrained: bool = Field(
        True, description="Start from ImageNet weights. They are never downloaded while a run goes on."
    )
    weights: str = Field(
        "",
        description="Local safetensors or .pth file of pretrained weights; empty: the installed package or timm's cache.",
    )
    out_stride: Literal[1, 2, 4, 8] = Field(4, description="Input pixels per cell of the output map.")
    neck_channels: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="Channels of the neck and of the feature map (each level finer than stride 4 has half of the level "
        "before); of an hourglass: its first width. Empty: 64, and the paper's 256 for an hourglass.",
    )
    neck: Literal["deconv", "upsample"] = Field(
        "upsample",
        description="deconv: transposed convolutions (Simple Baselines); upsample: bilinear with skips (U-Net like).",
    )

    @property
    def width(self) -> int:
        """``neck_channels``, or what stands for it where it is empty."""
        return self.neck_channels or (256 if self.name.startswith("hourglass") else 64)
