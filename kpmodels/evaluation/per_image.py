"""Measure predictions image by image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kpmodels.config import EvaluateOptions
from kpmodels.data.store import ImageRecord
from kpmodels.evaluation.boxes import match_boxes
from kpmodels.evaluation.coco import CocoResult, coco_result
from kpmodels.evaluation.counting import confident, count_image, outside_ignored
from kpmodels.evaluation.keypoints import best_scored, counted, keypoint_errors, sizes
from kpmodels.evaluation.oks import oks_matrix, sigmas_of
from kpmodels.evaluation.points import average_hausdorff, match_points
from kpmodels.evaluation.table import ImageTable, TableMeta
from kpmodels.structures import DatasetInfo, Instances


def measure(
    truths: Mapping[str, Instances],
    predictions: Mapping[str, Instances],
    records: Mapping[str, ImageRecord],
    info: DatasetInfo,
    options: EvaluateOptions,
) -> tuple[ImageTable, CocoResult | None]:
    """Results per image of all images of ``records``, and COCO's numbers (none for points).

    An image without an entry in ``truths`` or ``predictions`` holds nothing.

    Raises:
        ValueError: predictions that are not finite; names the image.
    """
    empty = Instances.empty(info.num_keypoints)
    ids = sorted(records)
    _check_finite(predictions)
    rows = []
    for one in ids:
        truth, found = truths.get(one, empty), predictions.get(one, empty)
        rows.append(_common(records[one], truth, found, info, options) | _BY_TASK[info.task](
            records[one], truth, found, info, options
        ))  # fmt: skip
    coco = None
    if info.task != "points":
        sigmas = sigmas_of(info.skeleton)[0].tolist() if info.task == "pose" else None
        pairs = [truths.get(one, empty) for one in ids], [predictions.get(one, empty) for one in ids]
        coco = coco_result(*pairs, max(len(info.categories), 1), sigmas)
        for row, matches in zip(rows, coco.images, strict=True):
            row |= {f"ap_{name}": values.tolist() for name, values in vars(matches).items()}
    return ImageTable.from_rows(rows, table_meta(info, options)), coco


def table_meta(info: DatasetInfo, options: EvaluateOptions) -> TableMeta:
    return TableMeta(
        task=info.task,
        keypoints=info.skeleton.names,
        categories=info.categories,
        sigmas_ending=sigmas_of(info.skeleton)[1] if info.task == "pose" else "",
        pck_thresholds=options.pck_thresholds,
        radius=options.radius,
        score_threshold=options.score_threshold,
        split=options.split,
    )


def _check_finite(predictions: Mapping[str, Instances]) -> None:
    for image_id, found in predictions.items():
        for name in ("keypoints", "boxes", "scores"):
            if not np.isfinite(getattr(found, name)).all():
                raise ValueError(f"prediction for image {image_id}: {name} are not finite")


def _common(
    record: ImageRecord, truth: Instances, found: Instances, info: DatasetInfo, options: EvaluateOptions
) -> dict[str, Any]:
    counts = count_image(truth, found, options.score_threshold, info, options)
    measured = truth.select(counted(truth))
    return {
        "image_id": record.image_id,
        "file_name": record.file_name,
        "group": record.group,
        "source": record.source,
        "size": float(sizes(measured).mean()) if len(measured) else None,
        "n_true": len(measured),
        "n_pred": len(confident(found, options.score_threshold)),
        "tp": counts.found,
        "fp": counts.false,
        "fn": counts.missed,
    }


def _pose(
    record: ImageRecord, truth: Instances, found: Instances, info: DatasetInfo, options: EvaluateOptions
) -> dict[str, Any]:
    measured, best = truth.select(counted(truth)), best_scored(truth, found)
    errors = keypoint_errors(measured, best, info.single_instance)
    oks = np.zeros(len(measured))
    matrix_MN = oks_matrix(measured, best, sigmas_of(info.skeleton)[0])
    oks[errors.pairs.truth] = matrix_MN[errors.pairs.found, errors.pairs.truth]
    return {
        "pixel_error": _mean(errors.pixels),
        "nme": _mean(errors.scaled),
        "keypoint_errors": [_mean(errors.pixels[errors.keypoint == k]) for k in range(info.num_keypoints)],
        "errors": errors.pixels.tolist(),
        "scaled_errors": errors.scaled.tolist(),
        "error_keypoints": errors.keypoint.tolist(),
        "labelled": errors.labelled.tolist(),
        "oks": oks.tolist(),
    }


def _points(
    record: ImageRecord, truth: Instances, found: Instances, info: DatasetInfo, options: EvaluateOptions
) -> dict[str, Any]:
    measured = truth.select(counted(truth))
    kept = confident(found, options.score_threshold)
    kept = kept.select(outside_ignored(truth, kept))
    true_N2, found_M2 = measured.keypoints[:, 0, :2], kept.keypoints[:, 0, :2]
    distances = match_points(true_N2, found_M2, options.radius, measured.labels, kept.labels)[2]
    count = float(len(kept)) if found.count is None else float(found.count)
    return {
        "pixel_error": _mean(distances),
        "errors": distances.tolist(),
        "average_hausdorff": average_hausdorff(true_N2, found_M2, math.hypot(record.width, record.height)),
        "count_true": float(len(measured)),
        "count_pred": count,
        "count_error": count - len(measured),
    }


def _boxes(
    record: ImageRecord, truth: Instances, found: Instances, info: DatasetInfo, options: EvaluateOptions
) -> dict[str, Any]:
    overlaps = match_boxes(truth.select(counted(truth)), confident(found, options.score_threshold))[2]
    return {"overlaps": overlaps.tolist()}


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


_BY_TASK = {"pose": _pose, "points": _points, "boxes": _boxes}
