"""One stage of ``dvc.yaml`` as a Prefect task: its log reaches Prefect as it runs, training moves a progress bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect import get_run_logger, runtime, task
from prefect.client.schemas.objects import State, TaskRun

from flows.artifacts import TrainingProgress
from flows.process import ProcessError, run
from flows.workspace import Workspace
from kpmodels.errors import UserError, mistake_in

LINES_OF_A_MISTAKE = 400  # a drop can be wrong in many places, and its error names fifty of them


def _worth_a_retry(task_: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the failure may have been the world's: a mistake of the user's stays one."""
    try:
        state.result()
    except UserError:
        return False
    except Exception:
        return True
    return False


@task(
    task_run_name="{stage}", retries=1, retry_delay_seconds=5, retry_condition_fn=_worth_a_retry, persist_result=False
)
def run_stage(workspace: Workspace, stage: str, force: bool = False) -> None:
    """Bring one stage up to date, or take its outputs from the cache.

    Args:
        force: Do it anew although nothing changed; a second try goes on from the checkpoints of the first.

    Raises:
        UserError: the stage's command refused something that the user gave it.
        ProcessError: it failed in another way; the error holds the tail of the log.
    """
    log = get_run_logger()
    if stage != "train":
        _explained(lambda: workspace.run_stage(stage, log.info, force))
        return
    anew = force and (runtime.task_run.run_count or 1) < 2
    progress = TrainingProgress(workspace.progress_file, f"{workspace.read_params()['name']}-progress")

    def on_line(line: str) -> None:
        log.info(line)
        progress.update()

    progress.path.unlink(missing_ok=True)
    _explained(lambda: workspace.run_stage(stage, on_line, force, anew))
    progress.finish()


def call(workspace: Workspace, *words: str | Path) -> None:
    """Run a ``kpmodels`` command with the code of the workspace; its lines go to the run's log."""
    log = get_run_logger()
    command = [sys.executable, "-m", "kpmodels", *words]
    _explained(
        lambda: run(
            command, workspace.path, env=workspace.environment(), on_line=log.info, keep_lines=LINES_OF_A_MISTAKE
        )
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that a stage wrote."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _explained(action: Callable[[], object]) -> None:
    """Run something; when its log ends with an error that is meant for the user, raise that."""
    try:
        action()
    except ProcessError as error:
        found = user_error(error.completed.lines)
        if found is None:
            raise
        raise found from None


def user_error(lines: Sequence[str]) -> UserError | None:
    """The last error meant for the user in the log of a stage."""
    return mistake_in(lines, ends="ERROR: ")  # DVC goes on about the stage that failed
