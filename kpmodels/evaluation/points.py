"""Points against true points: matches within a radius, average Hausdorff distance, errors of the count."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


def match_points(
    true_N2: Any, found_M2: Any, radius: float, true_labels_N: Any = None, found_labels_M: Any = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """One-to-one matches within a radius: as many as possible, and of those the least total distance.

    Returns:
        Indices into the true and the found points, and the distances in pixels.
    """
    distance_NM = _distances(true_N2, found_M2)
    allowed_NM = distance_NM <= radius
    if true_labels_N is not None and found_labels_M is not None:
        allowed_NM &= np.asarray(true_labels_N)[:, None] == np.asarray(found_labels_M)[None]
    never = (min(distance_NM.shape) + 1) * (radius + 1)
    rows, columns = linear_sum_assignment(np.where(allowed_NM, distance_NM, never))
    kept = allowed_NM[rows, columns]
    return rows[kept], columns[kept], distance_NM[rows, columns][kept]


def nearest_counts(true_N2: Any, found_M2: Any, radius: float) -> tuple[int, int, int]:
    """True positives, false positives and misses by nearest neighbours, as Ribera et al. (CVPR 2019) count.

    Not one-to-one: a prediction is true when any true point is within the radius, a true point is missed when no
    prediction is. Two predictions on one point are both true. Kept for comparison with published numbers.
    """
    distance_NM = _distances(true_N2, found_M2)
    hit_M = (distance_NM <= radius).any(0)
    missed_N = ~(distance_NM <= radius).any(1)
    return int(hit_M.sum()), int((~hit_M).sum()), int(missed_N.sum())


def average_hausdorff(first_N2: Any, second_M2: Any, empty: float) -> float:
    """Average Hausdorff distance (Ribera et al., eq. 3): the sum of both mean distances to the nearest other point.

    Args:
        empty: The value when exactly one set has no points, for example the image's diagonal; 0 when both have none.
    """
    distance_NM = _distances(first_N2, second_M2)
    if not distance_NM.shape[0] and not distance_NM.shape[1]:
        return 0.0
    if not distance_NM.size:
        return float(empty)
    return float(distance_NM.min(1).mean() + distance_NM.min(0).mean())


def count_errors(estimated_N: Any, true_N: Any, weights_RN: Any = None) -> dict[str, NDArray[np.float64]]:
    """Errors of counts over N images, each ``[R]`` for R weightings of the images (one, all 1, by default).

    ``me mae mse rmse`` in instances; ``mpe mape`` in percent of the true count (of 1 where that is 0); ``r`` the
    correlation and ``r2`` the coefficient of determination, NaN where the counts do not vary.
    """
    estimated, true = np.asarray(estimated_N, np.float64), np.asarray(true_N, np.float64)
    weights = np.ones((1, len(true))) if weights_RN is None else np.asarray(weights_RN, np.float64)
    error = estimated - true
    relative = 100 * error / np.where(true == 0, 1, true)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_RN = weights / weights.sum(1, keepdims=True)
        mean_true, mean_estimated = share_RN @ true, share_RN @ estimated
        variance_true = share_RN @ true**2 - mean_true**2
        variance_estimated = share_RN @ estimated**2 - mean_estimated**2
        covariance = share_RN @ (true * estimated) - mean_true * mean_estimated
        varies = variance_true > 1e-12 * (1 + mean_true**2)
        both = varies & (variance_estimated > 1e-12 * (1 + mean_estimated**2))
        squared = share_RN @ error**2
        return {
            "me": share_RN @ error,
            "mae": share_RN @ np.abs(error),
            "mpe": share_RN @ relative,
            "mape": share_RN @ np.abs(relative),
            "mse": squared,
            "rmse": np.sqrt(squared),
            "r": np.where(both, covariance / np.sqrt(variance_true * variance_estimated), np.nan),
            "r2": np.where(varies, 1 - squared / variance_true, np.nan),
        }


def _distances(first_N2: Any, second_M2: Any) -> NDArray[np.float64]:
    first = np.asarray(first_N2, np.float64).reshape(-1, 2)
    second = np.asarray(second_M2, np.float64).reshape(-1, 2)
    return cdist(first, second)
