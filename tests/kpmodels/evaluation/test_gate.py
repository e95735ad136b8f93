"""The gate on tables of results whose differences are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kpmodels.config import GateOptions
from kpmodels.errors import UserError
from kpmodels.evaluation.gate import judge
from kpmodels.evaluation.table import ImageTable, TableMeta

IMAGES = 60


def points_meta() -> TableMeta:
    return TableMeta("points", ("point",), ("cell",), "", (0.1,), 5.0, 0.3, "test")


def write(folder, found, false, true=10, groups=None, sources=None):
    """Results on images with ``true`` points each, of which ``found`` were found, with ``false`` alarms."""
    rows = []
    for i in range(IMAGES):
        tp = int(found[i])
        rows.append(
            {
                "image_id": f"{i:03d}", "file_name": "", "group": groups[i] if groups else "",
                "source": sources[i] if sources else "", "size": 0.0, "n_true": true, "n_pred": tp + int(false[i]),
                "tp": tp, "fp": int(false[i]), "fn": true - tp, "pixel_error": 1.0, "errors": [1.0] * tp,
                "average_hausdorff": 1.0, "count_true": float(true), "count_pred": float(tp), "count_error": 0.0,
            }
        )  # fmt: skip
    folder.mkdir(parents=True)
    ImageTable.from_rows(rows, points_meta()).write(folder / "per_image.parquet")
    (folder / "metrics.json").write_text(json.dumps({}))
    return folder


def noisy(mean, seed):
    return np.clip(np.random.default_rng(seed).integers(mean - 2, mean + 3, IMAGES), 0, 10)


@pytest.fixture
def champion(tmp_path):
    return write(tmp_path / "champion", noisy(6, 0), noisy(2, 1))


def test_the_first_version_becomes_champion(champion):
    found = judge(champion, None, GateOptions())
    assert found.promote
    assert "first version: F1" in found.reason


def test_a_clear_gain_promotes_with_its_figures(champion, tmp_path):
    found = judge(write(tmp_path / "new", noisy(8, 2), noisy(2, 3)), champion, GateOptions())
    assert found.promote
    assert found.metric == "f1"
    assert 0 < found.low < found.improvement < found.high
    assert found.improvement == pytest.approx(found.new - found.champion)
    assert f"{found.new:.4g} against the champion's {found.champion:.4g}" in found.reason


def test_a_gain_by_luck_keeps_the_champion_unless_the_policy_is_better(champion, tmp_path):
    found = noisy(6, 0)
    found[:3] += 1  # three points more in three of sixty images, and one fewer in another two
    found[10:12] -= 1
    new = write(tmp_path / "new", found, noisy(2, 1))
    careful = judge(new, champion, GateOptions())
    assert careful.improvement > 0
    assert not careful.promote
    assert "not clearly better" in careful.reason
    assert judge(new, champion, GateOptions(policy="better")).promote


@pytest.mark.parametrize("policy", ["accuracy", "better", "early-warning", "guidance"])
def test_the_same_results_keep_the_champion(champion, policy):
    found = judge(champion, champion, GateOptions(policy=policy))
    assert not found.promote
    assert found.improvement == 0
    assert "not better" in found.reason


def test_always_and_never(champion, tmp_path):
    worse = write(tmp_path / "worse", noisy(3, 2), noisy(5, 3))
    assert judge(worse, champion, GateOptions(policy="always")).promote
    assert not judge(champion, worse, GateOptions(policy="never")).promote
    assert not judge(worse, None, GateOptions(policy="never")).promote


def test_what_costs_more_decides(champion, tmp_path):
    """Two misses less for four false alarms more: right for a warning, wrong for guidance."""
    eager = write(tmp_path / "eager", noisy(8, 2), noisy(6, 3))
    warning = judge(eager, champion, GateOptions(policy="early-warning"))
    guidance = judge(eager, champion, GateOptions(policy="guidance"))
    assert warning.promote
    assert not guidance.promote
    misses, alarms = 10 - noisy(8, 2), noisy(6, 3)
    assert warning.new == pytest.approx(np.mean(5 * misses + alarms))
    assert guidance.new == pytest.approx(np.mean(misses + 5 * alarms))
    assert "cost per image" in warning.reason


def test_the_margin_is_beyond_the_interval(champion, tmp_path):
    new = write(tmp_path / "new", noisy(8, 2), noisy(2, 3))
    assert not judge(new, champion, GateOptions(min_difference=0.5)).promote
    assert "by more than 0.5" in judge(new, champion, GateOptions(min_difference=0.5)).reason


def test_images_of_a_group_are_drawn_together(tmp_path):
    """One video of three is much better, the others a little worse: many images, but three draws."""
    groups = [f"video {i % 3}" for i in range(IMAGES)]
    old = write(tmp_path / "old", np.full(IMAGES, 6), np.zeros(IMAGES), groups=groups)
    found = np.where(np.arange(IMAGES) % 3 == 0, 10, 5)
    grouped = judge(write(tmp_path / "new", found, np.zeros(IMAGES), groups=groups), old, GateOptions())
    alone = judge(
        write(tmp_path / "new1", found, np.zeros(IMAGES)),
        write(tmp_path / "old1", np.full(IMAGES, 6), np.zeros(IMAGES)),
        GateOptions(),
    )
    assert grouped.improvement == alone.improvement
    assert alone.promote
    assert not grouped.promote


def test_a_source_that_gets_clearly_worse_is_not_traded_away(tmp_path):
    sources = ["hall" if i < 15 else "yard" for i in range(IMAGES)]
    old = write(tmp_path / "old", np.full(IMAGES, 6), np.zeros(IMAGES), sources=sources)
    found = np.where(np.arange(IMAGES) < 15, noisy(4, 3), 9)
    new = write(tmp_path / "new", found, np.zeros(IMAGES), sources=sources)
    careful = judge(new, old, GateOptions())
    assert not careful.promote
    assert "clearly worse on source hall" in careful.reason
    by_name = {one.name: one for one in careful.slices}
    assert by_name["source hall"].images == 15
    assert by_name["source hall"].worse
    assert not by_name["source yard"].worse
    assert judge(new, old, GateOptions(slices=False)).promote
    assert judge(new, old, GateOptions(slice_tolerance=0.9)).promote
    assert judge(new, old, GateOptions(slice_images=16)).promote


def test_a_worse_keypoint_is_named(shapes, untrained, tmp_path):
    from kpmodels.config import EvaluateOptions
    from kpmodels.evaluation.run import write_results
    from kpmodels.structures import Instances

    store, model, options = shapes("pose"), untrained("pose"), EvaluateOptions(samples=0)
    ids = store.split("test")

    def out(name, error_K):
        found = {}
        for one in ids:
            keypoints = store.instances(one).keypoints.copy()
            keypoints[..., 0] += error_K
            found[one] = Instances.make(keypoints.astype(np.float32), scores=np.full(len(keypoints), 0.8))
        about = {"model": "m", "data": "d", "options": options.model_dump(mode="json")}
        write_results(found, store, ids, options, tmp_path / name, model, about, {})
        return tmp_path / name

    K = store.info.num_keypoints
    old = out("old", np.full(K, 4.0))
    new = out("new", np.array([80.0] + [0.0] * (K - 1)))
    found = judge(new, old, GateOptions(policy="better", metric="pixel_error_median", slice_images=2))
    assert not found.promote
    assert f"clearly worse on keypoint {store.info.skeleton.names[0]}" in found.reason


def test_an_unknown_metric_names_the_nearest(champion):
    with pytest.raises(UserError, match="did you mean 'precision'"):
        judge(champion, None, GateOptions(metric="precison"))


def test_a_metric_without_a_direction_is_refused(champion):
    with pytest.raises(UserError, match="no direction of count_mpe is better"):
        judge(champion, None, GateOptions(metric="count_mpe"))


def test_other_labels_are_not_compared(champion, tmp_path):
    with pytest.raises(UserError, match="another n_true"):
        judge(write(tmp_path / "new", noisy(6, 0), noisy(2, 1), true=11), champion, GateOptions())
