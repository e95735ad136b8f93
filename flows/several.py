"""Several experiments on one data version, each trained and measured in a run of its own, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect import task

from flows.artifacts import report_link
from flows.data_versions import DataVersion
from flows.experiment_run import commit_run, open_workspace, results_folder, train_and_evaluate
from flows.parallel import run_parallel
from flows.stages import call
from kpmodels.config import Experiment
from kpmodels.errors import UserError


@dataclass(frozen=True)
class Measured:
    """A run that was trained and measured; its commit is kept by the run's ref."""

    title: str
    experiment: Experiment
    run: str
    path: Path
    results: Path
    model: Path
    commit: str
    link: str

    def entry(self) -> dict[str, str]:
        """What the pages that put models side by side ask for."""
        return {"title": self.title, "results": str(self.results), "model": str(self.model), "link": self.link}


def measure_all(
    repository: Path, experiments: Sequence[tuple[str, Experiment]], data: DataVersion, snapshot: bool, parallel: int
) -> list[Measured]:
    """Train and measure experiments with their titles, at most ``parallel`` at a time; what is finished is used again.

    Raises:
        UserError: some of them failed; the message tells which and why, and that the others are kept.
    """

    work: list[Callable[[], Measured]] = [
        partial(measure, repository, title, experiment, data, snapshot) for title, experiment in experiments
    ]
    done = run_parallel(work, parallel)
    failed = [
        (title, found) for (title, _), found in zip(experiments, done, strict=True) if isinstance(found, Exception)
    ]
    if failed:
        told = "\n".join(f"  {title}: {str(error).splitlines()[0]}" for title, error in failed)
        raise UserError(
            f"{len(failed)} of {len(done)} experiments failed\n{told}", "the others are kept; start it again"
        )
    return [found for found in done if isinstance(found, Measured)]


@task(task_run_name="{title}", persist_result=False)
def measure(repository: Path, title: str, experiment: Experiment, data: DataVersion, snapshot: bool) -> Measured:
    """Train and measure one experiment, commit what came out, and write its report."""
    with open_workspace(repository, experiment, data, snapshot) as workspace:
        train_and_evaluate(workspace, experiment, data)
        commit = commit_run(workspace, experiment, data)
        results, model = results_folder(workspace, experiment), workspace.path / "models" / experiment.name
        report = repository / ".runs" / "reports" / workspace.run / "report.html"
        report.parent.mkdir(parents=True, exist_ok=True)
        folder = workspace.path / "datasets" / data.name
        call(workspace, "report", results, "--model", model, "--data", folder, "--out", report, "--title", title)
        link = report_link(report)
        return Measured(title, experiment, workspace.run, workspace.path, results, model, commit, link)
