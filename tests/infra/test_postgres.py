"""A real Prefect server on a real PostgreSQL, with basic auth: deployments are registered, and a worker runs one.

Skips where PostgreSQL is not installed (Debian: apt-get install postgresql).
"""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from showing.services import AUTH, PASSWORD, NotInstalledError, PrefectServer, postgres, prefect_server

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of an empty database in a PostgreSQL of our own."""
    try:
        with postgres() as address:
            yield address
    except NotInstalledError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    folder = tmp_path_factory.mktemp("prefect")
    with prefect_server(folder, database) as made:
        yield made
    assert AUTH.split(":")[1] not in (folder / "log").read_text()
    assert PASSWORD not in (folder / "log").read_text()


@pytest.fixture(scope="module")
def deployed(server: PrefectServer, repository_root: Path) -> Path:
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
    checked = PrefectServer(server.api, server.environment | {"KP_CHECKOUT": str(folder)}, server.folder)
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
        [run] = [one for one in server.ask("/flow_runs/filter") if not one["auto_scheduled"]]  # the nights are planned
        if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED"):
            break
        time.sleep(1)
    assert run["state"]["type"] == "FAILED"  # there is no such model, which the flow's own code says
    assert "nothing" in run["state"]["message"]
