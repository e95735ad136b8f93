from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpmodels.data import shards
from kpmodels.data.compact import compact
from kpmodels.data.ingest import build_version
from kpmodels.data.schema import ANNOTATIONS, image_id
from kpmodels.data.shards import ShardWriter
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.errors import UserError

Drop = Callable[..., Path]


@pytest.fixture
def store(coco_drop: Drop, tmp_path: Path) -> DatasetStore:
    build_version(coco_drop(count=12), tmp_path / "mice", "mice")
    return open_dataset(tmp_path / "mice")


class TestReading:
    def test_ids_are_the_content(self, store: DatasetStore) -> None:
        assert store.image_ids == sorted(store.image_ids)
        for one in store.image_ids:
            assert image_id(store.read_bytes(one)) == one

    def test_splits_are_a_partition(self, store: DatasetStore) -> None:
        parts = [store.split(name) for name in ("train", "val", "test")]
        assert sorted(one for part in parts for one in part) == store.split("all") == store.image_ids
        assert all(store.record(one).split == "train" for one in store.split("train"))

    def test_unknown_split(self, store: DatasetStore) -> None:
        with pytest.raises(UserError, match="did you mean 'train'"):
            store.split("trian")

    def test_an_image_without_labels(self, coco_drop: Drop, tmp_path: Path) -> None:
        build_version(coco_drop(edit=lambda c: c["annotations"].pop()), tmp_path / "some", "some")
        store = open_dataset(tmp_path / "some")
        counts = [len(store.instances(one)) for one in store.image_ids]
        assert sorted(counts) == [0, 1, 1, 1]
        assert all(store.instances(one).keypoints.shape[1:] == (3, 3) for one in store.image_ids)

    def test_instances_are_copies(self, store: DatasetStore) -> None:
        one = store.image_ids[0]
        before = store.instances(one).keypoints.copy()
        store.instances(one).keypoints[:] = 0
        np.testing.assert_array_equal(store.instances(one).keypoints, before)

    def test_stream_reads_each_wanted_image_once(self, store: DatasetStore) -> None:
        wanted = store.image_ids[::-2]
        streamed = dict(store.stream(wanted))
        assert sorted(streamed) == sorted(wanted)
        assert all(image_id(data) == one for one, data in streamed.items())

    def test_it_travels_in_a_pickle(self, store: DatasetStore) -> None:
        data = store.read_bytes(store.image_ids[0])
        again = pickle.loads(pickle.dumps(store))
        assert again.read_bytes(store.image_ids[0]) == data
        assert again.fingerprint == store.fingerprint

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no data set in"):
            open_dataset(tmp_path)

    def test_a_newer_layout(self, store: DatasetStore) -> None:
        path = store.folder / "dataset.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
        with pytest.raises(UserError, match="format 99"):
            open_dataset(store.folder)


class TestFingerprint:
    def test_changes_with_labels_and_images(self, coco_drop: Drop, tmp_path: Path) -> None:
        seen = set()
        for number, edit in enumerate(
            (None, lambda c: c["annotations"][0].update(bbox=[1, 1, 9, 9]), lambda c: c["images"].pop())
        ):
            drop = coco_drop(f"drop{number}", edit=edit)
            build_version(drop, tmp_path / str(number), "mice", skip_bad=True)
            seen.add(open_dataset(tmp_path / str(number)).fingerprint)
        assert len(seen) == 3

    def test_does_not_change_with_the_place(self, store: DatasetStore, tmp_path: Path) -> None:
        before = store.fingerprint
        store.folder.rename(tmp_path / "elsewhere")
        assert open_dataset(tmp_path / "elsewhere").fingerprint == before


class TestShards:
    def rows(self, count: int, size: int) -> list[dict]:
        datas = [bytes([number]) * size for number in range(count)]
        facts = {"width": 1, "height": 1, "file_name": "x", "group": "", "source": ""}
        return [{"image_id": image_id(data), "bytes": data, **facts} for data in datas]

    def test_they_are_bounded_sorted_and_complete(self, tmp_path: Path) -> None:
        rows = self.rows(10, 1000)
        with ShardWriter(tmp_path, shard_bytes=3500) as writer:
            for row in rows:
                writer.add(row)
            writer.finish()
        assert len(writer.written) == 4
        found: list[str] = []
        for path in writer.written:
            ids = pq.read_table(path)["image_id"].to_pylist()
            assert ids == sorted(ids)
            assert path.stat().st_size < 3500 + 4096
            found += ids
        assert sorted(found) == sorted(row["image_id"] for row in rows)

    def test_memory_is_that_of_one_shard(self, tmp_path: Path) -> None:
        with ShardWriter(tmp_path, shard_bytes=3500) as writer:
            for row in self.rows(40, 1000):
                writer.add(row)
                assert writer._held.size <= writer._held.room == 3500
            writer.finish()
        assert len(writer.written) == 14

    def test_an_image_larger_than_a_shard_is_one_by_itself(self, tmp_path: Path) -> None:
        rows = [row for size in (1000, 9000, 500) for row in self.rows(1, size)]
        with ShardWriter(tmp_path, shard_bytes=3500) as writer:
            for row in rows:
                writer.add(row)
            writer.finish()
        tables = [pq.read_table(path) for path in writer.written]
        assert [table["bytes"].to_pylist() for table in tables] == [[row["bytes"]] for row in rows]

    def test_row_groups_are_small(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shards, "GROUP_BYTES", 2500)
        with ShardWriter(tmp_path) as writer:
            for row in self.rows(10, 1000):
                writer.add(row)
            writer.finish()
        file = pq.ParquetFile(writer.written[0])
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2] * 5

    def test_little_is_added_to_the_images_bytes(self, tmp_path: Path) -> None:
        rows = self.rows(100, 20000)
        with ShardWriter(tmp_path) as writer:
            for row in rows:
                writer.add(row)
            writer.finish()
        assert sum(path.stat().st_size for path in writer.written) < 1.02 * 100 * 20000


class TestAnnotationsFile:
    def test_the_form_of_earlier_versions_is_read_and_grows(self, coco_drop: Drop, tmp_path: Path) -> None:
        """They wrote zstd and dictionaries, with the same columns."""
        folder = tmp_path / "mice"
        build_version(coco_drop("one"), folder, "mice")
        table = pq.read_table(folder / "annotations.parquet")
        pq.write_table(
            table, folder / "annotations.parquet", compression="zstd", use_dictionary=["image_id", "label", "crowd"]
        )
        old = open_dataset(folder)
        want = {one: old.instances(one) for one in old.image_ids}
        before = (folder / "annotations.parquet").read_bytes()
        assert not build_version(coco_drop("again"), folder, "mice").changed
        assert (folder / "annotations.parquet").read_bytes() == before
        build_version(coco_drop("two", seed=1), folder, "mice")
        new = open_dataset(folder)
        assert new.instance_count == 8
        for one, truth in want.items():
            np.testing.assert_array_equal(new.instances(one).keypoints, truth.keypoints)
            assert new.instances(one).ids == truth.ids

    @pytest.mark.parametrize("whole", [False, True])
    def test_it_is_small_and_exact(self, tmp_path: Path, whole: bool) -> None:
        rng = np.random.default_rng(0)
        points = rng.uniform(10, 400, (2000, 4, 3)).round(0 if whole else 2).astype(np.float32)
        points[..., 2] = 2
        rows = [
            {
                "image_id": image_id(b"%d" % number),
                "annotation_id": f"{image_id(b'%d' % number)[:8]}-0",
                "label": 0,
                "keypoints": points[number].ravel().tolist(),
                "box": [1.0, 2.0, 3.0, 4.0],
                "area": 6.25,
                "crowd": False,
            }
            for number in range(2000)
        ]
        shards.write_annotations(tmp_path, pa.Table.from_pylist(rows, ANNOTATIONS))
        path = tmp_path / "annotations.parquet"
        rows.sort(key=lambda row: row["image_id"])
        table = pq.read_table(path)
        assert table.schema == ANNOTATIONS
        assert table.to_pylist() == rows
        assert path.stat().st_size / 2000 < 15 + 8 * (1.6 if whole else 3.4)  # the ids' own bits are about 11 bytes


class TestCompact:
    def test_many_small_shards_become_one(self, coco_drop: Drop, tmp_path: Path) -> None:
        folder = tmp_path / "mice"
        for seed in range(3):
            build_version(coco_drop(f"drop{seed}", seed=seed), folder, "mice")
        before = open_dataset(folder)
        datas, fingerprint = dict(before.stream()), before.fingerprint
        annotations = (folder / "annotations.parquet").read_bytes()
        assert "3 shards" in compact(folder)
        after = open_dataset(folder)
        assert len(after.shards) == 1
        assert dict(after.stream()) == datas
        assert after.fingerprint == fingerprint
        assert (folder / "annotations.parquet").read_bytes() == annotations
        assert "nothing to merge" in compact(folder)
