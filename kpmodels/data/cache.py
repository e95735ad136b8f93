"""Fast random access to the encoded images of a data set, and a small memory of decoded ones.

A random row of a Parquet file costs the decoding of its whole row group. So each shard is copied once to an Arrow
file, which is mapped into memory: any image is then a slice of the mapping. Copies are named by the ids of the
images they hold (which are hashes of their bytes), so a copy is never stale and serves every version that has the
shard.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import os
import shutil
import threading
import time
import uuid
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kpmodels.data.store import DatasetStore

GIB = 2**30
COLUMNS = ["image_id", "bytes"]


class ByteSource(Protocol):
    """Where encoded images come from."""

    def read(self, image_id: str) -> memoryview | bytes:
        """The encoded bytes of an image. Raises ``KeyError`` for an unknown id."""
        ...


def cache_folder() -> Path:
    """The folder of the copies: ``$KP_CACHE``, else ``~/.cache/kp``, and in it ``images``."""
    return Path(os.environ.get("KP_CACHE") or Path.home() / ".cache" / "kp") / "images"


def open_images(store: DatasetStore, folder: Path | None = None, max_bytes: int = 20 * GIB) -> ByteSource:
    """The images of a data set, from memory-mapped copies that are made where they do not exist yet.

    Any number of processes may call this at once; one makes the copy, the others wait. Copies that were not used for
    longest are removed once all together exceed ``max_bytes``; those of this data set stay.
    Where no copy can be made (disk full, folder not writable) a warning says so and the Parquet files are read.
    """
    folder = cache_folder() if folder is None else Path(folder)
    try:
        paths = [_copy_of(shard, folder) for shard in store.shards]
    except OSError as error:
        warnings.warn(
            f"no image cache in {folder} ({error}): reading the Parquet files, which is slow in random order; "
            "set KP_CACHE to a folder with room",
            stacklevel=2,
        )
        return ParquetImages(store)
    _evict(folder, keep=set(paths), max_bytes=max_bytes)
    return MappedImages(paths)


class ParquetImages:
    """Images straight from the Parquet shards; reads a whole row group whenever another one is asked for."""

    def __init__(self, store: DatasetStore) -> None:
        self._store = copy.copy(store)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_store": self._store}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._store, self._lock = state["_store"], threading.Lock()

    def read(self, image_id: str) -> bytes:
        with self._lock:
            return self._store.read_bytes(image_id)


class MappedImages:
    """Images as slices of memory-mapped Arrow files. May be pickled: the copy opens the files itself, when needed."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._views: dict[int, memoryview] = {}
        self._places: dict[str, tuple[int, int, int]] = {}
        for number, path in enumerate(paths):
            self._places.update((one, (number, start, end)) for one, start, end in _index(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"_paths": self._paths, "_places": self._places, "_views": {}}

    def read(self, image_id: str) -> memoryview:
        """A view of the encoded bytes, without a copy."""
        number, start, end = self._places[image_id]
        if number not in self._views:
            with pa.memory_map(str(self._paths[number])) as file:
                self._views[number] = memoryview(file.read_buffer()).cast("B")  # Arrow's own are of signed bytes
        return self._views[number][start:end]


def _index(path: Path) -> Iterator[tuple[str, int, int]]:
    """Id, start and end in the file of each image of a copy."""
    with pa.memory_map(str(path)) as file:
        base = file.read_buffer().address
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            column = batch.column("bytes")
            _, offsets, data = column.buffers()
            if not len(column):
                continue
            ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
            ends += data.address - base
            for image, start, end in zip(batch.column("image_id").to_pylist(), ends[:-1], ends[1:], strict=True):
                yield image, int(start), int(end)


def _copy_of(shard: Path, folder: Path) -> Path:
    """The Arrow copy of a shard, made when it is not there or is damaged.

    Raises:
        OSError: no room, or the folder cannot be written.
    """
    with pq.ParquetFile(shard, memory_map=True) as file:
        ids = file.read(columns=["image_id"]).column(0).to_pylist()
        path = folder / f"{hashlib.sha256(chr(10).join(ids).encode()).hexdigest()[:32]}.arrow"
        if not _is_whole(path):
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_suffix(".lock")):
                if not _is_whole(path):
                    _write_copy(file, path)
    with suppress(OSError):  # of another user: only its place in the order of removal is lost
        os.utime(path)
    return path


def _is_whole(path: Path) -> bool:
    try:
        with pa.memory_map(str(path)) as file:
            pa.ipc.open_file(file)
    except (FileNotFoundError, pa.ArrowInvalid):
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it is free again when its holder dies."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _write_copy(file: pq.ParquetFile, path: Path) -> None:
    """Copy ids and bytes, one row group at a time, under another name, and rename."""
    size = sum(
        file.metadata.row_group(group).column(column).total_uncompressed_size
        for group in range(file.num_row_groups)
        for column in range(file.metadata.num_columns)
    )
    free = shutil.disk_usage(path.parent).free
    if size * 1.05 > free:
        raise OSError(f"{size / GIB:.2f} GiB needed, {free / GIB:.2f} free")
    partial = path.with_suffix(f".partial-{uuid.uuid4().hex}")
    schema = pa.schema([("image_id", pa.string()), ("bytes", pa.binary())])
    try:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group, columns=COLUMNS).cast(schema))
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _evict(folder: Path, keep: set[Path], max_bytes: int) -> None:
    """Remove the copies unused for longest until the rest fits, and what killed processes left behind."""
    for partial in folder.glob("*.partial-*"):
        if _age(partial) > 86400:
            partial.unlink(missing_ok=True)
    copies = sorted(folder.glob("*.arrow"), key=_age)
    total = 0
    for path in copies:
        size = path.stat().st_size if path.exists() else 0
        total += size
        if total > max_bytes and path not in keep:
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
            total -= size


def _age(path: Path) -> float:
    """Seconds since the last use; endless for a file that another process has just removed."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


@dataclass(frozen=True)
class Decoded:
    """RGB pixels of an image, perhaps reduced: ``scale_xy`` of its pixels per original one, along x and y."""

    pixels_HW3: NDArray[np.uint8]
    scale_xy: tuple[float, float] = (1.0, 1.0)


class DecodedImages:
    """The decoded images used last, up to a bound of memory; a bound of 0 remembers nothing. One per process."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._images: OrderedDict[tuple[int, int], Decoded] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[DecodedImages], tuple[int]]:
        return DecodedImages, (self._max_bytes,)

    def get(self, key: tuple[int, int], decode: Callable[[], Decoded]) -> Decoded:
        """The image of a key (image, reduction), decoded when it is not remembered. Do not change its pixels."""
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        image = decode()
        if image.pixels_HW3.nbytes <= self._max_bytes:
            self._put(key, image)
        return image

    def _put(self, key: tuple[int, int], image: Decoded) -> None:
        with self._lock:
            if key not in self._images:
                self._images[key] = image
                self._bytes += image.pixels_HW3.nbytes
            while self._bytes > self._max_bytes:
                _, oldest = self._images.popitem(last=False)
                self._bytes -= oldest.pixels_HW3.nbytes
