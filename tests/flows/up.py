"""``kp up`` as a process, and its API as the UI asks it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from flows.server import refuse_taken_port
from kpmodels.errors import UserError

KP = [sys.executable, "-c", "from flows.cli import main; main()"]


def two_free_ports() -> int:
    for port in range(20000, 60000, 101):
        try:
            refuse_taken_port("127.0.0.1", port)
            refuse_taken_port("127.0.0.1", port + 1)
        except UserError:
            continue
        return port
    raise AssertionError("no free ports")


class Server:
    """A running ``kp up``."""

    def __init__(self, checkout: Path) -> None:
        self.port = two_free_ports()
        hidden = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        environment |= {"PYTHONPATH": str(checkout), "PREFECT_RUNNER_POLL_FREQUENCY": "2"}
        command = [*KP, "up", "--port", str(self.port)]
        self.log = (checkout / ".runs" / "up.log").open("w+b")
        self.process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=self.log, stderr=self.log)

    def ask(self, path: str, **content: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def wait(self, what: str, check: Any, seconds: float = 180) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, "kp up stopped: " + Path(self.log.name).read_text()[-2000:]
            try:
                if found := check():
                    return found
            except OSError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"{what} did not come: " + Path(self.log.name).read_text()[-2000:])

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
            self.process.wait(60)
