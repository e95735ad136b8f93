"""Hosts on one machine, each with its own Ray raylet: network and mount namespaces where that can be done."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from showing.mounts import apart
from showing.processes import end_tree, name, title, tree, wait_for

NETWORK = "10.231.7"
PREFIX = "kpshow"
LEFT_OUT = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "KP_PROGRESS", "KP_FORCE", "KP_STORAGE", "KP_RAY_ADDRESS", "KP_RAY_JOBS")
BINARIES = Path(sys.executable).parent
CHECKOUT = Path(__file__).resolve().parents[2]


def can_be_apart() -> bool:
    """Whether this machine and user can make namespaces for the hosts."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in ("ip", "unshare", "nsenter"))


class Hosts:
    """A Ray cluster with token authentication; a context manager that leaves nothing running.

    Apart, a host has a network address of its own, and a file system of its own: its /tmp and its home are empty at
    the start, it sees neither this checkout nor the caller's folder, and shares with the others the Python environment,
    the token, and the folder ``storage``.

    Args:
        folder: To work in.
        namespaces: Make the hosts apart; else they are raylets on the loopback device that see the same files.
        count: Hosts to start with; the first is the head. Others may ``join``.
    """

    def __init__(self, folder: Path, namespaces: bool, count: int) -> None:
        self.folder, self.namespaces, self.count = folder, namespaces, count
        self.storage = folder / "storage"
        self.storage.mkdir(exist_ok=True)
        self.children: list[subprocess.Popen[bytes]] = []
        self.token = folder / "token"
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))
        self.environment = _environment(self.token)

    def address(self, host: int) -> str:
        return f"{NETWORK}.{10 + host}" if self.namespaces else "127.0.0.1"

    @property
    def url(self) -> str:
        """Of the job server."""
        return f"http://{self.address(0)}:8265"

    def jobs(self) -> list[dict[str, Any]]:
        """What the job server knows of all jobs."""
        token = {"Authorization": f"Bearer {self.token.read_text()}"}
        request = urllib.request.Request(f"{self.url}/api/jobs/", headers=token)
        with urllib.request.urlopen(request, timeout=20) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def __enter__(self) -> Hosts:
        try:
            if self.namespaces:
                _ip("link", "add", PREFIX, "type", "bridge")
                _ip("address", "add", f"{NETWORK}.1/24", "dev", PREFIX)
                _ip("link", "set", PREFIX, "up")
            for _ in range(self.count):
                self.join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self.children):
            end_tree(child.pid)
            child.wait()
        if self.namespaces:
            for host in range(len(self.children)):
                _ip("netns", "delete", f"{PREFIX}{host}", check=False)
            _ip("link", "delete", PREFIX, check=False)
        for host in range(len(self.children)):
            shutil.rmtree(self._short(host), ignore_errors=True)

    def join(self) -> int:
        """Start the next host and wait until it is part of the cluster; its number."""
        host = len(self.children)
        words = [str(BINARIES / "ray"), "start", "--block", "--num-cpus=1", "--object-store-memory=100000000"]
        words += [f"--node-ip-address={self.address(host)}", f"--temp-dir={self._short(host)}", "--disable-usage-stats"]
        if host == 0:
            words += ["--head", "--port=6379", f"--dashboard-host={self.address(0)}", "--dashboard-port=8265"]
        else:
            words += [f"--address={self.address(0)}:6379"]
        environment = self.environment | {
            "PYTHONPATH": _without_checkouts(os.environ.get("PYTHONPATH", "")),
            "PYTHONUNBUFFERED": "1",
        }
        if self.namespaces:
            words = [*self._apart(host), *words]
        log = self.folder / f"host-{host}.log"
        with log.open("wb") as stream:
            child = subprocess.Popen(
                words, cwd="/", env=environment, stdout=stream, stderr=stream, start_new_session=True
            )
        self.children.append(child)
        wait_for(lambda: "Ray runtime started" in log.read_text(), 120, f"host {host} in the cluster, see {log}")
        return host

    def _apart(self, host: int) -> list[str]:
        """Make the host's network and its folders; the words to start a command in it."""
        space, near, far = f"{PREFIX}{host}", f"kpnear{host}", f"kpfar{host}"
        _ip("netns", "add", space)
        _ip("link", "add", near, "type", "veth", "peer", "name", far)
        _ip("link", "set", near, "master", PREFIX, "up")
        _ip("link", "set", far, "netns", space)
        _ip("-n", space, "address", "add", f"{self.address(host)}/24", "dev", far)
        _ip("-n", space, "link", "set", far, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        own = self.folder / f"host-{host}"
        own.mkdir()
        hidden = (Path("/tmp"), Path.home(), CHECKOUT, self.folder)
        kept = (Path(sys.prefix), Path(sys.base_prefix), self.storage, self.token)
        return ["ip", "netns", "exec", space, *apart(own, hidden, kept)]

    def _short(self, host: int) -> Path:
        """A host's folder of Ray, of another name than those of the others: sockets allow few characters."""
        return Path(f"/tmp/{PREFIX}-{os.getpid()}-{host}")

    def run(self, host: int, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as on the host, where the hosts are apart."""
        inside = ["nsenter", "--target", str(self.children[host].pid), "--mount", "--net", "--", *words]
        return subprocess.run(inside, cwd="/", env=self.environment, capture_output=True, text=True, check=False)

    def raylet(self, host: int) -> psutil.Process | None:
        found = [process for process in tree(self.children[host].pid) if name(process) == "raylet"]
        return found[0] if found else None

    def with_worker(self) -> list[int]:
        """The hosts that a training worker runs on."""
        raylets = {host: self.raylet(host) for host in range(len(self.children))}
        return [
            host
            for host, raylet in raylets.items()
            if raylet and any("RayTrainWorker" in title(process) for process in tree(raylet.pid))
        ]


def _environment(token: Path) -> dict[str, str]:
    """Of the caller; that of the hosts is much the same."""
    inherited = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    return inherited | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
    }


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


def _without_checkouts(paths: str) -> str:
    """The hosts are not to find the caller's code but in what it sends."""
    return os.pathsep.join(path for path in paths.split(os.pathsep) if path and not (Path(path) / "kpmodels").is_dir())
