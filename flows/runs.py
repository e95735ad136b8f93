"""What runs there are, and the deletion of those that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows import git
from flows.rebuild_storage import remove_rebuild
from flows.repository import Lock, runs_folder


@dataclass(frozen=True)
class RunRow:
    """A run: its commit ("" before the first), when that was made, its worktree if it is there, the tags on its commit."""

    run: str
    commit: str
    created: datetime
    worktree: Path | None
    tags: tuple[str, ...]
    message: str


def list_runs(repository: Path) -> list[RunRow]:
    """All runs that have a ref or a worktree, oldest first."""
    layout = "%(refname:strip=2)%00%(objectname)%00%(committerdate:unix)%00%(contents:subject)"
    listing = git.git(repository, "for-each-ref", f"--format={layout}", "refs/runs/")
    named: dict[str, list[str]] = {}
    for tag in git.tags(repository):
        named.setdefault(tag.commit, []).append(tag.name)
    folder = runs_folder(repository)
    rows = []
    for run, commit, seconds, subject in (line.split("\0") for line in listing.splitlines()):
        worktree = folder / run if (folder / run / ".git").exists() else None
        made = datetime.fromtimestamp(int(seconds), UTC)
        rows.append(RunRow(run, commit, made, worktree, tuple(named.get(commit, ())), subject))
    known = {row.run for row in rows}
    for path in folder.iterdir():
        if (path / ".git").is_file() and path.name not in known:
            made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            rows.append(RunRow(path.name, "", made, path, (), "not finished"))
    return sorted(rows, key=lambda row: row.created)


def delete_runs(repository: Path, runs: Sequence[str]) -> list[str]:
    """Deletes the worktrees and refs of these runs, and tells of each what was done; one that is open stays.

    A registered version stays: its tags hold the commit. Bytes in the DVC cache stay until `dvc gc`.
    """
    told = []
    for row in list_runs(repository):
        if row.run not in runs:
            continue
        lock = Lock(runs_folder(repository) / f"{row.run}.lock")
        if not lock.acquire():
            told.append(f"{row.run}: kept, it is open in {lock.holder()}")
            continue
        if row.worktree is not None:
            git.remove_worktree(repository, row.worktree)
        refs = [f"refs/runs/{row.run}", f"refs/remotes/runs/{row.run}"]
        present: dict[str, str | None] = {ref: None for ref in refs if git.resolve(repository, ref)}
        if present:
            git.update_refs(repository, present)
        remove_rebuild(repository, row.run)
        lock.path.with_suffix(".progress.jsonl").unlink(missing_ok=True)
        lock.path.unlink(missing_ok=True)
        lock.release()
        kept = f"; commit {row.commit[:8]} stays as {', '.join(row.tags)}" if row.tags else ""
        told.append(f"{row.run}: deleted{' with its worktree' if row.worktree else ''}{kept}")
    return told
