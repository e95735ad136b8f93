"""``kp gc``: what old runs and trainings hold, and their deletion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.runs import delete_runs, list_runs
from flows.trainings import delete_trainings, list_trainings


def collect(repository: Path, older: int, delete: bool = False) -> list[str]:
    """Lines that say which runs and trainings go. A run that a tag names goes with its worktree only: its commit is a version.

    Args:
        older: Days since the run, and since the training wrote something.
        delete: Do it; else only tell.
    """
    limit = datetime.now(UTC) - timedelta(days=older)
    runs = [row.run for row in list_runs(repository) if row.created < limit]
    trainings = [row for row in list_trainings(repository) if row.changed < limit]
    if not runs and not trainings:
        return [f"no run is older than {older} days"]
    if delete:
        return delete_runs(repository, runs) + delete_trainings(trainings)
    return [f"would delete {one}" for one in (*runs, *trainings)] + ["delete them with: kp gc --yes"]
