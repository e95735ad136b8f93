"""Overlap of boxes, and which predicted box found which true one at a score threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kpmodels.structures import Instances

FOUND_OVERLAP = 0.5


def iou_matrix(first_N4: NDArray[np.float32], second_M4: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union ``[N, M]`` of boxes x1, y1, x2, y2; widths are x2 - x1; 0 where both are empty."""
    first, second = first_N4.astype(np.float64), second_M4.astype(np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap_NM = np.maximum(high - low, 0).prod(-1)
    area_N = np.maximum(first[:, 2:] - first[:, :2], 0).prod(-1)
    area_M = np.maximum(second[:, 2:] - second[:, :2], 0).prod(-1)
    union_NM = area_N[:, None] + area_M[None] - overlap_NM
    return np.divide(overlap_NM, union_NM, out=np.zeros_like(overlap_NM), where=union_NM > 0)


def match_boxes(truth: Instances, found: Instances) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """One-to-one matches of equal labels with an overlap of at least 0.5, of the largest total overlap.

    Returns:
        Indices into ``truth`` and into ``found``, and the overlaps.
    """
    overlap_NM = iou_matrix(truth.boxes, found.boxes)
    overlap_NM[(truth.labels[:, None] != found.labels[None]) | (overlap_NM < FOUND_OVERLAP)] = 0
    rows, columns = linear_sum_assignment(-overlap_NM)
    kept = overlap_NM[rows, columns] > 0
    return rows[kept], columns[kept], overlap_NM[rows, columns][kept]


def inside_any(points_N2: NDArray[np.float32], boxes_M4: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which points lie in at least one of the boxes, ``[N]``."""
    low = points_N2[:, None] >= boxes_M4[None, :, :2]
    high = points_N2[:, None] <= boxes_M4[None, :, 2:]
    return np.asarray((low & high).all(-1).any(-1))


def centres(boxes_N4: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centres ``[N, 2]`` of boxes."""
    return np.asarray((boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2, np.float32)
