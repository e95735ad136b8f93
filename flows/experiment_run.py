"""One experiment on one data version, trained and measured in a worktree of its own: what every flow that trains does.

Equal code, data and options are the same run, whichever flow asks for it: it goes on where it was, or is there already.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from prefect import get_run_logger

from flows import data_versions, git
from flows.data_versions import DataVersion
from flows.stages import call, run_stage
from flows.workspace import Base, Workspace, checkout_base
from kpmodels.config import Experiment


def open_workspace(repository: Path, experiment: Experiment, data: DataVersion, snapshot: bool) -> Workspace:
    """The worktree of the run.

    Args:
        snapshot: Take uncommitted changes of the checkout into the run's commit; else refuse to run with them.
    """
    base = checkout_base(repository, snapshot)
    return Workspace.create(repository, run_name(repository, base, experiment, data), base=base)


def run_name(repository: Path, base: Base, experiment: Experiment, data: DataVersion) -> str:
    """The run's name, which tells its code (with uncommitted changes), its data and its options apart from all others."""
    tree = git.git(repository, "rev-parse", f"{base.commit}^{{tree}}")
    inputs = json.dumps([tree, experiment.model_dump(mode="json"), data.commit])
    return f"retrain-{experiment.name}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"


def train_and_evaluate(workspace: Workspace, experiment: Experiment, data: DataVersion, force: bool = False) -> Path:
    """Run both stages of ``dvc.yaml``, or take what they made before; the folder of the results."""
    get_run_logger().info("run %s %s; data %s", workspace.run, workspace.note, data)
    data_versions.place(workspace, data)
    workspace.write_params(experiment.model_dump(mode="json"))
    run_stage(workspace, "train", force)
    run_stage(workspace, "evaluate", force)
    return results_folder(workspace, experiment)


def results_folder(workspace: Workspace, experiment: Experiment) -> Path:
    """Where the evaluate stage wrote what it measured."""
    return workspace.path / "results" / experiment.name


def write_report(workspace: Workspace, experiment: Experiment, title: str, *words: str | Path) -> Path:
    """Write the page about the run's results where ``kp up`` serves it; ``words`` go on the command."""
    report = workspace.repository / ".runs" / "reports" / workspace.run / "report.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    call(
        workspace, "report", results_folder(workspace, experiment),
        "--model", workspace.path / "models" / experiment.name,
        "--data", workspace.path / "datasets" / experiment.data.name, "--out", report, "--title", title, *words,
    )  # fmt: skip
    return report


def commit_run(workspace: Workspace, experiment: Experiment, data: DataVersion) -> str:
    """Commit what the run made and keep the commit by the run's ref."""
    workspace.commit(f"Run {workspace.run}\n\n{experiment.detector.kind} on {data}")
    return workspace.keep()
