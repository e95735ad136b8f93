from __future__ import annotations

import numpy as np
import pytest

from kpmodels.config import EvaluateOptions
from kpmodels.evaluation.validate import boxes_used, predict_split, score_of, summarize, validate
from kpmodels.model import load_model
from kpmodels.structures import Instances

OPTIONS = EvaluateOptions(batch_size=5)


def test_every_image_is_predicted_once(shapes, untrained):
    store = shapes("pose")
    detector = load_model(untrained("pose")).detector
    seen = []
    found = predict_split(detector, store, store.split("test"), OPTIONS, progress=lambda *a: seen.append(a))
    assert sorted(found) == store.split("test")
    assert seen[-1] == (len(found), len(found))
    assert boxes_used(detector) == "none"


def test_shares_of_processes_make_the_whole(shapes, untrained):
    store = shapes("pose")
    detector = load_model(untrained("pose")).detector
    parts = [validate(detector, store, "all", OPTIONS, rank, 3) for rank in range(3)]
    assert sorted(one for part in parts for one in part) == store.image_ids
    whole = validate(detector, store, "all", OPTIONS)
    one = next(iter(parts[1]))
    np.testing.assert_allclose(parts[1][one].keypoints, whole[one].keypoints, atol=1e-3)


def test_true_boxes_give_label_and_id(shapes, untrained):
    store = shapes("pose")
    detector = load_model(untrained("pose", "box")).detector
    assert boxes_used(detector) == "truth"
    ids = store.split("test")
    found = predict_split(detector, store, ids, OPTIONS)
    for one in ids:
        assert found[one].ids == store.instances(one).ids
        np.testing.assert_array_equal(found[one].labels, store.instances(one).labels)


def test_the_truth_scores_best(shapes):
    for kind in ("pose", "points"):
        store = shapes(kind)
        truth = {one: store.instances(one) for one in store.image_ids}
        metrics = summarize(truth, store, store.image_ids, OPTIONS)
        nothing = {one: Instances.empty(store.info.num_keypoints) for one in store.image_ids}
        worst = summarize(nothing, store, store.image_ids, OPTIONS)
        assert score_of(metrics, kind) >= 1
        assert score_of(worst, kind) < 0.01
        assert all(np.isfinite(value) for value in [*metrics.values(), *worst.values()])


def test_an_image_without_predictions_is_a_mistake(shapes):
    store = shapes("pose")
    with pytest.raises(KeyError):
        summarize({}, store, store.image_ids, OPTIONS)


def test_scores_are_finite_without_any_metric():
    for task in ("pose", "points", "boxes"):
        assert score_of({}, task) == 0
        assert score_of({"f1": 0.0, "average_hausdorff": float("inf")}, task) == 0


def test_point_scores_tell_apart_what_f1_calls_equal():
    near, far = ({"f1": 0.0, "average_hausdorff": d} for d in (20.0, 90.0))
    assert score_of(near, "points") > score_of(far, "points") > 0
    assert score_of({"f1": 0.02, "average_hausdorff": 90.0}, "points") > score_of(near, "points")
