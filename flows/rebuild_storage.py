"""Where the training of a rebuild keeps its checkpoints: where no finished training is found, and only for as long as it runs."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.repository import runs_folder
from flows.workspace import Workspace

NOTE = "shared"  # a file in the storage: the name of the rebuild's folder in the shared storage of a cluster
REBUILDS = "rebuilds"


@contextmanager
def storage_of_its_own(workspace: Workspace) -> Iterator[None]:
    """The workspace trains in folders of its own, here and in the shared storage of a cluster; they are gone afterwards."""
    remove_rebuild(workspace.repository, workspace.run)
    name = f"{workspace.run}-{uuid.uuid4().hex[:8]}"
    workspace.storage, workspace.shared_runs = _storage(workspace.repository, workspace.run), f"{REBUILDS}/{name}"
    workspace.storage.mkdir(parents=True)
    (workspace.storage / NOTE).write_text(name)
    try:
        yield
    finally:
        remove_rebuild(workspace.repository, workspace.run)


def remove_rebuild(repository: Path, run: str) -> None:
    """Remove the folders of a rebuild, also of one that was killed; nothing where the run is none. The caller holds its lock."""
    storage = _storage(repository, run)
    note, shared = storage / NOTE, os.environ.get("KP_STORAGE")
    name = note.read_text() if note.is_file() else ""
    if shared and name.startswith(f"{run}-") and "/" not in name:  # the note of a killed run may be cut off, or empty
        shutil.rmtree(Path(shared) / REBUILDS / name, ignore_errors=True)
    shutil.rmtree(storage, ignore_errors=True)


def _storage(repository: Path, run: str) -> Path:
    return runs_folder(repository) / f"{run}.storage"
