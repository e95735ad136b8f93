from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from kpmodels.config import EvaluateOptions
from kpmodels.errors import UserError
from kpmodels.evaluation import comparison
from kpmodels.evaluation.report.entries import Entry, read_entries
from kpmodels.evaluation.report.side_by_side import write_side_by_side
from kpmodels.evaluation.run import write_results
from kpmodels.structures import Instances

OPTIONS = EvaluateOptions(samples=1)
HISTORY = [{"epoch": 1, "val": {"score": 0.0}}, {"epoch": 2}, {"epoch": 3, "val": {"score": 0.5}}]


@pytest.fixture(scope="module")
def rows(shapes, untrained, tmp_path_factory):
    """Three models that are off by 1, 4 and 6 pixels, as a page asks for them."""
    folder, store = tmp_path_factory.mktemp("measured"), shapes("points")
    model = folder / "model"
    shutil.copytree(untrained("points"), model)
    (model / "history.jsonl").write_text("".join(json.dumps(one) + "\n" for one in HISTORY))
    ids = store.split("test")
    truths = {one: store.instances(one) for one in ids}
    about = {"images": len(ids), "instances": 9, "options": OPTIONS.model_dump(mode="json")}
    found = []
    for pixels in (1, 4, 6):
        moved = {
            one: Instances.make(truth.keypoints + np.array([pixels, 0, 0], np.float32), scores=np.full(len(truth), 0.8))
            for one, truth in truths.items()
        }
        write_results(moved, store, ids, OPTIONS, folder / str(pixels), model, about, {"boxes": "none"})
        found.append({"title": f"off by {pixels}", "results": str(folder / str(pixels)), "model": str(model)})
    return found


def written(rows, folder):
    summary = write_side_by_side({"title": "T", "data": "d@v1", "entries": rows}, folder / "page.html")
    return summary, (folder / "page.html").read_text()


def test_the_others_are_compared_with_the_first_which_is_not_bootstrapped_against_itself(rows, tmp_path, monkeypatch):
    pairs, original = [], comparison.paired_difference

    def counting(metric, new, old, weights_RN):
        pairs.append((metric.key, id(old)))
        return original(metric, new, old, weights_RN)

    monkeypatch.setattr(comparison, "paired_difference", counting)
    summary, page = written(rows, tmp_path)
    assert len(pairs) == 2 * len({key for key, _ in pairs})
    first, *others = [row["against_first"] for row in summary["entries"]]
    assert first == {"difference": None, "low": None, "high": None, "verdict": ""}
    main = summary["main_metric"]
    for row, found in zip(summary["entries"][1:], others, strict=True):
        assert found["difference"] == pytest.approx(row["metrics"][main] - summary["entries"][0]["metrics"][main])
        assert found["low"] <= found["difference"] <= found["high"]
    assert page.count("off by 1") >= 2
    assert "test, " in page


def test_a_score_of_zero_is_a_score(rows):
    entry = read_entries(rows)[0]
    assert entry.scores == [(1, 0.0), (3, 0.5)]


def test_a_model_without_its_folder_is_read_as_far_as_its_results_go(rows):
    whole = read_entries(rows)[0]
    alone = Entry("alone", whole.results)
    assert alone.metrics == whole.metrics
    assert alone.measured_on == whole.measured_on
    assert (alone.experiment, alone.history, math.isnan(alone.megabytes)) == ({}, [], True)
    assert whole.experiment["detector"]["kind"]
    assert whole.megabytes > 0


def test_what_cannot_stand_side_by_side_is_refused(rows, tmp_path):
    with pytest.raises(UserError, match="one model alone"):
        written(rows[:1], tmp_path)
    with pytest.raises(UserError, match="two entries have one title"):
        written([rows[0], rows[0]], tmp_path)
    assert not (Path(tmp_path) / "page.html").exists()
