from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from flows.stages import run_stage, user_error


class Fails:
    """A workspace whose training fails the first time."""

    run = "night-1"

    def __init__(self, folder: Path) -> None:
        self.progress_file = folder / "progress.jsonl"
        self.calls: list[tuple[bool, bool]] = []

    def read_params(self) -> dict[str, Any]:
        return {"name": "night"}

    def run_stage(self, stage: str, on_line: Any, force: bool, anew: bool) -> None:
        self.calls.append((force, anew))
        if len(self.calls) == 1:
            raise RuntimeError("the network went away")


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("force", [True, False])
def test_a_second_try_goes_on_from_what_the_first_one_trained(tmp_path: Path, force: bool) -> None:
    workspace = Fails(tmp_path)

    @flow
    def training() -> None:
        run_stage.with_options(retry_delay_seconds=0)(workspace, "train", force)

    training()
    assert workspace.calls == [(force, force), (force, False)]


def test_all_lines_of_a_users_mistake_are_kept() -> None:
    lines = [
        "epoch 1",
        "error: 2 problems in the drop",
        "  a.jpg: broken",
        "  b.jpg: broken",
        "  -> mend them",
        "",
        "ERROR: x",
    ]
    found = user_error(lines)
    assert found is not None
    assert found.message == "2 problems in the drop\n  a.jpg: broken\n  b.jpg: broken"
    assert found.remedy == "mend them"


def test_what_dvc_says_of_the_stage_is_left_out() -> None:
    found = user_error(["error: no such split", "ERROR: failed to reproduce 'train': failed to run: x, exited with 2"])
    assert found is not None
    assert str(found) == "no such split"


def test_a_failure_of_another_kind_is_none() -> None:
    assert user_error(["Traceback (most recent call last):", "ValueError: x"]) is None
