"""Writing a data set's files: image shards of bounded size, annotations, the description.

The same rows in give the same bytes out: ids are sorted, writer settings fixed, and nothing says when or where.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kpmodels.data.schema import ANNOTATIONS, IMAGES

SHARD_BYTES = 32 * 2**20
GROUP_BYTES = 8 * 2**20
GROUP_IMAGES = 64

Row = dict[str, Any]
"""One image: the columns of ``schema.IMAGES``."""


class ShardWriter:
    """Takes images in any order and writes them to new shards, while the next ones are taken.

    In memory are at most the shard that is written and the one that fills: 64 MiB. To be used in a ``with`` block, which
    waits for what is under way.

    Attributes:
        written: The files written so far.
    """

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = folder
        self.shard_bytes = shard_bytes
        self.written: list[Path] = []
        self._rows: list[Row] = []
        self._bytes = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shards")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True)

    def add(self, row: Row) -> None:
        if self._rows and self._bytes + len(row["bytes"]) > self.shard_bytes:
            self._start()
        self._rows.append(row)
        self._bytes += len(row["bytes"])

    def _start(self) -> None:
        """Hand what is held to the writing thread, once it is done with the shard before."""
        self._wait()
        if self._rows:
            self._under_way = self._pool.submit(self._write, _last_first(self._rows))
            self._rows, self._bytes = [], 0

    def _wait(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def finish(self) -> None:
        """Write what is held, and have all of it on the disk."""
        self._start()
        self._wait()

    def _write(self, rows: list[Row]) -> None:
        digest = hashlib.sha256("\n".join(row["image_id"] for row in reversed(rows)).encode()).hexdigest()
        path = self.folder / f"images-{digest[:16]}.parquet"
        with pq.ParquetWriter(
            path, IMAGES, compression="none", use_dictionary=False, write_statistics=False, version="2.6"
        ) as writer:
            group: list[Row] = []
            size = 0
            while rows:
                row = rows.pop()
                if group and (len(group) == GROUP_IMAGES or size + len(row["bytes"]) > GROUP_BYTES):
                    writer.write_table(pa.Table.from_pylist(group, schema=IMAGES))
                    group, size = [], 0
                group.append(row)
                size += len(row["bytes"])
            writer.write_table(pa.Table.from_pylist(group, schema=IMAGES))
        sync(path)
        self.written.append(path)


def _last_first(rows: list[Row]) -> list[Row]:
    """Sorted from the last id to the first, so that rows can be let go of from the end while they are written."""
    return sorted(rows, key=lambda row: row["image_id"], reverse=True)


def write_annotations(folder: Path, table: pa.Table) -> None:
    """``annotations.parquet``, sorted by image id, then annotation id."""
    table = table.sort_by([("image_id", "ascending"), ("annotation_id", "ascending")]).combine_chunks()
    path = folder / "annotations.parquet"
    pq.write_table(
        table.cast(ANNOTATIONS),
        path,
        compression="zstd",
        compression_level=9,
        use_dictionary=["image_id", "label", "crowd"],
        write_statistics=False,
        version="2.6",
        row_group_size=1 << 16,
    )
    sync(path)


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
