"""What the Prefect UI shows of a run: progress, metrics beside the champion's, pictures, the report."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from kpmodels.tables import NAMES

Arguments = ParamSpec("Arguments")
PAUSE = 10.0  # seconds without an attempt, after one failed


def best_effort(show: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Something that only shows: where the server cannot be reached, a warning, and the run goes on without."""

    @wraps(show)
    def attempt(*words: Arguments.args, **named: Arguments.kwargs) -> None:
        try:
            show(*words, **named)
        except Exception as error:
            get_run_logger().warning("the run's page lacks something (%s): %s", show.__name__, error)

    return attempt


class TrainingProgress:
    """A progress artifact that follows the file to which the training appends one JSON line per event.

    Args:
        path: The file; it may not exist yet.
        key: Key of the artifact: equal keys are one history in the UI.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = artifact_key(key)
        self.position = 0
        self.artifact: UUID | None = None
        self.silent_until = 0.0
        self._show(0.0, "training")

    def update(self) -> None:
        """Read what was appended since the last call and move the bar."""
        try:
            with self.path.open() as stream:
                stream.seek(self.position)
                text = stream.read()
        except FileNotFoundError:
            return
        complete, newline, _ = text.rpartition("\n")
        if not newline:
            return
        self.position += len(complete.encode()) + 1
        epochs = [event for event in map(_event, complete.splitlines()) if event.get("event") == "epoch"]
        if not epochs:
            return
        last = epochs[-1]
        done, total = int(last["epoch"]), max(int(last["epochs"]), 1)
        figures = {"loss": last.get("loss"), "score": (last.get("val") or {}).get("score")}
        words = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if isinstance(value, float))
        self._show(100.0 * done / total, f"epoch {done} of {total}: {words}")

    def finish(self) -> None:
        """Fill the bar: the training is over, or was not needed."""
        self.update()
        self.silent_until = 0.0
        self._show(100.0)

    def _show(self, percent: float, description: str | None = None) -> None:
        """Move the bar; where the server does not answer, the training goes on without, and it is tried again later."""
        if time.monotonic() < self.silent_until:
            return
        told: dict[str, Any] = {"description": description} if description else {}
        try:
            if self.artifact is None:
                self.artifact = cast(UUID, create_progress_artifact(percent, key=self.key, **told))
            else:
                update_progress_artifact(self.artifact, percent, **told)
        except Exception as error:
            self.silent_until = time.monotonic() + PAUSE
            get_run_logger().warning("the progress bar stands still: %s", error)


def _event(line: str) -> dict[str, Any]:
    """The event of a line; empty where a killed worker left it unfinished."""
    try:
        return cast(dict[str, Any], json.loads(line))
    except ValueError:
        return {}


@best_effort
def show_metrics(key: str, columns: Mapping[str, Mapping[str, object]]) -> None:
    """A table with one row per metric and one column per model, as ``KEY-metrics``."""
    rows = []
    for name, label in NAMES.items():
        values = {title: metrics[name] for title, metrics in columns.items() if name in metrics}
        if values:
            rows.append({"metric": label, **{title: _short(values.get(title)) for title in columns}})
    create_table_artifact(rows, key=artifact_key(f"{key}-metrics"), description=f"Metrics of {', '.join(columns)}")


@best_effort
def show_pictures(key: str, pictures: list[Path]) -> None:
    """Show pictures of a folder of reports on the run's page, each as ``KEY-`` and the file's name."""
    for picture in pictures:
        create_image_artifact(
            picture_link(picture), key=artifact_key(f"{key}-{picture.stem}"), description=picture.stem.replace("-", " ")
        )


@best_effort
def show_report(key: str, report: Path, summary: str) -> None:
    """A link to the report, and the run's outcome in words."""
    link = report_link(report)
    text = f"{summary}\n\nReport: [{link}]({link})\n"
    create_markdown_artifact(text, key=artifact_key(f"{key}-summary"), description="What came out")
    create_link_artifact(
        link, link_text="report", key=artifact_key(f"{key}-report"), description="The page with all figures"
    )


def report_link(report: Path) -> str:
    """The address of a file in a folder of reports: served by ``kp up`` where that runs, else the file itself."""
    base = os.environ.get("KP_REPORTS_URL", "")
    return f"{base.rstrip('/')}/{report.parent.name}/{report.name}" if base else report.resolve().as_uri()


def picture_link(picture: Path) -> str:
    """As of a report, but where nothing is served the picture itself: a browser opens no files from a page."""
    if os.environ.get("KP_REPORTS_URL"):
        return report_link(picture)
    kind = "png" if picture.suffix == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}"


def artifact_key(text: str) -> str:
    """Prefect's keys hold lowercase letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "n/a"  # a lone dash is a list in markdown
