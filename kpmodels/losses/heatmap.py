"""Losses of heatmaps against Gaussian targets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kpmodels.distributed import world_mean


def heatmap_mse(heatmaps_BKHW: Tensor, targets_BKHW: Tensor, weights_BK: Tensor | None = None) -> Tensor:
    """Half the mean over all cells of the squared, weighted difference (Simple Baselines, HRNet).

    The weight is applied before squaring, so it acts squared; all cells count in the mean, also those of keypoints with
    weight 0. The mean over a fixed number of cells is the same for one process and for many with equal batches.
    """
    difference = heatmaps_BKHW.float() - targets_BKHW
    if weights_BK is not None:
        difference = difference * weights_BK[..., None, None]
    return 0.5 * difference.square().mean()


def heatmap_ohkm(heatmaps_BKHW: Tensor, targets_BKHW: Tensor, weights_BK: Tensor | None = None, top: int = 8) -> Tensor:
    """Half the mean squared difference of the ``top`` worst keypoints of each row (Chen et al., CVPR 2018).

    Args: as for :func:`heatmap_mse`; ``top`` is lowered to the number of keypoints where that is less.
    """
    difference = heatmaps_BKHW.float() - targets_BKHW
    if weights_BK is not None:
        difference = difference * weights_BK[..., None, None]
    loss_BK = 0.5 * difference.square().mean((-2, -1))
    return loss_BK.topk(min(top, loss_BK.shape[1]), dim=1).values.mean()


def heatmap_focal(
    logits_BKHW: Tensor,
    targets_BKHW: Tensor,
    weights_BK: Tensor | None = None,
    alpha: float = 2.0,
    beta: float = 4.0,
    positive_from: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Penalty-reduced focal loss over the number of positive cells of all processes (CornerNet, equation 1).

    Args:
        logits_BKHW: Before the sigmoid.
        targets_BKHW: Gaussians with peak 1 at the positives.
        weights_BK: Maps with weight 0 count neither as loss nor with their positives.
        alpha, beta: Exponents of the focal factor and of the penalty reduction.
        positive_from: Targets from this value on are positives. None: each local maximum of the target (among its 8
            neighbours) above 0.5, since a Gaussian centred between cells nowhere reaches 1.
        clamp: Probabilities are kept so far from 0 and 1, without gradient beyond, as in the program of CornerNet (1e-4).
            None: they are exact, and wrong logits get a gradient however large they are.
    """
    logits = logits_BKHW.float()
    positive = _peaks(targets_BKHW) if positive_from is None else targets_BKHW >= positive_from
    if clamp is None:
        chance, log_chance, log_rest = torch.sigmoid(logits), F.logsigmoid(logits), F.logsigmoid(-logits)
    else:
        chance = torch.sigmoid(logits).clamp(clamp, 1 - clamp)
        log_chance, log_rest = chance.log(), (1 - chance).log()
    if_positive = -log_chance * (1 - chance) ** alpha
    if_negative = -log_rest * chance**alpha * (1 - targets_BKHW).clamp(min=0) ** beta
    loss = torch.where(positive, if_positive, if_negative)
    if weights_BK is not None:
        loss = loss * weights_BK[..., None, None]
        positive = positive & (weights_BK > 0)[..., None, None]
    return world_mean(loss.sum(), positive.sum())


def _peaks(targets_BKHW: Tensor) -> Tensor:
    return (targets_BKHW == F.max_pool2d(targets_BKHW, 3, 1, 1)) & (targets_BKHW > 0.5)
