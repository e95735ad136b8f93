from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.checks import Finding, check_dataset, difference_hash, print_findings
from kpmodels.data.ingest import build_version
from kpmodels.data.store import DatasetStore, open_dataset

Drop = Callable[..., Path]


def kinds(findings: list[Finding]) -> set[str]:
    return {finding.kind for finding in findings}


def built(drop: Path, folder: Path, **options: object) -> DatasetStore:
    build_version(drop, folder, "mice", options=IngestOptions(**options))
    return open_dataset(folder)


def test_a_clean_set_has_nothing_to_tell(coco_drop: Drop, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = built(coco_drop(count=40), tmp_path / "mice", sigmas=0.05, licence="MIT")
    assert check_dataset(store) == []
    print_findings([])
    assert capsys.readouterr().out == "nothing suspicious\n"


SUSPICIOUS = {
    "labelled keypoint at 0, 0": lambda c: c["annotations"][0]["keypoints"].__setitem__(slice(0, 2), [0, 0]),
    "keypoint far from its box": lambda c: (
        c["annotations"][0].update(bbox=[1, 1, 3, 3]),
        c["annotations"][0]["keypoints"].__setitem__(slice(0, 2), [30, 20]),
    ),
    "keypoint outside its image": lambda c: c["annotations"][0]["keypoints"].__setitem__(0, 32.2),
    "degenerate box": lambda c: c["annotations"][0].update(bbox=[5, 5, 0.5, 8]),
    "no instances": lambda c: c["annotations"].pop(),
    "duplicate instance": lambda c: c["annotations"].append({**c["annotations"][0], "id": 99}),
    "left and right coincide": lambda c: c["annotations"][0]["keypoints"].__setitem__(
        slice(3, 6), c["annotations"][0]["keypoints"][6:9]
    ),
    "category without instances": lambda c: c["categories"].append({**c["categories"][0], "id": 2, "name": "rat"}),
    "keypoint never labelled": lambda c: [a["keypoints"].__setitem__(slice(0, 3), [0, 0, 0]) for a in c["annotations"]],
}


@pytest.mark.parametrize("kind", SUSPICIOUS)
def test_each_kind_is_found_with_its_ids(coco_drop: Drop, tmp_path: Path, kind: str) -> None:
    store = built(coco_drop(count=5, edit=SUSPICIOUS[kind]), tmp_path / "mice")
    found = [finding for finding in check_dataset(store) if finding.kind == kind]
    assert found
    if kind not in ("category without instances", "keypoint never labelled"):
        assert all(finding.image_id in store for finding in found)
    if kind in ("labelled keypoint at 0, 0", "keypoint far from its box", "degenerate box", "left and right coincide"):
        assert {finding.annotation_id for finding in found} == {"1"}


def test_what_a_set_lacks(coco_drop: Drop, tmp_path: Path) -> None:
    found = kinds(check_dataset(built(coco_drop(count=2), tmp_path / "mice")))
    assert {"no sigmas", "no licence", "empty split"} <= found


def test_an_unusual_size(coco_drop: Drop, tmp_path: Path) -> None:
    def smaller(content: dict) -> None:
        content["images"][3].update(width=30, height=24)

    drop = coco_drop(count=20, edit=smaller)
    path = drop / "images" / "0-003.png"
    path.write_bytes(cv2.imencode(".png", cv2.imread(str(path))[:, :30])[1].tobytes())
    findings = check_dataset(built(drop, tmp_path / "mice"))
    assert [finding.message for finding in findings if finding.kind == "unusual size"] == [
        "0-003.png: 30 x 24, most are 32 x 24"
    ]


def test_near_duplicates_across_splits(coco_drop: Drop, tmp_path: Path) -> None:
    """Every second image is the one before with one grey level more, so nearly each test image has a twin in train."""
    drop = coco_drop(count=60)
    paths = sorted((drop / "images").iterdir())
    for source, twin in zip(paths[::2], paths[1::2], strict=True):
        image = np.minimum(cv2.imread(str(source)), 250) + 2
        twin.write_bytes(cv2.imencode(".png", image.astype(np.uint8))[1].tobytes())
    store = built(drop, tmp_path / "mice")
    names = {one: store.record(one) for one in store.image_ids}
    by_name = {record.file_name: record for record in names.values()}
    apart = 0
    for source, twin in zip(paths[::2], paths[1::2], strict=True):
        apart += by_name[source.name].split != by_name[twin.name].split
    found = [finding for finding in check_dataset(store) if finding.kind == "near-duplicate across splits"]
    assert apart > 3
    assert len(found) == apart


def test_changed_bytes_in_a_shard(coco_drop: Drop, tmp_path: Path) -> None:
    store = built(coco_drop(), tmp_path / "mice")
    path = store.shards[0]
    rows = pq.read_table(path).to_pylist()
    rows[0]["bytes"] = rows[1]["bytes"]
    rows[2]["bytes"] = rows[2]["bytes"][:-40]
    path.unlink()
    pq.write_table(pq.read_table(_written(rows, tmp_path)), path)
    findings = check_dataset(open_dataset(store.folder))
    assert ("content is not the id's", rows[0]["image_id"]) in [(one.kind, one.image_id) for one in findings]
    assert ("broken image", rows[2]["image_id"]) in [(one.kind, one.image_id) for one in findings]


def _written(rows: list[dict], folder: Path) -> Path:
    import pyarrow as pa

    from kpmodels.data.schema import IMAGES

    pq.write_table(pa.Table.from_pylist(rows, schema=IMAGES), folder / "rows.parquet")
    return folder / "rows.parquet"


class TestDifferenceHash:
    def test_brightness_and_size_do_not_matter(self) -> None:
        image = cv2.resize(np.random.default_rng(1).integers(20, 200, (8, 9, 3), np.uint8), (180, 160))
        a, plain = difference_hash(image)
        assert not plain
        for other in (image + 20, cv2.resize(image, (90, 80), interpolation=cv2.INTER_AREA)):
            assert np.bitwise_count(a ^ difference_hash(other)[0]) <= 3

    def test_another_image_is_far(self) -> None:
        images = [np.random.default_rng(seed).integers(0, 255, (80, 90, 3), np.uint8) for seed in (1, 2)]
        a, b = (difference_hash(image)[0] for image in images)
        assert np.bitwise_count(a ^ b) > 15

    def test_a_plain_image_says_so(self) -> None:
        assert difference_hash(np.full((50, 60, 3), 9, np.uint8))[1]


def test_findings_are_printed_by_kind(capsys: pytest.CaptureFixture) -> None:
    print_findings([Finding("odd", f"id{i}", "a", f"message {i}") for i in range(5)], most=2)
    out = capsys.readouterr().out
    assert out == "odd: 5\n  id0 a  message 0\n  id1 a  message 1\n  +3 more\n"
