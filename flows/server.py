"""``kp up``: the Prefect server with its UI, and a process that serves the deployments, on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from flows.environment import prepare_environment, running_server, server_file
from flows.process import GRACE_SECONDS, Watchdog, end_group
from flows.repository import runs_folder
from kpmodels.errors import UserError

START_SECONDS = 180
INTERRUPT_SECONDS = 20.0  # for a part to end what it runs, when it is told to stop
RESTARTS, RESTARTS_WITHIN = 5, 3600.0  # of parts that stopped by themselves


def up(repository: Path, host: str = "127.0.0.1", port: int = 4200) -> None:
    """Start the server and serve the deployments until Ctrl-C, which stops all that was started.

    A part that stops by itself is started again; runs go on meanwhile. When this process is killed, so are the parts.

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
    parts = [
        Part("Prefect server", ("prefect", "server", "start", "--host", host, "--port", str(port)), address),
        Part("reports", ("http.server", str(port + 1), "--bind", host, "--directory", str(pages))),
        Part("deployments", ("flows.deployments",)),
    ]
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        for part in parts:
            part.start(repository, environment)
            server_file(repository).write_text(address + "\n")
        print(f"\nPrefect UI: http://{host}:{port}\nreports:    {reports}\nStop everything with Ctrl-C.\n", flush=True)
        keep_running(parts, repository, environment)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
    finally:
        signal.signal(signal.SIGTERM, previous)
        server_file(repository).unlink(missing_ok=True)
        for part in reversed(parts):
            part.stop()


@dataclass
class Part:
    """A process of the service, in a group of its own: ``python -m`` words. With an address, it is up when that answers."""

    name: str
    words: tuple[str, ...]
    address: str = ""
    process: subprocess.Popen[bytes] | None = None
    watchdog: Watchdog | None = None

    def start(self, repository: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", *self.words]
        self.process = subprocess.Popen(command, env=environment, cwd=repository, start_new_session=True)
        self.watchdog = Watchdog(self.process.pid, GRACE_SECONDS)
        if self.address:
            wait_until_healthy(self.address, self.process)

    def stopped(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> None:
        """End it and all of its own children."""
        if self.process is not None:
            end_group(self.process, interrupt=INTERRUPT_SECONDS)
        if self.watchdog is not None:
            self.watchdog.close()


def keep_running(parts: list[Part], repository: Path, environment: dict[str, str]) -> None:
    """Start again what stopped by itself; return when that happens too often, since something is wrong then."""
    moments: deque[float] = deque(maxlen=RESTARTS)
    while True:
        for part in [part for part in parts if part.stopped()]:
            if len(moments) == RESTARTS and time.monotonic() - moments[0] < RESTARTS_WITHIN:
                print(f"{part.name} stopped again; stopping the rest", flush=True)
                return
            moments.append(time.monotonic())
            print(f"{part.name} stopped; starting it again", flush=True)
            part.stop()
            part.start(repository, environment)
        time.sleep(0.5)


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


def wait_until_healthy(address: str, server: subprocess.Popen[bytes], seconds: float = START_SECONDS) -> None:
    """Return when a Prefect server answers at its API address; raise a UserError when it ends, or takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            raise UserError(f"the Prefect server stopped with status {server.returncode}", "its reason stands above")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise UserError(f"the Prefect server did not answer at {address} within {seconds:g} s")
