from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kpmodels.losses.offsets import offset_loss

close = torch.testing.assert_close


def test_by_hand():
    predictions = torch.tensor([[[0.5, 3.0], [9.0, 9.0]], [[0.0, 0.0], [1.0, 1.0]]])
    targets = torch.zeros((2, 2, 2))
    present = torch.tensor([[True, False], [True, True]])
    expected = (0.125 + 2.5 + 0 + 0.5 + 0.5) / 3
    assert offset_loss(predictions, targets, present).item() == pytest.approx(expected)
    assert offset_loss(predictions, targets, present, count=6).item() == pytest.approx(expected / 2)
    assert offset_loss(predictions, targets, present, beta=1e-6).item() == pytest.approx((3.5 + 2) / 3, abs=1e-5)


def test_equals_torch_where_all_are_there():
    predictions, targets = torch.randn((3, 5, 2)), torch.randn((3, 5, 2))
    present = torch.ones((3, 5), dtype=torch.bool)
    close(offset_loss(predictions, targets, present), 2 * F.smooth_l1_loss(predictions, targets))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_absent_rows_do_not_matter(dtype):
    predictions = torch.full((2, 3, 2), float("inf"), dtype=dtype)
    predictions[0, 0] = 200.0
    predictions.requires_grad_()
    targets = torch.full((2, 3, 2), float("nan"))
    targets[0, 0] = 0.0
    present = torch.zeros((2, 3), dtype=torch.bool)
    present[0, 0] = True
    loss = offset_loss(predictions, targets, present)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(399)
    assert (predictions.grad[~present] == 0).all()
    assert (predictions.grad[0, 0] == 1).all()


def test_without_objects_it_is_zero_with_a_gradient():
    predictions = torch.randn((2, 3, 2), requires_grad=True)
    loss = offset_loss(predictions, torch.zeros((2, 3, 2)), torch.zeros((2, 3), dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert (predictions.grad == 0).all()
