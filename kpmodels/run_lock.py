"""The lock of a training's folder, which who trains there holds, and who would delete it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kpmodels.errors import UserError


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from the run's folder; the lock goes with this process, however that ends.

    Raises:
        UserError: another process trains this run now.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f".{folder.name}.lock")
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode(errors="replace").strip()
            raise UserError(
                f"run {folder.name} is being trained by process {owner or '?'}", "wait for it, or end it"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
