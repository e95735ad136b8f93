"""Data sets of a few tiny images, written by hand in the layout of the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpmodels.data.schema import ANNOTATIONS, FORMAT, IMAGES, image_id
from kpmodels.data.splits import SplitRule
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.structures import DatasetInfo, Instances, Skeleton

StoreMaker = Callable[..., DatasetStore]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KP_CACHE", str(tmp_path / "kp-cache"))


def encode(image_HW3: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image_HW3[..., ::-1])[1].tobytes()


@pytest.fixture
def write_store(tmp_path: Path) -> StoreMaker:
    """``write_store(images, truths, flip_pairs=(), per_shard=3, suffix=".png")``: all images are in split train."""

    def write(
        images: Sequence[np.ndarray],
        truths: Sequence[Instances],
        flip_pairs: tuple[tuple[int, int], ...] = (),
        per_shard: int = 3,
        suffix: str = ".png",
        name: str = "tiny",
    ) -> DatasetStore:
        folder = tmp_path / name
        folder.mkdir()
        rows, labels = [], []
        for number, (image, truth) in enumerate(zip(images, truths, strict=True)):
            data = encode(image, suffix)
            height, width = image.shape[:2]
            one = {"image_id": image_id(data), "bytes": data, "width": width, "height": height}
            rows.append({**one, "file_name": f"{number}{suffix}", "group": "", "source": "test"})
            labels += [
                {
                    "image_id": one["image_id"],
                    "annotation_id": f"{number}-{index}",
                    "label": int(truth.labels[index]),
                    "keypoints": truth.keypoints[index].ravel().tolist(),
                    "box": truth.boxes[index].tolist(),
                    "area": float(truth.areas[index]),
                    "crowd": bool(truth.crowd[index]),
                }
                for index in range(len(truth))
            ]
        for shard, start in enumerate(range(0, len(rows), per_shard)):
            part = sorted(rows[start : start + per_shard], key=lambda row: row["image_id"])
            table = pa.Table.from_pylist(part, IMAGES)
            pq.write_table(table, folder / f"images-{shard:04d}.parquet", compression="none", row_group_size=2)
        labels.sort(key=lambda row: (row["image_id"], row["annotation_id"]))
        pq.write_table(pa.Table.from_pylist(labels, ANNOTATIONS), folder / "annotations.parquet")
        count = truths[0].keypoints.shape[1]
        skeleton = Skeleton(tuple(f"k{i}" for i in range(count)), flip_pairs=flip_pairs)
        info = DatasetInfo(name, "pose" if count > 1 else "points", ("thing",), skeleton)
        description = {"format": FORMAT, "info": info.to_dict(), "splits": SplitRule(1, 0, 0).to_dict()}
        (folder / "dataset.json").write_text(json.dumps(description))
        return open_dataset(folder)

    return write


@pytest.fixture
def coco_drop(tmp_path: Path) -> Callable[..., Path]:
    """``coco_drop(name, count=4, seed=0, edit=None, keypoints=3)``: a drop of small PNGs with one instance each.

    ``edit`` may change the content of ``annotations.json`` in place before it is written.
    """

    def make(
        name: str = "drop",
        count: int = 4,
        seed: int = 0,
        edit: Callable[[dict], object] | None = None,
        keypoints: int = 3,
    ) -> Path:
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        names = ["nose", "left_ear", "right_ear", "tail"][:keypoints]
        category = {
            "id": 1,
            "name": "mouse",
            "keypoints": names,
            "skeleton": [[1, 2], [1, 3]] if keypoints >= 3 else [],
        }
        content: dict = {"images": [], "annotations": [], "categories": [category]}
        for number in range(count):
            rng = np.random.default_rng(1000 * seed + number)
            image = rng.integers(0, 255, (24, 32, 3), np.uint8)
            file_name = f"{seed}-{number:03d}.png"
            (folder / "images" / file_name).write_bytes(encode(image))
            id = 100 * seed + number + 1
            content["images"].append({"id": id, "file_name": file_name, "width": 32, "height": 24})
            points = np.column_stack([rng.uniform(4, 20, (keypoints, 2)).round(2), np.full(keypoints, 2)])
            one = {"id": id, "image_id": id, "category_id": 1, "iscrowd": 0, "bbox": [2, 3, 20, 19], "area": 380}
            content["annotations"].append({**one, "keypoints": points.ravel().tolist()})
        if edit is not None:
            edit(content)
        (folder / "annotations.json").write_text(json.dumps(content))
        return folder

    return make
