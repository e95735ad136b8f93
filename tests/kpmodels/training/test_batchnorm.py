"""Synchronized batch norm against plain batch norm on the whole batch."""

import pytest
import torch
from group import run_group
from group_tasks import norm_model, norm_step, synced_norm
from timm.layers import BatchNormAct2d
from torch import nn

from kpmodels.training.batchnorm import SyncBatchNorm, convert_sync_batchnorm


@pytest.mark.parametrize("sizes", [[3, 3], [5, 1], [6, 0]])
def test_two_processes_equal_one_with_the_whole_batch(sizes):
    torch.manual_seed(1)
    images = torch.randn(6, 2, 3, 4) * 3 + 50  # a mean far from 0: a sum of squares would lose its digits
    whole = norm_step(norm_model(), images, 1.0)
    first, second = run_group(2, synced_norm, sizes, images)
    for name in ("output", "d_images"):
        factor = 2 if name == "d_images" else 1  # each process's loss counts double, for DDP takes the mean
        both = torch.cat([first[name], second[name]])
        torch.testing.assert_close(both, whole[name] * factor, rtol=1e-4, atol=1e-4)
    for name in whole:
        if name.startswith("d_") and name != "d_images":
            torch.testing.assert_close((first[name] + second[name]) / 2, whole[name], rtol=1e-4, atol=2e-4)
        elif name not in ("output", "d_images"):
            assert torch.equal(first[name], second[name]), name
            torch.testing.assert_close(first[name], whole[name], rtol=1e-5, atol=1e-5)


def test_conversion_keeps_names_subclasses_and_behaviour():
    model = norm_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(4, 2, 3, 3)
    expected = model.eval()(images)
    converted = convert_sync_batchnorm(model)
    assert [type(layer) for layer in converted] == [nn.Conv2d, SyncBatchNorm, SyncBatchNorm, SyncBatchNorm]
    assert isinstance(converted[2].act, nn.SiLU)
    assert list(converted.state_dict()) == list(before)
    assert torch.equal(converted(images), expected)
    assert convert_sync_batchnorm(converted)[1] is converted[1]


def test_alone_it_is_plain_batch_norm():
    images = torch.randn(4, 2, 3, 3)
    plain = norm_step(norm_model(), images, 1.0)
    converted = norm_step(convert_sync_batchnorm(norm_model()), images, 1.0)
    for name, value in plain.items():
        assert torch.equal(value, converted[name]), name


def test_a_batch_norm_itself_is_replaced():
    layer = convert_sync_batchnorm(BatchNormAct2d(3))
    assert isinstance(layer, SyncBatchNorm)
    assert isinstance(convert_sync_batchnorm(nn.BatchNorm2d(3), on_gpu=True), nn.SyncBatchNorm)
