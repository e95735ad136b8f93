"""A data set on disk, read: which images there are, what they hold, and their bytes."""

from __future__ import annotations

import bisect
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kpmodels.data.schema import FORMAT, IMAGE_FACTS
from kpmodels.data.splits import SPLITS, SplitRule, split_key, split_of
from kpmodels.errors import UserError, nearest
from kpmodels.structures import DatasetInfo, Instances


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What is known of an image; sizes in pixels as stored (EXIF orientation ignored)."""

    image_id: str
    width: int
    height: int
    file_name: str
    group: str
    source: str
    split: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image's bytes are."""

    shard: int
    row_group: int
    row: int


def open_dataset(folder: Path | str) -> DatasetStore:
    """The data set in a folder.

    Raises:
        UserError: When there is none, or it was written by a newer version of this program.
    """
    folder = Path(folder)
    path = folder / "dataset.json"
    if not path.is_file():
        raise UserError(
            f"no data set in {folder} (dataset.json is missing)", "make one with: kp data ingest SRC --name N"
        )
    description = json.loads(path.read_text())
    if description.get("format", 0) > FORMAT:
        raise UserError(f"{path} has format {description['format']}, this program knows up to {FORMAT}", "update it")
    return DatasetStore(folder, description)


class DatasetStore:
    """Read access to a data set. May be pickled; open files do not travel.

    Attributes:
        folder: Where it is.
        description: The content of ``dataset.json``.
        info: What a detector must know of it.
        rule: How its images are divided.
        shards: The image files, in order of their names.
        image_ids: All ids, sorted.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder = folder
        self.description = description
        self.info = DatasetInfo.from_dict(description["info"])
        self.rule = SplitRule.from_dict(description["splits"])
        self.shards = sorted(folder.glob("images-*.parquet"))
        self._files: dict[int, pq.ParquetFile] = {}
        self._cached: tuple[int, int, pa.ChunkedArray] | None = None
        self._records, self._places = self._read_facts()
        self.image_ids = sorted(self._records)

    def _read_facts(self) -> tuple[dict[str, ImageRecord], dict[str, _Place]]:
        records: dict[str, ImageRecord] = {}
        places: dict[str, _Place] = {}
        for number in range(len(self.shards)):
            file = self._file(number)
            for group in range(file.num_row_groups):
                for row, facts in enumerate(file.read_row_group(group, columns=IMAGE_FACTS).to_pylist()):
                    for name in ("group", "source"):  # one text for all images that share it
                        facts[name] = sys.intern(facts[name])
                    split = split_of(split_key(facts["image_id"], facts["group"]), self.rule)
                    records[facts["image_id"]] = ImageRecord(**facts, split=split)
                    places[facts["image_id"]] = _Place(number, group, row)
        return records, places

    def _file(self, number: int) -> pq.ParquetFile:
        if number not in self._files:
            self._files[number] = pq.ParquetFile(self.shards[number], memory_map=True)
        return self._files[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_cached": None}

    def __len__(self) -> int:
        return len(self.image_ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._records

    def record(self, image_id: str) -> ImageRecord:
        """What is known of an image. Raises ``KeyError`` for an unknown id."""
        return self._records[image_id]

    @cached_property
    def _by_split(self) -> dict[str, list[str]]:
        parts: dict[str, list[str]] = {name: [] for name in SPLITS}
        for one in self.image_ids:
            parts[self._records[one].split].append(one)
        return {**parts, "all": list(self.image_ids)}

    def split(self, name: str) -> list[str]:
        """The sorted ids of ``train``, ``val``, ``test`` or ``all``."""
        if name not in self._by_split:
            raise UserError(f"unknown split {name!r}: {nearest(name, self._by_split)}")
        return self._by_split[name]

    @cached_property
    def _annotations(self) -> _Annotations:
        return _Annotations(self.folder / "annotations.parquet", self.info.num_keypoints)

    def instances(self, image_id: str) -> Instances:
        """The truth of an image in pixels of the original, sorted by annotation id; empty where there is none."""
        return self._annotations.of(image_id)

    @property
    def instance_count(self) -> int:
        """Instances of all images together."""
        return len(self._annotations.image_ids)

    def read_bytes(self, image_id: str) -> bytes:
        """The encoded bytes of an image. In the order of ``stream`` it is fast; at random it reads a whole row group."""
        place = self._places[image_id]
        if self._cached is None or self._cached[:2] != (place.shard, place.row_group):
            column = self._file(place.shard).read_row_group(place.row_group, columns=["bytes"]).column(0)
            self._cached = (place.shard, place.row_group, column)
        return self._cached[2][place.row].as_py()

    def stream(self, image_ids: Iterable[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """(id, bytes) of the wanted images in the order of the files, each row group read once, flat in memory."""
        wanted = self.image_ids if image_ids is None else list(image_ids)
        places = self._places
        for one in sorted(wanted, key=lambda i: (places[i].shard, places[i].row_group, places[i].row)):
            yield one, self.read_bytes(one)

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that stand for the content: images (by id), facts, labels and description.

        Copies, and the same images in other shards, have the same one.
        """
        digest = hashlib.sha256()
        for one in self.image_ids:
            digest.update(repr(self._records[one]).encode())
        for name in ("annotations.parquet", "dataset.json"):
            digest.update(hashlib.sha256((self.folder / name).read_bytes()).digest())
        return digest.hexdigest()[:32]


class _Annotations:
    """The rows of ``annotations.parquet`` as arrays, sorted by image id."""

    def __init__(self, path: Path, num_keypoints: int) -> None:
        table = pq.read_table(path).combine_chunks()
        self.image_ids: list[str] = table["image_id"].to_pylist()
        self.annotation_ids: list[str] = table["annotation_id"].to_pylist()
        count = len(self.image_ids)
        self.keypoints_NK3 = _flat(table["keypoints"]).reshape(count, num_keypoints, 3)
        self.boxes_N4 = _flat(table["box"]).reshape(count, 4)
        self.labels = table["label"].to_numpy().astype(np.int64)
        self.areas = table["area"].to_numpy().astype(np.float32)
        self.crowd = np.asarray(table["crowd"].to_pylist(), bool)

    def of(self, image_id: str) -> Instances:
        rows = slice(bisect.bisect_left(self.image_ids, image_id), bisect.bisect_right(self.image_ids, image_id))
        return Instances.make(
            self.keypoints_NK3[rows].copy(),
            boxes=self.boxes_N4[rows].copy(),
            labels=self.labels[rows].copy(),
            areas=self.areas[rows].copy(),
            crowd=self.crowd[rows].copy(),
            ids=self.annotation_ids[rows],
        )


def _flat(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """All numbers of a list column in one array."""
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([np.zeros(0, np.float32), *parts]).astype(np.float32)
