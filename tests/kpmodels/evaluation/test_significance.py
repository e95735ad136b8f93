from __future__ import annotations

import numpy as np
import pytest

from kpmodels.evaluation.metrics import metrics_of
from kpmodels.evaluation.significance import interval, paired_difference, resample_weights
from kpmodels.structures import Instances


def tables(cases, shift_old, shift_new, images=40, groups=None):
    """Results of two models whose errors have known means, on equally hard images."""
    rng = np.random.default_rng(3)
    truth = {f"{i:03}": Instances.make([cases.animal()]) for i in range(images)}
    hard = {key: rng.normal(0, 2, (3, 2)) for key in truth}

    def model(shift):
        moved = {}
        for key in truth:
            keypoints = cases.animal()
            keypoints[:, :2] += hard[key] + [shift, 0] + rng.normal(0, 1, (3, 2))
            moved[key] = Instances.make([keypoints])
        return cases.results(truth, moved, cases.pose_info(), groups)[0]

    return model(shift_old), model(shift_new)


def metric_of(table, key):
    return next(metric for metric in metrics_of(table.meta) if metric.key == key)


def test_weights_are_draws_of_whole_groups():
    weights = resample_weights(["a", "b", "c", "d"], ["x", "x", "", ""], 200)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()
    assert (weights[:, 2] != weights[:, 3]).any()


def test_weights_are_deterministic():
    first, again = (resample_weights(["a", "b", "c"], ["", "", ""], 50) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (resample_weights(["a", "b", "c"], ["", "", ""], 50, seed=1) != first).any()


def test_identical_models_differ_by_nothing(cases):
    old, _ = tables(cases, 0, 0)
    weights = resample_weights(old.image_ids, old.strings("group"))
    for metric in metrics_of(old.meta):
        found = paired_difference(metric, old, old, weights[:100])
        assert found.difference == found.low == found.high == 0, metric.key


def test_a_clear_difference_is_outside_zero_and_covered(cases):
    old, new = tables(cases, 8, 5)
    metric = metric_of(old, "pixel_error_mean")
    found = paired_difference(metric, new, old, resample_weights(old.image_ids, old.strings("group")))
    assert found.low < found.difference < found.high < 0
    assert found.low < -2.5 < found.high or found.low < -3 < found.high


def test_pairing_narrows_the_interval(cases):
    old, new = tables(cases, 8, 7)
    metric = metric_of(old, "pixel_error_mean")
    weights = resample_weights(old.image_ids, old.strings("group"))
    paired = paired_difference(metric, new, old, weights)
    alone = interval(metric, new, weights)
    assert paired.high - paired.low < alone[1] - alone[0]


def test_average_precision_has_an_interval(cases):
    old, new = tables(cases, 9, 6)
    found = paired_difference(metric_of(old, "oks_ap"), new, old, resample_weights(old.image_ids, [""] * 40, 200))
    assert found.difference > 0
    assert found.low <= found.difference <= found.high


def test_one_group_has_no_interval(cases):
    old, new = tables(cases, 9, 6, images=4, groups={f"{i:03}": "video" for i in range(4)})
    weights = resample_weights(old.image_ids, old.strings("group"))
    found = paired_difference(metric_of(old, "nme"), new, old, weights)
    assert (found.low, found.high) == (None, None)
    assert interval(metric_of(old, "nme"), new, weights) is None


def test_other_images_are_refused(cases):
    old, _ = tables(cases, 1, 1)
    fewer = old.select(old.image_ids[1:])
    with pytest.raises(ValueError, match="same images"):
        paired_difference(metric_of(old, "nme"), old, fewer, np.ones((1, 40)))
