"""Snapshots, commits, tags and pushes, on real repositories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows import git
from kpmodels.errors import UserError

Shell = Callable[..., str]
State = Callable[[Path], tuple[str, ...]]


@pytest.fixture
def repo(tmp_path: Path, shell: Shell) -> Path:
    top = tmp_path / "repo"
    top.mkdir()
    shell(top, "git", "init", "--quiet", "--initial-branch=main")
    shell(top, "git", "config", "user.name", "Tester")
    shell(top, "git", "config", "user.email", "tester@example.org")
    (top / "a.txt").write_text("a\n")
    (top / ".gitignore").write_text("ignored\n")
    shell(top, "git", "add", "--all")
    shell(top, "git", "commit", "--quiet", "--message", "start")
    return top


@pytest.fixture
def nobody(repo: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository, of someone whom git does not know."""
    shell(repo, "git", "config", "--unset", "user.name")
    shell(repo, "git", "config", "--unset", "user.email")
    shell(repo, "git", "config", "user.useConfigOnly", "true")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    return repo


def test_outside_of_a_repository(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not inside a git repository"):
        git.head(tmp_path)


def test_repository_without_a_commit(tmp_path: Path, shell: Shell) -> None:
    shell(tmp_path, "git", "init", "--quiet")
    with pytest.raises(UserError, match="no commit yet"):
        git.head(tmp_path)


def test_snapshot_holds_changed_staged_new_and_deleted_files_and_touches_nothing(
    repo: Path, shell: Shell, state: State
) -> None:
    (repo / "gone.txt").write_text("gone\n")
    (repo / "staged only.txt").write_text("x\n")
    shell(repo, "git", "add", "gone.txt")
    shell(repo, "git", "commit", "--quiet", "--message", "second")
    (repo / "a.txt").write_text("changed\n")
    (repo / "gone.txt").unlink()
    (repo / "new").mkdir()
    (repo / "new" / "ü.txt").write_text("new\n")
    (repo / "ignored").write_text("secret\n")
    shell(repo, "git", "add", "staged only.txt")
    before = state(repo)
    commit = git.snapshot(repo, "snapshot", git.status(repo))
    assert state(repo) == before
    assert shell(repo, "git", "rev-parse", f"{commit}^") == git.head(repo)
    names = shell(repo, "git", "ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    assert sorted(filter(None, names)) == [".gitignore", "a.txt", "new/ü.txt", "staged only.txt"]
    assert git.show(repo, commit, "a.txt") == "changed\n"


def test_snapshot_of_a_clean_checkout_is_head(repo: Path) -> None:
    assert git.snapshot(repo, "snapshot", git.status(repo)) == git.head(repo)
    assert not git.is_dirty(repo)


def test_snapshot_refuses_large_files_and_nested_repositories(
    repo: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "MAX_SNAPSHOT_BYTES", 10)
    (repo / "video.mp4").write_bytes(b"0" * 11)
    with pytest.raises(UserError, match=r"video\.mp4 is new"):
        git.snapshot(repo, "snapshot", git.status(repo))
    (repo / "video.mp4").unlink()
    (repo / "inner").mkdir()
    shell(repo / "inner", "git", "init", "--quiet")
    (repo / "inner" / "x").write_text("x")
    with pytest.raises(UserError, match="repository inside"):
        git.snapshot(repo, "snapshot", git.status(repo))


def test_without_identity_nothing_is_made(nobody: Path) -> None:
    (nobody / "a.txt").write_text("changed\n")
    with pytest.raises(UserError, match=r"does not know who you are[\s\S]*git config user\.name"):
        git.snapshot(nobody, "snapshot", git.status(nobody))
    with pytest.raises(UserError, match="does not know who you are"):
        git.commit_paths(nobody, ["a.txt"], "change")
    assert git.status(nobody) == [" M a.txt"]


def test_commit_of_paths_leaves_others_alone(repo: Path, shell: Shell) -> None:
    (repo / "a.txt").write_text("changed\n")
    (repo / "b.txt").write_text("b\n")
    commit = git.commit_paths(repo, ["a.txt", "not there"], "change")
    assert shell(repo, "git", "show", "--name-only", "--format=", commit) == "a.txt"
    assert git.status(repo) == ["?? b.txt"]
    assert git.commit_paths(repo, ["a.txt"], "again") == commit


def test_hooks_of_the_user_do_not_run(repo: Path) -> None:
    hook = repo / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    (repo / "a.txt").write_text("changed\n")
    assert git.commit_paths(repo, ["a.txt"], "change") == git.head(repo)
    assert not git.is_dirty(repo)


def test_variables_of_an_outer_git_do_not_redirect(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert len(git.head(repo)) == 40


def test_refs_are_set_all_or_none(repo: Path) -> None:
    commit = git.head(repo)
    git.update_refs(repo, {"refs/runs/a": commit})
    with pytest.raises(git.GitError):
        git.update_refs(repo, {"refs/runs/b": commit, "refs/runs/a/b": commit})
    assert git.resolve(repo, "refs/runs/a") == commit
    assert git.resolve(repo, "refs/runs/b") is None
    git.update_refs(repo, {"refs/runs/a": None})
    assert git.resolve(repo, "refs/runs/a") is None


def test_tags_carry_their_messages(repo: Path, shell: Shell) -> None:
    message = 'figures\n\n# not a comment\n{"f1": 0.5, "ü": [1, 2]}'
    git.make_tag(repo, "net@v1", git.head(repo), message)
    shell(repo, "git", "tag", "lightweight")
    assert [(tag.name, tag.commit, tag.message) for tag in git.tags(repo)] == [("net@v1", git.head(repo), message)]
    with pytest.raises(git.GitError, match="already exists"):
        git.make_tag(repo, "net@v1", git.head(repo), "again")


def test_push_without_with_and_against_a_remote(repo: Path, shell: Shell, tmp_path: Path) -> None:
    git.make_tag(repo, "net@v1", git.head(repo), "first")
    refs = ["refs/tags/net@v1"]
    assert git.push(repo, refs) is False
    assert git.fetch_tags(repo) is False
    shell(repo, "git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    with pytest.raises(UserError, match="failed") as caught:
        git.push(repo, refs)
    assert "nothing is lost" in caught.value.remedy
    shell(tmp_path, "git", "clone", "--quiet", "--bare", "repo", "origin.git")
    shell(tmp_path / "origin.git", "git", "tag", "--delete", "net@v1")
    assert git.push(repo, refs) is True
    assert shell(tmp_path / "origin.git", "git", "tag") == "net@v1"
    shell(tmp_path / "origin.git", "git", "tag", "--annotate", "--force", "-m", "theirs", "net@v1", "main")
    git.make_tag(repo, "net@v2", git.head(repo), "second")
    with pytest.raises(UserError, match="another commit"):
        git.push(repo, [*refs, "refs/tags/net@v2"])
    assert shell(tmp_path / "origin.git", "git", "tag") == "net@v1"
