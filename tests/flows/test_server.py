"""``kp up`` as a user starts it: the real server, the deployments, a run from the API that the UI uses, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil
import pytest

from flows.server import refuse_taken_port
from kpmodels.errors import UserError

KP = [sys.executable, "-c", "from flows.cli import main; main()"]


OFFERED = {"retrain", "ingest", "promote", "nightly", "compare", "operating-points", "reproduce"}


def test_port_in_use_is_refused_with_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="kp up --port"):
            refuse_taken_port("127.0.0.1", taken.getsockname()[1])


def two_free_ports() -> int:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in range(20000 + 2000 * worker, 60000, 101):  # those of two workers are apart
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
        end = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except HTTPError as error:  # busy, it says 503; Prefect's own client asks again, too
                if error.code != 503 or time.monotonic() > end:
                    raise
            time.sleep(0.5)

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


@pytest.fixture
def server(checkout: Path) -> Iterator[Server]:
    (checkout / ".runs").mkdir(exist_ok=True)
    running = Server(checkout)
    yield running
    if running.process.poll() is None:
        running.process.kill()


def test_up_offers_the_deployments_runs_them_and_stops_all(server: Server, checkout: Path) -> None:
    rows = server.wait("deployments", lambda: _all_of_them(server.ask("deployments/filter")))
    offered = {row["name"]: row for row in rows}
    assert set(offered) == OFFERED
    assert [row["schedule"]["cron"] for row in offered["nightly"]["schedules"]] == ["0 2 * * *"]
    server.wait("a night in the calendar", lambda: _planned(server, offered["nightly"]["id"]))
    assert all(row["tags"] and row["description"] for row in rows)
    form = json.dumps(offered["retrain"]["parameter_openapi_schema"])
    assert "Weight of the second term: true points without activation near them" in form
    assert '"exclusiveMinimum"' in form

    secret = {"source": "https://user:word@host/drop.zip", "name": "mice"}
    for name, wrong in (("reproduce", {"model": "m", "version": "3"}), ("ingest", secret)):
        with pytest.raises(HTTPError) as refused:  # the form's rules hold in the API too
            server.ask(f"deployments/{offered[name]['id']}/create_flow_run", parameters=wrong)
        assert refused.value.code in (409, 422)

    made = server.ask(
        f"deployments/{offered['promote']['id']}/create_flow_run", parameters={"model": "nobody", "version": "v1"}
    )
    done = server.wait("the run", lambda: _ended(server, made["id"]))
    assert done["state_type"] == "FAILED"
    assert "no model is registered as 'nobody'" in done["state"]["message"]

    with urllib.request.urlopen(f"http://127.0.0.1:{server.port + 1}/", timeout=10) as answer:
        assert answer.status == 200

    family = psutil.Process(server.process.pid).children(recursive=True)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert not (checkout / ".runs" / "server.url").exists()


def _all_of_them(rows: list[Any]) -> list[Any]:
    return rows if len(rows) >= len(OFFERED) else []


def _planned(server: Server, deployment: str) -> Any:
    return server.ask(
        "flow_runs/filter",
        deployments={"id": {"any_": [deployment]}},
        flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}},
    )


def _ended(server: Server, run: str) -> Any:
    rows = server.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
    return rows[0] if rows[0]["state_type"] in ("FAILED", "COMPLETED", "CRASHED") else None
