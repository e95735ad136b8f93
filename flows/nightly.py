"""The nightly flow: new data? ingest it; anything changed? train, measure, gate; and one report to read over coffee.

Exactly one works at a time: a second, and one that starts hours too late, ends as cancelled with its reason. Nothing is
kept in here that a machine could lose: what is finished is found again by the runs and versions in git, DVC and the
trainings' checkpoints, so the next night goes on from there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.states import Cancelled, Completed, Failed
from pydantic import BaseModel, Field

from flows import git, registry
from flows.artifacts import show_report
from flows.bundled import resolve_or_adopt
from flows.experiment_run import run_name
from flows.ingest import IngestResult, ingest
from flows.named_experiments import choose_experiment
from flows.nightly_report import Outcome, in_words, write_page
from flows.nightly_settings import NightlySource, check_experiments
from flows.notify import notify, on_failure
from flows.parallel import run_parallel
from flows.reconcile import note_process
from flows.registry_tags import ModelVersion
from flows.repository import Lock, find_repository, runs_folder
from flows.retrain import RetrainResult, retrain
from flows.workspace import checkout_base
from kpmodels.config import Experiment
from kpmodels.errors import UserError


class NightlyResult(BaseModel):
    """What a night came to."""

    summary: str
    outcomes: list[Outcome]
    report: Path


@flow(
    name="nightly", persist_result=False, on_running=[note_process], validate_parameters=True,
    on_failure=[on_failure], on_crashed=[on_failure],
)  # fmt: skip
def nightly(
    sources: list[NightlySource] = [],  # noqa: B006
    experiments: list[str] = [],  # noqa: B006
    parallel: Annotated[int, Field(ge=1, le=64)] = 1,
    late_hours: Annotated[float, Field(gt=0)] = 6.0,
    snapshot: bool = True,
) -> Any:
    """Look for new data, retrain what changed, let the gate decide, and leave one report.

    Args:
        sources: Where new data may be.
        experiments: Named experiments of flows/experiments to train.
        parallel: How many train at a time.
        late_hours: Cancel a run that starts later than its time by more.
        snapshot: Take uncommitted changes of the checkout into the run's commit; else refuse to run with them.
    """
    repository = find_repository(Path.cwd())
    check_experiments(repository, experiments)
    late = hours_late()
    if late > late_hours:
        return Cancelled(
            message=f"started {late:.1f} h late, and {late_hours:g} h are allowed: the next night makes up for it"
        )
    lock = Lock(runs_folder(repository) / "nightly.lock")
    if not lock.acquire():
        return Cancelled(message=f"another nightly is at work in {lock.holder()}: this one is not needed")
    try:
        return work_through(repository, sources, experiments, parallel, snapshot)
    finally:
        lock.release()


def work_through(
    repository: Path, sources: list[NightlySource], experiments: list[str], parallel: int, snapshot: bool
) -> Any:
    """The night itself: its result, or a failed state that holds the summary."""
    start = datetime.now(UTC)
    data = [take_in(source) for source in sources]
    models = run_parallel([partial(train, repository, name, snapshot) for name in experiments], parallel)
    trained = [
        found if isinstance(found, Outcome) else Outcome(name=name, kind="model", error=str(found))
        for name, found in zip(experiments, models, strict=True)
    ]
    outcomes = [*data, *trained]
    report = write_page(repository, outcomes, start)
    summary = in_words(outcomes)
    get_run_logger().info("%s", summary)
    show_report(f"nightly-{start:%Y-%m-%d}", report, summary)
    failed = [one for one in outcomes if one.error]
    if failed:
        told = "\n\n".join(f"{one.name}:\n{one.error}" for one in failed)
        notify(f"nightly: {len(failed)} of {len(outcomes)} failed", f"{summary}\n\n{told}")
        return Failed(message=summary)
    result = NightlyResult(summary=summary, outcomes=outcomes, report=report)
    return Completed(message=summary, data=result)


def take_in(source: NightlySource) -> Outcome:
    """Look into one source. An error is told, and does not keep the rest of the night from its work."""
    get_run_logger().info("looking for new data of %s in %s", source.data, source.source)
    try:
        found: IngestResult = ingest(source.source, source.data, source.options, source.skip_bad)
    except Exception as error:
        get_run_logger().error("%s: %s", source.data, error)
        return Outcome(name=source.data, kind="data", error=str(error))
    words = f"{found.report['images_added']} images added, {found.report['images_relabelled']} relabelled"
    return Outcome(
        name=source.data, kind="data", version=found.version, changed=found.changed,
        reason=words if found.changed else "nothing new",
    )  # fmt: skip


def train(repository: Path, name: str, snapshot: bool) -> Outcome:
    """Retrain one experiment on the newest data, or find that it is there already."""
    experiment = choose_experiment(repository, name=name)
    known = unchanged(repository, experiment)
    if known is not None:
        get_run_logger().info("%s: nothing changed since %s", name, known)
        return Outcome(
            name=experiment.name, kind="model", version=known.version, champion=registry.CHAMPION in known.stages,
            reason="nothing changed (same code, data and options)",
        )  # fmt: skip
    done: RetrainResult = retrain(experiment, snapshot=snapshot)
    return Outcome.of(done)


def unchanged(repository: Path, experiment: Experiment) -> ModelVersion | None:
    """The version that equal code, data and options made before, without starting anything; None: there is work to do."""
    try:
        data = resolve_or_adopt(repository, experiment.data.name, experiment.data.version)
    except UserError:
        return None  # the run says it, with the remedy
    run = run_name(repository, checkout_base(repository), experiment, data)
    commit = git.resolve(repository, f"refs/runs/{run}")
    rows = registry.list_versions(repository, experiment.name) if commit else []
    found = next((row for row in rows if row.commit == commit), None)
    return None if found is None or registry.promotion_is_missing(repository, found) else found


def hours_late() -> float:
    """How long after its scheduled time this run starts; 0 for one that was started by hand."""
    from prefect.runtime import deployment, flow_run

    planned = flow_run.get_scheduled_start_time()
    if deployment.get_id() is None or planned is None:
        return 0.0
    return max((datetime.now(UTC) - planned).total_seconds() / 3600, 0.0)
