"""True positives, false alarms and misses of an image at a score threshold, for every task.

An instance is found when a prediction that scores at least the threshold is matched with it, one to one:
points within the radius and of the same category; boxes of the same category with an overlap of at least 0.5;
poses with a mean keypoint distance (each at most the instance's size) of at most the largest PCK threshold times the
instance's size, which needs no OKS sigmas. Predictions on ignored regions (crowds, instances without a labelled
keypoint) are no false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kpmodels.config import EvaluateOptions
from kpmodels.evaluation.boxes import centres, inside_any, match_boxes
from kpmodels.evaluation.keypoints import counted, found_instances
from kpmodels.evaluation.points import match_points
from kpmodels.structures import DatasetInfo, Instances

CURVE_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(20))


@dataclass(frozen=True)
class Counts:
    """Found instances, false alarms and missed instances."""

    found: int
    false: int
    missed: int


@dataclass(frozen=True)
class CurvePoint:
    """Rates over all images at one score threshold."""

    threshold: float
    precision: float
    recall: float
    false_alarms_per_image: float
    miss_rate: float


def matched_predictions(
    truth: Instances, found: Instances, info: DatasetInfo, options: EvaluateOptions
) -> NDArray[np.int64]:
    """Indices of the predictions that found an instance; ``truth`` holds the measured instances only."""
    if info.task == "points":
        places = truth.keypoints[:, 0, :2], found.keypoints[:, 0, :2]
        return match_points(*places, options.radius, truth.labels, found.labels)[1]
    if info.task == "boxes":
        return match_boxes(truth, found)[1]
    within = max(options.pck_thresholds, default=0.2)
    return found_instances(truth, found, within, info.single_instance)


def confident(found: Instances, threshold: float) -> Instances:
    """The predictions that score at least the threshold."""
    return found.select(found.scores >= np.float32(threshold))


def outside_ignored(truth: Instances, found: Instances) -> NDArray[np.bool_]:
    """Which predictions do not have their centre in a region that is ignored."""
    return ~inside_any(centres(found.boxes), truth.boxes[~counted(truth)])


def count_image(
    truth: Instances, found: Instances, threshold: float, info: DatasetInfo, options: EvaluateOptions
) -> Counts:
    """The counts of one image; ``truth`` with its crowds."""
    found = confident(found, threshold)
    measured = truth.select(counted(truth))
    matched = matched_predictions(measured, found, info, options)
    alarm = outside_ignored(truth, found)
    alarm[matched] = False
    return Counts(len(matched), int(alarm.sum()), len(measured) - len(matched))


def threshold_curve(
    truths: Sequence[Instances], founds: Sequence[Instances], info: DatasetInfo, options: EvaluateOptions
) -> list[CurvePoint]:
    """Precision, recall, false alarms and misses over score thresholds from 0 to 0.95."""
    points = []
    for threshold in CURVE_THRESHOLDS:
        counts = [count_image(a, b, threshold, info, options) for a, b in zip(truths, founds, strict=True)]
        found, false = sum(one.found for one in counts), sum(one.false for one in counts)
        total = found + sum(one.missed for one in counts)
        points.append(
            CurvePoint(
                threshold,
                precision=found / (found + false) if found + false else 1.0,
                recall=found / total if total else 1.0,
                false_alarms_per_image=false / max(len(counts), 1),
                miss_rate=1 - found / total if total else 0.0,
            )
        )
    return points
