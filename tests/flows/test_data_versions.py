"""Data versions: one pointer for all data sets, and only one data set's bytes ever needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import data_versions, git, pointer
from flows.data_versions import DataVersion
from flows.workspace import Workspace
from kpmodels.errors import UserError

Shell = Callable[..., str]
State = Callable[[Path], tuple[str, ...]]


def ingest(project: Path, run: str, name: str, files: dict[str, str]) -> DataVersion:
    """What the ingest flow does, with files of text for images; a file of text "" is removed."""
    with Workspace.create(project, run, revision="HEAD") as work:
        base = data_versions.prepare(work, name)
        folder = work.path / "datasets" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).unlink(missing_ok=True)
            if text:
                (folder / file).write_text(text)
        return data_versions.register_data(work, name, f"ingest {', '.join(files)}", base)


def contents(project: Path, run: str, wanted: str) -> dict[str, str]:
    """The files of a data version, as a run gets them."""
    with Workspace.create(project, run, revision="HEAD") as work:
        folder = data_versions.place(work, data_versions.resolve(project, wanted))
        assert [path.name for path in (work.path / "datasets").iterdir()] == [folder.name], "only its files are there"
        return {path.name: path.read_text() for path in folder.iterdir()}


def drop_cache(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")


def test_versions_build_on_each_other_though_no_branch_moves(project: Path, state: State) -> None:
    before = state(project)
    assert data_versions.next_version(project, "cells") == "v1"
    assert str(ingest(project, "a", "cells", {"0.bin": "cells 0", "labels": "1"})) == "cells@v1"
    assert str(ingest(project, "b", "mice", {"0.bin": "mice 0"})) == "mice@v1"
    second = ingest(project, "c", "cells", {"1.bin": "cells 1", "labels": "2"})
    assert (str(second), second.message) == ("cells@v2", "ingest 1.bin, labels")
    assert str(ingest(project, "d", "cells", {"labels": "2"})) == "cells@v2", "nothing new is no new version"
    assert str(ingest(project, "e", "cells", {"0.bin": ""})) == "cells@v3"
    assert [str(row) for row in data_versions.versions(project)] == ["cells@v1", "cells@v2", "cells@v3", "mice@v1"]
    assert state(project) == before
    assert contents(project, "f", "cells@v1") == {"0.bin": "cells 0", "labels": "1"}
    assert contents(project, "f", "cells@v2") == {"0.bin": "cells 0", "1.bin": "cells 1", "labels": "2"}
    assert contents(project, "f", "cells") == {"1.bin": "cells 1", "labels": "2"}
    with Workspace.create(project, "g", revision="cells@v3") as work:
        listing = pointer.read(work.path, git.show(project, "cells@v3", "datasets.dvc"))
    assert pointer.names(listing) == ["cells", "mice", "shapes"]


def test_the_first_data_set_of_a_repository(project: Path, shell: Shell) -> None:
    shell(project, "git", "rm", "--quiet", "datasets.dvc")
    shell(project, "git", "commit", "--quiet", "--message", "no data")
    assert data_versions.latest(project, "cells") is None
    assert str(ingest(project, "a", "cells", {"0.bin": "cells"})) == "cells@v1"
    assert contents(project, "b", "cells") == {"0.bin": "cells"}


def test_only_what_is_needed_is_fetched_and_pushed(project: Path, origin: Path, shell: Shell) -> None:
    with Workspace.create(project, "a", revision="HEAD") as work:
        base = data_versions.prepare(work, "cells")
        (work.path / "datasets" / "cells").mkdir(parents=True)
        (work.path / "datasets" / "cells" / "0.bin").write_text("cells")
        drop_cache(project)
        version = data_versions.register_data(work, "cells", "first", base)
        assert not (work.path / "datasets" / "shapes").exists()
        assert data_versions.publish(work, "cells") == "DVC remote 'storage' and git remote 'origin'"
    assert shell(origin, "git", "rev-parse", "cells@v1^{commit}", "refs/runs/a").split() == [version.commit] * 2
    shutil.rmtree(project / "bundled")
    drop_cache(project)
    clone = project.parent / "clone"
    shell(project.parent, "git", "clone", "--quiet", str(origin), "clone")
    shutil.rmtree(clone / "bundled")
    shell(clone, "git", "config", "user.email", "x@example.org")
    shell(clone, "git", "config", "user.name", "X")
    shell(clone, "dvc", "remote", "modify", "--local", "storage", "url", str(project / ".storage"))
    assert contents(clone, "r", "cells") == {"0.bin": "cells"}
    cached = [path for path in (clone / ".dvc" / "cache").rglob("*") if path.is_file()]
    assert len(cached) == 2, "the listing and one file"
    shell(clone, "git", "checkout", "--quiet", "cells@v1")
    shell(clone, "dvc", "pull", "datasets.dvc")
    assert (clone / "datasets" / "shapes" / "images-0.bin").read_text() == "shapes images"


def test_a_hand_made_change_of_the_branch_and_newer_versions_are_both_kept(project: Path, shell: Shell) -> None:
    ingest(project, "a", "cells", {"0.bin": "cells"})
    shell(project, "dvc", "checkout", "--quiet", "datasets.dvc")
    (project / "datasets" / "shapes" / "more.bin").write_text("by hand")
    shell(project, "dvc", "add", "--quiet", "datasets")
    shell(project, "git", "commit", "--quiet", "--all", "--message", "more shapes")
    version = ingest(project, "b", "mice", {"0.bin": "mice"})
    with Workspace.create(project, "c", revision="HEAD") as work:
        listing = pointer.read(work.path, git.show(project, version.commit, "datasets.dvc"))
    files = sorted(entry["relpath"] for entry in listing)
    assert files == [
        "cells/0.bin",
        "mice/0.bin",
        "shapes/annotations.bin",
        "shapes/images-0.bin",
        "shapes/more.bin",
    ]


def test_a_version_made_meanwhile_is_not_overwritten(project: Path) -> None:
    with Workspace.create(project, "slow", revision="HEAD") as work:
        base = data_versions.prepare(work, "cells")
        (work.path / "datasets" / "cells").mkdir(parents=True)
        (work.path / "datasets" / "cells" / "slow.bin").write_text("slow")
        other = ingest(project, "quick", "mice", {"0.bin": "mice"})
        ingest(project, "quicker", "cells", {"0.bin": "cells"})
        with pytest.raises(UserError, match=r"cells@v1 was registered while this run worked from None"):
            data_versions.register_data(work, "cells", "slow", base)
        base = data_versions.prepare(work, "cells")
        assert str(base) == "cells@v1"
        assert not (work.path / "datasets" / "cells" / "slow.bin").exists()
        (work.path / "datasets" / "cells" / "slow.bin").write_text("slow")
        version = data_versions.register_data(work, "cells", "slow", base)
    assert contents(project, "x", str(version)) == {"0.bin": "cells", "slow.bin": "slow"}
    assert contents(project, "x", str(other)) == {"0.bin": "mice"}


def test_what_is_missing_is_named(project: Path) -> None:
    ingest(project, "a", "cells", {"0.bin": "cells"})
    with pytest.raises(UserError, match="did you mean 'cells'"):
        data_versions.resolve(project, "cell")
    with pytest.raises(UserError, match="no version 'v9'"):
        data_versions.resolve(project, "cells@v9")
    with Workspace.create(project, "b", revision="HEAD") as work:
        data_versions.prepare(work, "cells")
        with pytest.raises(UserError, match="nothing to register as empty"):
            data_versions.register_data(work, "empty", "", None)
    listing = (project / ".dvc" / "cache").rglob("*.dir")
    keep = {path: path.read_bytes() for path in listing}
    drop_cache(project)
    with Workspace.create(project, "c", revision="HEAD") as work:
        wanted = data_versions.resolve(project, "cells")
        with pytest.raises(UserError, match=r"neither in the cache nor in a DVC remote \(storage, bundled\)"):
            data_versions.place(work, wanted)
        for path, content in keep.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with pytest.raises(UserError, match=r"datasets/cells is neither in the cache nor in a DVC remote"):
            data_versions.place(work, wanted)


def test_a_listing_put_together_here_is_dvcs_own(project: Path) -> None:
    with Workspace.create(project, "a", revision="HEAD") as work:
        text = (work.path / "datasets.dvc").read_text()
        listing = pointer.read(work.path, text)
        again = pointer.write(work.path, list(reversed(listing)))
    lines = {line.strip("- ") for line in text.splitlines()}
    assert {line.strip("- ") for line in again.splitlines()} <= lines
