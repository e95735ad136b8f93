"""``kp up`` as a process, asked as the UI asks it."""

from __future__ import annotations

import signal
import urllib.request
from typing import Any

from test_server import Server


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
