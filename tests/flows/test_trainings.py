"""Folders of trainings: what they hold, and that one that is at work stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from flows.collect import collect
from flows.trainings import delete_trainings, list_trainings
from kpmodels.run_lock import run_lock

DAY = 86400.0


@pytest.fixture
def repository(tmp_path: Path, shell) -> Path:
    """With a training of now, and two that nobody touched for 40 days, of which one was moved aside by --force."""
    shell(tmp_path, "git", "init", "--quiet")
    for name, days in (("new", 0), ("old", 40), ("old.before-1", 40)):
        folder = tmp_path / ".runs" / "train" / name
        (folder / "attempt" / "checkpoint").mkdir(parents=True)
        (folder / "attempt" / "checkpoint" / "weights").write_bytes(b"0" * 3_000_000)
        (folder / "progress.jsonl").write_text("{}\n")
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (time.time() - days * DAY,) * 2)
    return tmp_path


def names(repository: Path) -> list[str]:
    return sorted(row.folder.name for row in list_trainings(repository))


def test_gc_tells_their_size_and_deletes_the_old_ones(repository: Path) -> None:
    told = collect(repository, older=30)
    assert [line.split(", ")[0] for line in told[:-1]] == [
        "would delete training old",
        "would delete training old.before-1",
    ]
    assert all("3.0 MB" in line for line in told[:-1])
    assert names(repository) == ["new", "old", "old.before-1"]
    collect(repository, older=30, delete=True)
    assert names(repository) == ["new"]
    assert collect(repository, older=30) == ["no run is older than 30 days"]


def test_one_written_to_of_late_is_not_old(repository: Path) -> None:
    (repository / ".runs" / "train" / "old" / "progress.jsonl").write_text("{}\n{}\n")
    collect(repository, older=30, delete=True)
    assert names(repository) == ["new", "old"]


def test_one_that_is_trained_now_stays(repository: Path) -> None:
    rows = [row for row in list_trainings(repository) if row.folder.name == "old"]
    with run_lock(rows[0].folder):
        [line] = delete_trainings(rows)
    assert f"kept, run old is being trained by process {os.getpid()}" in line
    assert "old" in names(repository)


def test_a_repository_without_trainings(tmp_path: Path) -> None:
    assert list_trainings(tmp_path) == []
