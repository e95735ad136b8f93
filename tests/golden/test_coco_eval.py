"""COCO evaluation: pycocotools' numbers, through our Instances and without."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kpmodels.evaluation.average_precision import average_precision, categories_of
from kpmodels.evaluation.coco import BOX_STATS, KEYPOINT_STATS, coco_result, run_pycocotools
from kpmodels.evaluation.oks import oks_matrix
from kpmodels.structures import Instances

COCO_SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000


def _truth_of(data, image_id, labels):
    rows = [row for row in data["annotations"] if row["image_id"] == image_id]
    return _instances(rows, labels, areas=[row["area"] for row in rows], crowd=[row["iscrowd"] for row in rows])


def _found_of(results, image_id, labels):
    rows = [row for row in results if row["image_id"] == image_id]
    return _instances(rows, labels, scores=[row["score"] for row in rows])


def _instances(rows, labels, **columns):
    boxes = np.array([row.get("bbox", [0, 0, 0, 0]) for row in rows], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    count = max((len(row.get("keypoints", ())) // 3 for row in rows), default=0)
    keypoints = np.array([row.get("keypoints", []) for row in rows], float).reshape(len(rows), count, 3)
    return Instances.make(keypoints, boxes, [labels[row["category_id"]] for row in rows], **columns)


def _both(golden, name):
    numbers = golden(name)
    data, results = json.loads(str(numbers["in_gt_json"])), json.loads(str(numbers["in_dt_json"]))
    labels = {one["id"]: label for label, one in enumerate(sorted(data["categories"], key=lambda c: c["id"]))}
    images = sorted(one["id"] for one in data["images"])
    truths = [_truth_of(data, one, labels) for one in images]
    founds = [_found_of(results, one, labels) for one in images]
    return numbers, data, results, images, truths, founds


def _weighted_ap(images, num_images):
    index = lambda name: np.repeat(np.arange(num_images), [len(getattr(one, name)) for one in images])  # noqa: E731
    join = lambda name: np.concatenate([getattr(one, name) for one in images])  # noqa: E731
    parts = categories_of(
        join("labels"), join("scores"), join("matched"), join("ignored"), index("labels"),
        join("truth_labels"), index("truth_labels"), num_images,
    )  # fmt: skip
    return average_precision(parts, np.ones(num_images))


def _stats(values, names):
    return {name: value for name, value in zip(names, values, strict=True) if value >= 0}


def test_keypoint_stats_and_curves_are_those_of_pycocotools(golden):
    numbers, data, results, *_ = _both(golden, "coco_keypoint_eval")
    evaluation = run_pycocotools(data, results, "keypoints", COCO_SIGMAS)
    np.testing.assert_allclose(evaluation.stats, numbers["out_stats"], atol=1e-9)
    np.testing.assert_allclose(evaluation.eval["precision"][:, :, 0, :, 0], numbers["out_precision"], atol=1e-6)
    np.testing.assert_allclose(evaluation.eval["recall"][:, 0, :, 0], numbers["out_recall"], atol=1e-9)


def test_keypoint_stats_from_instances(golden):
    numbers, _, _, _, truths, founds = _both(golden, "coco_keypoint_eval")
    result = coco_result(truths, founds, 1, COCO_SIGMAS)
    assert result.stats == pytest.approx(_stats(numbers["out_stats"], KEYPOINT_STATS), abs=1e-6)
    per_threshold = _weighted_ap(result.images, len(truths))
    assert per_threshold.mean() == pytest.approx(result.stats["ap"], abs=1e-12)
    assert per_threshold[0] == pytest.approx(result.stats["ap50"], abs=1e-12)
    assert per_threshold[5] == pytest.approx(result.stats["ap75"], abs=1e-12)


def test_oks_matrices(golden):
    numbers, _, _, images, truths, founds = _both(golden, "coco_keypoint_eval")
    start = 0
    for image_id, num_found, num_true in numbers["out_oks_index"]:
        place = images.index(image_id)
        order = np.argsort(-founds[place].scores, kind="stable")[:20]
        ours = oks_matrix(truths[place], founds[place].select(order), COCO_SIGMAS)
        end = start + num_found * num_true
        expected = numbers["out_oks_flat"][start:end].reshape(num_found, num_true)
        np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=1e-7)
        start = end
    assert start == len(numbers["out_oks_flat"])


def test_box_stats_and_curves_are_those_of_pycocotools(golden):
    numbers, data, results, *_ = _both(golden, "coco_bbox_eval")
    evaluation = run_pycocotools(data, results, "bbox")
    np.testing.assert_allclose(evaluation.stats, numbers["out_stats"], atol=1e-9)
    precision_TRKAM = evaluation.eval["precision"]
    mean = np.where((precision_TRKAM > -1).all(1), precision_TRKAM.mean(1), -1)
    np.testing.assert_allclose(mean, numbers["out_precision_mean_over_recall"], atol=1e-9)
    np.testing.assert_allclose(evaluation.eval["recall"], numbers["out_recall"], atol=1e-9)


def test_box_stats_from_instances(golden):
    numbers, _, _, _, truths, founds = _both(golden, "coco_bbox_eval")
    labels = 1 + max(int(one.labels.max(initial=0)) for one in truths)
    result = coco_result(truths, founds, labels)
    assert result.stats == pytest.approx(_stats(numbers["out_stats"], BOX_STATS), abs=1e-6)
    assert _weighted_ap(result.images, len(truths)).mean() == pytest.approx(result.stats["ap"], abs=1e-12)
