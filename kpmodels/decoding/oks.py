"""Object keypoint similarity between poses, suppression by it, and the rescoring of poses."""

from __future__ import annotations

import torch
from torch import Tensor

from kpmodels.decoding.suppression import greedy_keep


def oks_matrix(
    keypoints_NKx: Tensor,
    areas_N: Tensor,
    sigmas_K: Tensor,
    others_MKx: Tensor | None = None,
    other_areas_M: Tensor | None = None,
) -> Tensor:
    """The similarity ``[N, M]`` of each pose with each other one: 1 equal, 0 far; all keypoints count.

    The area of a pair is the mean of the two areas (the form used for suppression among detections).

    Args:
        keypoints_NKx: x, y (further columns are ignored) in pixels.
        areas_N: Square pixels.
        sigmas_K: OKS constants.
        others_MKx, other_areas_M: The poses to compare with; None: the same.
    """
    others, other_areas = (keypoints_NKx, areas_N) if others_MKx is None else (others_MKx, other_areas_M)
    if other_areas is None:
        raise ValueError("others_MKx needs other_areas_M")
    squared = (keypoints_NKx[:, None, :, :2] - others[None, :, :, :2]).square().sum(-1)
    variance = (2 * sigmas_K.to(squared)) ** 2
    area = (areas_N[:, None] + other_areas[None]) / 2 + torch.finfo(torch.float64).eps
    return torch.exp(-squared / variance / area[..., None].to(squared) / 2).mean(-1)


def oks_nms(
    keypoints_NKx: Tensor, scores_N: Tensor, areas_N: Tensor, sigmas_K: Tensor, threshold: float = 0.9
) -> Tensor:
    """Indices of the poses that stay, best first: each one that stays removes those whose OKS with it is higher."""
    order = torch.argsort(scores_N, descending=True, stable=True)
    similarity = oks_matrix(keypoints_NKx[order], areas_N[order], sigmas_K)
    return order[greedy_keep(similarity > threshold)]


def soft_oks_nms(
    keypoints_NKx: Tensor,
    scores_N: Tensor,
    areas_N: Tensor,
    sigmas_K: Tensor,
    threshold: float = 0.9,
    top: int = 20,
) -> tuple[Tensor, Tensor]:
    """The poses in the order in which they are taken, the others' scores lowered by exp(-OKS^2 / threshold) each time.

    Returns:
        Indices (at most ``top``) and the lowered scores they were taken with.
    """
    decay = torch.exp(-oks_matrix(keypoints_NKx, areas_N, sigmas_K).square() / threshold)
    scores, taken, values = scores_N.clone(), [], []
    for _ in range(min(top, len(scores))):
        best = scores.argmax()
        taken.append(best)
        values.append(scores[best])
        scores = scores * decay[best].to(scores.dtype)
        scores[torch.stack(taken)] = -torch.inf
    if not taken:
        return torch.zeros(0, dtype=torch.long, device=scores_N.device), scores_N
    return torch.stack(taken), torch.stack(values)


def rescore(keypoint_scores_NK: Tensor, box_scores_N: Tensor, threshold: float = 0.2) -> Tensor:
    """Box score times the mean of the keypoint scores above the threshold; 0 where there are none (Simple Baselines)."""
    good = keypoint_scores_NK > threshold
    mean = (keypoint_scores_NK * good).sum(1) / good.sum(1).clamp(min=1)
    return mean * box_scores_N
