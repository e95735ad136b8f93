"""Average precision from stored matches, for any weighting of the images.

With all weights 1 it is pycocotools' number. With whole weights it is the number of a set in which an image occurs
so many times, which is what a bootstrap over images needs, without matching anything again.

Axes: D detections (sorted by score), T thresholds, N images, R recall points or resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = 10
RECALL_POINTS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class CategoryMatches:
    """Detections and truth of one category over all images.

    Attributes:
        image_D: Index of each detection's image, detections sorted by falling score (stable in image order).
        true_TD, false_TD: Whether it counts as true or as false at each threshold; neither if it is ignored.
        truth_N: Instances of the category per image that count.
    """

    image_D: NDArray[np.int64]
    true_TD: NDArray[np.float64]
    false_TD: NDArray[np.float64]
    truth_N: NDArray[np.float64]


def categories_of(
    label_D: NDArray[np.int64],
    score_D: NDArray[np.float64],
    matched_D: NDArray[np.int64],
    ignored_D: NDArray[np.int64],
    image_D: NDArray[np.int64],
    truth_label_G: NDArray[np.int64],
    truth_image_G: NDArray[np.int64],
    num_images: int,
) -> list[CategoryMatches]:
    """The matches of each category that has truth; bit t of ``matched`` and ``ignored`` is threshold t."""
    result = []
    shifts_T1 = np.arange(THRESHOLDS)[:, None]
    for label in np.unique(truth_label_G):
        rows = np.flatnonzero(label_D == label)
        rows = rows[np.argsort(-score_D[rows], kind="stable")]
        matched_TD = (matched_D[rows] >> shifts_T1) & 1 == 1
        counted_TD = (ignored_D[rows] >> shifts_T1) & 1 == 0
        truth_N = np.bincount(truth_image_G[truth_label_G == label], minlength=num_images)
        result.append(
            CategoryMatches(
                image_D[rows],
                (matched_TD & counted_TD).astype(np.float64),
                (~matched_TD & counted_TD).astype(np.float64),
                truth_N.astype(np.float64),
            )
        )
    return result


def average_precision(categories: list[CategoryMatches], weights_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """AP per threshold ``[T]``: the mean over the categories that have truth among the weighted images; else NaN."""
    values = [one for category in categories if (one := _category_ap(category, weights_N)) is not None]
    return np.mean(values, axis=0) if values else np.full(THRESHOLDS, np.nan)


def _category_ap(category: CategoryMatches, weights_N: NDArray[np.float64]) -> NDArray[np.float64] | None:
    total = float(category.truth_N @ weights_N)
    if total <= 0:
        return None
    if not len(category.image_D):
        return np.zeros(THRESHOLDS)
    weight_D = weights_N[category.image_D]
    true_TD = np.cumsum(category.true_TD * weight_D, axis=1)
    false_TD = np.cumsum(category.false_TD * weight_D, axis=1)
    recall_TD = true_TD / total
    precision_TD = true_TD / (true_TD + false_TD + np.spacing(1))
    envelope_TD = np.maximum.accumulate(precision_TD[:, ::-1], axis=1)[:, ::-1]
    padded_TD = np.concatenate([envelope_TD, np.zeros((THRESHOLDS, 1))], axis=1)
    places_TR = np.stack([np.searchsorted(recall_D, RECALL_POINTS, side="left") for recall_D in recall_TD])
    return np.take_along_axis(padded_TD, places_TR, axis=1).mean(1)
