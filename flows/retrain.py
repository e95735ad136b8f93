"""The retrain flow: data version -> train -> evaluate -> register -> gate -> champion.

The stages are those of ``dvc.yaml``, run one by one in a worktree of the run's own; what comes out is committed,
named by tags, and pushed. Nothing of the user's checkout is touched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from pydantic import BaseModel

from flows import experiment_run, git, machine, registry
from flows.artifacts import show_metrics, show_pictures, show_report
from flows.bundled import resolve_or_adopt
from flows.champion import champion_results
from flows.data_versions import DataVersion
from flows.experiment_run import commit_run, open_workspace, results_folder, train_and_evaluate
from flows.gate import Decision, ask_gate
from flows.lockfile import stage_hashes
from flows.reconcile import note_process
from flows.registry_tags import ModelVersion
from flows.repository import exclusive, find_repository
from flows.stages import read_json
from flows.workspace import Workspace
from kpmodels.config import Experiment

DEFAULT = Experiment()
GATE_SECONDS = 3600  # that another run of the name may take to measure the champion
IN_ONE_LINE = (
    "oks_ap",
    "oks_ap_assumed_sigmas",
    "box_ap",
    "pixel_error_mean",
    "f1",
    "count_mae",
    "false_alarms_per_image",
    "miss_rate",
)


class RetrainResult(BaseModel):
    """What a retrain run came to.

    Attributes:
        unchanged: Nothing was new: the version is one that was registered before.
        champion: Whether the version is champion now, for the given reason.
        figures: What the gate measured (see ``kpmodels.evaluation.gate``); empty where it was not asked.
        report: An HTML page.
    """

    run: str
    model: str
    version: str
    data: str
    champion: bool
    unchanged: bool
    reason: str
    figures: dict[str, Any]
    metrics: dict[str, float | str]
    report: Path


@flow(
    name="retrain",
    flow_run_name="retrain {experiment.name}",
    persist_result=False,
    on_running=[note_process],
    validate_parameters=True,
)
def retrain(experiment: Experiment = DEFAULT, force: bool = False, snapshot: bool = True) -> RetrainResult:
    """Train, evaluate and register one detector; it becomes champion when the gate says so.

    Args:
        experiment: The detector, its data and its training.
        force: Train anew although nothing changed since the last run.
        snapshot: Take uncommitted changes of the checkout into the run's commit; else refuse to run with them.
    """
    repository = find_repository(Path.cwd())
    data = resolve_or_adopt(repository, experiment.data.name, experiment.data.version)
    with open_workspace(repository, experiment, data, snapshot) as workspace:
        results = train_and_evaluate(workspace, experiment, data, force)
        with exclusive(repository, f"gate-{experiment.name}", GATE_SECONDS):
            before = champion_results(workspace, experiment.name, data.name)
            version, unchanged, decision = decide_and_register(workspace, experiment, data, before)
            is_champion = settle(repository, version, decision)
        report = write_report(workspace, experiment, version, before)
        result = RetrainResult(
            run=workspace.run,
            model=version.name,
            version=version.version,
            data=str(data),
            champion=is_champion,
            unchanged=unchanged,
            reason=decision.reason,
            figures=decision.figures,
            metrics=read_json(results / "metrics.json"),
            report=report,
        )
        show(result, before)
        publish(workspace, version, data)
    return result


def decide_and_register(
    workspace: Workspace, experiment: Experiment, data: DataVersion, before: tuple[ModelVersion, Path] | None
) -> tuple[ModelVersion, bool, Decision]:
    """The run's version, whether it was registered before, and what the gate says of it.

    A run that made the same model again gets the version it has, and nothing is decided anew; unless it was stopped
    between registration and promotion, which is then made up for.
    """
    known = registered(workspace, experiment, data)
    if known is not None and not registry.promotion_is_missing(workspace.repository, known):
        return known, True, Decision(False, "nothing changed: the champion stays")
    decision = ask_gate(workspace, experiment, before)
    return known or register(workspace, experiment, data, decision), known is not None, decision


def registered(workspace: Workspace, experiment: Experiment, data: DataVersion) -> ModelVersion | None:
    """The version that holds the model which the run made, measured on the same data; None: it is new."""
    name = experiment.name
    ours = _made(workspace.repository, (workspace.path / "dvc.lock").read_text(), name, data)
    for row in reversed(registry.list_versions(workspace.repository, name)):
        lock = git.show(workspace.repository, row.commit, "dvc.lock")
        if lock is not None and _made(workspace.repository, lock, name, data) == ours:
            return row
    return None


@task(task_run_name="register", persist_result=False)
def register(workspace: Workspace, experiment: Experiment, data: DataVersion, decision: Decision) -> ModelVersion:
    """Commit the run and name it as the next version, with its metrics, the gate's decision and the machine in the tag's message."""
    name = experiment.name
    metrics = read_json(results_folder(workspace, experiment) / "metrics.json")
    figures = ", ".join(f"{key} {value:.4g}" for key, value in headline_keys(metrics).items())
    message = (
        f"{experiment.detector.kind} on {data}: {figures}\n\ngate: {decision.message}\n\n"
        f"environment: {json.dumps(machine.describe())}\n\n{json.dumps(metrics, indent=1, sort_keys=True)}"
    )
    commit = commit_run(workspace, experiment, data)
    version = registry.register(
        workspace.repository, name, commit, message, gate="promote" if decision.promote else "keep"
    )
    get_run_logger().info("registered %s@%s", name, version)
    return registry.find(workspace.repository, name, version)


def headline_keys(metrics: Mapping[str, object]) -> dict[str, float]:
    """The few metrics that a message of one line has room for."""
    found = {key: value for key in IN_ONE_LINE if isinstance(value := metrics.get(key), int | float)}
    return dict(list(found.items())[:4])


def _made(repository: Path, lock: str, name: str, data: DataVersion) -> tuple[str, str]:
    """The content hashes of a run's model and of the data it was measured on."""
    hashes = stage_hashes(lock, "evaluate")
    return hashes.get(f"models/{name}", ""), hashes.get(f"datasets/{data.name}", "")


@task(task_run_name="report", persist_result=False)
def write_report(
    workspace: Workspace, experiment: Experiment, version: ModelVersion, before: tuple[ModelVersion, Path] | None
) -> Path:
    """Write the page about the version, beside the champion where there is another one."""
    other = before if before and before[0].version != version.version else None
    beside = ["--champion", str(other[1]), "--champion-title", f"champion {other[0]}"] if other else []
    pictures = workspace.repository / ".runs" / "reports" / workspace.run
    return experiment_run.write_report(workspace, experiment, str(version), "--pictures", pictures, *beside)


def settle(repository: Path, version: ModelVersion, decision: Decision) -> bool:
    """Promote when the gate said so; whether the version is champion then."""
    if decision.promote:
        registry.promote(repository, version.name, version.version, decision.message)
    champion = registry.champion(repository, version.name)
    return champion is not None and champion.version == version.version


def show(result: RetrainResult, before: tuple[ModelVersion, Path] | None) -> None:
    """Put the outcome on the run's page; equal keys make the versions of a model one history in the UI."""
    columns = {f"{result.model}@{result.version}": result.metrics}
    if before is not None and before[0].version != result.version:
        columns[f"champion {before[0]}"] = read_json(before[1] / "metrics.json")
    show_metrics(result.model, columns)
    show_pictures(result.model, sorted(result.report.parent.glob("*.jpg")))
    state = "is champion" if result.champion else "is not champion"
    show_report(
        result.model, result.report, f"**{result.model}@{result.version}** on {result.data} {state}: {result.reason}"
    )


@task(task_run_name="publish", retries=2, retry_delay_seconds=10, persist_result=False)
def publish(workspace: Workspace, version: ModelVersion, data: DataVersion) -> None:
    """Push bytes, the run's ref and the tags to where the user shares them. What fails stays and is pushed later."""
    log = get_run_logger()
    log.info("pushed to %s", workspace.push())
    registry.push_tags(workspace.repository, [version.name, data.name])
