"""The champion, measured on the same images as a new version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task

from flows import registry
from flows.registry_tags import ModelVersion
from flows.stages import call, read_json
from flows.workspace import Workspace
from kpmodels.errors import UserError

SAME = ("data_fingerprint", "options", "images", "packages")


@task(task_run_name="measure the champion", persist_result=False)
def champion_results(workspace: Workspace, name: str, data: str) -> tuple[ModelVersion, Path] | None:
    """The champion of a name and the folder of its results on the workspace's data; None where there is none to compare.

    Results that the champion's own run made are taken when they were made on the same images in the same way; else the
    champion is measured again, with the code of the workspace.
    """
    champion = registry.champion(workspace.repository, name)
    if champion is None:
        return None
    ours = read_json(workspace.path / "results" / name / "about.json")
    view = Workspace.create(
        workspace.repository, f"view-{name}-{champion.version}", revision=champion.commit, wait=3600
    )
    with view:
        try:
            view.pull([f"models/{name}", f"results/{name}"])
            theirs = view.path / "results" / name
            if comparable(ours, read_json(theirs / "about.json")):
                return champion, theirs
            return champion, _measure(workspace, champion, view.path / "models" / name, data, ours)
        except UserError as error:
            get_run_logger().warning("%s cannot be compared: %s", champion, error)
            return None


def comparable(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether two results were made on the same images in the same way."""
    return all(ours.get(key) == theirs.get(key) for key in SAME)


def _measure(workspace: Workspace, champion: ModelVersion, model: Path, data: str, ours: dict[str, Any]) -> Path:
    out = workspace.path / "champion" / f"{champion.version}-{ours['data_fingerprint'][:12]}"
    call(workspace, "evaluate", model, "--data", workspace.path / "datasets" / data, "--out", out)
    return out
