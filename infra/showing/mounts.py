"""A file system of its own for a command: some folders are empty there, but for what is kept of them.

Made with a mount namespace (root, ``unshare`` of util-linux): nobody else sees the mounts, and they go with the command.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path


def apart(own: Path, hidden: Iterable[Path], kept: Sequence[Path]) -> list[str]:
    """Words to put before a command so that it sees folders of its own.

    Args:
        own: An existing folder, which takes what the command writes into the hidden folders.
        hidden: Folders in whose place the command sees empty ones; those that are not there are passed over.
        kept: Files and folders that it sees as they are, although they lie in a hidden one.
    """
    lines = ["mount -t tmpfs tmpfs /dev/shm"]
    # the folder that holds `own` is hidden last: its replacements could not be found any more
    for folder in sorted(outermost(hidden), key=own.is_relative_to):
        lines += _hide(folder, own / "-".join(folder.parts[1:]), [path for path in kept if path.is_relative_to(folder)])
    script = "\n".join([*lines, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "apart"]


def outermost(folders: Iterable[Path]) -> list[Path]:
    """The existing folders that lie in no other of them."""
    there = {folder.resolve() for folder in folders if folder.is_dir()} - {Path("/")}
    return sorted(folder for folder in there if not there.intersection(folder.parents))


def _hide(folder: Path, replacement: Path, kept: Iterable[Path]) -> list[str]:
    """The commands that put an empty folder in the place of one, with what is kept bound into it."""
    replacement.mkdir()
    replacement.chmod(stat.S_IMODE(folder.stat().st_mode))
    lines = []
    for path in kept:
        place = replacement / path.relative_to(folder)
        (place if path.is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
        if path.is_file():
            place.touch()
        lines.append(f"mount --bind {shlex.quote(str(path))} {shlex.quote(str(place))}")
    return [*lines, f"mount --rbind {shlex.quote(str(replacement))} {shlex.quote(str(folder))}"]
