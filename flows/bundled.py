"""The data set that a fresh clone brings along, named as a version when it is first used."""

from __future__ import annotations

from pathlib import Path

from flows import data_versions, git, pointer, registry
from flows.data_versions import DataVersion


def resolve_or_adopt(repository: Path, name: str, version: str = "") -> DataVersion:
    """The data version of that name; data that HEAD points to but nobody named yet becomes its first version.

    Args:
        version: As ``v3``; empty for the newest.

    Raises:
        UserError: there is no such data set or version.
    """
    head = git.head(repository)
    if data_versions.latest(repository, name) is None:
        text = git.show(repository, head, pointer.FILE)
        if text is not None and pointer.of(pointer.read(repository, text), name):
            registry.register(repository, name, head, f"{name} as of commit {head[:8]}", kind="data")
    return data_versions.resolve(repository, f"{name}@{version}" if version else name)
