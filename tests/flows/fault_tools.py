"""A tiny experiment, flows as processes of their own that are killed, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

HERE = Path(__file__).parent
HIDDEN = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
T = TypeVar("T")


def tiny(name: str, **train: object) -> list[str]:
    """Words of ``kp`` that train something small on the bundled data."""
    options = {
        "name": name,
        "detector.input_size": 64,
        "detector.region": "image",
        "detector.flip_test": "false",
        "detector.backbone.name": "lcnet_035",
        "detector.backbone.pretrained": "false",
        "detector.backbone.neck_channels": 16,
        "evaluate.samples": 1,
    }
    options |= {f"train.{key}": value for key, value in {**TRAIN, **train}.items()}
    sets = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    return ["retrain", "--data", "shapes", "--detector", "heatmap", *sets]


TRAIN: dict[str, object] = {"epochs": 2, "batch_size": 32, "workers": 0, "threads": 1, "validate_every": 1}


def environment(checkout: Path, server: str = "", **more: str) -> dict[str, str]:
    """Of a process that runs the code of the checkout, with this environment's programs and that Prefect server."""
    kept = {key: value for key, value in os.environ.items() if key not in HIDDEN and not key.startswith("RAY_")}
    kept |= {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PREFECT_HOME": str(checkout / ".runs" / "prefect")}
    kept |= {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
    return kept | ({"PREFECT_API_URL": server} if server else {}) | more


class Kp:
    """A running ``kp``; ``at`` and ``when`` say where it kills itself (see ``fault_kill.py``)."""

    def __init__(self, checkout: Path, words: list[str], server: str = "", at: str = "-", when: str = "-") -> None:
        self.path = checkout.parent / f"kp-{time.monotonic_ns()}.log"
        command = [sys.executable, str(HERE / "fault_kill.py"), at, when, *words]
        with self.path.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=checkout, env=environment(checkout, server), stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def see(self, text: str, seconds: float = 180) -> None:
        """Wait until the log holds a text."""
        wait_for(
            f"{text!r} in\n{self.log[-3000:]}", lambda: text in self.log or self.process.poll() is not None, seconds
        )
        assert text in self.log, self.log[-3000:]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, code: int = 0, seconds: float = 300) -> str:
        """Wait for the end; the log."""
        self.process.wait(seconds)
        assert self.process.returncode == code, self.log[-4000:]
        return self.log


def wait_for(what: str, check: Callable[[], T], seconds: float = 60) -> T:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come")


def processes_in(checkout: Path) -> list[psutil.Process]:
    """What ``ps`` shows of a checkout: all that runs in its folders or was started by one of its runs (Ray, watchdogs)."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _belongs(process, checkout)]


def _belongs(process: psutil.Process, checkout: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        places = [process.cwd(), process.environ().get("KP_RUN_STORAGE", "")]
    except (psutil.Error, OSError):
        return False
    return any(Path(place).is_relative_to(checkout) for place in places if place)


def wait_until_nothing_runs(checkout: Path, seconds: float = 60) -> None:
    left: list[psutil.Process] = []

    def none_left() -> bool:
        left[:] = processes_in(checkout)
        return not left

    try:
        wait_for("the end of all processes", none_left, seconds)
    except AssertionError as error:
        raise AssertionError(f"still there: {left}") from error


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def leftovers_in(checkout: Path) -> list[str]:
    """Files that only a write in progress has: git's locks, parts of files, half-made folders of models."""
    patterns = ("*.part", ".tmp-*", "index.lock", "HEAD.lock")
    found = [path for pattern in patterns for path in (checkout / ".runs").rglob(pattern)]
    found += [path for path in (checkout / ".git").rglob("*.lock") if path.parent.name != "kp"]
    return [str(path.relative_to(checkout)) for path in found]


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Callable[[int], None]]:
    """A file system of that size at the folder; the function that is given makes it larger."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={int(megabytes * 1024)}k"
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mount.stderr.strip()}")

    def grow(to: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={to}m", str(folder)], check=True)

    try:
        yield grow
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def server_address() -> str:
    """The address of the server that the fixture ``prefect_server`` started."""
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value())


def flow_states(name: str) -> Counter[str]:
    """How many flow runs of the name, which the test's server knows, are in each state."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        rows = client.read_flow_runs()
    return Counter(row.state_type.value for row in rows if row.name == name and row.state_type)
