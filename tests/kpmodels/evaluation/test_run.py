from __future__ import annotations

import json
import re
import shutil

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from kpmodels.config import EvaluateOptions
from kpmodels.data.store import open_dataset
from kpmodels.errors import UserError
from kpmodels.evaluation.comparison import compare_results
from kpmodels.evaluation.map_pictures import PANEL
from kpmodels.evaluation.report import write_comparison
from kpmodels.evaluation.run import evaluate, write_results
from kpmodels.evaluation.stored_predictions import read_predictions
from kpmodels.structures import Instances

OPTIONS = EvaluateOptions(samples=2, batch_size=6)
FILES = ["about.json", "curve.json", "metrics.json", "per_image.parquet", "per_keypoint.json", "predictions.parquet"]


def silent(done, total):
    pass


def shifted(store, ids, pixels):
    """The truth moved by so many pixels."""
    found = {}
    for one in ids:
        keypoints = store.instances(one).keypoints + np.array([pixels, 0, 0], np.float32)
        found[one] = Instances.make(keypoints, scores=np.full(len(keypoints), 0.8))
    return found


def results(store, model, out, pixels, options=OPTIONS, ids=None):
    ids = ids or store.split("test")
    about = {"model": "shapes-model", "data": "shapes", "options": options.model_dump(mode="json")}
    write_results(shifted(store, ids, pixels), store, ids, options, out, model, about, {"boxes": "none"})
    return out


@pytest.mark.parametrize("kind", ["pose", "points", "boxes"])
def test_evaluate_writes_everything_and_the_same_twice(kind, shapes, untrained, tmp_path):
    store, model = shapes(kind), untrained(kind)
    metrics = evaluate(model, store.folder, OPTIONS, tmp_path / "one", device="cpu", progress=silent)
    evaluate(model, store.folder, OPTIONS, tmp_path / "deep" / "two", device="cpu", progress=silent)
    pictures = sorted((tmp_path / "one" / "maps").iterdir())
    assert len(pictures) == 4
    assert all(path.stem in store.split("test") for path in pictures)
    assert len(cv2.imread(str(pictures[0]))) == PANEL
    assert (tmp_path / "one" / "report.html").read_text().count('<figure class="strip">') == 4
    names = sorted(str(p.relative_to(tmp_path / "one")) for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert names == sorted([*FILES, "report.html", *(f"maps/{path.name}" for path in pictures)])
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "deep" / "two" / name).read_bytes(), name
    assert json.loads((tmp_path / "one" / "metrics.json").read_text()) == metrics
    assert metrics["boxes"] == "none"
    assert all(np.isfinite(value) for value in metrics.values() if not isinstance(value, str))
    assert pq.read_table(tmp_path / "one" / "per_image.parquet").num_rows == len(store.split("test"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_true_boxes_are_told(shapes, untrained, tmp_path):
    store, model = shapes("pose"), untrained("pose", "box")
    metrics = evaluate(model, store.folder, OPTIONS, tmp_path / "out", device="cpu", progress=silent)
    assert metrics["boxes"] == "truth"
    assert "taken from the labels" in (tmp_path / "out" / "report.html").read_text()


def test_results_replace_older_ones_whole(shapes, untrained, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.txt").write_text("old")
    results(shapes("pose"), untrained("pose"), out, 1)
    assert not (out / "old.txt").exists()


def test_a_failure_leaves_the_older_results(shapes, untrained, tmp_path):
    store, out = shapes("pose"), tmp_path / "out"
    results(store, untrained("pose"), out, 1)
    before = (out / "metrics.json").read_text()
    with pytest.raises(TypeError):
        write_results(
            shifted(store, store.split("test"), 2), store, store.split("test"), OPTIONS, out, untrained("pose"),
            {"bad": object()}, {},
        )  # fmt: skip
    assert (out / "metrics.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_split_is_refused_by_name(shapes, untrained, tmp_path):
    source = shapes("pose")
    folder = tmp_path / "shapes"
    shutil.copytree(source.folder, folder)
    description = json.loads((folder / "dataset.json").read_text())
    description["splits"] |= {"train": 0.6, "val": 0.4, "test": 0.0}
    (folder / "dataset.json").write_text(json.dumps(description))
    assert open_dataset(folder).split("test") == []
    with pytest.raises(UserError, match=r"data set shapes: no images in split test.*\n.*evaluate\.split=val"):
        evaluate(untrained("pose"), folder, OPTIONS, tmp_path / "out", progress=silent)
    assert not (tmp_path / "out").exists()


def test_another_skeleton_is_refused(shapes, untrained, tmp_path):
    with pytest.raises(UserError, match="the model was trained for pose"):
        evaluate(untrained("pose"), shapes("points").folder, OPTIONS, tmp_path / "out", progress=silent)


def test_predictions_are_read_as_they_were_written(shapes, untrained, tmp_path):
    store = shapes("pose")
    out = results(store, untrained("pose"), tmp_path / "out", 3)
    again = read_predictions(out / "predictions.parquet", store.info.num_keypoints)
    for one, found in shifted(store, store.split("test"), 3).items():
        np.testing.assert_array_equal(again[one].keypoints, found.keypoints)
        np.testing.assert_array_equal(again[one].scores, found.scores)


def test_comparison_names_the_better_model(shapes, untrained, tmp_path):
    store, model = shapes("pose"), untrained("pose")
    new, old = results(store, model, tmp_path / "new", 1), results(store, model, tmp_path / "old", 6)
    found = compare_results(new, old)
    assert found.main == "oks_ap"
    assert found.of("oks_ap").improvement > 0
    assert found.of("pixel_error_mean").verdict == "better"
    assert found.of("pixel_error_mean").difference == pytest.approx(-5, abs=1e-3)
    assert found.of("pixel_error_mean").improvement == pytest.approx(5, abs=1e-3)
    assert compare_results(old, new).of("pixel_error_mean").verdict == "worse"
    assert "oks_ar" in found.metrics


def test_equal_models_are_not_better(shapes, untrained, tmp_path):
    store, model = shapes("points"), untrained("points")
    one, two = results(store, model, tmp_path / "one", 2), results(store, model, tmp_path / "two", 2)
    found = compare_results(one, two)
    assert {row.verdict for row in found.metrics.values()} <= {"no clear difference", ""}


def test_the_first_model_stands_alone(shapes, untrained, tmp_path):
    out = results(shapes("pose"), untrained("pose"), tmp_path / "out", 2)
    found = compare_results(out, None)
    assert not found.has_champion
    assert found.of("nme").champion is None
    with pytest.raises(UserError, match="did you mean 'oks_mean'"):
        found.of("oks_maen")


def test_other_images_or_options_are_not_compared(shapes, untrained, tmp_path):
    store, model = shapes("points"), untrained("points")
    one = results(store, model, tmp_path / "one", 2)
    other = results(store, model, tmp_path / "other", 2, EvaluateOptions(radius=9))
    with pytest.raises(UserError, match=r"differ in radius: 5\.0 and 9\.0"):
        compare_results(one, other)
    fewer = results(store, model, tmp_path / "fewer", 2, ids=store.split("test")[1:])
    with pytest.raises(UserError, match="1 images are in one only"):
        compare_results(one, fewer)


def test_the_report_needs_nothing_but_itself(shapes, untrained, tmp_path):
    store, model = shapes("pose"), tmp_path / "model"
    shutil.copytree(untrained("pose"), model)
    history = [{"epoch": e, "loss": 1 / e, "terms": {"heatmap": 1 / e}, "val": {"score": e / 9}} for e in range(1, 5)]
    (model / "history.jsonl").write_text("".join(json.dumps(one) + "\n" for one in history))
    new, old = results(store, model, tmp_path / "new", 1), results(store, model, tmp_path / "old", 4)
    page, verdict = tmp_path / "page.html", tmp_path / "verdict.json"
    evil = "<script>alert('x')</script>\"onload=x"
    write_comparison(new, old, model, store.folder, page, evil, "v1 & <b>", verdict)
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "v1 &amp; &lt;b&gt;" in text
    sources = re.findall(r"""(?:src|href)\s*=\s*["']?(.{5})""", text)
    assert sources == ["data:"] * 4
    assert not re.search(r"https?://|url\(|@import", text)
    assert text.count("<figure>") == 4
    assert "is better than" in text
    for heading in ("Metrics", "Errors", "Score threshold", "Predictions", "Training", "How it was made"):
        assert f"<h2>{heading}</h2>" in text
    content = json.loads(verdict.read_text())
    assert content["main_metric"] == "oks_ap"
    assert content["metrics"]["oks_ap"]["improvement"] > 0


def test_the_report_has_no_time_and_no_path(shapes, untrained, tmp_path):
    store, model = shapes("pose"), untrained("pose")
    results(store, model, tmp_path / "out", 1)
    text = (tmp_path / "out" / "report.html").read_text()
    assert str(tmp_path) not in text
    assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_results_that_are_missing_are_named(shapes, untrained, tmp_path):
    with pytest.raises(UserError, match=r"per_image\.parquet: no results per image"):
        write_comparison(tmp_path, None, untrained("pose"), shapes("pose").folder, tmp_path / "page.html")
