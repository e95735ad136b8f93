"""Real services on the loopback device, for as long as they are needed: sshd, PostgreSQL, Prefect's server."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.server import wait_until_healthy
from kpmodels.errors import UserError

AUTH = "kp:a-word-of-this-test"
PASSWORD = "another-word-of-this-test"
START_SECONDS = 240


class NotInstalledError(RuntimeError):
    """A program that this machine lacks; the message says how to get it."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def sshd(folder: Path) -> Iterator[int]:
    """The port of an sshd that takes only the key ``folder/key``, which is made.

    Raises:
        NotInstalledError: there is no sshd.
    """
    program = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)
    if program is None:
        raise NotInstalledError("sshd is not installed (Debian: apt-get install openssh-server)")
    for name in ("host", "key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    port = free_port()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/key.pub\n"
        "PasswordAuthentication no\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        f"Subsystem sftp internal-sftp\nPidFile {folder}/pid\n"
    )
    process = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def postgres() -> Iterator[str]:
    """The address, as Prefect takes it, of an empty database in a PostgreSQL of our own.

    Raises:
        NotInstalledError: there is no PostgreSQL.
    """
    programs, port = _postgres_programs(), free_port()
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


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = shutil.which("initdb") or (found[-1] if found else None)
    if path is None:
        raise NotInstalledError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return Path(path).resolve().parent


@dataclass(frozen=True)
class PrefectServer:
    """Of Prefect: its address, the environment of its clients, and the folder that holds its log."""

    api: str
    environment: dict[str, str]
    folder: Path

    def run(self, *words: str, cwd: Path | None = None) -> str:
        """What a ``prefect`` command prints."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        done = subprocess.run(
            command, env=self.environment, cwd=cwd or self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, path: str, auth: str = AUTH) -> Any:
        """The server's answer to an empty filter."""
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}",
        }
        request = urllib.request.Request(self.api + path, data=b"{}", headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


@contextmanager
def prefect_server(folder: Path, database: str = "") -> Iterator[PrefectServer]:
    """A Prefect server with basic auth.

    Args:
        database: Its address; empty: a file in ``folder``.
    """
    api = f"http://127.0.0.1:{free_port()}/api"
    settings = {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": api,
        "PREFECT_API_AUTH_STRING": AUTH,
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    clients = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | settings
    servers = clients | {"PREFECT_SERVER_API_AUTH_STRING": AUTH}
    if database:
        servers["PREFECT_API_DATABASE_CONNECTION_URL"] = database
    port = api.rpartition(":")[2].partition("/")[0]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=servers, cwd=folder, stdout=log, stderr=log)
    try:
        try:
            wait_until_healthy(api, process, START_SECONDS)
        except UserError as error:
            raise RuntimeError(f"{error.message}: {(folder / 'log').read_text()}") from None
        yield PrefectServer(api, clients, folder)
    finally:
        process.terminate()
        process.wait(30)
