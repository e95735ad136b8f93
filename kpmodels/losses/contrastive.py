"""Contrastive keypoint features (CoKe): each keypoint's feature near its prototype, far from the others and clutter.

Bai et al., "CoKe: Contrastive Learning for Robust Keypoint Detection", WACV 2023. A feature is compared with K
prototypes and C rows of clutter, never with all other features, so the cost is linear in the number of keypoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kpmodels.distributed import world_mean
from kpmodels.losses.feature_bank import FeatureBank

_EXCLUDED = -1e5


def contrastive_loss(
    features_BNKD: Tensor,
    visible_BNK: Tensor,
    keypoints_xy_BNK2: Tensor,
    clutter_BMD: Tensor,
    bank: FeatureBank,
    *,
    temperature: float = 0.07,
    clutter_weight: float = 0.005,
    exclusion_radius: float = 48.0,
    regularizer: float = 0.1,
    exclude_hidden: bool = False,
) -> tuple[Tensor, Tensor]:
    """The loss of a batch against the bank as it is before this step's :meth:`FeatureBank.update`.

    Args:
        features_BNKD: Unit vectors at the keypoints, see :func:`sample_features`.
        visible_BNK: bool; which of them are there.
        keypoints_xy_BNK2: Their places (x, y) in pixels of the network input.
        clutter_BMD: Unit vectors at other places, see :func:`sample_clutter`.
        bank: Prototypes and clutter of earlier steps.
        temperature: Divides the similarities before the softmax.
        clutter_weight: Weight of each row of clutter in the softmax.
        exclusion_radius: Prototypes of other keypoints of the image within this distance do not count as negatives.
        regularizer: Weight of the mean similarity of this step's clutter to the prototypes.
        exclude_hidden: Also keypoints that are not visible exclude their prototype (the original code).

    Returns:
        The cross-entropy, mean over the visible keypoints of all processes, and the weighted regularizer.
    """
    visible_BNK = visible_BNK.bool()
    features_RD = features_BNKD[visible_BNK]
    classes_R = visible_BNK.nonzero()[:, -1]
    shown = torch.ones_like(visible_BNK) if exclude_hidden else visible_BNK
    excluded_RK = near_others(keypoints_xy_BNK2, shown, exclusion_radius)[visible_BNK]
    with torch.autocast(features_BNKD.device.type, enabled=False):
        logits_RL = bank_logits(features_RD, excluded_RK, bank, temperature, clutter_weight)
        summed = F.cross_entropy(logits_RL, classes_R, reduction="sum") + 0 * features_BNKD.float().sum()
        main = world_mean(summed, visible_BNK.sum())
        similarity = clutter_BMD.float() @ bank.prototypes_KD.T.clone()  # the bank may be updated before backward
        regularization = regularizer * similarity.sum() / max(1, similarity.numel())
    return main, regularization


def bank_logits(
    features_RD: Tensor,
    excluded_RK: Tensor,
    bank: FeatureBank,
    temperature: float = 0.07,
    clutter_weight: float = 0.005,
) -> Tensor:
    """Logits of R features over the K prototypes and the filled rows of clutter, ``[R, K + C]``.

    Excluded prototypes are lowered by 1e5; rows of clutter by the logarithm of their weight.
    """
    columns = torch.cat([bank.prototypes_KD, bank.clutter_CD[: int(bank.filled)]])
    logits = features_RD.float() @ columns.T / temperature
    K = len(bank.prototypes_KD)
    bias = F.pad(excluded_RK * _EXCLUDED, (0, len(columns) - K), value=math.log(clutter_weight))
    return logits + bias.to(logits.dtype)


def near_others(xy_BNK2: Tensor, shown_BNK: Tensor, radius: float) -> Tensor:
    """``[B, N, K, K]``: whether a keypoint of another class (last axis), of any instance of the image, is near."""
    B, N, K, _ = xy_BNK2.shape
    points = xy_BNK2.float().flatten(1, 2)
    near = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") <= radius
    near = near & shown_BNK.flatten(1, 2)[:, None, :]
    near = near.view(B, N, K, N, K).any(3) if N else near.new_zeros((B, N, K, K))
    return near & ~torch.eye(K, dtype=torch.bool, device=near.device)


def cell_index(xy: Tensor, stride: float, size: tuple[int, int]) -> Tensor:
    """The cell y * width + x of a map (height, width) in which pixels ``[..., 2]`` (x, y) lie; outside: the nearest."""
    cells = torch.div(xy, stride, rounding_mode="floor").nan_to_num(0).long()
    return cells[..., 1].clamp(0, size[0] - 1) * size[1] + cells[..., 0].clamp(0, size[1] - 1)


def sample_features(map_BDHW: Tensor, xy_BNK2: Tensor, stride: float) -> Tensor:
    """The unit feature vectors ``[B, N, K, D]`` of the cells in which the keypoints (pixels of the input) lie."""
    D, H, W = map_BDHW.shape[1:]
    index_BNK = cell_index(xy_BNK2, stride, (H, W))
    return _unit_rows(map_BDHW, index_BNK.flatten(1)).view(*index_BNK.shape, D)


def sample_clutter(
    map_BDHW: Tensor,
    xy_BNK2: Tensor,
    visible_BNK: Tensor,
    count: int,
    stride: float,
    generator: torch.Generator,
) -> Tensor:
    """The unit feature vectors ``[B, M, D]`` of cells drawn at random, none twice, from those without a keypoint.

    Args:
        map_BDHW: The feature map.
        xy_BNK2, visible_BNK: Keypoints in pixels of the input; those not visible keep no cell free.
        count: M; lowered to the number of cells. Cells with a keypoint are drawn only when there are no others.
        stride: Pixels per cell.
        generator: On the CPU, so that all devices draw the same.
    """
    B, _, H, W = map_BDHW.shape
    order = torch.rand((B, H * W), generator=generator).to(map_BDHW.device)
    index = cell_index(xy_BNK2, stride, (H, W)).flatten(1)
    taken = torch.zeros_like(order).scatter_add_(1, index, visible_BNK.flatten(1).to(order.dtype))
    chosen = (order - 2 * (taken > 0)).topk(min(count, H * W), dim=1).indices
    return _unit_rows(map_BDHW, chosen)


def similarity_map(map_BDHW: Tensor, prototypes_KD: Tensor) -> Tensor:
    """The cosine of every cell's feature and every prototype, ``[B, K, H, W]``."""
    unit = F.normalize(map_BDHW.float(), dim=1)
    return F.conv2d(unit, prototypes_KD[:, :, None, None])


def _unit_rows(map_BDHW: Tensor, index_BR: Tensor) -> Tensor:
    rows = map_BDHW.flatten(2).gather(2, index_BR[:, None].expand(-1, map_BDHW.shape[1], -1))
    return F.normalize(rows.transpose(1, 2).float(), dim=-1)
