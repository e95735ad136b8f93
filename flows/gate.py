"""The gate's decision about a new version, as the run asks for it and as the registry keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import task

from flows import registry
from flows.experiment_run import results_folder
from flows.registry_tags import ModelVersion
from flows.stages import call, read_json
from flows.workspace import Workspace
from kpmodels.config import Experiment


@dataclass(frozen=True)
class Decision:
    """The gate's answer in words, with its figures (see ``kpmodels.evaluation.gate``; empty where nothing was compared)."""

    promote: bool
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """What the tag of a promotion says: the reason, then the figures, a line for each slice."""
        if not self.figures:
            return self.reason
        told = f"policy {self.figures['policy']}, measured on {self.figures['images']} images"
        return "\n".join([self.reason, "", told, *map(slice_line, self.figures["slices"])])


@task(task_run_name="gate", persist_result=False)
def ask_gate(workspace: Workspace, experiment: Experiment, before: tuple[ModelVersion, Path] | None) -> Decision:
    """Whether the results in the workspace are good enough to make a champion.

    Args:
        before: The champion, and the folder of its results on the same images.
    """
    champion = registry.champion(workspace.repository, experiment.name)
    if champion is not None and before is None:
        return Decision(False, f"{champion} cannot be measured on this data: promote by hand if you want this one")
    verdict = workspace.repository / ".runs" / f"{workspace.run}.verdict.json"
    beside: list[str | Path] = ["--champion", before[1]] if before else []
    params = workspace.path / "params.yaml"
    call(workspace, "gate", results_folder(workspace, experiment), "--params", params, "--out", verdict, *beside)
    figures = read_json(verdict)
    verdict.unlink()
    return Decision(figures["promote"], figures["reason"], figures)


def slice_line(figures: dict[str, Any]) -> str:
    """One slice in words: ``keypoint tail: PCK@0.1 +0.012 [-0.003, +0.028] on 52 images``."""
    low, high = figures["low"], figures["high"]
    bounds = f" [{low:+.4g}, {high:+.4g}]" if low is not None and high is not None else ""
    mark = ", clearly worse" if figures["worse"] else ""
    return f"{figures['name']}: {figures['metric']} {figures['improvement']:+.4g}{bounds} on {figures['images']} images{mark}"
