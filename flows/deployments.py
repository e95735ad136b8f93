"""The deployments that the Prefect UI offers, and the process that runs them on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flows.environment import prepare_environment
from flows.named_experiments import experiment_names
from flows.nightly_settings import read_settings
from flows.repository import find_repository

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

AT_ONCE = 3


def deployments(repository: Path) -> list[RunnerDeployment]:
    """All that the UI offers; the schedule and the settings of the nightly are those of ``flows/nightly.yaml``.

    Raises:
        UserError: ``flows/nightly.yaml`` says something that is not allowed.
    """
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron

    from flows.compare import compare
    from flows.ingest import ingest
    from flows.nightly import nightly
    from flows.operating_points import operating_points
    from flows.promote import promote
    from flows.reproduce import reproduce
    from flows.retrain import retrain

    night = read_settings(repository)
    when = {"schedule": Cron(night.schedule, timezone=night.timezone)} if night.schedule else {}
    named = experiment_names(repository)
    one_night = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    return [
        _offer(retrain, "Data version, training, evaluation, registered version, and champion if it is better.", "training"),
        _offer(
            nightly, "New data, retraining of what changed, the gate, and one report.", "training", "scheduled",
            choices={"experiments": named}, concurrency_limit=one_night,
            parameters=night.model_dump(mode="json", include={"sources", "experiments", "parallel", "late_hours"}), **when,
        ),
        _offer(compare, "Several detectors or settings on one data version, side by side in one report.", "study"),
        _offer(
            operating_points, "Choose between false alarms and misses before training.", "study",
            choices={"experiment": named},
        ),
        _offer(reproduce, "Rebuild a registered version from its commit, and prove it equal.", "registry"),
        _offer(ingest, "A folder, archive or URL of images and labels becomes a new data version.", "data"),
        _offer(promote, "Make a registered version the champion, or go back to the champion before.", "registry"),
    ]  # fmt: skip


def _offer(
    flow: Any, description: str, *tags: str, choices: Mapping[str, list[str]] | None = None, **settings: Any
) -> RunnerDeployment:
    """A deployment of the flow's own name. ``choices``: what its form lets choose among, for a text or a list of texts."""
    made = cast("RunnerDeployment", flow.to_deployment(flow.name, description=description, tags=list(tags), **settings))
    for name, values in (choices or {}).items():
        form = made._parameter_openapi_schema.properties[name]
        form.get("items", form)["enum"] = values
    return made


def serve_all() -> None:
    """Register every deployment with the server and run what it schedules, until stopped."""
    repository = find_repository(Path.cwd())
    prepare_environment(repository)

    from prefect import serve

    serve(*deployments(repository), limit=AT_ONCE, print_starting_message=False)


if __name__ == "__main__":
    serve_all()
