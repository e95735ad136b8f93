"""Points as the means of a Gaussian mixture fitted to the cells of a mask."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kpmodels.decoding.peaks import find_peaks

_MOST_CELLS = 50_000


def mixture_points(
    probabilities_HW: Tensor,
    mask_HW: Tensor,
    count: int,
    weighted: bool = False,
    iterations: int = 100,
    tolerance: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """``count`` points from the cells of a mask (Ribera et al., CVPR 2019, section 4.2).

    A mixture of Gaussians with full covariances is fitted by expectation maximization, from a start without chance:
    the highest peaks of the blurred map inside the mask, then, if more are needed, the cells furthest from all others.

    Args:
        probabilities_HW: In [0, 1].
        mask_HW: bool. Of masks with more than 50,000 cells, evenly spaced ones are used.
        count: Number of components; lowered to the number of cells in the mask.
        weighted: Cells count by their probability; else all cells of the mask count the same (the paper).
        iterations: At most so many.
        tolerance: Ends when the mean log-likelihood rises by less.

    Returns:
        xy_N2 in map cells and scores_N, the mean probability of each component's cells; float32.
    """
    rows, columns = mask_HW.nonzero(as_tuple=True)
    count = min(count, len(rows))
    if count <= 0:
        return probabilities_HW.new_zeros((0, 2)).float(), probabilities_HW.new_zeros(0).float()
    starts = _start(probabilities_HW.float(), mask_HW, count)
    cells = torch.stack([columns, rows], dim=1).double()
    values = probabilities_HW[rows, columns].double()
    step = -(-len(cells) // max(_MOST_CELLS, count))
    cells, values = cells[::step], values[::step]
    weights = values.clamp(min=1e-6) if weighted else torch.ones_like(values)
    means, share = _expectation_maximization(cells, weights / weights.sum(), starts.double(), iterations, tolerance)
    scores = (share * values[:, None]).sum(0) / share.sum(0).clamp(min=1e-12)
    return means.float(), scores.float()


def _start(probabilities_HW: Tensor, mask_HW: Tensor, count: int) -> Tensor:
    """``count`` different cells (x, y) of the mask, spread over it."""
    inside = torch.where(mask_HW, probabilities_HW, 0)
    spacing = max(1.0, 0.5 * math.sqrt(float(mask_HW.sum()) / count))
    xy, _, found = find_peaks(inside[None, None], count, min_distance=spacing, blur=5, refine=False)
    starts = xy[0, 0][found[0, 0]]
    cells = mask_HW.nonzero().flip(1).to(starts.dtype)
    nearest = torch.full((len(cells),), torch.inf, device=cells.device)
    if len(starts):
        nearest = torch.cdist(cells, starts, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    added = []
    for _ in range(count - len(starts)):
        furthest = cells[nearest.argmax()]
        added.append(furthest)
        nearest = torch.minimum(nearest, torch.linalg.vector_norm(cells - furthest, dim=1))
    return torch.cat([starts, torch.stack(added)]) if added else starts


def _expectation_maximization(
    cells_P2: Tensor, weights_P: Tensor, starts_N2: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Means ``[N, 2]`` and weighted responsibilities ``[P, N]`` of the fitted mixture.

    The exponent of a Gaussian is linear in (1, x, y, x^2, xy, y^2), so both steps are one matrix product.
    """
    centre = cells_P2.mean(0)
    x, y = (cells_P2 - centre).unbind(1)
    features_P6 = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=1)
    N = len(starts_N2)
    variance = max(0.25, len(cells_P2) / (4 * math.pi * N))  # of discs that fill the mask
    means, shares = starts_N2 - centre, starts_N2.new_full((N,), 1 / N)
    covariance_N3 = starts_N2.new_tensor([variance, 0.0, variance]).expand(N, 3)
    before = -math.inf
    for _ in range(max(1, iterations)):
        logits_PN = features_P6 @ _log_density(means, covariance_N3, shares).T
        likelihood = float(weights_P @ torch.logsumexp(logits_PN, dim=1))
        share_PN = torch.softmax(logits_PN, dim=1).mul_(weights_P[:, None])
        means, covariance_N3, shares = _from_moments(share_PN.T @ features_P6, means, covariance_N3)
        if likelihood - before < tolerance:
            break
        before = likelihood
    return means + centre, share_PN


def _log_density(means_N2: Tensor, covariance_N3: Tensor, shares_N: Tensor) -> Tensor:
    """Coefficients ``[N, 6]`` of the weighted log-densities over (1, x, y, x^2, xy, y^2)."""
    (mx, my), (sxx, sxy, syy) = means_N2.unbind(1), covariance_N3.unbind(1)
    determinant = sxx * syy - sxy**2
    a, b, c = syy / determinant, -sxy / determinant, sxx / determinant
    constant = shares_N.clamp(min=1e-300).log() - 0.5 * determinant.log() - math.log(2 * math.pi)
    constant = constant - 0.5 * (a * mx**2 + 2 * b * mx * my + c * my**2)
    return torch.stack([constant, a * mx + b * my, b * mx + c * my, -0.5 * a, -b, -0.5 * c], dim=1)


def _from_moments(moments_N6: Tensor, means_N2: Tensor, covariance_N3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means, covariances and shares from weighted sums; components that lost all their cells stay as they are.

    A twelfth is added to the variances: the extent of a cell, without which a component on one cell collapses.
    """
    shares = moments_N6[:, 0]
    alive = (shares > 1e-12)[:, None]
    moments = moments_N6[:, 1:] / shares.clamp(min=1e-12)[:, None]
    mx, my, mxx, mxy, myy = moments.unbind(1)
    covariance = torch.stack(
        [(mxx - mx**2).clamp(min=0) + 1 / 12, mxy - mx * my, (myy - my**2).clamp(min=0) + 1 / 12], 1
    )
    means = torch.where(alive, moments[:, :2], means_N2)
    return means, torch.where(alive, covariance, covariance_N3), shares
