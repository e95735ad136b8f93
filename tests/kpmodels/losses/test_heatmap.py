from __future__ import annotations

import math

import pytest
import torch

from kpmodels.losses.heatmap import heatmap_focal, heatmap_mse, heatmap_ohkm
from kpmodels.losses.regression import count_loss

close = torch.testing.assert_close


def test_mse_by_hand():
    heatmaps, targets = torch.ones((1, 2, 2, 2)), torch.zeros((1, 2, 2, 2))
    assert heatmap_mse(heatmaps, targets).item() == 0.5
    assert heatmap_mse(heatmaps, targets, torch.tensor([[1.0, 0.0]])).item() == 0.25
    assert heatmap_mse(heatmaps, targets, torch.tensor([[2.0, 0.0]])).item() == 1.0  # the weight acts squared


def test_ohkm_takes_the_worst():
    heatmaps = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    targets = torch.zeros((1, 3, 2, 2))
    assert heatmap_ohkm(heatmaps, targets, top=1).item() == 4.5
    assert heatmap_ohkm(heatmaps, targets, top=2).item() == (4.5 + 2) / 2
    close(heatmap_ohkm(heatmaps, targets, top=99), heatmap_mse(heatmaps, targets))


def test_focal_by_hand():
    logits = torch.tensor([0.0, 0.0]).view(1, 1, 1, 2)
    targets = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)
    positive, negative = 0.25 * math.log(2), 0.5**4 * 0.25 * math.log(2)
    assert heatmap_focal(logits, targets, positive_from=1.0).item() == pytest.approx(positive + negative)
    two = targets.expand(2, 1, 1, 2), logits.expand(2, 1, 1, 2)
    assert heatmap_focal(two[1], two[0], positive_from=1.0).item() == pytest.approx(positive + negative)


def test_focal_positives_of_gaussians_between_cells():
    targets = torch.tensor([0.1, 0.9, 0.7, 0.1]).view(1, 1, 1, 4)
    logits = torch.zeros((1, 1, 1, 4), requires_grad=True)
    heatmap_focal(logits, targets).backward()
    assert (logits.grad < 0).flatten().tolist() == [False, True, False, False]


def test_focal_weights_and_no_positives():
    logits, targets = torch.zeros((1, 2, 3, 3)), torch.zeros((1, 2, 3, 3))
    targets[0, 1, 1, 1] = 1
    assert heatmap_focal(logits, targets, torch.zeros((1, 2))).item() == 0
    assert heatmap_focal(logits, targets[:, :1].expand(1, 2, 3, 3)).isfinite()
    weighted = heatmap_focal(logits, targets, torch.tensor([[0.0, 1.0]]))
    close(weighted, heatmap_focal(logits[:, 1:], targets[:, 1:]))


def test_focal_with_clamped_probabilities():
    logits = torch.tensor([-50.0, 50.0, 1.0, -1.0]).view(1, 1, 1, 4).requires_grad_()
    targets = torch.tensor([1.0, 0.0, 1.0, 0.5]).view(1, 1, 1, 4)
    loss = heatmap_focal(logits, targets, positive_from=1.0, clamp=1e-4)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[..., :2] == 0).all()
    exact = heatmap_focal(logits, targets, positive_from=1.0)
    (wanted,) = torch.autograd.grad(exact, logits)
    assert (wanted[..., :2] != 0).all()
    close(gradient[..., 2:], wanted[..., 2:])
    at_the_end = -math.log(1e-4) * (1 - 1e-4) ** 2
    close(heatmap_focal(logits[..., :1], targets[..., :1], positive_from=1.0, clamp=1e-4).item(), at_the_end)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_finite_with_extreme_values(dtype):
    logits = (torch.tensor([-90.0, 90.0, 0.0]).to(dtype)).view(1, 1, 1, 3).requires_grad_()
    loss = heatmap_focal(logits, torch.tensor([1.0, 0.0, 0.2]).view(1, 1, 1, 3))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    wide = torch.full((1, 1, 2, 2), 1000.0, dtype=dtype)
    assert heatmap_mse(wide, torch.zeros((1, 1, 2, 2))).item() == pytest.approx(500_000)


def test_focal_gradcheck():
    logits = torch.randn((2, 2, 4, 4), dtype=torch.float64, requires_grad=True)
    targets = torch.rand((2, 2, 4, 4))
    # the loss computes in float32, so the check goes by a directional difference
    loss = heatmap_focal(logits, targets)
    (gradient,) = torch.autograd.grad(loss, logits)
    direction = torch.randn_like(logits)
    step = 1e-2
    rise = heatmap_focal(logits + step * direction, targets) - heatmap_focal(logits - step * direction, targets)
    close((gradient * direction).sum().float(), rise.detach() / (2 * step), rtol=1e-2, atol=1e-3)


def test_count():
    assert count_loss(torch.tensor([1.5, 5.0]), torch.tensor([1.0, 2.0])).item() == pytest.approx((0.125 + 2.5) / 2)
    assert count_loss(torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor([1])).item() == pytest.approx(0.125)
