"""Small shards merged into large ones, on demand: many small drops leave many small files."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from kpmodels.data.schema import IMAGES
from kpmodels.data.shards import SHARD_BYTES, ShardWriter
from kpmodels.data.staging import share, staged
from kpmodels.data.store import open_dataset


def compact(folder: Path | str, small: int = SHARD_BYTES // 2) -> str:
    """Merge the shards below ``small`` bytes; the others, the labels and the description stay as they are, byte for byte.

    The content of the data set, and so its fingerprint, does not change; the merged shards are pushed once more.

    Returns:
        What was done, in words.

    Raises:
        UserError: When there is no data set, or the disk is full.
    """
    store = open_dataset(folder)
    target = store.folder.resolve()
    chosen = [path for path in store.shards if path.stat().st_size < small]
    if len(chosen) < 2:
        return f"{store.info.name}: nothing to merge ({len(store.shards)} shards, {len(chosen)} of them small)"
    size = sum(path.stat().st_size for path in chosen)
    with staged(target, size) as stage:
        with ShardWriter(stage.folder) as writer:
            for path in chosen:
                _copy_rows(path, writer)
            writer.finish()
        for path in store.shards:
            if path not in chosen:
                share(path, stage.folder)
        for name in ("annotations.parquet", "dataset.json"):
            share(target / name, stage.folder)
        assert open_dataset(stage.folder).fingerprint == store.fingerprint
        stage.commit()
    return f"{store.info.name}: {len(chosen)} shards of {size} bytes merged into {len(writer.written)}"


def _copy_rows(path: Path, writer: ShardWriter) -> None:
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        for row in file.read_row_group(group, columns=IMAGES.names).to_pylist():
            writer.add(row)
