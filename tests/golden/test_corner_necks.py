"""Corner, cascade and center pooling, and the cross-star convolution, against the originals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kpmodels.necks.corner_modules import CascadeCornerPooling, CenterPooling, CornerPooling
from kpmodels.necks.corner_pool import bottom_pool, left_pool, right_pool, top_pool
from kpmodels.necks.cross_star import CrossStar

close = torch.testing.assert_close
POOLS = {"top": top_pool, "bottom": bottom_pool, "left": left_pool, "right": right_pool}
MODULES = {
    "cornernet_tl_module": lambda channels, inner: CornerPooling(channels, "top_left", inner),
    "cornernet_br_module": lambda channels, inner: CornerPooling(channels, "bottom_right", inner),
    "centernet_cascade_tl_module": lambda channels, inner: CascadeCornerPooling(channels, "top_left", inner),
    "centernet_cascade_br_module": lambda channels, inner: CascadeCornerPooling(channels, "bottom_right", inner),
    "centernet_center_pool_module": CenterPooling,
}
NAMES = {  # the originals' names and ours
    "p1_conv1.conv": "vertical.0",
    "p1_conv1.bn": "vertical.1",
    "p2_conv1.conv": "horizontal.0",
    "p2_conv1.bn": "horizontal.1",
    "look_conv1.conv": "look_along_rows.0",
    "look_conv1.bn": "look_along_rows.1",
    "look_conv2.conv": "look_along_columns.0",
    "look_conv2.bn": "look_along_columns.1",
    "P1_look_conv": "vertical_looked",
    "P2_look_conv": "horizontal_looked",
    "p_conv1": "merge.0",
    "p_bn1": "merge.1",
    "conv1": "shortcut.0",
    "bn1": "shortcut.1",
    "conv2.conv": "last.0",
    "conv2.bn": "last.1",
}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("ties", ["", "_ties"])
@pytest.mark.parametrize("name", POOLS)
def test_corner_pool(golden, name, ties, channels_last):
    g = golden("corner_pool")
    x = g.tensor(f"in_x{ties}")
    x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    y = POOLS[name](x.requires_grad_())
    assert torch.equal(y, g.tensor(f"out_{name}{ties}"))
    y.backward(g.tensor("in_grad_out"))
    close(x.grad, g.tensor(f"out_grad_{name}{ties}"), rtol=1e-5, atol=2e-6)


def with_stated_weights(name):
    """The module with the weights that the file's meta describes: sines of the place and of the parameter's number."""
    folder = Path(os.environ.get("KP_GOLDEN") or Path(__file__).parent)
    meta = json.loads(str(np.load(folder / f"{name}.npz")["meta"]))
    shapes = dict(meta["param_order"])
    inner, channels = shapes["p1_conv1.conv.weight"][:2]
    module = MODULES[name](channels, inner).eval()
    parameters = dict(module.named_parameters())
    for j, (key, shape) in enumerate(meta["param_order"]):
        layer, kind = key.rsplit(".", 1)
        values = np.sin(0.618 * np.arange(np.prod(shape)) + 0.37 * j + meta["phase"]).reshape(shape)
        if len(shape) == 4:
            values *= 1.2 / np.sqrt(np.prod(shape[1:]))
        else:
            values = 1 + 0.2 * values if kind == "weight" else 0.1 * values
        with torch.no_grad():
            parameters.pop(f"{NAMES[layer]}.{kind}").copy_(torch.from_numpy(values))
    assert not parameters
    return module


@pytest.mark.parametrize("name", MODULES)
def test_module(golden, name):
    g = golden(name)
    module, x = with_stated_weights(name), g.tensor("in_x").requires_grad_()
    y = module(x)
    close(y, g.tensor("out_y"), rtol=1e-4, atol=1e-5)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    close(x.grad, g.tensor("out_grad_x"), rtol=1e-3, atol=1e-5)


class Fixed(nn.Module):
    """A branch that gives what the file holds, whatever it sees."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, features_BCHW):
        return self.value


def test_triplet_pooling(golden):
    """How the branches are composed, with all convolutions out of the way."""
    g = golden("centernet_triplet_pooling")
    branches = {
        "vertical": Fixed(g.tensor("in_p1")),
        "horizontal": Fixed(g.tensor("in_p2")),
        "look_along_rows": Fixed(g.tensor("in_look1")),
        "look_along_columns": Fixed(g.tensor("in_look2")),
        "vertical_looked": nn.Identity(),
        "horizontal_looked": nn.Identity(),
    }
    cases = {
        "out_center_pool": CenterPooling(2),
        "out_corner_tl": CornerPooling(2, "top_left"),
        "out_corner_br": CornerPooling(2, "bottom_right"),
        "out_cascade_tl_noconv": CascadeCornerPooling(2, "top_left"),
        "out_cascade_br_noconv": CascadeCornerPooling(2, "bottom_right"),
    }
    for key, module in cases.items():
        for name, branch in branches.items():
            if hasattr(module, name):
                setattr(module, name, branch)
        close(module.pooled(g.tensor("in_p1")), g.tensor(key), rtol=1e-6, atol=1e-6)


def test_cross_star(golden):
    g = golden("centripetalnet_crossstar")
    features, guiding = g.tensor("in_feature").requires_grad_(), g.tensor("in_guiding_shift").requires_grad_()
    star = CrossStar(features.shape[1])
    with torch.no_grad():
        star.offsets.weight.copy_(g.tensor("in_w_offset"))
        star.weight.copy_(g.tensor("in_w_deform"))
    close(star.offsets(guiding), g.tensor("out_offset"), rtol=1e-5, atol=1e-6)
    y = star(features, guiding)
    close(y, g.tensor("out_y"), rtol=1e-4, atol=1e-5)
    y.sum().backward()
    close(features.grad, g.tensor("out_grad_feature"), rtol=1e-4, atol=1e-5)
    assert guiding.grad is None
