#!/usr/bin/env python3
"""Shows training on a cluster of three hosts on one machine, without containers: a node joins, a node dies, the result stays the same.

    python infra/show_cluster.py [--folder DIR] [--epochs N] [--loopback]

The hosts are network namespaces on a bridge with mount namespaces (as root, with iproute2 and util-linux; else three raylets
on the loopback device): each has its own raylet, /tmp and home, sees no checkout, and shares with the others only the
Python environment and the storage. They are joined with token authentication. What is shown, each step with what was seen:

1. the hosts see neither the caller's code nor its data
2. a caller with a wrong token is refused
3. a training on two workers, submitted as a job to two hosts: the undisturbed result
4. the same training with other storage: its caller is killed, a second call follows the same job; a third host joins; then
   `kill -9` takes the raylet of a host with a worker. The run goes on with the new host and ends with the same bytes
5. SIGTERM to a caller stops its job; the next one goes on from the last checkpoint

Needs Ray's job server: pip install 'kp-platform[cluster]'. It takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from showing.hosts import Hosts, can_be_apart
from showing.processes import clean_up_on_sigterm, wait_for

EXPERIMENT = """
name: shown
data: {{name: shapes}}
detector:
  kind: heatmap
  input_size: 64
  backbone: {{name: tf_efficientnet_lite0}}
train: {{epochs: {epochs}, batch_size: 16, workers: 2, threads: 1, validate_every: 2, seed: {seed}}}
"""


class Caller:
    """A ``kpmodels train`` that submits to the hosts."""

    def __init__(self, hosts: Hosts, storage: str, out: str, params: str = "params.yaml", **environment: str) -> None:
        self.log, self.out = hosts.folder / f"{out}.log", hosts.folder / out
        self.shared = hosts.storage / storage
        self.shared.mkdir(exist_ok=True)
        words = [sys.executable, "-m", "kpmodels", "train", "--params", str(hosts.folder / params)]
        words += ["--data", str(hosts.folder / "shapes"), "--out", str(self.out), "--jobs", hosts.url]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words,
                env=hosts.environment | {"KP_STORAGE": str(self.shared)} | environment,
                stdout=log,
                stderr=log,
            )

    def epochs(self) -> int:
        return max((event["epoch"] for event in self._events("epoch")), default=0)

    def starts(self) -> list[int]:
        """After which epoch each start of the workers went on."""
        return [event.get("resumed_from") or 0 for event in self._events("start")]

    def _events(self, kind: str) -> list[dict[str, Any]]:
        lines = [line for path in self.shared.glob("runs/*/progress.jsonl") for line in path.read_text().splitlines()]
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def weights(self) -> str:
        """The hash of what the training made, after its end."""
        if self.process.wait(900) != 0:
            raise SystemExit(f"the training failed:\n{self.log.read_text()[-3000:]}")
        return hashlib.sha256((self.out / "weights.safetensors").read_bytes()).hexdigest()


class Show:
    """The steps, each of which tells what was seen, or ends the program."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.start = hosts, time.monotonic()

    def tell(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start:5.0f} s] {text}", flush=True)

    def hosts_are_apart(self) -> None:
        for host in range(len(self.hosts.children)):
            found = self.hosts.run(host, sys.executable, "-c", "import kpmodels; print(kpmodels.__path__)")
            data = self.hosts.run(host, "test", "-e", str(self.hosts.folder / "shapes"))
            storage = self.hosts.run(host, "test", "-d", str(self.hosts.storage))
            if "ModuleNotFoundError" not in found.stderr or data.returncode == 0 or storage.returncode != 0:
                raise SystemExit(f"host {host} is not apart: {found.stdout}{found.stderr}{data}{storage}")
        self.tell("the hosts see the storage, and neither the caller's code nor its data")

    def wrong_token(self) -> None:
        wrong = self.hosts.folder / "wrong-token"
        wrong.write_text("0" * 64)
        refused = Caller(self.hosts, "refused", "refused-model", RAY_AUTH_TOKEN_PATH=str(wrong))
        if refused.process.wait(120) != 2 or "refuses the token" not in refused.log.read_text():
            raise SystemExit(f"a wrong token was not refused: {refused.log.read_text()}")
        self.tell("a wrong token is refused")

    def undisturbed(self) -> str:
        calm = Caller(self.hosts, "calm", "calm-model")
        weights = calm.weights()
        self.tell(f"undisturbed: {calm.epochs()} epochs, weights {weights[:16]}")
        return weights

    def caller_killed(self) -> Caller:
        """The caller that follows the job of one that was killed."""
        mirrored = str(self.hosts.folder / "mirrored.jsonl")
        first = Caller(self.hosts, "rough", "rough-model", KP_PROGRESS=mirrored)
        wait_for(lambda: first.epochs() >= 1, 300, "the first epoch")
        first.process.kill()
        first.process.wait()
        second = Caller(self.hosts, "rough", "rough-model", KP_PROGRESS=mirrored)
        wait_for(lambda: "already: following it" in second.log.read_text(), 60, "the second call at the same job")
        self.tell("the caller was killed, a second call follows the same job")
        return second

    def host_joins_and_another_dies(self, caller: Caller, expected: str) -> None:
        before = self.hosts.with_worker()
        joined = self.hosts.join()
        self.tell(f"host {joined} joined, after epoch {caller.epochs()}; the workers are on hosts {before}")
        victim = next(host for host in before if host != 0)
        raylet = self.hosts.raylet(victim)
        if raylet is None or caller.process.poll() is not None:
            raise SystemExit("the training was over before a host could die: use more --epochs")
        raylet.send_signal(signal.SIGKILL)
        self.tell(f"kill -9: the raylet of host {victim}, after epoch {caller.epochs()}")
        wait_for(lambda: self.hosts.with_worker() == [0, joined], 300, "a worker on the host that joined")
        self.tell(f"the workers are on hosts {[0, joined]}")
        result = caller.weights()
        self.tell(f"with a dead node: {caller.epochs()} epochs, starts after {caller.starts()}, weights {result[:16]}")
        if result != expected or len(caller.starts()) < 2 or max(caller.starts()) == 0:
            raise SystemExit("the weights differ, or the workers did not go on from a checkpoint")

    def stopped(self) -> None:
        self._stop_job(1)
        starts = self._stop_job(2).starts()
        if starts[1] == 0:
            raise SystemExit("the second job began at the beginning")
        self.tell(f"SIGTERM to a caller stopped its job; the next job went on after epoch {starts[1]}")

    def _stop_job(self, number: int) -> Caller:
        caller = Caller(self.hosts, "stopped", "stopped-model", "params-other.yaml")
        wait_for(lambda: caller.epochs() >= 3 and len(caller.starts()) == number, 300, "a training to stop")
        caller.process.terminate()
        if caller.process.wait(60) != 130 or caller.log.read_text().count("stopped job") != number:
            raise SystemExit(f"the job was not stopped: {caller.log.read_text()[-2000:]}")
        return caller


def show(hosts: Hosts) -> None:
    steps = Show(hosts)
    if hosts.namespaces:
        steps.hosts_are_apart()
    steps.wrong_token()
    expected = steps.undisturbed()
    steps.host_joins_and_another_dies(steps.caller_killed(), expected)
    steps.stopped()
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
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--loopback", action="store_true", help="no namespaces")
    options = parser.parse_args()
    clean_up_on_sigterm()
    namespaces = not options.loopback and can_be_apart()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="kp-cluster-"))).resolve()
    folder.mkdir(exist_ok=True)
    try:
        prepare(folder, options.epochs)
        print("hosts in network and mount namespaces" if namespaces else "raylets on the loopback device", flush=True)
        with Hosts(folder, namespaces, count=2) as hosts:
            show(hosts)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
