"""Where caller and nodes meet: the shared storage, and the data set in it by its version."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.errors import UserError

RUNS = "runs"


@dataclass(frozen=True)
class Places:
    """Two folders that caller and nodes see under the same path.

    Attributes:
        data: The data set.
        runs: Of the runs: checkpoints, and what comes out.
    """

    data: Path
    runs: Path


def meeting_places(store: DatasetStore, storage: Path, shared: Path | None, name: str = RUNS) -> Places:
    """The places of a run.

    Args:
        store: The data set, where the caller has it.
        storage: Of the caller's runs.
        shared: Mounted everywhere. The data set is copied to it once per version, and the runs are kept in it. None: the
            caller's own folders are seen by all nodes, as they are where the whole checkout lies on a shared disk.
        name: Of the folder of the runs in the shared one.

    Raises:
        UserError: the shared storage is not there, or cannot be written.
    """
    if shared is None:
        return Places(store.folder, storage)
    if not shared.is_dir():
        raise UserError(f"KP_STORAGE: no folder {shared}", "mount the shared storage on this machine too")
    try:
        runs = shared / name
        runs.mkdir(parents=True, exist_ok=True)
        return Places(_shared_data(store, shared / "data"), runs)
    except OSError as error:
        raise UserError(f"KP_STORAGE: {shared}: {error}", "see to its permissions and its space") from error


def _shared_data(store: DatasetStore, folder: Path) -> Path:
    """The data set's copy, whole or not there, under a name that only equal data has."""
    target = folder / f"{store.info.name}-{store.fingerprint[:16]}"
    if (target / "dataset.json").is_file():
        return target
    folder.mkdir(exist_ok=True)
    temporary = folder / f".{target.name}-{os.getpid()}"
    try:
        shutil.copytree(store.folder, temporary)  # follows links: what lies there may be links into DVC's cache
        if open_dataset(temporary).fingerprint != store.fingerprint:
            raise UserError(f"{store.folder} changed while it was copied to {folder}", "start again")
        try:
            temporary.rename(target)
        except OSError:
            if not (target / "dataset.json").is_file():  # else another caller was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
