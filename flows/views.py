"""A folder to look into for a data set by its name."""

from __future__ import annotations

from pathlib import Path

from flows import data_versions
from flows.bundled import resolve_or_adopt
from flows.workspace import Workspace


def dataset_folder(repository: Path, name: str) -> Path:
    """The folder of ``NAME`` (its newest version) or ``NAME@vN``, linked from the cache; a folder is taken as it is.

    Raises:
        UserError: there is no such data set or version, or its bytes are nowhere.
    """
    if Path(name).is_dir() and (Path(name) / "dataset.json").exists():
        return Path(name)
    base, _, version = name.partition("@")
    found = resolve_or_adopt(repository, base, version)
    with Workspace.create(repository, f"view-{found.name}-{found.version}", revision=found.commit) as workspace:
        return data_versions.place(workspace, found)
