"""A folder that is replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kpmodels.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Stage:
    """A folder under construction. ``commit`` puts it in place; without it, it is removed."""

    def __init__(self, folder: Path, final: Path) -> None:
        self.folder = folder
        self.final = final

    def commit(self) -> None:
        """Take the final folder's place: two renames."""
        old = _old(self.final)
        if self.final.exists():
            self.final.rename(old)
        self.folder.rename(self.final)
        handle = os.open(self.final.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def staged(folder: Path, needed: int) -> Iterator[Stage]:
    """A new, empty folder beside ``folder``, removed at the end unless it was committed.

    A process killed between the two renames of ``commit`` leaves the old content under ``.<name>.old``, from where
    ``recover`` brings it back.

    Args:
        folder: What is to be replaced; may not exist yet.
        needed: Bytes that are going to be written at most, for the message when the disk is full.

    Raises:
        UserError: When the disk is full.
    """
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        recover(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new-", dir=folder.parent))
        temporary.chmod(0o777 & ~_umask())
        yield Stage(temporary, folder)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        existing = next(path for path in (folder.parent, *folder.parent.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        what = f"{existing}: no room to write ({os.strerror(error.errno)}); up to {needed} bytes are needed, {free} are free"
        raise UserError(f"{what}. {folder.name} is as it was", "make room and run it again") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _old(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"


def recover(folder: Path) -> None:
    """Finish or undo a replacement that was killed between its two renames, and remove what killed runs left a day ago."""
    for left in folder.parent.glob(f".{folder.name}.new-*"):
        if time.time() - left.stat().st_mtime > 86400:
            shutil.rmtree(left, ignore_errors=True)
    old = _old(folder)
    if old.exists():
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)


def share(path: Path, folder: Path) -> Path:
    """The same file in another folder beside: a link to the same target, a hard link, or a copy. Never opened to write."""
    target = folder / path.name
    if path.is_symlink():
        os.symlink(os.readlink(path), target)
        return target
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno in _FULL:
            raise
        shutil.copy2(path, target)
    return target
