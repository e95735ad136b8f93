"""A mixture of two beta distributions, fitted by expectation maximization with moment matching."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST_SHAPE, _LEAST_VARIANCE = 1e-6, 1e-10


def fit_beta_mixture(values_BP: Tensor, tolerance: float = 1e-4, steps: int = 1000) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes and weights of a lower and an upper component, for each row of values in [0, 1].

    Starts from the values below 1/3 and those from 2/3 on (a uniform third where there are none) and ends when no
    parameter changes by more than ``tolerance``, relative to the greater of its old and new value.

    Returns:
        a_B2, b_B2 and weights_B2, float64.
    """
    x = values_BP.double().clamp(0, 1)
    a, b, weights = _start(x)
    running = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for _ in range(steps):
        rows = running.nonzero()[:, 0]
        if len(rows) == 0:
            break
        old = torch.cat([weights[rows], a[rows], b[rows]], dim=1)
        share = _responsibilities(x[rows], a[rows], b[rows], weights[rows])
        weights[rows] = share.mean(1)
        a[rows], b[rows] = _from_moments(x[rows], share)
        new = torch.cat([weights[rows], a[rows], b[rows]], dim=1)
        change = (new - old).abs() / torch.maximum(new, old).clamp(min=1e-300)
        running[rows] = change.amax(1) >= tolerance
    return a, b, weights


def _start(x_BP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    third = torch.tensor(1 / 3, dtype=x_BP.dtype)
    share = torch.stack([x_BP < third, (x_BP >= 2 * third) & (x_BP < 1)], dim=-1).to(x_BP.dtype)
    a, b = _from_moments(x_BP, share)
    counts = share.sum(1)
    uniform_mean = x_BP.new_tensor([1 / 6, 5 / 6]).expand_as(a)
    strength = uniform_mean * (1 - uniform_mean) / (1 / 108) - 1
    a = torch.where(counts > 0, a, uniform_mean * strength)
    b = torch.where(counts > 0, b, (1 - uniform_mean) * strength)
    a[:, 0].clamp_(max=0.8)
    b[:, 1].clamp_(max=0.8)
    counts = counts.clamp(min=1)
    return a, b, counts / counts.sum(1, keepdim=True)


def _responsibilities(x_BP: Tensor, a_B2: Tensor, b_B2: Tensor, weights_B2: Tensor) -> Tensor:
    """``[B, P, 2]``; where the densities are not finite, the component whose side of 0.5 the value is on."""
    x, a, b = x_BP[..., None], a_B2[:, None], b_B2[:, None]
    constant = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    density = torch.exp(constant + (a - 1) * x.log() + (b - 1) * torch.log1p(-x))
    joint = weights_B2[:, None] * density
    share = joint / joint.sum(-1, keepdim=True)
    side = torch.cat([x < 0.5, x >= 0.5], dim=-1).to(share.dtype)
    return torch.where(share.isfinite().all(-1, keepdim=True), share, side)


def _from_moments(x_BP: Tensor, share_BP2: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes of the beta distributions with the weighted means and variances of the values."""
    total = share_BP2.sum(1).clamp(min=1e-12)
    mean = torch.einsum("bp,bpc->bc", x_BP, share_BP2) / total
    spread = (x_BP[..., None] - mean[:, None]).square()
    variance = (spread * share_BP2).sum(1) / total
    strength = mean * (1 - mean) / variance.clamp(min=_LEAST_VARIANCE) - 1
    return (mean * strength).clamp(min=_LEAST_SHAPE), ((1 - mean) * strength).clamp(min=_LEAST_SHAPE)
