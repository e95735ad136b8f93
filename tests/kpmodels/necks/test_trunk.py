"""Backbones of different families with both necks give a map of the wanted stride, and a gradient for every parameter."""

from __future__ import annotations

import pytest
import torch

from kpmodels.config import BackboneOptions
from kpmodels.errors import UserError
from kpmodels.necks.deconv import DeconvNeck
from kpmodels.necks.trunk import build_trunk
from kpmodels.necks.upsample import UpsampleNeck, halving_steps, level_width

torch.set_num_threads(1)

CASES = [
    ("tf_efficientnet_lite0", "upsample", 4),
    ("tf_efficientnet_lite0", "deconv", 4),
    ("tf_efficientnet_lite0", "upsample", 1),
    ("resnet10t", "upsample", 2),
    ("resnet10t", "deconv", 8),
    ("vit_tiny_patch16_224", "upsample", 4),
    ("swin_tiny_patch4_window7_224", "upsample", 4),
    ("convnext_atto", "upsample", 2),
    ("hrnet_w18_small", "deconv", 4),
    ("unet", "upsample", 1),
]


@pytest.mark.parametrize(("name", "neck", "stride"), CASES)
def test_shapes_and_gradients(name, neck, stride):
    size = 224 if "swin" in name else 64
    options = BackboneOptions(name=name, neck=neck, out_stride=stride, pretrained=False, neck_channels=16)
    trunk = build_trunk(options, size)
    features = trunk((torch.rand(2, 3, size, size) - 0.5) * 4)
    assert features.map.shape == (2, trunk.out_channels, size // stride, size // stride)
    assert features.bottleneck.shape[:2] == (2, trunk.bottleneck_channels)
    assert features.bottleneck.shape[-1] == size // trunk.bottleneck_stride
    (features.map.square().sum() + features.bottleneck.square().sum()).backward()
    learning = [(n, p) for n, p in trunk.named_parameters() if p.requires_grad]
    assert [n for n, p in learning if p.grad is None] == []
    assert sum(p.numel() for _, p in learning) > 0.5 * sum(p.numel() for p in trunk.parameters())


def test_deconv_neck_is_that_of_simple_baselines():
    neck = DeconvNeck([64, 2048], [4, 32], 4, 256)
    expected = 2048 * 256 * 16 + 2 * 256 * 256 * 16 + 3 * 2 * 256
    assert sum(p.numel() for p in neck.parameters()) == expected


def test_upsample_neck_bridges_missing_strides():
    neck = UpsampleNeck([8, 16], [4, 32], 2, 12)
    maps = [torch.randn(1, 8, 16, 16), torch.randn(1, 16, 2, 2)]
    assert neck(maps).shape == (1, 12, 32, 32)
    assert halving_steps(32, 2) == [16, 8, 4, 2]
    assert halving_steps(4, 4) == []
    assert [level_width(s, 64) for s in (32, 4, 2, 1)] == [64, 64, 32, 16]
    assert level_width(1, 8) == 8
    assert UpsampleNeck([8, 16], [4, 32], 1, 64).out_channels == 16


def test_pretrained_parameters_are_the_backbones():
    trunk = build_trunk(BackboneOptions(), 64)
    assert {id(p) for p in trunk.pretrained_parameters()} == {id(p) for p in trunk.backbone.parameters()}
    assert build_trunk(BackboneOptions(pretrained=False), 64).pretrained_parameters() == []


def test_what_cannot_be_built_says_so():
    with pytest.raises(UserError, match="input_size"):
        build_trunk(BackboneOptions(name="levit_128", pretrained=False), 96)
