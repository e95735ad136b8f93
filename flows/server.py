"""``kp up``: the Prefect server with its UI, and a process that serves the deployments, on this machine."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from flows.environment import prepare_environment, running_server, server_file
from flows.repository import runs_folder
from kpmodels.errors import UserError

START_SECONDS = 180


def up(repository: Path, host: str = "127.0.0.1", port: int = 4200) -> None:
    """Start the server and serve the deployments until Ctrl-C, which stops all that was started.

    The next port serves the reports and pictures of the runs, so that the pages of the UI can link to them.

    Raises:
        UserError: the port is taken, a server of this repository runs already, or the server does not come up.
    """
    prepare_environment(repository)
    address = running_server(repository)
    if address:
        raise UserError(f"a server of this repository already runs at {address}", "stop it, or use it as it is")
    for number in (port, port + 1):
        refuse_taken_port(host, number)
    address, reports = f"http://{host}:{port}/api", f"http://{host}:{port + 1}"
    environment = {**os.environ, "PREFECT_API_URL": address, "KP_REPORTS_URL": reports}
    pages = runs_folder(repository) / "reports"
    pages.mkdir(exist_ok=True)
    children: list[subprocess.Popen[bytes]] = []
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        start = functools.partial(_start, children, repository, environment)
        start("prefect", "server", "start", "--host", host, "--port", str(port))
        _wait_until_healthy(address, children[0])
        server_file(repository).write_text(address + "\n")
        start("http.server", str(port + 1), "--bind", host, "--directory", str(pages))
        start("flows.deployments")
        print(f"\nPrefect UI: http://{host}:{port}\nreports:    {reports}\nStop everything with Ctrl-C.\n", flush=True)
        _wait_for_first(children)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
    finally:
        signal.signal(signal.SIGTERM, previous)
        server_file(repository).unlink(missing_ok=True)
        for child in reversed(children):
            _stop(child)


def _start(
    children: list[subprocess.Popen[bytes]], repository: Path, environment: dict[str, str], module: str, *words: str
) -> None:
    command = [sys.executable, "-m", module, *words]
    children.append(subprocess.Popen(command, env=environment, cwd=repository, start_new_session=True))


def refuse_taken_port(host: str, port: int) -> None:
    """Raise a UserError when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {host} is in use: {error}",
                "choose another: kp up --port N (the reports take the next one, N + 1)",
            ) from None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _wait_until_healthy(address: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise UserError(f"the Prefect server stopped with status {server.returncode}", "its reason stands above")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise UserError(f"the Prefect server did not answer at {address} within {START_SECONDS} s")


def _wait_for_first(children: list[subprocess.Popen[bytes]]) -> None:
    """Return when any child ends; the others are then stopped too."""
    while all(child.poll() is None for child in children):
        time.sleep(0.5)
    print("a part of the service stopped; stopping the rest", flush=True)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child and all of its own children."""
    for sign, patience in ((signal.SIGINT, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            return
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            continue
