"""Faults under ``kp up`` with runs that the UI starts: killed server, killed worker, raylet and driver of Ray, cancel.

The tests follow each other: every one starts from what the one before left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_tools import processes_in, wait_for, wait_until_nothing_runs
from up import Up

from flows import registry

OPTIONS = {
    "data": {"name": "shapes"},
    "detector": {
        "kind": "heatmap",
        "input_size": 64,
        "region": "image",
        "flip_test": False,
        "backbone": {"name": "lcnet_035", "pretrained": False, "neck_channels": 16},
    },
    "evaluate": {"samples": 1},
}
LONG = 60  # epochs: enough to be there still when the next fault comes
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@pytest.fixture(scope="module")
def server(checkout: Path) -> Iterator[Up]:
    (checkout / ".runs").mkdir(exist_ok=True)
    running = Up(checkout)
    running.wait("deployments", lambda: len(running.ask("deployments/filter")) >= 3)
    yield running
    running.stop()
    wait_until_nothing_runs(checkout)


def start(server: Up, name: str, epochs: int, workers: int) -> str:
    train = {"epochs": epochs, "workers": workers, "batch_size": 32, "threads": 1, "validate_every": 1}
    return server.start("retrain", experiment={"name": name, "train": train, **OPTIONS})


def test_killed_server_is_started_again_and_the_run_ends_right(server: Up, checkout: Path) -> None:
    run = start(server, "alone", 40, 0)
    events = Events(checkout, "alone")
    events.wait_for_epoch(2)
    kill_server(server)
    server.wait("the server", server.healthy)
    assert ended(server, run) == "COMPLETED"
    assert events.resumed == [0], "the training never noticed"
    assert str(registry.champion(checkout, "alone")) == "alone@v1"
    wait_until_no_run_is_left(checkout)


def test_killed_server_of_runs_marks_them_and_they_go_on(server: Up, checkout: Path) -> None:
    run = start(server, "again", 40, 0)
    events = Events(checkout, "again")
    events.wait_for_epoch(2)
    part_of(server, "flows.deployments").kill()
    assert ended(server, run) == "CRASHED"
    wait_until_no_run_is_left(checkout)
    server.wait("deployments", lambda: "again" in Path(server.log.name).read_text())
    assert ended(server, start(server, "again", 40, 0)) == "COMPLETED"
    assert events.resumed[0] >= 2
    assert [row.version for row in registry.list_versions(checkout, "again")] == ["v1"]


def test_killed_ray_worker_and_raylet_then_cancel_leaves_no_process(server: Up, checkout: Path) -> None:
    run = start(server, "rays", LONG, 1)
    events = Events(checkout, "rays")
    events.wait_for_epoch(1)
    kill_in_ray(checkout, "RayTrainWorker")
    events.wait_for_start(2)
    kill_in_ray(checkout, "raylet/raylet")
    events.wait_for_start(1)  # the stage is tried again, and tells anew
    assert events.resumed[0] >= 1
    assert len(stages(checkout)) > 5, "Ray is there"
    server.ask(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    assert ended(server, run) == "CANCELLED"
    wait_until_no_run_is_left(checkout)


def test_cancelled_run_goes_on_after_its_driver_is_killed_too(server: Up, checkout: Path) -> None:
    before = Events(checkout, "rays").epoch()
    run = start(server, "rays", LONG, 1)
    events = Events(checkout, "rays")
    events.wait_for_start(1)
    assert events.resumed[0] >= before > 0
    driver = next(process for process in stages(checkout) if process.cmdline()[1:4] == ["-m", "kpmodels", "train"])
    driver.kill()
    assert ended(server, run) == "COMPLETED"
    assert events.resumed[-1] >= before
    assert events.epoch() == LONG
    assert str(registry.champion(checkout, "rays")) == "rays@v1"
    wait_until_no_run_is_left(checkout)


class Events:
    """What the training of the run of an experiment tells in its progress file, which every stage begins anew."""

    def __init__(self, checkout: Path, name: str) -> None:
        self.folder, self.pattern = checkout / ".runs", f"retrain-{name}-*.progress.jsonl"

    def read(self) -> list[dict[str, Any]]:
        lines = [line for path in self.folder.glob(self.pattern) for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines if line.endswith("}")]

    @property
    def resumed(self) -> list[int]:
        return [event["resumed_from"] for event in self.read() if event["event"] == "start"]

    def epoch(self) -> int:
        return max((event["epoch"] for event in self.read() if event["event"] == "epoch"), default=0)

    def wait_for_epoch(self, epoch: int) -> None:
        wait_for(f"epoch {epoch}", lambda: self.epoch() >= epoch, 180)

    def wait_for_start(self, count: int) -> None:
        wait_for(f"start number {count}", lambda: len(self.resumed) == count, 180)


def ended(server: Up, run: str) -> str:
    state = server.wait("the end", lambda: (s := server.run(run)["state_type"]) in ENDED and s, 300)
    return str(state)


def part_of(server: Up, words: str) -> psutil.Process:
    """The process of ``kp up`` whose command holds the words."""
    children = psutil.Process(server.process.pid).children()
    return next(child for child in children if words in " ".join(child.cmdline()))


def kill_server(server: Up) -> None:
    part = part_of(server, "prefect server start")
    for process in (part, *part.children(recursive=True)):
        process.kill()


def stages(checkout: Path) -> list[psutil.Process]:
    """Processes that stages of runs started, Ray among them; not those of ``kp up``."""
    return [process for process in processes_in(checkout) if _of_a_stage(process)]


def kill_in_ray(checkout: Path, words: str) -> None:
    found = [process for process in stages(checkout) if words in " ".join(process.cmdline())]
    assert found, [process.cmdline() for process in stages(checkout)]
    for process in found:
        process.kill()


def wait_until_no_run_is_left(checkout: Path) -> None:
    """Neither stages, Ray, watchdogs nor the processes of flow runs."""

    def of_runs() -> list[Any]:
        return [p for p in processes_in(checkout) if _of_a_run(p)]

    wait_for(f"the end of {of_runs()}", lambda: not of_runs(), 60)


def _of_a_stage(process: psutil.Process) -> bool:
    """Some of Ray's processes write over their environment when they name themselves; their folder tells then."""
    try:
        return "KP_RUN" in process.environ() or "/.runs/retrain-" in process.cwd()
    except psutil.Error:
        return False


def _of_a_run(process: psutil.Process) -> bool:
    try:
        return _of_a_stage(process) or "PREFECT__FLOW_RUN_ID" in process.environ() or "kp-watchdog" in process.cmdline()
    except psutil.Error:
        return False
