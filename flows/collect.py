"""``kp gc``: what old runs hold, and their deletion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.runs import delete_runs, list_runs


def collect(repository: Path, older: int, delete: bool = False) -> list[str]:
    """Lines that say which runs go. A run that a tag names goes with its worktree only: its commit is a version.

    Args:
        older: Days since the run.
        delete: Do it; else only tell.
    """
    limit = datetime.now(UTC) - timedelta(days=older)
    old = [row.run for row in list_runs(repository) if row.created < limit]
    if not old:
        return [f"no run is older than {older} days"]
    if delete:
        return delete_runs(repository, old)
    return [f"would delete {run}" for run in old] + ["delete them with: kp gc --yes"]
