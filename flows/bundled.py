"""The data set that a fresh clone brings along, named as a version when it is first used."""

from __future__ import annotations

from pathlib import Path

from flows import data_versions, git, pointer, registry
from flows.data_versions import DataVersion
from flows.workspace import Workspace


def resolve_or_adopt(repository: Path, name: str, version: str = "") -> DataVersion:
    """The data version of that name; data that HEAD points to but nobody named yet becomes its first version.

    Args:
        version: As ``v3``; empty for the newest.

    Raises:
        UserError: there is no such data set or version.
    """
    if data_versions.latest(repository, name) is None and _head_holds(repository, name):
        head = git.head(repository)
        registry.register(repository, name, head, f"{name} as of commit {head[:8]}", kind="data")
    return data_versions.resolve(repository, f"{name}@{version}" if version else name)


def _head_holds(repository: Path, name: str) -> bool:
    text = git.show(repository, "HEAD", pointer.FILE)
    if text is None:
        return False
    with Workspace.create(repository, f"adopt-{name}", revision="HEAD", wait=600) as workspace:
        found = bool(pointer.of(pointer.read(workspace.path, text), name))
        workspace.remove()
    return found
