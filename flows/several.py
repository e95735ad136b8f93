"""Several experiments on one data version, each trained and measured in a run of its own, a few at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task

from flows.artifacts import report_link
from flows.data_versions import DataVersion
from flows.experiment_run import commit_run, open_workspace, train_and_evaluate, write_report
from flows.parallel import run_parallel
from flows.stages import call, read_json
from flows.workspace import Workspace
from kpmodels.config import Experiment
from kpmodels.errors import UserError


@dataclass(frozen=True)
class Measured:
    """A run that was trained and measured; its commit is kept by the run's ref."""

    title: str
    experiment: Experiment
    run: str
    results: Path
    model: Path
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
    if len(failed) == len(done) and len({str(error) for _, error in failed}) == 1:
        raise failed[0][1]  # of what all have in common, such as the data
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
        results = train_and_evaluate(workspace, experiment, data)
        commit_run(workspace, experiment, data)
        report = write_report(workspace, experiment, title)
        model = workspace.path / "models" / experiment.name
        return Measured(title, experiment, workspace.run, results, model, report_link(report))


def write_page(
    repository: Path, measured: Sequence[Measured], name: str, spec: dict[str, Any], command: str, *words: str | Path
) -> tuple[Path, dict[str, Any]]:
    """A page about all of them, which a ``kpmodels`` command makes of a spec, and its summary.

    Args:
        name: Of the page's folder under `.runs/reports`.
        words: What the command needs besides spec, page and summary.
    """
    folder = repository / ".runs" / "reports" / name
    folder.mkdir(parents=True, exist_ok=True)
    page, summary = folder / "report.html", folder / "summary.json"
    (folder / "spec.json").write_text(json.dumps(spec, indent=1))
    with Workspace.create(repository, measured[0].run) as workspace:
        call(workspace, command, folder / "spec.json", *words, "--out", page, "--summary", summary)
    return page, read_json(summary)


def short_hash(value: Any) -> str:
    """Twelve digits that tell plain values apart."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
