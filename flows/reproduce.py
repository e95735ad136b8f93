"""The reproduce flow: rebuild a registered version from its commit alone, and prove it equal or say what differs."""

from __future__ import annotations

import filecmp
import json
import math
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, Field

from flows import git, machine, registry
from flows.artifacts import artifact_key
from flows.notify import on_failure
from flows.rebuild_storage import storage_of_its_own
from flows.reconcile import note_process
from flows.registry_tags import ModelVersion
from flows.repository import find_repository
from flows.stages import read_json, run_stage
from flows.workspace import Workspace
from kpmodels.errors import UserError


class ReproduceResult(BaseModel):
    """What a rebuild came to.

    Attributes:
        equal: Weights and metrics are equal, byte for byte.
        files: Of each file of the model and of the results, whether it is.
        metrics: Those that differ: registered and rebuilt.
        environment: What differs in the environment: then and now. Empty also where the version does not tell it.
    """

    model: str
    version: str
    equal: bool
    files: dict[str, bool]
    metrics: dict[str, tuple[float | str | None, float | str | None]]
    environment: dict[str, tuple[str, str]]


@flow(
    name="reproduce", flow_run_name="reproduce {model}@{version}", persist_result=False, validate_parameters=True,
    on_running=[note_process], on_failure=[on_failure], on_crashed=[on_failure],
)  # fmt: skip
def reproduce(
    model: Annotated[str, Field(min_length=1)],
    version: Annotated[str, Field(pattern=r"^(v\d+)?$")] = "",
    keep: bool = False,
) -> ReproduceResult:
    """Check out a version's commit, pull its data, run its pipeline anew, and compare weights and metrics.

    Args:
        model: Name of the model.
        version: The version, as v3; empty: the newest.
        keep: Leave the worktree of the rebuild in .runs, to look at.
    """
    repository = find_repository(Path.cwd())
    row = find_version(repository, model, version)
    with fresh_workspace(repository, row) as workspace, storage_of_its_own(workspace):
        result = rebuild_and_compare(workspace, row)
    if not keep:
        workspace.remove()
    get_run_logger().info("%s", in_words(result))
    create_markdown_artifact(as_markdown(result), key=artifact_key(f"reproduce-{row.name}-{row.version}"))
    return result


def find_version(repository: Path, model: str, version: str) -> ModelVersion:
    """The version; a clone that does not know it yet asks its git remote for the tags first."""
    try:
        return registry.find(repository, model, version)
    except UserError:
        if not git.fetch_tags(repository):
            raise
        return registry.find(repository, model, version)


def fresh_workspace(repository: Path, row: ModelVersion) -> Workspace:
    """A worktree on the version's commit in which nothing was ever run."""
    run = f"reproduce-{row.name}-{row.version}"
    with Workspace.create(repository, run, revision=row.commit) as old:
        old.remove()
    return Workspace.create(repository, run, revision=row.commit)


def rebuild_and_compare(workspace: Workspace, row: ModelVersion) -> ReproduceResult:
    """Run both stages anew, and compare what they make with what is registered."""
    params = workspace.read_params()
    workspace.pull([f"datasets/{params['data']['name']}"])
    run_stage(workspace, "train", True)
    run_stage(workspace, "evaluate", True)
    with Workspace.create(workspace.repository, f"view-{row.name}-{row.version}", revision=row.commit) as view:
        folders = [f"models/{row.name}", f"results/{row.name}"]
        view.pull(folders)
        return compare_rebuilt(row, view.path, workspace.path, folders)


@task(persist_result=False)
def compare_rebuilt(row: ModelVersion, registered: Path, rebuilt: Path, folders: list[str]) -> ReproduceResult:
    """Compare the folders of two worktrees file by file, and the metrics one by one."""
    files = {name: same for folder in folders for name, same in equal_files(registered, rebuilt, folder).items()}
    then, now = (read_json(top / f"metrics/{row.name}.json") for top in (registered, rebuilt))
    differing = {key: (then.get(key), now.get(key)) for key in {*then, *now} if then.get(key) != now.get(key)}
    return ReproduceResult(
        model=row.name,
        version=row.version,
        equal=all(files.values()) and not differing,
        files=files,
        metrics=dict(sorted(differing.items())),
        environment=machine.differences(recorded_environment(row), machine.describe()),
    )


def equal_files(registered: Path, rebuilt: Path, folder: str) -> dict[str, bool]:
    """Of each file that one or both of two worktrees have in a folder, whether the bytes are equal."""
    names = {
        path.relative_to(top).as_posix()
        for top in (registered, rebuilt)
        for path in (top / folder).rglob("*")
        if path.is_file()
    }
    return {name: _same(registered / name, rebuilt / name) for name in sorted(names)}


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def recorded_environment(row: ModelVersion) -> dict[str, str]:
    """What the version's tag says of the machine that made it; empty where it says nothing."""
    for line in row.message.splitlines():
        if line.startswith("environment: "):
            found: dict[str, str] = json.loads(line.removeprefix("environment: "))
            return found
    return {}


def in_words(result: ReproduceResult) -> str:
    """The outcome, with the differences."""
    name = f"{result.model}@{result.version}"
    if result.equal:
        return f"{name} is rebuilt, equal byte for byte ({len(result.files)} files)"
    lines = [f"{name} is rebuilt, and is not equal"]
    lines += [f"  {file} differs" for file, same in result.files.items() if not same]
    lines += [
        f"  {key}: registered {then}, rebuilt {now}{_gap(then, now)}" for key, (then, now) in result.metrics.items()
    ]
    lines += [f"  {what}: then {then}, now {now}" for what, (then, now) in result.environment.items()]
    if not result.environment:
        lines.append("  processor and packages are those that the version names, or it names none")
    return "\n".join(lines)


def _gap(then: Any, now: Any) -> str:
    if isinstance(then, float) and isinstance(now, float) and math.isfinite(then - now):
        return f" ({now - then:+.3g})"
    return ""


def as_markdown(result: ReproduceResult) -> str:
    """The same for the run's page."""
    first, *rest = in_words(result).splitlines()
    return "\n".join([f"**{first}**", "", *(f"- {line.strip()}" for line in rest)])
