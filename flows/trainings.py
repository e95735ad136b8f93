"""The folders of trainings with their checkpoints, and the deletion of those that are asked for."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.repository import training_storage
from kpmodels.errors import UserError
from kpmodels.run_lock import run_lock


@dataclass(frozen=True)
class TrainingRow:
    """A training: its folder, when something was last written there, and its size in bytes."""

    folder: Path
    changed: datetime
    size: int

    def __str__(self) -> str:
        return f"training {self.folder.name}, {self.size / 1e6:.1f} MB"


def list_trainings(repository: Path) -> list[TrainingRow]:
    """All trainings of the repository, those too that ``--force`` moved aside; the longest untouched first."""
    storage = training_storage(repository)
    folders = [path for path in storage.iterdir() if path.is_dir()] if storage.is_dir() else []
    return sorted((_row(folder) for folder in folders), key=lambda row: row.changed)


def delete_trainings(rows: Sequence[TrainingRow]) -> list[str]:
    """Delete these folders, and tell of each what was done; one that is being trained stays.

    No version is lost: its model is in DVC. What is lost is that an equal training is found finished, or goes on.
    """
    return [_delete(row) for row in rows]


def _delete(row: TrainingRow) -> str:
    try:
        with run_lock(row.folder):
            gone = row.folder.with_name(f"{row.folder.name}.deleted")
            shutil.rmtree(gone, ignore_errors=True)
            row.folder.rename(gone)  # at once: what is half deleted is no training any more
            shutil.rmtree(gone)
    except UserError as error:
        return f"{row}: kept, {error}"
    return f"{row}: deleted"


def _row(folder: Path) -> TrainingRow:
    found = [state for path in (folder, *folder.rglob("*")) if (state := _state(path))]
    changed = max((one.st_mtime for one in found), default=time.time())
    return TrainingRow(folder, datetime.fromtimestamp(changed, UTC), sum(one.st_size for one in found))


def _state(path: Path) -> os.stat_result | None:
    """None where a training has removed an old checkpoint in this moment."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
