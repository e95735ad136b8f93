"""A real Prefect server on a real PostgreSQL, with basic auth: deployments are registered, and a worker runs one.

Skips where PostgreSQL is not installed (Debian: apt-get install postgresql).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

AUTH = "kp:a-word-of-this-test"
PASSWORD = "another-word-of-this-test"
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Server:
    """Of Prefect: its address, and the environment of its clients."""

    api: str
    environment: dict[str, str]
    folder: Path

    def run(self, *words: str, cwd: Path | None = None) -> str:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        done = subprocess.run(
            command, env=self.environment, cwd=cwd or self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, path: str, auth: str = AUTH) -> Any:
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}",
        }
        request = urllib.request.Request(self.api + path, data=b"{}", headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = shutil.which("initdb") or (found[-1] if found else None)
    if path is None:
        pytest.skip("PostgreSQL is not installed")
    return Path(path).resolve().parent


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty database in a PostgreSQL of our own."""
    programs, port = binaries(), free_port()
    folder = Path("/tmp") / f"kp-postgres-{os.getpid()}"
    folder.mkdir(mode=0o700)
    as_user: list[str] = []
    if os.geteuid() == 0:  # it does not run as root
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    secret = folder / "password"
    secret.write_text(PASSWORD)
    shutil.chown(secret, folder.owner())

    def call(program: str, *words: str) -> None:
        subprocess.run([*as_user, str(programs / program), *words], check=True, cwd="/", stdout=subprocess.DEVNULL)

    data = folder / "data"
    call("initdb", "-D", str(data), "-U", "prefect", "-A", "scram-sha-256", f"--pwfile={secret}")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    call("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql+asyncpg://prefect:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    api = f"http://127.0.0.1:{port}/api"
    settings = {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": api,
        "PREFECT_API_AUTH_STRING": AUTH,
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    clients = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | settings
    servers = clients | {"PREFECT_SERVER_API_AUTH_STRING": AUTH, "PREFECT_API_DATABASE_CONNECTION_URL": database}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=servers, cwd=folder, stdout=log, stderr=log)
    try:
        made = Server(api, clients, folder)
        wait_until_healthy(made, process)
        yield made
    finally:
        process.terminate()
        process.wait(30)
        assert AUTH.split(":")[1] not in (folder / "log").read_text()
        assert PASSWORD not in (folder / "log").read_text()


def wait_until_healthy(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        assert process.poll() is None, (server.folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"{server.api}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    pytest.fail("the Prefect server did not start")


@pytest.fixture(scope="module")
def deployed(server: Server, repository_root: Path) -> Path:
    """A checkout whose deployments, those of flows that are there, the server knows."""
    folder = server.folder / "checkout"
    for name in ("flows", "kpmodels"):
        shutil.copytree(repository_root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    described = yaml.safe_load((repository_root / "infra" / "prefect.yaml").read_text())
    there = [one for one in described["deployments"] if (folder / one["entrypoint"].split(":")[0]).is_file()]
    (folder / "some.yaml").write_text(yaml.safe_dump(described | {"deployments": there}))
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    server.run("work-pool", "create", "kp", "--type", "process")
    checked = Server(server.api, server.environment | {"KP_CHECKOUT": str(folder)}, server.folder)
    checked.run("deploy", "--all", "--prefect-file", "some.yaml", cwd=folder)
    return folder


def test_who_has_not_the_secret_is_refused(server):
    for auth in ("kp:wrong", ":"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            server.ask("/flows/filter", auth)
    assert server.ask("/flows/filter") == []


def test_the_deployments_stand_in_postgres(server, deployed):
    names = {one["name"] for one in server.ask("/deployments/filter")}
    assert {"retrain", "ingest", "promote"} <= names


def test_a_worker_runs_a_flow_in_the_checkout(server, deployed):
    server.run("deployment", "run", "promote/promote", "--param", "model=nothing", "--param", "version=v1")
    server.run("worker", "start", "--pool", "kp", "--run-once", "--limit", "1")
    end = time.monotonic() + 180
    while time.monotonic() < end:
        [run] = server.ask("/flow_runs/filter")
        if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED"):
            break
        time.sleep(1)
    assert run["state"]["type"] == "FAILED"  # there is no such model, which the flow's own code says
    assert "nothing" in run["state"]["message"]
