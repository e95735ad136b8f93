from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kpmodels.data.diff import DatasetDiff, diff_versions, match_instances, print_diff
from kpmodels.data.ingest import build_version
from kpmodels.data.store import open_dataset
from kpmodels.structures import Instances

Drop = Callable[..., Path]


def difference(coco_drop: Drop, tmp_path: Path, edit: Callable[[dict], object] | None, **second: int) -> DatasetDiff:
    build_version(coco_drop("one"), tmp_path / "old", "mice")
    build_version(coco_drop("one-again"), tmp_path / "new", "mice")
    build_version(coco_drop("two", edit=edit, **second), tmp_path / "new", "mice")
    return diff_versions(open_dataset(tmp_path / "old"), open_dataset(tmp_path / "new"))


def test_no_difference(coco_drop: Drop, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    diff = difference(coco_drop, tmp_path, None)
    assert diff.empty
    assert diff.movement == {"count": 0}
    print_diff(diff)
    assert "no difference" in capsys.readouterr().out


def test_added_images_and_instances(coco_drop: Drop, tmp_path: Path) -> None:
    diff = difference(coco_drop, tmp_path, None, seed=1, count=3)
    assert (len(diff.images_added), diff.instances_added) == (3, 3)
    assert diff.images_removed == diff.images_relabelled == diff.images_moved == []
    assert sum(one["before"] for one in diff.splits.values()) == 4
    assert sum(one["after"] for one in diff.splits.values()) == 7
    assert diff.categories == {"mouse": {"before": 4, "after": 7}}


def test_backwards_they_are_removed(coco_drop: Drop, tmp_path: Path) -> None:
    difference(coco_drop, tmp_path, None, seed=1, count=3)
    diff = diff_versions(open_dataset(tmp_path / "new"), open_dataset(tmp_path / "old"))
    assert (len(diff.images_removed), diff.instances_removed) == (3, 3)


def test_how_far_keypoints_moved(coco_drop: Drop, tmp_path: Path) -> None:
    def move(content: dict) -> None:
        points = content["annotations"][0]["keypoints"]
        points[0], points[1] = points[0] + 3, points[1] + 4
        points[3] += 1
        content["annotations"][1]["keypoints"][6:9] = [0, 0, 0]

    diff = difference(coco_drop, tmp_path, move)
    assert len(diff.images_relabelled) == 2
    assert diff.instances_changed == 2
    assert diff.keypoints_vanished == 1
    assert diff.keypoints_appeared == 0
    assert diff.movement["count"] == 2
    assert diff.movement["max"] == pytest.approx(5, abs=1e-3)
    assert diff.movement["mean"] == pytest.approx(3, abs=1e-3)
    assert diff.movement_by_keypoint["nose"] == pytest.approx(
        {"count": 1, "mean": 5, "median": 5, "p95": 5, "max": 5}, abs=1e-3
    )
    assert diff.movement_by_keypoint["right_ear"] == {"count": 0}


def test_other_categories_and_instances(coco_drop: Drop, tmp_path: Path) -> None:
    def edit(content: dict) -> None:
        content["categories"].append({**content["categories"][0], "id": 2, "name": "rat"})
        content["annotations"][0]["category_id"] = 2
        content["annotations"].append({**content["annotations"][1], "id": 50})
        content["annotations"].pop(2)

    diff = difference(coco_drop, tmp_path, edit)
    assert (diff.instances_added, diff.instances_removed, diff.instances_relabelled) == (1, 1, 1)
    assert diff.categories == {"mouse": {"before": 4, "after": 3}, "rat": {"before": 0, "after": 1}}
    assert diff.info_changes["categories"] == [("mouse",), ("mouse", "rat")]


def test_it_prints_and_is_json(coco_drop: Drop, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    diff = difference(coco_drop, tmp_path, lambda c: c["annotations"][0]["keypoints"].__setitem__(0, 9))
    print_diff(diff)
    out = capsys.readouterr().out
    assert "images relabelled: 1" in out
    assert "nose: 1 moved" in out
    assert json.loads(json.dumps(diff.to_dict()))["empty"] is False


def test_instances_are_matched_by_id_then_by_the_nearest() -> None:
    def at(*places: float, ids: list[str]) -> Instances:
        points = np.array([[[x, 0, 2], [x, 5, 2]] for x in places], np.float32)
        return Instances.make(points, ids=ids)

    a, b = at(0, 10, 20, ids=["a", "x", "y"]), at(21, 50, 9, ids=["p", "a", "q"])
    pairs = match_instances(a, b, a.keypoints.astype(float), b.keypoints.astype(float))
    assert sorted(pairs) == [(0, 1), (1, 2), (2, 0)]


def test_compares_boxes_by_their_centres() -> None:
    a = Instances.make(np.zeros((2, 0, 3)), [[0, 0, 4, 4], [10, 10, 14, 14]], ids=["a", "b"])
    b = Instances.make(np.zeros((1, 0, 3)), [[11, 10, 15, 14]], ids=["c"])
    assert match_instances(a, b, a.keypoints.astype(float), b.keypoints.astype(float)) == [(1, 0)]
