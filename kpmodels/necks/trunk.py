"""Backbone and neck as one module: from a normalised image to one feature map of the wanted stride."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kpmodels.backbones.hourglass import DEEPEST, STACKS, STRIDE, Hourglass
from kpmodels.backbones.timm_bridge import TimmBackbone
from kpmodels.backbones.unet import UNet
from kpmodels.config import BackboneOptions
from kpmodels.errors import UserError
from kpmodels.necks.deconv import DeconvNeck
from kpmodels.necks.upsample import UpsampleNeck

GREY = (127.5, 127.5, 127.5)
NARROWEST = 16  # of an hourglass: below, its stem has convolutions of so few channels that oneDNN (torch 2.14) crashes


class Features(NamedTuple):
    """``map``: ``[B, C, H, W]`` at the trunk's stride; ``bottleneck``: the backbone's coarsest map; ``stages``: the maps
    that heads are to be trained on, all like ``map``, which is the last of them."""

    map: Tensor
    bottleneck: Tensor
    stages: tuple[Tensor, ...]


class Trunk(nn.Module):
    """What a detector's heads stand on.

    Attributes:
        out_channels, out_stride: Of the feature map.
        bottleneck_channels, bottleneck_stride: Of the coarsest map.
        num_stages: Maps in ``Features.stages``: the stacks of an hourglass, else 1.
        mean, std: Of the input, RGB in grey levels of 255.
    """

    out_channels: int
    out_stride: int
    bottleneck_channels: int
    bottleneck_stride: int
    num_stages: int = 1
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """The parameters that start from ImageNet weights; none where the network starts from random ones."""
        return []


class UNetTrunk(Trunk):
    """The U-Net of the Hausdorff paper; it takes grey levels to [-1, 1] and starts from random weights."""

    def __init__(self, options: BackboneOptions, input_size: int) -> None:
        super().__init__()
        self.net = UNet(input_size, options.out_stride)
        self.out_channels, self.out_stride = self.net.out_channels, options.out_stride
        self.bottleneck_channels = self.net.bottleneck_channels
        self.bottleneck_stride = 2**self.net.depth
        self.mean = self.std = GREY

    def forward(self, images_B3HW: Tensor) -> Features:
        features, bottleneck = self.net(images_B3HW)
        return Features(features, bottleneck, (features,))


class HourglassTrunk(Trunk):
    """The hourglass of the corner papers, of stride 4; it takes grey levels to [-1, 1] and starts from random weights.

    A side that 128 does not divide is rounded up on the way down: the bottleneck's stride is then what the input has
    pixels per cell of it.
    """

    def __init__(self, options: BackboneOptions, input_size: int) -> None:
        super().__init__()
        if options.out_stride != STRIDE:
            raise UserError(
                f"detector.backbone: {options.name} gives a map of stride {STRIDE}, not {options.out_stride}",
                f"set detector.backbone.out_stride={STRIDE}, or choose another backbone",
            )
        if options.width < NARROWEST:
            raise UserError(
                f"detector.backbone: {options.name} needs at least {NARROWEST} channels, not {options.width}",
                f"set detector.backbone.neck_channels={NARROWEST}, or leave it empty for the paper's 256",
            )
        self.net = Hourglass(STACKS[options.name], options.width)
        self.out_channels, self.out_stride = self.net.out_channels, STRIDE
        self.bottleneck_channels = self.net.coarsest_channels
        self.bottleneck_stride = input_size // -(-input_size // DEEPEST)
        self.num_stages = len(self.net.stacks)
        self.mean = self.std = GREY

    def forward(self, images_B3HW: Tensor) -> Features:
        stages, bottleneck = self.net(images_B3HW)
        return Features(stages[-1], bottleneck, tuple(stages))


class TimmTrunk(Trunk):
    """A timm backbone and a neck."""

    def __init__(self, options: BackboneOptions, input_size: int) -> None:
        super().__init__()
        self.backbone = TimmBackbone(options, input_size, finest=options.out_stride)
        self.is_pretrained = options.pretrained
        channels, strides = self.backbone.channels, self.backbone.strides
        neck = DeconvNeck if options.neck == "deconv" else UpsampleNeck
        self.neck = neck(channels, strides, options.out_stride, options.width)
        self.out_channels, self.out_stride = self.neck.out_channels, options.out_stride
        self.bottleneck_channels, self.bottleneck_stride = channels[-1], strides[-1]
        self.mean, self.std = self.backbone.mean, self.backbone.std

    def forward(self, images_B3HW: Tensor) -> Features:
        maps = self.backbone(images_B3HW)
        features = self.neck(maps)
        return Features(features, maps[-1], (features,))

    def pretrained_parameters(self) -> list[nn.Parameter]:
        return list(self.backbone.parameters()) if self.is_pretrained else []


def build_trunk(options: BackboneOptions, input_size: int) -> Trunk:
    """The trunk that the options describe, for square inputs of ``input_size`` pixels.

    Raises:
        UserError: no such model, weights that are not there or do not fit, or a network that cannot give this stride.
    """
    if options.name in STACKS:
        return HourglassTrunk(options, input_size)  # takes any size and uses all it has; to try it would cost seconds
    trunk: Trunk = UNetTrunk(options, input_size) if options.name == "unet" else TimmTrunk(options, input_size)
    _freeze_unused(trunk, options, input_size)
    return trunk


def _freeze_unused(trunk: Trunk, options: BackboneOptions, input_size: int) -> None:
    """Freeze the parameters that no output depends on: some timm models carry heads, and DDP waits for each gradient.

    Runs one image through the network, which also shows that input and stride fit it.
    """
    trunk.eval()
    try:
        features = trunk(torch.zeros(1, 3, input_size, input_size))
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"detector.backbone: {options.name} cannot take {input_size}x{input_size} pixels: {str(error).splitlines()[0]}",
            "choose another detector.input_size (a multiple of 32 suits most) or another backbone",
        ) from error
    side = input_size // options.out_stride
    if features.map.shape[-2:] != (side, side):
        raise UserError(
            f"detector.backbone: {options.name} gives a map of {tuple(features.map.shape[-2:])} cells for out_stride "
            f"{options.out_stride} at {input_size} pixels, not of {side}x{side}",
            "choose an input_size that its strides divide, or a larger out_stride",
        )
    parameters = [p for p in trunk.parameters() if p.requires_grad]
    outputs = [features.bottleneck, *features.stages]
    total = torch.stack([output.sum() for output in outputs]).sum()
    grads = torch.autograd.grad(total, parameters, allow_unused=True)
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.requires_grad_(grad is not None)
    trunk.train()
