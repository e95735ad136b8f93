"""The U-Net has the layers of the paper's architecture."""

from __future__ import annotations

import pytest
import torch

from kpmodels.backbones.unet import UNet, halvings

torch.set_num_threads(1)


def conv(inputs, outputs, norm=True):
    return 9 * inputs * outputs + outputs + (2 * outputs if norm else 0)


def double(inputs, outputs, norm=True):
    return conv(inputs, outputs, norm) + conv(outputs, outputs, norm)


def test_parameters_are_those_of_the_described_architecture():
    """64; downs 128, 256, 512 six times (the last without norm); ups on the concatenation with the skip."""
    expected = double(3, 64)
    widths = [64, 128, 256, 512, 512, 512, 512, 512, 512]
    for level in range(8):
        expected += double(widths[level], widths[level + 1], norm=level < 7)
    for inputs, outputs in [(1024, 512)] * 4 + [(1024, 256), (512, 128), (256, 64), (128, 64)]:
        expected += double(inputs, outputs)
    with torch.device("meta"):
        net = UNet(256)
    assert sum(p.numel() for p in net.parameters()) == expected
    assert net.depth == 8


@pytest.mark.parametrize(("size", "stride", "depth", "bottom"), [(64, 1, 6, 1), (64, 4, 6, 1), (96, 2, 5, 3)])
def test_shapes_and_gradients_of_one_image(size, stride, depth, bottom):
    net = UNet(size, stride).train()
    features, bottleneck = net(torch.randn(1, 3, size, size))
    assert net.depth == depth
    assert features.shape == (1, net.out_channels, size // stride, size // stride)
    assert bottleneck.shape == (1, net.bottleneck_channels, bottom, bottom)
    (features.square().sum() + bottleneck.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_last_layer_can_be_negative():
    net = UNet(64).eval()
    assert net(torch.randn(1, 3, 64, 64))[0].min() < 0


def test_halvings_and_too_coarse_output():
    assert [halvings(s, 8) for s in (256, 512, 1024, 320, 96, 64)] == [8, 8, 8, 6, 5, 6]
    with pytest.raises(ValueError, match="no map of stride"):
        UNet(96, 32)
