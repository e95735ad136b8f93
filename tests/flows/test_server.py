"""``kp up`` as a user starts it: the real server, the deployments, a run from the API that the UI uses, Ctrl-C."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from up import Server

from flows.server import refuse_taken_port
from kpmodels.errors import UserError


def test_port_in_use_is_refused_with_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="kp up --port"):
            refuse_taken_port("127.0.0.1", taken.getsockname()[1])


@pytest.fixture
def server(checkout: Path) -> Iterator[Server]:
    (checkout / ".runs").mkdir(exist_ok=True)
    running = Server(checkout)
    yield running
    if running.process.poll() is None:
        running.process.kill()


def test_up_offers_the_deployments_runs_them_and_stops_all(server: Server, checkout: Path) -> None:
    rows = server.wait("deployments", lambda: _at_least_three(server.ask("deployments/filter")))
    offered = {row["name"]: row for row in rows}
    assert set(offered) == {"retrain", "ingest", "promote"}
    form = json.dumps(offered["retrain"]["parameter_openapi_schema"])
    assert "Weight of the second term: true points without activation near them" in form
    assert '"exclusiveMinimum"' in form

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


def _at_least_three(rows: list[Any]) -> list[Any]:
    return rows if len(rows) >= 3 else []


def _ended(server: Server, run: str) -> Any:
    rows = server.ask("flow_runs/filter", flow_runs={"id": {"any_": [run]}})
    return rows[0] if rows[0]["state_type"] in ("FAILED", "COMPLETED", "CRASHED") else None
