"""The pooled blocks see what they should, in any width."""

from __future__ import annotations

import pytest
import torch

from kpmodels.necks.corner_modules import CascadeCornerPooling, CenterPooling, CornerPooling

torch.set_num_threads(1)
MODULES = {
    "corner_tl": lambda channels: CornerPooling(channels, "top_left"),
    "corner_br": lambda channels: CornerPooling(channels, "bottom_right"),
    "cascade_tl": lambda channels: CascadeCornerPooling(channels, "top_left"),
    "cascade_br": lambda channels: CascadeCornerPooling(channels, "bottom_right"),
    "center": CenterPooling,
}


@pytest.mark.parametrize("name", MODULES)
def test_shape_and_gradients(name):
    module = MODULES[name](6)
    y = module(torch.randn(2, 6, 7, 9))
    assert y.shape == (2, 6, 7, 9)
    assert y.min() == 0
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def influence(module, y, x):
    """Which cells of the input the cell (y, x) of the pooled sum depends on."""
    torch.manual_seed(0)
    for p in module.parameters():  # nothing is lost in a ReLU
        torch.nn.init.uniform_(p, 0.1, 1.0)
    features = torch.rand(1, 4, 12, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(module.eval().pooled(features)[0, :, y, x].sum(), features)
    return gradient[0].abs().sum(0) > 0


@pytest.mark.parametrize(("name", "sign"), [("corner_tl", 1), ("corner_br", -1)])
def test_a_corner_looks_along_its_borders(name, sign):
    seen = influence(MODULES[name](4), 5, 6)
    rows, columns = (seen.nonzero() - torch.tensor([5, 6])).T * sign
    assert rows.min() >= -1
    assert columns.min() >= -1
    assert ((rows <= 1) | (columns <= 1)).all(), "a corner module sees only its row and its column"


def test_a_cascade_looks_inside():
    """Of the eight 3x3 fields of pooled cells around the corner some lie off its row and column."""
    seen = influence(MODULES["cascade_tl"](4), 2, 2)
    rows, columns = (seen.nonzero() - 2).T
    assert ((rows > 2) & (columns > 2)).any()
    assert not ((rows < -2) | (columns < -2)).any()


def test_center_takes_maxima_of_its_row_and_column():
    module = CenterPooling(3, inner=3)
    module.vertical = module.horizontal = torch.nn.Identity()
    x = torch.randn(2, 3, 5, 6)
    expected = x.amax(2, keepdim=True) + x.amax(3, keepdim=True)
    assert torch.equal(module.pooled(x), expected)


def test_parameters_are_those_of_the_papers():
    def conv(inputs, outputs, kernel):
        return inputs * outputs * kernel**2

    norm = 2 * (128 + 128 + 256 + 256 + 256)
    corner = 2 * conv(256, 128, 3) + conv(128, 256, 3) + conv(256, 256, 1) + conv(256, 256, 3) + norm
    cascade = corner + 2 * (conv(256, 128, 3) + 2 * 128) + 2 * conv(128, 128, 3)
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in make(256).parameters()) for name, make in MODULES.items()}
    assert counts == {
        "corner_tl": corner,
        "corner_br": corner,
        "cascade_tl": cascade,
        "cascade_br": cascade,
        "center": corner,
    }
