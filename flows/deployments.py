"""The deployments that the Prefect UI offers, and the process that runs them on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from flows.environment import prepare_environment
from flows.repository import find_repository


def serve_all() -> None:
    """Register every deployment with the server and run what it schedules, until stopped."""
    repository = find_repository(Path.cwd())
    prepare_environment(repository)

    from prefect import serve
    from prefect.deployments.runner import RunnerDeployment

    from flows.ingest import ingest
    from flows.promote import promote
    from flows.reconcile import crash_the_dead
    from flows.retrain import retrain

    for run in crash_the_dead(repository):
        print(f"flow run {run!r} was marked as crashed: its process is gone", flush=True)
    offered = [
        retrain.to_deployment(
            "retrain",
            description="Data version -> training -> evaluation -> registered version -> champion, if it is better.",
            tags=["training"],
        ),
        ingest.to_deployment(
            "ingest",
            description="A folder, archive or URL of images and labels becomes a new data version.",
            tags=["data"],
        ),
        promote.to_deployment(
            "promote",
            description="Make a registered version the champion, or go back to the champion before.",
            tags=["registry"],
        ),
    ]
    serve(*(cast(RunnerDeployment, one) for one in offered), limit=2, print_starting_message=False)


if __name__ == "__main__":
    serve_all()
