"""``kp up`` as a process, asked as the UI asks it."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from fault_tools import processes_in, wait_for, wait_until_nothing_runs
from test_server import Server

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
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Up(Server):
    """The service, with what the tests of faults ask of it."""

    def run(self, run: str) -> Any:
        """A flow run, as the server knows it."""
        return self.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})[0]

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a deployment as the UI does; the id of its run."""
        offered = {row["name"]: row["id"] for row in self.ask("deployments/filter")}
        return str(self.ask(f"deployments/{offered[deployment]}/create_flow_run", parameters=parameters)["id"])

    def healthy(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=5) as answer:
            return bool(answer.status == 200)

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(90)


@contextmanager
def running(checkout: Path) -> Iterator[Up]:
    """``kp up`` with its deployments; at the end nothing of it may be left."""
    (checkout / ".runs").mkdir(exist_ok=True)
    server = Up(checkout)
    server.wait("deployments", lambda: len(server.ask("deployments/filter")) >= 3)
    yield server
    server.stop()
    wait_until_nothing_runs(checkout)


def start(server: Up, name: str, epochs: int, workers: int) -> str:
    train = {"epochs": epochs, "workers": workers, "batch_size": 32, "threads": 1, "validate_every": 1}
    train["seed"] = sum(name.encode())  # equal trainings would be used again
    return server.start("retrain", experiment={"name": name, "train": train, **OPTIONS})


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

    def forget(self) -> None:
        for path in self.folder.glob(self.pattern):
            path.unlink()

    def epoch(self) -> int:
        return max((event["epoch"] for event in self.read() if event["event"] == "epoch"), default=0)

    def wait_for_epoch(self, epoch: int) -> None:
        wait_for(f"epoch {epoch}", lambda: self.epoch() >= epoch, 180)

    def wait_for_start(self, count: int) -> None:
        wait_for(f"start number {count}", lambda: len(self.resumed) == count, 180)


def ended(server: Up, run: str) -> str:
    state = server.wait("the end", lambda: (s := server.run(run)["state_type"]) in ENDED and s, 300)
    return str(state)


def stages(checkout: Path) -> list[psutil.Process]:
    """Processes that stages of runs started, Ray among them; not those of ``kp up``."""
    return [process for process in processes_in(checkout) if _of_a_stage(process)]


def wait_until_no_run_is_left(checkout: Path) -> None:
    """Neither stages, Ray, nor the processes of flow runs, with their watchdogs."""

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
        return _of_a_stage(process) or "PREFECT__FLOW_RUN_ID" in process.environ()
    except psutil.Error:
        return False
