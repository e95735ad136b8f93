"""Where things are: the repository that a command was started in, its runs, its DVC cache; and locks between processes."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.git import git
from kpmodels.errors import UserError

RUNS = ".runs"


def find_repository(start: Path) -> Path:
    """The top folder of the checkout that holds `start`; for a run's own worktree, of the checkout that the run belongs to.

    Raises UserError outside of a git repository.
    """
    if not start.is_dir():
        raise UserError(f"{start} is not a folder", "start in a clone of this repository")
    top = Path(git(start, "rev-parse", "--show-toplevel"))
    return top.parent.parent if top.parent.name == RUNS and (top.parent.parent / ".git").exists() else top


def runs_folder(repository: Path) -> Path:
    """`.runs/`, made when missing, with a `.gitignore` of its own: runs are never part of a snapshot."""
    folder = repository / RUNS
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return folder


def training_storage(repository: Path) -> Path:
    """Where trainings keep their checkpoints: outside of every stage's outputs, which `dvc repro` deletes before it runs."""
    return repository / RUNS / "train"


def git_folder(repository: Path) -> Path:
    """The `.git` folder that all worktrees of the repository share."""
    return Path(git(repository, "rev-parse", "--path-format=absolute", "--git-common-dir"))


class Lock:
    """A file lock between processes; the system frees it when its holder dies, so that none goes stale."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, wait: float = 0.0) -> bool:
        """Takes the lock; False when another holder (also another object of this process) keeps it over `wait` seconds."""
        deadline = time.monotonic() + wait
        while not self._acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True

    def _acquire(self) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if not _is_at(self.path, descriptor):  # whoever held it has removed the file meanwhile
            os.close(descriptor)
            return self._acquire()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> str:
        """The process id that the holder wrote, in words."""
        pid = self.path.read_text().strip() if self.path.exists() else ""
        return f"process {pid}" if pid else "another process"


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def exclusive(repository: Path, name: str, timeout: float = 300.0) -> Iterator[None]:
    """Only one process at a time works inside, per repository and name; others wait.

    Raises UserError when `timeout` seconds did not suffice.
    """
    lock = Lock(git_folder(repository) / "kp" / f"{name}.lock")
    if not lock.acquire(timeout):
        raise UserError(f"{lock.holder()} has held {lock.path} for over {timeout:g} s", "end it, then try again")
    try:
        yield
    finally:
        lock.release()
