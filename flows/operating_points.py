"""The operating-points flow: one detector over false-alarm and miss weights of the Hausdorff loss, to choose from.

The weights decide before training what the detector prefers; moving the score threshold decides after it. The report
shows both, chosen on validation images and measured on test images, and the points that cost least are registered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from prefect import flow, task
from pydantic import BaseModel, Field

from flows import data_versions, several
from flows.artifacts import show_report
from flows.bundled import resolve_or_adopt
from flows.data_versions import DataVersion
from flows.experiment_run import open_workspace
from flows.hausdorff_weights import GRID, PLAIN, Weights, with_weights
from flows.named_experiments import choose_experiment
from flows.reconcile import note_process
from flows.repository import find_repository
from flows.retrain import retrain
from flows.several import Measured, measure_all, short_hash
from flows.stages import call, read_json
from flows.workspace import Workspace
from kpmodels.config import Experiment

MEASURED = ("accuracy", "early-warning", "guidance")


class OperatingPointsResult(BaseModel):
    """What came out; ``summary`` is that of ``kpmodels.evaluation.report.operating_points``; ``registered`` by policy."""

    data: str
    summary: dict[str, Any]
    registered: dict[str, str]
    report: Path


@flow(
    name="operating-points", flow_run_name="operating points of {experiment}", persist_result=False, on_running=[note_process],
    validate_parameters=True,
)  # fmt: skip
def operating_points(
    experiment: str,
    weights: Annotated[list[Weights], Field(min_length=1)] = GRID,
    data: str = "",
    changes: list[str] = [],  # noqa: B006
    register_best: bool = True,
    parallel: Annotated[int, Field(ge=1, le=64)] = 1,
    snapshot: bool = True,
) -> OperatingPointsResult:
    """Train one detector over weights of the Hausdorff loss, draw misses against false alarms, register the best points.

    Args:
        experiment: A named experiment of flows/experiments with the Hausdorff loss on.
        weights: What is tried; equal weights always are.
        data: Data set, NAME or NAME@vN; empty: the experiment's.
        changes: key=value on top, as train.epochs=20.
        register_best: Register the cheapest of each policy as EXPERIMENT-POLICY, judged by the gate of that policy.
        parallel: How many train at a time.
        snapshot: Take uncommitted changes of the checkout into the run's commit; else refuse to run with them.
    """
    repository = find_repository(Path.cwd())
    base = choose_experiment(repository, name=experiment, data=data, assignments=tuple(changes))
    version = resolve_or_adopt(repository, base.data.name, base.data.version)
    variants = [(pair.title, with_weights(base, pair)) for pair in dict.fromkeys([*weights, PLAIN])]
    require_validation_images(repository, variants[0][1], version, snapshot)
    measured = measure_all(repository, variants, version, snapshot, parallel)
    report, summary = write_page(repository, base, measured, version)
    registered = register_choices(base, dict(variants), summary, snapshot) if register_best else {}
    show_report(f"operating-points-{base.name}", report, in_words(summary, registered))
    return OperatingPointsResult(data=str(version), summary=summary, registered=registered, report=report)


def require_validation_images(repository: Path, experiment: Experiment, data: DataVersion, snapshot: bool) -> None:
    """Refuse before anything is trained what ends without points to choose from: they are chosen on validation images."""
    with open_workspace(repository, experiment, data, snapshot) as workspace:
        call(workspace, "data", "splits", data_versions.place(workspace, data), "--need", "val")


def write_page(
    repository: Path, base: Experiment, measured: list[Measured], data: DataVersion
) -> tuple[Path, dict[str, Any]]:
    """The page, and its summary; each model is measured on the validation images too, to choose by."""
    gate = base.gate
    spec = {
        "title": f"{base.name}: operating points",
        "data": str(data),
        "plain": PLAIN.title,
        "policies": {
            "accuracy": [1.0, 1.0],
            "early-warning": [gate.miss_cost, 1.0],
            "guidance": [1.0, gate.false_alarm_cost],
        },
        "entries": [one.entry() | {"val_results": str(measure_on_val(repository, one, data))} for one in measured],
    }
    name = f"operating-points-{base.name}-{short_hash([one.run for one in measured])}"
    folder = repository / ".runs" / measured[0].run / "datasets" / data.name
    return several.write_page(repository, measured, name, spec, "trade-off", "--data", folder)


@task(task_run_name="validation images: {one.title}", persist_result=False)
def measure_on_val(repository: Path, one: Measured, data: DataVersion) -> Path:
    """The folder of results on the validation images; made once for a model."""
    with Workspace.create(repository, one.run) as workspace:
        out = workspace.path / "validation" / one.experiment.name
        about = out / "about.json"
        model = read_json(one.model / "model.json")
        if about.exists() and read_json(about)["weights_sha256"] == model["weights_sha256"]:
            return out
        options = one.experiment.model_dump(mode="json")
        options["evaluate"] |= {"split": "val", "samples": 0}
        params = workspace.path / "validation.yaml"
        params.write_text(yaml.safe_dump(options, sort_keys=False))
        folder = workspace.path / "datasets" / data.name
        call(workspace, "evaluate", one.model, "--data", folder, "--params", params, "--out", out)
        return out


def register_choices(
    base: Experiment, variants: dict[str, Experiment], summary: dict[str, Any], snapshot: bool
) -> dict[str, str]:
    """Register the cheapest weights of each policy under the policy's name; the training is there already.

    Its gate has the policy too, so that a later run under the name is judged by what that name is for.
    """
    registered = {}
    for policy in MEASURED:
        chosen = variants[summary["choices"][policy]["before"]["model"]]
        gate = chosen.gate.model_copy(update={"policy": policy, "metric": ""})
        named = chosen.model_copy(update={"name": f"{base.name}-{policy}", "gate": gate})
        done = retrain(named, snapshot=snapshot)
        registered[policy] = f"{done.model}@{done.version}"
    return registered


def in_words(summary: dict[str, Any], registered: dict[str, str]) -> str:
    """The outcome, a line for each policy."""
    lines = []
    for policy, found in summary["choices"].items():
        name = f", registered as {registered[policy]}" if policy in registered else ""
        lines.append(
            f"- **{policy}**: {found['before']['model']}{name}; saves {found['gain']:+.3g} per image "
            f"[{found['low']:+.3g}, {found['high']:+.3g}] against a moved threshold: {found['verdict']}"
        )
    return "\n".join(lines)
