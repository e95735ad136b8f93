"""Versions of data sets: tags such as `openfield@v3` on commits whose `datasets.dvc` holds that version.

Such a commit is kept by its tags alone; no branch moves, since a flow never touches the user's checkout. So the next
version cannot simply build on HEAD, whose pointer may know nothing of it: `newest` puts the pointer together from HEAD
and the newest version of every data set (a data set whose newest version HEAD's history holds is taken as HEAD has it,
so that whoever merges a version and goes on by hand is respected). To have the newest data in a branch:
`git checkout NAME@vN -- datasets.dvc && dvc pull`, or merge the tag.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from flows import dvc, git, pointer, registry
from flows.repository import exclusive
from flows.workspace import Workspace
from kpmodels.errors import UserError


@dataclass(frozen=True)
class DataVersion:
    """A version of a data set, on its commit."""

    name: str
    version: str
    commit: str
    created: str = ""
    message: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def versions(repository: Path, name: str | None = None) -> list[DataVersion]:
    """All data versions, or those of one data set, in order of name and version."""
    rows = registry.list_versions(repository, name, "data")
    return [DataVersion(row.name, row.version, row.commit, row.created, row.message) for row in rows]


def resolve(repository: Path, wanted: str) -> DataVersion:
    """The version that `name@v3` means; the newest for `name`.

    Raises UserError when there is none; it names the nearest data set, or the versions that there are.
    """
    name, _, version = wanted.partition("@")
    row = registry.find(repository, name, version, "data")
    return DataVersion(row.name, row.version, row.commit, row.created, row.message)


def latest(repository: Path, name: str) -> DataVersion | None:
    """The newest version of a data set; None before the first."""
    found = versions(repository, name)
    return found[-1] if found else None


def next_version(repository: Path, name: str) -> str:
    """The version that would be registered next, for example `v4`."""
    return registry.next_version(registry.list_versions(repository, name, "data"))


def place(workspace: Workspace, version: DataVersion) -> Path:
    """Pins a data version in the workspace and links its files, only its; gives back their folder.

    The workspace's `datasets.dvc` becomes that of the version's commit (other data sets: as they were then).

    Raises UserError when its bytes are neither in the cache nor in a remote.
    """
    text = git.show(workspace.repository, version.commit, pointer.FILE)
    if text is None or not pointer.of(pointer.read(workspace.path, text), version.name):
        raise UserError(f"{version} (commit {version.commit[:8]}) holds no data set of that name", "kp data list")
    workspace.data = str(version)
    return _check_out(workspace, text, version.name)


def newest(workspace: Workspace) -> str | None:
    """The text of a pointer to the newest version of every data set; None when there is no data at all."""
    repository = workspace.repository
    head = git.head(repository)
    text = git.show(repository, head, pointer.FILE)
    listing = pointer.read(workspace.path, text)
    merged = listing
    for name, commit in {row.name: row.commit for row in versions(repository)}.items():
        if git.is_ancestor(repository, commit, head):
            continue
        theirs = git.show(repository, commit, pointer.FILE)
        entries = pointer.of(pointer.read(workspace.path, theirs), name)
        merged = pointer.without(merged, name) + entries
    if not merged:
        return None
    return text if merged == listing and text else pointer.write(workspace.path, merged)


def prepare(workspace: Workspace, name: str) -> DataVersion | None:
    """Makes the workspace ready for the next version of a data set: its newest files, linked, in `datasets/<name>`.

    Gives back the version that these are, to be handed to `register_data`; None, and no folder, when the data set is new.
    """
    with exclusive(workspace.repository, "registry-data"):
        base = latest(workspace.repository, name)
        text = newest(workspace)
    for left in (workspace.path / pointer.FOLDER).glob(".*.new-*"):  # of a killed build: `dvc add` would take it along
        shutil.rmtree(left)
    listing = pointer.read(workspace.path, text)
    if text is not None and pointer.of(listing, name):
        _check_out(workspace, text, name)
    else:
        _write(workspace, text)
        shutil.rmtree(workspace.path / pointer.FOLDER / name, ignore_errors=True)
    return base


def register_data(workspace: Workspace, name: str, message: str, base: DataVersion | None) -> DataVersion:
    """Makes what now lies in the workspace's `datasets/<name>` the next version: pointer, commit, tags, the run's ref.

    Data that equals `base` is no new version: `base` comes back. Nothing is pushed; see `publish`.

    Args:
        base: What `prepare` gave: the version that the new one was made from.

    Raises:
        UserError: the data set got another version meanwhile, the folder is empty, or the disk is full.
    """
    folder = workspace.path / pointer.FOLDER / name
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"{folder} is empty: there is nothing to register as {name}", "ingest images first")
    with exclusive(workspace.repository, "registry-data"):
        now = latest(workspace.repository, name)
        if (now and now.version) != (base and base.version):
            raise UserError(f"{now} was registered while this run worked from {base}", "run the ingest again")
        _write(workspace, newest(workspace))
        before = pointer.of(pointer.read(workspace.path, _text(workspace)), name)
        _add(workspace, name)
        after = pointer.of(pointer.read(workspace.path, _text(workspace)), name)
        if base is not None and after == before:
            return base
        commit = git.commit_paths(workspace.path, [pointer.FILE], f"Data: {name}\n\n{message}")
        workspace.keep()
        registry.register(workspace.repository, name, commit, message, kind="data")
    return resolve(workspace.repository, name)


def publish(workspace: Workspace, name: str) -> str:
    """Pushes the workspace's bytes, its ref and the tags of a data set; in words, where to.

    Raises UserError when a remote cannot be reached; the version stands, and a later publish pushes it.
    """
    where = workspace.push()
    registry.push_tags(workspace.repository, [name])
    return where


def _add(workspace: Workspace, name: str) -> None:
    """Updates the pointer with one data set. The others' files need not be there: DVC keeps what the pointer says of them."""
    first = not (workspace.path / pointer.FILE).exists()
    dvc.add(workspace.path, pointer.FOLDER if first else f"{pointer.FOLDER}/{name}")


def _text(workspace: Workspace) -> str | None:
    path = workspace.path / pointer.FILE
    return path.read_text() if path.exists() else None


def _write(workspace: Workspace, text: str | None) -> None:
    path = workspace.path / pointer.FILE
    if text is None:
        path.unlink(missing_ok=True)
    elif _text(workspace) != text:
        path.write_text(text)


def _check_out(workspace: Workspace, text: str, name: str) -> Path:
    """Sets the pointer, drops other data sets' files that were linked for another pointer, and links this one's."""
    changed = _text(workspace) != text
    _write(workspace, text)
    folder = workspace.path / pointer.FOLDER
    if changed and folder.exists():
        shutil.rmtree(folder)
    workspace.pull([f"{pointer.FOLDER}/{name}"])
    wanted = pointer.of(pointer.read(workspace.path, text), name)
    missing = [entry["relpath"] for entry in wanted if not (folder / str(entry["relpath"])).exists()]
    if missing:
        raise UserError(f"{name}: {len(missing)} files could not be brought, {missing[0]} first", "dvc remote list")
    return folder / name
