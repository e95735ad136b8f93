"""Object keypoint similarity (cocodataset.org/#keypoints-eval)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpmodels.structures import Instances, Skeleton

ASSUMED_SIGMA = 0.05
ASSUMED = "_assumed_sigmas"


def sigmas_of(skeleton: Skeleton) -> tuple[NDArray[np.float64], str]:
    """The skeleton's OKS sigmas ``[K]`` and what names of numbers made with them end in.

    Where the data set has none, all are 0.05 (about that of a human eye to shoulder in COCO), and the ending is
    ``_assumed_sigmas``; so it is where the data set itself says that its sigmas were guessed.
    """
    if skeleton.sigmas is None:
        return np.full(len(skeleton.names), ASSUMED_SIGMA), ASSUMED
    return np.asarray(skeleton.sigmas, np.float64), ASSUMED if skeleton.sigmas_assumed else ""


def oks_matrix(truth: Instances, found: Instances, sigmas_K: Any) -> NDArray[np.float64]:
    """OKS ``[M, N]`` of M predictions with N true instances, as pycocotools computes it.

    ``mean over labelled k of exp(-d_k^2 / (2 (2 sigma_k)^2 area))``. For an instance without a labelled keypoint the
    distance is that to its box enlarged by its own width and height on every side, over all K keypoints.
    """
    variances_K = (2 * np.asarray(sigmas_K, np.float64)) ** 2
    true_NK3 = truth.keypoints.astype(np.float64)
    point_MK2 = found.keypoints[..., :2].astype(np.float64)
    labelled_NK = true_NK3[..., 2] > 0
    boxes_N4 = truth.boxes.astype(np.float64)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    low_N2, high_N2 = boxes_N4[:, :2] - sides_N2, boxes_N4[:, :2] + 2 * sides_N2
    to_point = point_MK2[:, None] - true_NK3[None, ..., :2]
    below = np.maximum(low_N2[:, None] - point_MK2[:, None], 0)
    above = np.maximum(point_MK2[:, None] - high_N2[:, None], 0)
    any_N: NDArray[np.bool_] = labelled_NK.sum(1) > 0
    offset_MNK2 = np.where(any_N[:, None, None], to_point, below + above)
    areas_N = truth.areas.astype(np.float64) + np.spacing(1)
    exponent_MNK = (offset_MNK2**2).sum(-1) / variances_K / areas_N[:, None] / 2
    counted_NK = np.where(any_N[:, None], labelled_NK, True)
    return (np.exp(-exponent_MNK) * counted_NK).sum(-1) / np.maximum(counted_NK.sum(-1), 1)
