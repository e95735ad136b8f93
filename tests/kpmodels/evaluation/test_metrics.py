from __future__ import annotations

import numpy as np
import pytest

from kpmodels.evaluation.metrics import Metric, metrics_of, per_keypoint, quantile
from kpmodels.evaluation.validate import flat_metrics, score_of
from kpmodels.structures import Instances


def values(cases, truths, founds, info, **options):
    table, coco = cases.results(truths, founds, info, **options)
    return flat_metrics(table, coco)


def test_a_perfect_prediction(cases):
    truth = {"a": Instances.make([cases.animal()]), "b": Instances.make([cases.animal(20), cases.animal(170)])}
    found = values(cases, truth, truth, cases.pose_info())
    assert found["oks_ap"] == pytest.approx(1)
    assert found["oks_ar"] == pytest.approx(1)
    assert found["oks_mean"] == found["pck_0_05"] == found["precision"] == found["recall"] == 1
    assert found["nme"] == found["pixel_error_p95"] == found["miss_rate"] == found["false_alarms_per_image"] == 0
    assert score_of(found, "pose") == pytest.approx(1)


def test_a_known_shift(cases):
    truth = {"a": Instances.make([cases.animal()], areas=[10000])}
    found = {"a": Instances.make([np.add(cases.animal(), [6, 8, -1])])}
    got = values(cases, truth, found, cases.pose_info())
    assert got["pixel_error_mean"] == got["pixel_error_median"] == got["pixel_error_p95"] == pytest.approx(10)
    assert got["nme"] == pytest.approx(0.1)
    oks = np.exp(-(10**2) / (2 * 0.1**2 * 10000))
    assert got["oks_mean"] == pytest.approx(oks, rel=1e-5)
    assert got["oks_ap"] == pytest.approx(0.3)  # OKS 0.607: right at 0.5, 0.55 and 0.6 of the ten thresholds
    assert (got["pck_0_05"], got["pck_0_2"]) == (0, 1)


def test_nothing_predicted(cases):
    got = values(cases, {"a": Instances.make([cases.animal()])}, {}, cases.pose_info())
    assert got["oks_ap"] == got["oks_mean"] == got["recall"] == got["pck_0_2"] == 0
    assert got["miss_rate"] == got["missed_keypoints"] == 1
    assert "pixel_error_mean" not in got
    assert "precision" not in got
    assert score_of(got, "pose") == 0


def test_no_truth_at_all(cases):
    got = values(cases, {}, {"a": Instances.make([cases.animal()], scores=[0.9])}, cases.pose_info())
    assert got["false_alarms_per_image"] == 1
    assert "oks_ap" not in got
    assert score_of(got, "pose") == 0


def test_images_without_truth_count_their_false_alarms(cases):
    truth = {"a": Instances.make([cases.animal()])}
    clean = {"a": truth["a"], "b": Instances.empty(3)}
    alarm = {"a": truth["a"].select([0]), "b": Instances.make([cases.animal()], scores=[1.0])}
    alarm["a"].scores = np.array([0.5], np.float32)
    assert values(cases, truth, clean, cases.pose_info())["oks_ap"] == pytest.approx(1)
    got = values(cases, truth, alarm, cases.pose_info())
    assert got["oks_ap"] == pytest.approx(0.5, abs=1e-6)
    assert (got["false_alarms_per_image"], got["precision"]) == (0.5, 0.5)


def test_crowds_are_ignored(cases):
    crowd = Instances.make([cases.animal(), cases.animal(150)], crowd=[False, True])
    found = Instances.make([cases.animal(), cases.animal(155)])
    got = values(cases, {"a": crowd}, {"a": found}, cases.pose_info())
    assert got["oks_ap"] == pytest.approx(1)
    assert got["precision"] == got["recall"] == 1
    assert got["pixel_error_mean"] == 0


def test_low_scores_are_no_false_alarms(cases):
    truth = Instances.make([cases.animal()])
    found = Instances.make([cases.animal(), cases.animal(150)], scores=[0.9, 0.29])
    got = values(cases, {"a": truth}, {"a": found}, cases.pose_info(), score_threshold=0.3)
    assert got["false_alarms_per_image"] == 0


@pytest.mark.parametrize(("sigmas", "assumed"), [(None, False), ((0.1, 0.1, 0.1), True)])
def test_assumed_sigmas_are_in_every_name(cases, sigmas, assumed):
    info = cases.pose_info(sigmas)
    skeleton = type(info.skeleton)(**{**vars(info.skeleton), "sigmas_assumed": assumed})
    info = type(info)(**{**vars(info), "skeleton": skeleton})
    truth = {"a": Instances.make([cases.animal()])}
    table, coco = cases.results(truth, truth, info)
    got = flat_metrics(table, coco)
    with_oks = [key for key in got if "oks" in key]
    assert len(with_oks) >= 8
    assert all(key.endswith("_assumed_sigmas") for key in with_oks)
    assert not any(key.startswith(("ap", "ar")) for key in got)
    titles = {metric.key: metric.title for metric in metrics_of(table.meta)}
    assert titles["oks_ap_assumed_sigmas"] == "OKS AP (assumed sigmas)"
    assert "oks_assumed_sigmas" in table.table.column_names
    assert score_of(got, "pose") == pytest.approx(1)


def test_points_by_hand(cases):
    truth = {"a": points((10, 10), (50, 50)), "b": Instances.empty(1)}
    found = {"a": points((13, 14), (90, 50), count=2.4), "b": points((5, 5))}
    got = values(cases, truth, found, cases.points_info(), radius=5)
    assert (got["precision"], got["recall"], got["f1"]) == pytest.approx((1 / 3, 1 / 2, 2 / 5))
    assert got["false_alarms_per_image"] == 1
    assert got["pixel_error_mean"] == pytest.approx(5)
    assert got["count_mae"] == pytest.approx((0.4 + 1) / 2, abs=1e-6)
    assert got["count_mape"] == pytest.approx((20 + 100) / 2, abs=1e-4)
    second = (np.hypot(37, 36) + 40) / 2
    expected = (5 + 40) / 2 + (5 + 40) / 2
    assert second > 0
    assert got["average_hausdorff"] == pytest.approx((expected + 500) / 2, rel=1e-5)
    assert score_of(got, "points") == pytest.approx(0.4 + 0.01 / (1 + got["average_hausdorff"]))


def test_boxes_by_hand(cases):
    truth = {"a": boxes([0, 0, 10, 10], [40, 40, 60, 60], labels=[0, 1])}
    found = {"a": boxes([0, 0, 10, 10], [40, 40, 60, 60], labels=[0, 0], scores=[0.9, 0.8])}
    got = values(cases, truth, found, cases.boxes_info())
    assert got["box_ap"] == pytest.approx(0.5)
    assert (got["precision"], got["recall"], got["mean_overlap"]) == (0.5, 0.5, 1)
    assert got["box_ar100"] == pytest.approx(0.5)


def test_per_keypoint(cases):
    truth = {"a": Instances.make([cases.animal(visibility=(2, 2, 0))]), "b": Instances.make([cases.animal()])}
    moved = cases.animal()
    moved[0, 0] += 30
    found = {"a": Instances.make([moved]), "b": truth["b"]}
    table, _ = cases.results(truth, found, cases.pose_info())
    got = per_keypoint(table)
    assert got["nose"]["labelled"] == 2
    assert got["nose"]["pixel_error_mean"] == pytest.approx(15)
    assert got["nose"]["pck_0_2"] == 0.5
    assert got["left"]["pixel_error_p95"] == 0
    assert got["right"]["labelled"] == 1


def test_weighted_quantile_is_numpys_of_the_repeated_images(cases):
    rng = np.random.default_rng(0)
    truth = {str(i): Instances.make([cases.animal()]) for i in range(6)}
    found = {str(i): Instances.make([cases.animal() + rng.normal(0, 3, (3, 3))]) for i in range(6)}
    table, _ = cases.results(truth, found, cases.pose_info())
    errors, rows = table.lists("errors")
    weights = np.array([[0, 2, 1, 0, 3, 1]], float)
    repeated = np.repeat(errors, weights[0, rows].astype(int))
    for q in (0.5, 0.95):
        assert quantile("errors", q)(table, weights)[0] == pytest.approx(np.quantile(repeated, q))


def test_weights_are_repetitions_for_every_metric(cases):
    """Weights 2, 0, 1 give what a set gives in which the first image is there twice and the second not at all."""
    rng = np.random.default_rng(1)
    truth = {key: Instances.make([cases.animal(), cases.animal(160)]) for key in "abc"}
    found = {key: noisy(cases, rng) for key in "abc"}
    table, _ = cases.results(truth, found, cases.pose_info())
    twice, _ = cases.results(
        {"a": truth["a"], "a2": truth["a"], "c": truth["c"]},
        {"a": found["a"], "a2": found["a"], "c": found["c"]},
        cases.pose_info(),
    )
    weights = np.array([[2.0, 0.0, 1.0]])
    for metric in metrics_of(table.meta):
        assert metric.statistic(table, weights)[0] == pytest.approx(metric.value(twice), nan_ok=True), metric.key


def test_metric_keys_are_unique_and_plain(cases):
    for info in (cases.pose_info(), cases.points_info(), cases.boxes_info()):
        table, _ = cases.results({}, {}, info)
        keys = [metric.key for metric in metrics_of(table.meta)]
        assert len(set(keys)) == len(keys)
        assert all(key.replace("_", "").isalnum() and key == key.lower() for key in keys)
        assert all(isinstance(metric, Metric) for metric in metrics_of(table.meta))


def test_predictions_that_are_not_finite_are_refused(cases):
    bad = Instances.make([cases.animal()])
    bad.keypoints[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="image a: keypoints are not finite"):
        cases.results({}, {"a": bad}, cases.pose_info())


def noisy(cases, rng):
    keypoints = [cases.animal(), cases.animal(160), cases.animal(40, 200)]
    return Instances.make(np.array(keypoints) + rng.normal(0, 8, (3, 3, 3)), scores=rng.uniform(0.2, 1, 3))


def points(*places, count=None):
    keypoints = np.array([[[x, y, 2]] for x, y in places], float)
    return Instances.make(keypoints.reshape(-1, 1, 3), count=count)


def boxes(*rows, **columns):
    return Instances.make(np.zeros((len(rows), 0, 3)), rows, **columns)
