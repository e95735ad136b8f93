from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.ingest import build_version
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.errors import UserError


def make(folder: Path, rows: list[str], images: int = 3, header: str = "image,x,y") -> Path:
    (folder / "images").mkdir(parents=True)
    for number in range(images):
        image = np.full((20, 30, 3), 50 * number, np.uint8)
        (folder / "images" / f"{number}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    (folder / "points.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def points_of(store: DatasetStore) -> dict[str, list[list[float]]]:
    return {store.record(one).file_name: store.instances(one).keypoints[:, 0].tolist() for one in store.image_ids}


def test_points_per_image(tmp_path: Path) -> None:
    drop = make(tmp_path / "drop", ["0.png,1.5,2", "0.png,29,19", "1.png,7,8", "2.png,,"])
    report = build_version(drop, tmp_path / "dots", "dots")
    store = open_dataset(tmp_path / "dots")
    assert (report.format, store.info.task, store.info.categories) == ("points", "points", ("point",))
    assert points_of(store) == {"0.png": [[1.5, 2, 2], [29, 19, 2]], "1.png": [[7, 8, 2]], "2.png": []}
    assert not store.info.single_instance


def test_labels_become_categories(tmp_path: Path) -> None:
    drop = make(tmp_path / "drop", ["0.png;1;2;b", "1.png;3;4;a", "2.png;;;"], header="File_Name;X;Y;Class")
    build_version(drop, tmp_path / "dots", "dots")
    store = open_dataset(tmp_path / "dots")
    assert store.info.categories == ("a", "b")
    labels = {store.record(one).file_name: store.instances(one).labels.tolist() for one in store.image_ids}
    assert labels == {"0.png": [1], "1.png": [0], "2.png": []}


def test_images_that_are_not_listed(tmp_path: Path) -> None:
    drop = make(tmp_path / "drop", ["0.png,1,2"])
    with pytest.raises(UserError, match="2 x unlabelled image"):
        build_version(drop, tmp_path / "dots", "dots")
    build_version(drop, tmp_path / "dots", "dots", options=IngestOptions(unlabelled="empty"))
    assert len(open_dataset(tmp_path / "dots")) == 3


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("9.png,1,2", "missing image"),
        ("0.png,one,2", "bad keypoints"),
        ("0.png,nan,2", "bad keypoints"),
        ("0.png,3,", "bad keypoints"),
        ("0.png,32,2", "keypoint outside its image"),
        ("../0.png,3,2", "path out of the folder"),
        (",3,2", "label for a missing image"),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, kind: str) -> None:
    drop = make(tmp_path / "drop", ["0.png,1,2", "1.png,1,2", "2.png,,", row])
    with pytest.raises(UserError, match=f"1 x {kind}"):
        build_version(drop, tmp_path / "dots", "dots")
    report = build_version(drop, tmp_path / "dots", "dots", skip_bad=True)
    assert report.left_out == {kind: 1}
    assert report.instances == 2


def test_relabelling_by_a_second_list(tmp_path: Path) -> None:
    build_version(make(tmp_path / "a", ["0.png,1,2", "1.png,3,4", "2.png,,"]), tmp_path / "dots", "dots")
    report = build_version(make(tmp_path / "b", ["0.png,1,2", "1.png,3,5", "2.png,,"]), tmp_path / "dots", "dots")
    assert (report.images_relabelled, report.images_unchanged) == (1, 2)
    assert points_of(open_dataset(tmp_path / "dots"))["1.png"] == [[3, 5, 2]]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 29, width=32), st.floats(0, 19, width=32)), max_size=5), min_size=3, max_size=3
    ).filter(any)
)
def test_any_points_come_through(tmp_path_factory: pytest.TempPathFactory, sets: list) -> None:
    folder = tmp_path_factory.mktemp("round")
    drop = make(folder / "drop", [])
    with open(drop / "points.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "x", "y"])
        for number, points in enumerate(sets):
            writer.writerows([[f"{number}.png", repr(x), repr(y)] for x, y in points] or [[f"{number}.png", "", ""]])
    build_version(drop, folder / "out", "dots")
    found = points_of(open_dataset(folder / "out"))
    for number, points in enumerate(sets):
        assert sorted(found[f"{number}.png"]) == sorted([x, y, 2] for x, y in points)
