"""Averaged weights."""

import pytest
import torch
from torch import nn

from kpmodels.training.ema import Ema


def model(value):
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        net[0].weight.fill_(value)
        net[1].running_mean.fill_(value)
    return net


def test_the_average_follows_the_formula_and_buffers_are_copied():
    ema = Ema(model(0.0), 0.5)
    expected = 0.0
    for update, value in enumerate([1.0, 2.0, 5.0, 5.0] * 3, 1):
        ema.update(model(value))
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * value
        assert float(ema.average[0].weight[0, 0]) == pytest.approx(expected)
        assert float(ema.average[1].running_mean) == value


def test_without_decay_it_is_the_model():
    ema = Ema(model(0.0), 0.0)
    ema.update(model(3.0))
    assert torch.equal(ema.average[0].weight, model(3.0)[0].weight)


def test_it_is_a_copy_that_learns_nothing_by_itself():
    net = model(1.0)
    ema = Ema(net, 0.9)
    assert not any(p.requires_grad for p in ema.average.parameters())
    assert not ema.average.training
    assert net[0].weight.requires_grad
    assert net.training
