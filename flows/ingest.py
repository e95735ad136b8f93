"""The ingest flow: a drop of images and labels becomes a new data version."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, Field

from flows import data_versions, git
from flows.artifacts import artifact_key, best_effort, show_pictures
from flows.data_versions import DataVersion
from flows.reconcile import note_process
from flows.repository import find_repository
from flows.stages import call, read_json
from flows.workspace import Workspace
from kpmodels.addresses import NO_PASSWORD, refuse_password
from kpmodels.config.data import DATA_NAME
from kpmodels.config.ingest import IngestOptions
from kpmodels.errors import UserError

DEFAULT = IngestOptions()


class IngestResult(BaseModel):
    """What an ingest came to; ``version`` is empty when there is none (a dry run of a new data set)."""

    name: str
    version: str
    changed: bool
    dry_run: bool = False
    report: dict[str, Any]


@flow(name="ingest", flow_run_name="ingest {name}", persist_result=False, on_running=[note_process])
def ingest(
    source: Annotated[str, Field(min_length=1, json_schema_extra=NO_PASSWORD)],
    name: Annotated[str, Field(pattern=DATA_NAME)],
    options: IngestOptions = DEFAULT,
    skip_bad: bool = False,
    dry_run: bool = False,
) -> IngestResult:
    """Add a drop to a data set, and name the result as its next version.

    Args:
        source: Folder, archive or address of images and labels; ${KP_SECRET_NAME} in it is that environment variable.
        name: Of the data set, new or not: lower-case letters, digits and dashes.
        options: How the drop is read.
        skip_bad: Leave out what is broken, and record it, instead of refusing the drop.
        dry_run: Read and check everything, write nothing.
    """
    repository = find_repository(Path.cwd())
    refuse_password(source)
    refuse_early(repository, name, dry_run)
    inputs = json.dumps([source, options.model_dump(mode="json"), skip_bad, dry_run])
    run = f"ingest-{name}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"
    workspace = Workspace.create(repository, run, revision="HEAD")
    with workspace:
        base = data_versions.prepare(workspace, name)
        report = build_or_clean_up(workspace, source, name, options, skip_bad, dry_run)
        if dry_run or (not report["changed"] and base is not None):
            version = base.version if base else ""
            if base is not None and not dry_run:
                publish(workspace, name)  # where a push failed before, giving the drop again makes up for it
            result = IngestResult(name=name, version=version, changed=False, dry_run=dry_run, report=report)
        else:
            made = register(workspace, name, report, base)
            show(workspace, name, made, base, report)
            publish(workspace, name)
            result = IngestResult(name=name, version=made.version, changed=True, report=report)
    workspace.remove()
    return result


def refuse_early(repository: Path, name: str, dry_run: bool) -> None:
    """Raise a UserError for what would fail only after the whole drop was read: a bad name, no git identity."""
    if not re.fullmatch(DATA_NAME, name):
        raise UserError(f"{name!r} cannot name a data set", "use lower-case letters, digits and dashes")
    if not dry_run:
        git.require_identity(repository)


def build_or_clean_up(
    workspace: Workspace, source: str, name: str, options: IngestOptions, skip_bad: bool, dry_run: bool
) -> dict[str, Any]:
    """`build`; a drop that is refused leaves no worktree behind."""
    try:
        return build(workspace, source, name, options, skip_bad, dry_run)
    except UserError:
        workspace.remove()
        raise


@task(task_run_name="build", persist_result=False)
def build(
    workspace: Workspace, source: str, name: str, options: IngestOptions, skip_bad: bool, dry_run: bool
) -> dict[str, Any]:
    """Merge the drop into the workspace's folder of the data set."""
    report = workspace.repository / ".runs" / f"{workspace.run}.json"
    words: list[str | Path] = ["data", "build", source, "--out", workspace.path / "datasets" / name, "--name", name]
    words += ["--options", options.model_dump_json(), "--report", report]
    words += ["--skip-bad"] if skip_bad else []
    words += ["--dry-run"] if dry_run else []
    call(workspace, *words)
    content = read_json(report)
    report.unlink()
    return content


@task(task_run_name="register", persist_result=False)
def register(workspace: Workspace, name: str, report: dict[str, Any], base: DataVersion | None) -> DataVersion:
    """Put the folder under DVC, commit the pointer, and tag the commit as the next version."""
    figures = (
        f"{report['images']} images, {report['instances']} instances; {report['images_added']} images added, "
        f"{report['images_relabelled']} relabelled"
    )
    made = data_versions.register_data(workspace, name, figures, base)
    get_run_logger().info("registered %s: %s", made, figures)
    return made


@best_effort
def show(workspace: Workspace, name: str, made: DataVersion, base: DataVersion | None, report: dict[str, Any]) -> None:
    """Put what is new on the run's page, with a sheet of labelled images."""
    folder = workspace.repository / ".runs" / "reports" / f"{name}-{made.version}"
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / "contact-sheet.jpg"  # a PNG of it is larger than what Prefect takes for an event
    call(workspace, "data", "show", workspace.path / "datasets" / name, "--out", sheet, "--count", "12")
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {report[key]} |"
        for key in ("images", "instances", "images_added", "images_relabelled", "images_unchanged", "splits")
    )
    before = f", made from {base}" if base else ""
    create_markdown_artifact(
        f"**{made}**{before}\n\n| what | number |\n|---|---|\n{rows}\n",
        key=artifact_key(f"{name}-data"),
        description="What is new",
    )
    show_pictures(name, [sheet])


@task(task_run_name="publish", retries=2, retry_delay_seconds=10, persist_result=False)
def publish(workspace: Workspace, name: str) -> None:
    """Push the bytes and the tags to where the user shares them."""
    get_run_logger().info("pushed to %s", data_versions.publish(workspace, name))


def print_result(result: IngestResult) -> None:
    """The end of an ingest on the terminal."""
    if result.dry_run:
        print("dry run: nothing was written")
    elif not result.changed:
        print(f"nothing new: {result.name}@{result.version} stays the newest version")
    else:
        print(f"data version {result.name}@{result.version}")
