"""Writing a data set's files: image shards of bounded size, annotations, the description.

The same rows in give the same bytes out: ids are sorted, writer settings fixed, and nothing says when or where.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from array import array
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kpmodels.data.schema import ANNOTATIONS, IMAGE_FACTS, IMAGES

SHARD_BYTES = 32 * 2**20
GROUP_BYTES = 8 * 2**20
GROUP_IMAGES = 64

Row = dict[str, Any]
"""One image: the columns of ``schema.IMAGES``."""


class ShardWriter:
    """Takes images in any order and writes them to new shards.

    In memory are the bytes of one shard and what Parquet needs for a row group, however many images there are. Files
    reach the disk while the next ones are made. To be used in a ``with`` block, which waits for what is under way.

    Attributes:
        written: The files written so far.
    """

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = folder
        self.shard_bytes = shard_bytes
        self.written: list[Path] = []
        self._held = _Held(0)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._under_way: list[Future[None]] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True)

    def add(self, row: Row) -> None:
        """Take one image; its bytes are copied."""
        size = len(row["bytes"])
        if len(self._held) and self._held.size + size > self.shard_bytes:
            self.flush()
        if size > self._held.room - self._held.size:
            self._held = _Held(max(self.shard_bytes, size))
        self._held.add(row)

    def flush(self) -> None:
        """Write what is held; it is on the disk after ``finish``."""
        if not len(self._held):
            return
        ids = "\n".join(self._held.image_id(row) for row in self._held.order())
        path = self.folder / f"images-{hashlib.sha256(ids.encode()).hexdigest()[:16]}.parquet"
        with pq.ParquetWriter(
            path, IMAGES, compression="none", use_dictionary=False, write_statistics=False, version="2.6"
        ) as writer:
            for table in self._held.tables():
                writer.write_table(table)
        self._held.clear()
        self.written.append(path)
        self._under_way.append(self._pool.submit(sync, path))

    def finish(self) -> None:
        """Write what is held, and have all of it on the disk."""
        self.flush()
        for one in self._under_way:
            one.result()


class _Held:
    """The images of one shard. Their bytes lie in a mapping of their own, in the order in which they came.

    Attributes:
        room: Bytes of the mapping.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._ends = array("i", [0])
        self._facts: list[tuple[Any, ...]] = []
        self._together = bytearray()
        if room:
            self._bytes = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                self._bytes.madvise(mmap.MADV_HUGEPAGE)  # the first touch of each small page costs more than the copy

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._facts)

    @property
    def size(self) -> int:
        """Bytes of the images."""
        return self._ends[-1]

    def add(self, row: Row) -> None:
        start, end = self.size, self.size + len(row["bytes"])
        self._bytes[start:end] = row["bytes"]
        self._ends.append(end)
        self._facts.append(tuple(row[name] for name in IMAGE_FACTS))

    def clear(self) -> None:
        """Let go of the images; the mapping stays for the next ones."""
        self._ends, self._facts = array("i", [0]), []

    def image_id(self, row: int) -> str:
        return str(self._facts[row][0])

    def order(self) -> list[int]:
        """The rows by id."""
        return sorted(range(len(self)), key=self.image_id)

    def tables(self) -> Iterator[pa.Table]:
        """The rows by id, one row group after the other; a table is good until the next is asked for."""
        for group in self._groups():
            facts = zip(*(self._facts[row] for row in group), strict=True)
            yield pa.table({**dict(zip(IMAGE_FACTS, facts, strict=True)), "bytes": self._gather(group)}, schema=IMAGES)

    def _gather(self, rows: list[int]) -> pa.Array:
        """The bytes of some rows, copied together: much faster than Arrow's own ``take``."""
        ends = array("i", [0])
        for row in rows:
            ends.append(ends[-1] + self._ends[row + 1] - self._ends[row])
        if len(self._together) < ends[-1]:
            self._together = bytearray(max(ends[-1], min(GROUP_BYTES, self.room)))
        with memoryview(self._together) as target, memoryview(self._bytes) as source:
            for number, row in enumerate(rows):
                target[ends[number] : ends[number + 1]] = source[self._ends[row] : self._ends[row + 1]]
        return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(ends), pa.py_buffer(self._together)])

    def _groups(self) -> list[list[int]]:
        groups: list[list[int]] = [[]]
        size = 0
        for row in self.order():
            length = self._ends[row + 1] - self._ends[row]
            if groups[-1] and (len(groups[-1]) == GROUP_IMAGES or size + length > GROUP_BYTES):
                groups.append([])
                size = 0
            groups[-1].append(row)
            size += length
        return groups


def write_annotations(folder: Path, table: pa.Table) -> None:
    """``annotations.parquet``, sorted by image id, then annotation id.

    The file is written anew for each version, so it is made small: sorted ids share their beginnings, and numbers are
    split into their bytes or, where they repeat, numbered.
    """
    table = (
        table.sort_by([("image_id", "ascending"), ("annotation_id", "ascending")]).combine_chunks().cast(ANNOTATIONS)
    )
    encodings = {"image_id": "DELTA_BYTE_ARRAY", "annotation_id": "DELTA_LENGTH_BYTE_ARRAY"}
    dictionaries = ["label", "crowd"]
    for name, leaf in (("keypoints", "keypoints.list.element"), ("box", "box.list.element"), ("area", "area")):
        if _repeats(table[name]):
            dictionaries.append(leaf)
        else:
            encodings[leaf] = "BYTE_STREAM_SPLIT"
    path = folder / "annotations.parquet"
    pq.write_table(
        table,
        path,
        compression="brotli",
        compression_level=5,
        use_dictionary=dictionaries,
        column_encoding=encodings,
        write_statistics=False,
        version="2.6",
        row_group_size=1 << 16,
    )
    sync(path)


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether a list of the different numbers and one index each take less room than the numbers."""
    numbers = column if column.type == pa.float32() else pc.list_flatten(column)
    return pc.count_distinct(numbers).as_py() * 6 < len(numbers)


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """``dataset.json``."""
    path = folder / "dataset.json"
    path.write_text(json.dumps(description, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
    sync(path)


def sync(path: Path) -> None:
    """Have a file's bytes on the disk before anything is renamed to point at it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
