#!/usr/bin/env python3
"""Shows training on a cluster of three hosts on one machine, without containers: a node dies, the result stays the same.

    python infra/show_cluster.py [--folder DIR] [--epochs N] [--loopback]

The hosts are network namespaces on a bridge (as root, with iproute2; else three raylets on the loopback device), each with
its own raylet, joined with token authentication. What is shown, each step with what was seen:

1. a caller with a wrong token is refused
2. a training on two workers, submitted as a job: the undisturbed result
3. the same training with other storage: its caller is killed, a second call follows the same job; then `kill -9` takes the
   raylet of a host with a worker. The run ends with the same bytes
4. SIGTERM to a caller stops its job

Needs Ray's job server: pip install 'kp-platform[cluster]'. It takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

NETWORK = "10.231.7"
PREFIX = "kpshow"
HOSTS = 3
LEFT_OUT = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "KP_PROGRESS", "KP_FORCE", "KP_STORAGE", "KP_RAY_ADDRESS")
BINARIES = Path(sys.executable).parent
EXPERIMENT = """
name: shown
data: {{name: shapes}}
detector:
  kind: heatmap
  input_size: 64
  backbone: {{name: tf_efficientnet_lite0}}
train: {{epochs: {epochs}, batch_size: 16, workers: 2, threads: 1, validate_every: 2, seed: {seed}}}
"""


class Hosts:
    """Three hosts, the first of which is the head; a context manager that leaves nothing running."""

    def __init__(self, folder: Path, namespaces: bool) -> None:
        self.folder, self.namespaces = folder, namespaces
        self.children: list[subprocess.Popen[bytes]] = []
        inherited = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        self.environment = inherited | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{BINARIES}:{os.environ['PATH']}",
        }
        self.at_hosts = self.environment | {"PYTHONPATH": _without_checkouts(os.environ.get("PYTHONPATH", ""))}
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))

    def address(self, host: int) -> str:
        return f"{NETWORK}.{10 + host}" if self.namespaces else "127.0.0.1"

    @property
    def jobs(self) -> str:
        return f"http://{self.address(0)}:8265"

    def __enter__(self) -> Hosts:
        try:
            if self.namespaces:
                self._make_network()
            for host in range(HOSTS):
                self._start(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self.children):
            _end_tree(child.pid)
            child.wait()
        if self.namespaces:
            for host in range(HOSTS):
                _ip("netns", "delete", f"{PREFIX}{host}", check=False)
            _ip("link", "delete", PREFIX, check=False)
        for path in Path("/tmp").glob(f"{PREFIX}-{os.getpid()}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _make_network(self) -> None:
        _ip("link", "add", PREFIX, "type", "bridge")
        _ip("address", "add", f"{NETWORK}.1/24", "dev", PREFIX)
        _ip("link", "set", PREFIX, "up")
        for host in range(HOSTS):
            space, near, far = f"{PREFIX}{host}", f"kpnear{host}", f"kpfar{host}"
            _ip("netns", "add", space)
            _ip("link", "add", near, "type", "veth", "peer", "name", far)
            _ip("link", "set", near, "master", PREFIX, "up")
            _ip("link", "set", far, "netns", space)
            _ip("-n", space, "address", "add", f"{self.address(host)}/24", "dev", far)
            _ip("-n", space, "link", "set", far, "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def _start(self, host: int) -> None:
        own = Path(f"/tmp/{PREFIX}-{os.getpid()}-{host}")  # sockets allow few characters
        words = ["ip", "netns", "exec", f"{PREFIX}{host}"] if self.namespaces else []
        words += [str(BINARIES / "ray"), "start", "--block", "--num-cpus=1", "--object-store-memory=100000000"]
        words += [f"--node-ip-address={self.address(host)}", f"--temp-dir={own}", "--disable-usage-stats"]
        if host == 0:
            words += ["--head", "--port=6379", f"--dashboard-host={self.address(0)}", "--dashboard-port=8265"]
        else:
            words += [f"--address={self.address(0)}:6379"]
        with open(self.folder / f"host-{host}.log", "wb") as log:
            self.children.append(
                subprocess.Popen(words, cwd="/", env=self.at_hosts, stdout=log, stderr=log, start_new_session=True)
            )
        wait_for(lambda: len(self.raylets()) > host, 120, f"the raylet of host {host}")

    def raylets(self) -> dict[int, psutil.Process]:
        """The raylet of each host that has one."""
        found = {}
        for host, child in enumerate(self.children):
            for process in _tree(child.pid):
                if process.name() == "raylet":
                    found[host] = process
        return found

    def with_worker(self) -> list[int]:
        """The hosts, but for the head, that a training worker runs on."""
        return [
            host
            for host, raylet in self.raylets().items()
            if host and any("RayTrainWorker" in _title(process) for process in _tree(raylet.pid))
        ]


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not seen within {seconds:g} s: {what}")
        time.sleep(0.5)


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _without_checkouts(paths: str) -> str:
    """The hosts are not to find the caller's code but in what it sends."""
    return os.pathsep.join(path for path in paths.split(os.pathsep) if path and not (Path(path) / "kpmodels").is_dir())


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _end_tree(pid: int) -> None:
    processes = _tree(pid)
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)


class Caller:
    """A ``kpmodels train`` that submits to the hosts."""

    def __init__(self, hosts: Hosts, storage: str, out: str, params: str = "params.yaml", **environment: str) -> None:
        self.folder, self.log = hosts.folder, hosts.folder / f"{out}.log"
        self.shared, self.out = hosts.folder / storage, hosts.folder / out
        self.shared.mkdir(exist_ok=True)
        words = [sys.executable, "-m", "kpmodels", "train", "--params", str(hosts.folder / params)]
        words += ["--data", str(hosts.folder / "shapes"), "--out", str(self.out), "--jobs", hosts.jobs]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words,
                env=hosts.environment | {"KP_STORAGE": str(self.shared)} | environment,
                stdout=log,
                stderr=log,
            )

    def epochs(self) -> int:
        events = [json.loads(line) for path in self._progress() for line in path.read_text().splitlines()]
        return max((event["epoch"] for event in events if event["event"] == "epoch"), default=0)

    def starts(self) -> list[int]:
        """After which epoch each start of the workers went on."""
        events = [json.loads(line) for path in self._progress() for line in path.read_text().splitlines()]
        return [event.get("resumed_from") or 0 for event in events if event["event"] == "start"]

    def _progress(self) -> list[Path]:
        return list(self.shared.glob("runs/*/progress.jsonl"))

    def weights(self) -> str:
        if self.process.wait(900) != 0:
            raise SystemExit(f"the training failed:\n{self.log.read_text()[-3000:]}")
        return hashlib.sha256((self.out / "weights.safetensors").read_bytes()).hexdigest()


def show(hosts: Hosts, epochs: int) -> None:
    start = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {text}", flush=True)

    (hosts.folder / "wrong-token").write_text("0" * 64)
    refused = Caller(hosts, "refused", "refused-model", RAY_AUTH_TOKEN_PATH=str(hosts.folder / "wrong-token"))
    if refused.process.wait(120) != 2 or "refuses the token" not in refused.log.read_text():
        raise SystemExit(f"a wrong token was not refused: {refused.log.read_text()}")
    tell("a wrong token is refused")

    calm = Caller(hosts, "shared-calm", "calm")
    expected = calm.weights()
    tell(f"undisturbed: {calm.epochs()} epochs, weights {expected[:16]}")

    first = Caller(hosts, "shared-rough", "rough", KP_PROGRESS=str(hosts.folder / "mirrored.jsonl"))
    wait_for(lambda: first.epochs() >= 1, 300, "the first epoch")
    first.process.kill()
    first.process.wait()
    second = Caller(hosts, "shared-rough", "rough", KP_PROGRESS=str(hosts.folder / "mirrored.jsonl"))
    wait_for(lambda: "already: following it" in second.log.read_text(), 60, "the second call at the same job")
    tell("the caller was killed, a second call follows the same job")
    wait_for(lambda: second.epochs() >= 2 and hosts.with_worker(), 300, "a worker on a host that may die")
    victim = hosts.with_worker()[0]
    hosts.raylets()[victim].send_signal(signal.SIGKILL)
    tell(f"kill -9: the raylet of host {victim}, after epoch {second.epochs()}")
    result = second.weights()
    tell(f"with a dead node: {second.epochs()} epochs, starts after {second.starts()}, weights {result[:16]}")
    if result != expected or len(second.starts()) < 2:
        raise SystemExit("the weights differ, or the workers were not started anew")

    stopped = Caller(hosts, "shared-stopped", "stopped", "params-other.yaml")
    wait_for(lambda: stopped.epochs() >= 1, 300, "the first epoch of a training to stop")
    stopped.process.terminate()
    if stopped.process.wait(60) != 130 or "stopped job" not in stopped.log.read_text():
        raise SystemExit(f"the job was not stopped: {stopped.log.read_text()[-2000:]}")
    tell("SIGTERM to the caller stopped its job")
    print("shown: the same bytes with a dead node as without")


def prepare(folder: Path, epochs: int) -> None:
    """The synthetic set and two experiments."""
    python = [sys.executable, "-m", "kpmodels", "data"]
    subprocess.run([*python, "shapes", str(folder / "drop")], check=True, stdout=subprocess.DEVNULL)
    words = [*python, "build", str(folder / "drop"), "--out", str(folder / "shapes"), "--name", "shapes"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    for name, seed in (("params.yaml", 0), ("params-other.yaml", 1)):
        (folder / name).write_text(EXPERIMENT.format(epochs=epochs, seed=seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="work here and leave it; else in a temporary folder")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--loopback", action="store_true", help="no network namespaces")
    options = parser.parse_args()
    namespaces = not options.loopback and os.geteuid() == 0 and shutil.which("ip") is not None
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="kp-cluster-"))).resolve()
    folder.mkdir(exist_ok=True)
    try:
        prepare(folder, options.epochs)
        print("three hosts in network namespaces" if namespaces else "three raylets on the loopback device", flush=True)
        with Hosts(folder, namespaces) as hosts:
            show(hosts, options.epochs)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
