"""COCO average precision and recall by pycocotools, for boxes and for keypoints.

Lin et al., ECCV 2014, and cocodataset.org/#detection-eval, #keypoints-eval. Crowd regions and instances without a
labelled keypoint are ignored: neither found nor missed, and what lies on them is no false alarm. Images without
truth take part: what is found in them is a false alarm.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpmodels.structures import Instances

BOX_STATS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
KEYPOINT_STATS = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")


@dataclass(frozen=True)
class ImageMatches:
    """What average precision needs of one image, at the ten thresholds 0.5, 0.55 ... 0.95 (bit t of an integer).

    Attributes:
        labels, scores: Of the D detections that take part.
        matched, ignored: ``[D]`` int32, a bit per threshold: found an instance; does not count.
        truth_labels: ``[G]`` of the instances that count.
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float64]
    matched: NDArray[np.int32]
    ignored: NDArray[np.int32]
    truth_labels: NDArray[np.int32]


@dataclass(frozen=True)
class CocoResult:
    """``stats`` under pycocotools' names (what is undefined is left out) and the matches of each image."""

    stats: dict[str, float]
    images: list[ImageMatches]


def coco_result(
    truths: Sequence[Instances],
    predictions: Sequence[Instances],
    num_categories: int,
    sigmas: Sequence[float] | None = None,
) -> CocoResult:
    """COCO evaluation of images in order.

    Args:
        truths, predictions: One of each per image.
        num_categories: Labels run from 0 to this, exclusive.
        sigmas: K OKS constants; keypoints are evaluated. None: boxes are.
    """
    kind = "bbox" if sigmas is None else "keypoints"
    truth = _dataset(truths, num_categories, kind)
    found = [row for number, one in enumerate(predictions, 1) for row in _detections(one, number, kind)]
    evaluation = run_pycocotools(truth, found, kind, sigmas)
    names = BOX_STATS if sigmas is None else KEYPOINT_STATS
    stats = {name: float(value) for name, value in zip(names, evaluation.stats, strict=True) if value >= 0}
    return CocoResult(stats, _matches(evaluation, len(truths)))


def run_pycocotools(truth: dict[str, Any], found: list[dict[str, Any]], kind: str, sigmas: Any = None) -> Any:
    """An accumulated and summarized ``COCOeval`` of a COCO data set and COCO results; prints nothing."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = truth
        data.createIndex()
        results = data.loadRes(found) if found else _no_results(truth)
        evaluation = COCOeval(data, results, kind)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _no_results(truth: dict[str, Any]) -> Any:
    from pycocotools.coco import COCO

    results = COCO()
    results.dataset = {"images": truth["images"], "categories": truth["categories"], "annotations": []}
    results.createIndex()
    return results


def _dataset(truths: Sequence[Instances], num_categories: int, kind: str) -> dict[str, Any]:
    annotations = [row for number, one in enumerate(truths, 1) for row in _annotations(one, number, kind)]
    return {
        "images": [{"id": number} for number in range(1, len(truths) + 1)],
        "categories": [{"id": label, "name": str(label)} for label in range(num_categories)],
        "annotations": [{**row, "id": number} for number, row in enumerate(annotations, 1)],
    }


def _annotations(truth: Instances, number: int, kind: str) -> list[dict[str, Any]]:
    rows = []
    for i, (x, y, w, h) in enumerate(_xywh(truth.boxes)):
        row: dict[str, Any] = {"image_id": number, "category_id": int(truth.labels[i]), "area": float(truth.areas[i])}
        row |= {"bbox": [x, y, w, h], "iscrowd": int(truth.crowd[i])}
        if kind == "keypoints":
            keypoints = truth.keypoints[i].astype(np.float64)
            row |= {"keypoints": keypoints.ravel().tolist(), "num_keypoints": int((keypoints[:, 2] > 0).sum())}
        rows.append(row)
    return rows


def _detections(found: Instances, number: int, kind: str) -> list[dict[str, Any]]:
    boxes = _xywh(found.boxes)
    rows = []
    for i, score in enumerate(found.scores.astype(np.float64)):
        row: dict[str, Any] = {"image_id": number, "category_id": int(found.labels[i]), "score": float(score)}
        if kind == "keypoints":
            row["keypoints"] = found.keypoints[i].astype(np.float64).ravel().tolist()
        else:
            row["bbox"] = boxes[i]
        rows.append(row)
    return rows


def _xywh(boxes_N4: NDArray[np.float32]) -> list[list[float]]:
    boxes = boxes_N4.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def _matches(evaluation: Any, count: int) -> list[ImageMatches]:
    """The matches per image, from ``evalImgs`` over all areas, categories joined."""
    whole = list(evaluation.params.areaRng[0])
    parts: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for one in evaluation.evalImgs:
        if one is not None and list(one["aRng"]) == whole:
            parts[one["image_id"] - 1].append(one)
    return [_image_matches(rows) for rows in parts]


def _image_matches(rows: list[dict[str, Any]]) -> ImageMatches:
    def joined(values: list[Any], dtype: Any) -> Any:
        return np.concatenate([np.asarray(value, dtype) for value in values] or [np.zeros(0, dtype)])

    def bits(flags_TD: NDArray[np.bool_]) -> NDArray[np.int32]:
        return (flags_TD.astype(np.int32) << np.arange(len(flags_TD), dtype=np.int32)[:, None]).sum(0)

    counted = [int((np.asarray(row["gtIgnore"]) == 0).sum()) for row in rows]
    return ImageMatches(
        labels=joined([[row["category_id"]] * len(row["dtScores"]) for row in rows], np.int32),
        scores=joined([row["dtScores"] for row in rows], np.float64),
        matched=joined([bits(row["dtMatches"] > 0) for row in rows], np.int32),
        ignored=joined([bits(row["dtIgnore"] > 0) for row in rows], np.int32),
        truth_labels=joined([[row["category_id"]] * n for row, n in zip(rows, counted, strict=True)], np.int32),
    )
