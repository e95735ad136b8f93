from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.ingest import build_version
from kpmodels.data.readers.masks import components
from kpmodels.data.store import open_dataset
from kpmodels.errors import UserError


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def mask(*pixels: tuple[int, int], value: int = 255) -> np.ndarray:
    result = np.zeros((16, 24), np.uint8)
    for x, y in pixels:
        result[y, x] = value
    return result


class TestComponents:
    def test_corners_that_touch_are_one(self) -> None:
        labels = components(mask((3, 4), (4, 5), (9, 9)) > 0)
        assert [label.keypoints_K3.tolist() for label in labels] == [[[3.5, 4.5, 2]], [[9, 9, 2]]]
        assert [label.box for label in labels] == [(3, 4, 5, 6), (9, 9, 10, 10)]
        assert [label.area for label in labels] == [2, 1]

    def test_none(self) -> None:
        assert components(mask() > 0) == []


def test_a_folder_of_masks(tmp_path: Path) -> None:
    names = {"a": mask((3, 4)), "b": mask((1, 1), (20, 10), value=1), "c": mask()}
    for number, (name, pixels) in enumerate(names.items()):
        write(tmp_path / "drop" / "images" / f"{name}.png", np.full((16, 24), number, np.uint8))
        write(tmp_path / "drop" / "masks" / (f"{name}_mask.png" if name == "b" else f"{name}.png"), pixels)
    report = build_version(tmp_path / "drop", tmp_path / "ir", "ir")
    store = open_dataset(tmp_path / "ir")
    assert (report.format, store.info.task, store.info.skeleton.names) == ("masks", "points", ("centre",))
    counts = {store.record(one).file_name: len(store.instances(one)) for one in store.image_ids}
    assert counts == {"a.png": 1, "b.png": 2, "c.png": 0}


def test_bad_pairs(tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    for number, name in enumerate("abcd"):
        write(drop / "images" / f"{name}.png", np.full((16, 24), number, np.uint8))
    write(drop / "masks" / "a.png", mask((3, 4)))
    write(drop / "masks" / "z.png", mask((3, 4)))
    write(drop / "masks" / "b.png", np.zeros((9, 9), np.uint8))
    (drop / "masks" / "c.png").write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        build_version(drop, tmp_path / "ir", "ir")
    for problem in (
        "z.png: label for a missing image",
        "d.png: unlabelled image",
        "b.png: wrong size",
        "c.png: broken mask",
    ):
        assert problem in str(caught.value)
    report = build_version(drop, tmp_path / "ir", "ir", skip_bad=True)
    assert (report.images, report.instances) == (1, 1)
    report = build_version(drop, tmp_path / "ir", "ir", skip_bad=True, options=IngestOptions(unlabelled="empty"))
    assert report.images == 2


DATA = Path(os.environ.get("KP_DATA", "../shared/data")) / "infrared-sirst"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set KP_DATA)")
def test_drawn_targets_of_a_real_set_are_found_again(tmp_path: Path) -> None:
    """Boxes of at most 2 x 2 pixels filled by their area are whole components: drawn as masks they give the same labels."""
    content = json.loads((DATA / "annotations.json").read_text())
    full = [a for a in content["annotations"] if a["area"] == a["bbox"][2] * a["bbox"][3]]
    assert len(full) > 5
    for one in full:
        pixels = np.zeros((600, 600), bool)
        x, y, w, h = (int(value) for value in one["bbox"])
        pixels[y : y + h, x : x + w] = True
        (label,) = components(pixels)
        assert label.box == (x, y, x + w, y + h)
        assert label.area == one["area"]
        np.testing.assert_allclose(label.keypoints_K3[0], one["keypoints"], atol=1e-3)
