"""From a stored data set to batches: for training, shuffled and augmented; for evaluation, each image once.

A batch depends on (seed, epoch, samples) alone, so that loader processes, ranks and resumed runs all see the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import get_all_start_methods
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from kpmodels.config.data import AugmentOptions
from kpmodels.data.rows import Row, RowPlan
from kpmodels.data.samples import DECODED_BYTES, EvalRows, ImageReader, Index, TrainRows
from kpmodels.data.sampling import Schedule
from kpmodels.data.store import DatasetStore
from kpmodels.errors import UserError
from kpmodels.structures import Batch


class Loader:
    """The batches of one rank; iterate once per epoch.

    Args:
        rows: What makes a batch of samples.
        schedule: Which samples, in which order.
        processes: Loader processes; 0 loads in this process. The batches are the same.
        prefetch: Batches made ahead of their use: by each process, or with ``processes=0`` by a thread; there 0 means
            no thread.
    """

    def __init__(self, rows: TrainRows | EvalRows, schedule: Schedule, processes: int = 0, prefetch: int = 1) -> None:
        cv2.setNumThreads(0)
        self.schedule = schedule
        self._rows, self._prefetch = rows, prefetch
        self._order: list[Index] = []
        self._workers = _workers(rows, self._order, processes, max(prefetch, 1)) if processes else None
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """Choose the epoch of the next iteration, and the step that it begins with (earlier ones are not even read)."""
        self._order[:] = [(epoch, samples) for samples in self.schedule.micro_batches(epoch, start_step)]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch."""
        return self.schedule.steps

    def __len__(self) -> int:
        """Batches (micro-batches) of a whole epoch on this rank: ``steps_per_epoch * accumulate``."""
        return self.schedule.steps * self.schedule.accumulate

    def __iter__(self) -> Iterator[Batch]:
        if self._workers is not None:
            return map(_batch_or_raise, self._workers)
        if self._prefetch:
            return _ahead(self._rows, list(self._order), self._prefetch)
        return (self._rows[index] for index in list(self._order))


def _workers(rows: TrainRows | EvalRows, order: list[Index], processes: int, prefetch: int) -> DataLoader:
    """Loader processes that stay. Never forked: this process may hold threads (Ray, torch), whose locks a fork copies."""
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    return DataLoader(
        _TellingRows(rows),
        batch_size=None,
        sampler=order,
        num_workers=processes,
        collate_fn=_as_it_is,
        prefetch_factor=prefetch,
        persistent_workers=True,
        multiprocessing_context=method,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # else each epoch draws from the global generator
    )


class _TellingRows(Dataset[Batch | UserError]):
    """Rows in a loader process: a user's mistake comes back as a value, since torch rewrites what is raised."""

    def __init__(self, rows: TrainRows | EvalRows) -> None:
        self._rows = rows

    def __getitem__(self, index: Index) -> Batch | UserError:
        try:
            return self._rows[index]
        except UserError as error:
            return error


def _batch_or_raise(found: Batch | UserError) -> Batch:
    if isinstance(found, UserError):
        raise found
    return found


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(_: int) -> None:
    cv2.setNumThreads(0)


def _ahead(rows: TrainRows | EvalRows, order: list[Index], count: int) -> Iterator[Batch]:
    """The batches in order, with ``count`` of them made ahead by a thread (decoding and warping free the GIL)."""
    with ThreadPoolExecutor(1, "loader") as executor:
        waiting: deque[Future[Batch]] = deque()
        try:
            for index in order:
                waiting.append(executor.submit(rows.__getitem__, index))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def make_loader(
    store: DatasetStore,
    split: str,
    plan: RowPlan,
    augment: AugmentOptions | None,
    *,
    batch_size: int,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    accumulate: int = 1,
    processes: int = 0,
    shuffle: bool = True,
    cache: Path | None = None,
    prefetch: int = 1,
    decoded_bytes: int = DECODED_BYTES,
) -> Loader:
    """The batches of a split for one rank.

    Args:
        split: ``train``, ``val``, ``test`` or ``all``.
        augment: None: the rows of evaluation in their order, nothing random; ``shuffle`` is then not looked at.
        batch_size: Samples per optimizer step, over all ranks and micro-batches.
        accumulate: Batches per optimizer step and rank.
        cache: Folder of the copies that give fast random access; None: ``$KP_CACHE``, else ``~/.cache/kp``.
        decoded_bytes: Memory for decoded images, per process.

    Raises:
        UserError: the split has nothing to learn from, or too little for so many workers.
    """
    reader = ImageReader(store, store.split(split), cache, decoded_bytes)
    rows = EvalRows(reader, plan) if augment is None else TrainRows(reader, plan, augment, seed)
    if not len(rows):
        raise UserError(
            f"data set {store.info.name}: split {split} has {len(reader.ids)} images and no "
            f"{'labelled instance' if reader.ids else 'image'} in them",
            "add labelled images, or use another split",
        )
    shuffle = shuffle and augment is not None
    return Loader(rows, Schedule(len(rows), batch_size, seed, rank, world, accumulate, shuffle), processes, prefetch)


def eval_batches(
    store: DatasetStore, ids: Sequence[str], plan: RowPlan, batch_size: int, cache: Path | None = None
) -> Iterator[Batch]:
    """The rows of the images of ``ids``, in that order, each once. An image without rows (region ``box`` and no
    labelled instance) is in no batch."""
    return (batch for batch, _ in eval_batches_with_rows(store, ids, plan, batch_size, cache))


def eval_batches_with_rows(
    store: DatasetStore, ids: Sequence[str], plan: RowPlan, batch_size: int, cache: Path | None = None
) -> Iterator[tuple[Batch, list[Row]]]:
    """As ``eval_batches``, each with its rows: what ``merge_rows`` needs to put the tiles of an image together."""
    cv2.setNumThreads(0)
    rows = EvalRows(ImageReader(store, ids, cache, decoded_bytes=64 * 2**20), plan)
    for start in range(0, len(rows), batch_size):
        samples = np.arange(start, min(start + batch_size, len(rows)))
        yield rows[(0, samples)], [rows.rows[sample] for sample in samples]
