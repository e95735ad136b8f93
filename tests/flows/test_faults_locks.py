"""Locks that a killed program left, and locks that go from one process to the next."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import git, registry
from flows.leftovers import processes_of
from flows.repository import Lock
from flows.workspace import Workspace
from kpmodels.errors import UserError

Shell = Callable[..., str]


def test_a_git_lock_of_the_checkout_is_named_with_the_remedy(project: Path) -> None:
    lock = project / ".git" / "index.lock"
    lock.write_text("")
    (project / "note.txt").write_text("new")
    with pytest.raises(UserError, match="another git is at work here, or one was killed") as caught:
        git.git(project, "add", "note.txt")
    assert caught.value.remedy == f"if no git runs: rm {lock}"
    assert lock.exists(), "it may be the user's own git: nobody but they can know"


def test_a_git_lock_of_the_run_itself_goes(project: Path, shell: Shell) -> None:
    with Workspace.create(project, "r") as run:
        run.write_params({"name": "other"})
    lock = project / ".git" / "worktrees" / "r" / "index.lock"
    lock.write_text("")
    with Workspace.create(project, "r") as run:
        assert run.commit("A run") != git.head(project)
    assert not lock.exists()


def test_processes_that_a_killed_flow_left_are_ended_before_the_run_is_opened_again(project: Path) -> None:
    with Workspace.create(project, "r") as run:
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=run.environment())
        assert [process.pid for process in processes_of(run.progress_file)] == [left.pid]
    with Workspace.create(project, "other"):
        assert left.poll() is None, "those of another run stay"
    with Workspace.create(project, "r"):
        left.wait(5)


def test_a_lock_whose_file_was_removed_is_taken_on_the_new_file(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "x"), Lock(tmp_path / "x")
    assert first.acquire()
    assert not second.acquire()
    first.path.unlink()
    assert second.acquire(wait=1), "the lock of a run that was deleted binds nobody"
    first.release()
    assert not Lock(tmp_path / "x").acquire(wait=0.2)
    second.release()


def test_a_version_without_its_plain_tag_gets_it_with_the_next_push(project: Path) -> None:
    commit = git.head(project)
    registry.register(project, "net", commit, "a model")
    git.git(project, "tag", "--delete", "net@v1")
    assert git.resolve(project, "refs/tags/net@v1") is None
    assert registry.push_tags(project, ["net"]) is False  # there is no git remote
    assert git.resolve(project, "refs/tags/net@v1") == commit
    assert [row.version for row in registry.list_versions(project, "net")] == ["v1"]
