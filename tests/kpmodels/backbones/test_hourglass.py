"""The hourglasses have the layers of the papers: with their heads the three networks have as many weights as the originals."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from kpmodels.backbones.hourglass import STACKS, Hourglass, Level, Residual
from kpmodels.config import BackboneOptions
from kpmodels.errors import UserError
from kpmodels.necks.corner_modules import CascadeCornerPooling, CenterPooling, CornerPooling
from kpmodels.necks.trunk import build_trunk

torch.set_num_threads(1)


def count(module):
    return sum(p.numel() for p in module.parameters())


def residual(inputs, outputs, stride=1):
    projected = inputs * outputs + 2 * outputs if (inputs, stride) != (outputs, 1) else 0
    return 9 * inputs * outputs + 9 * outputs**2 + 4 * outputs + projected


def test_parameters_are_those_of_the_described_architecture():
    stem = 49 * 3 * 128 + 2 * 128 + residual(128, 256, 2)
    widths, blocks = (256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4)
    stack = blocks[5] * residual(512, 512)
    for here, below in pairwise(widths):
        stack += 2 * residual(here, here)  # skip
        stack += residual(here, below, 2) + residual(below, below)  # down
        stack += residual(below, below) + residual(below, here)  # up
    output = 9 * 256 * 256 + 2 * 256
    bridge = 2 * (256 * 256 + 2 * 256) + residual(256, 256)
    with torch.device("meta"):
        assert count(Hourglass(1)) == stem + stack + output
        assert count(Hourglass(2)) == stem + 2 * (stack + output) + bridge


def test_with_heads_they_are_as_large_as_the_originals():
    """CornerNet has about 201 million parameters, CenterNet-104 about 210 million."""

    def branch(outputs):
        return nn.Sequential(nn.Conv2d(256, 256, 3), nn.Conv2d(256, outputs, 1))

    with torch.device("meta"):
        backbone = count(Hourglass(STACKS["hourglass-104"]))
        corner, cascade = (count(module(256, "top_left")) for module in (CornerPooling, CascadeCornerPooling))
        center = count(CenterPooling(256))
        heat, tag, offset = (count(branch(outputs)) for outputs in (80, 1, 2))
    assert backbone == 187_700_352
    assert backbone + 2 * 2 * (corner + heat + tag + offset) == 201_035_212
    per_stack = 2 * (cascade + heat + tag + offset) + center + heat + offset
    assert backbone + 2 * per_stack == 210_062_960


@pytest.mark.parametrize("size", [(128, 128), (64, 96), (255, 130)])
@pytest.mark.parametrize("stacks", [1, 2])
def test_shapes_and_gradients_for_any_size(size, stacks):
    net = Hourglass(stacks, width=16)
    maps, coarsest = net(torch.randn(2, 3, *size))
    height, width = (-(-side // 4) for side in size)
    assert [m.shape for m in maps] == [(2, 16, height, width)] * stacks
    assert coarsest.shape == (2, 32, -(-size[0] // 128), -(-size[1] // 128))
    sum(m.square().sum() for m in maps).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_level_adds_its_skip_to_the_nearest_cell_of_the_deeper_map():
    level = Level((4, 6), (1, 1)).eval()
    level.skip, level.down, level.inner = nn.Identity(), nn.AvgPool2d(2), nn.Identity()
    level.up = nn.Identity()
    x = torch.randn(1, 4, 4, 6)
    result, coarsest = level(x)
    assert torch.equal(coarsest, nn.AvgPool2d(2)(x))
    torch.testing.assert_close(result, x + coarsest.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_residual_projects_only_what_differs():
    assert isinstance(Residual(4, 4).shortcut, nn.Identity)
    assert not isinstance(Residual(4, 4, stride=2).shortcut, nn.Identity)
    assert not isinstance(Residual(4, 6).shortcut, nn.Identity)


@pytest.mark.parametrize(("name", "stacks"), STACKS.items())
@pytest.mark.parametrize("size", [64, 160])
def test_as_a_trunk(name, stacks, size):
    trunk = build_trunk(BackboneOptions(name=name, neck_channels=16), size)
    features = trunk(torch.randn(2, 3, size, size))
    assert trunk.num_stages == len(features.stages) == stacks
    assert features.stages[-1] is features.map
    assert features.map.shape == (2, trunk.out_channels, size // 4, size // 4)
    assert features.bottleneck.shape[1:2] == (trunk.bottleneck_channels,)
    assert features.bottleneck.shape[-1] == size // trunk.bottleneck_stride
    assert all(p.requires_grad for p in trunk.parameters())
    assert trunk.pretrained_parameters() == []


def test_a_trunk_of_another_stride_is_refused():
    with pytest.raises(UserError, match="stride 4"):
        build_trunk(BackboneOptions(name="hourglass-52", neck_channels=16, out_stride=2), 128)


def test_other_trunks_have_one_stage():
    trunk = build_trunk(BackboneOptions(name="resnet10t", pretrained=False, neck_channels=8), 64)
    features = trunk(torch.randn(1, 3, 64, 64))
    assert trunk.num_stages == len(features.stages) == 1
    assert features.stages[0] is features.map


def test_a_trunk_too_narrow_for_its_stem_is_refused():
    with pytest.raises(UserError, match="at least 16 channels"):
        build_trunk(BackboneOptions(name="hourglass-52", neck_channels=8), 128)
