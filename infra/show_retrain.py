#!/usr/bin/env python3
"""Shows ``kp retrain`` with all that a cluster has, on one machine and without containers.

    python infra/show_retrain.py [--folder DIR] [--epochs N] [--loopback]

In a clone of this repository, whose HEAD must hold the code to show: two hosts of Ray (see ``show_cluster.py``) train; Prefect's
server keeps the flow's run in PostgreSQL; the bytes go to a DVC remote over ssh, the names to a bare git repository. What is
shown, each step with what was seen:

1. ``kp retrain`` is killed while it trains (`kill -9`); called again it follows the same job to its end
2. the version is registered, and its tag is in the git repository
3. the training was one job of the cluster, which the job server and the shared storage tell
4. Prefect's server knows the run as completed
5. another clone at the tag gets the model from the ssh remote: the bytes that the job made
6. ``kp retrain`` again: nothing changed, and no job
7. ``kp reproduce`` is killed: its job is stopped. Called again: a job of its own makes the same bytes
8. SIGTERM to a ``kp retrain``, which is what cancelling a flow run is, stops its job

PostgreSQL and sshd are those of the system; where one is missing, a file or a folder takes its place, and that is said.
Needs pip install 'kp-platform[cluster]'.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from showing.hosts import BINARIES, CHECKOUT, Hosts, can_be_apart
from showing.processes import clean_up_on_sigterm, title, tree, wait_for
from showing.services import NotInstalledError, PrefectServer, postgres, prefect_server, sshd

MODEL = "shapes-heatmap"
WEIGHTS = f"models/{MODEL}/weights.safetensors"
QUIET = {"DVC_NO_ANALYTICS": "1", "GIT_TERMINAL_PROMPT": "0", "PATH": f"{BINARIES}:{os.environ['PATH']}"}


def call(folder: Path, *words: str, environment: Mapping[str, str] = os.environ) -> str:
    """What a command prints; its failure ends the program."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={**environment, **QUIET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-6000:]}")
    return done.stdout


class Show:
    """The steps, each of which tells what was seen, or ends the program."""

    def __init__(self, hosts: Hosts, server: PrefectServer, remote: Mapping[str, str], epochs: int) -> None:
        self.hosts, self.server, self.remote, self.epochs = hosts, server, remote, epochs
        self.folder = hosts.folder
        self.start = time.monotonic()

    def tell(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start:5.0f} s] {text}", flush=True)

    def clone(self, source: str, name: str, *words: str) -> Path:
        """A clone that commits under a name and has the DVC remote."""
        path = self.folder / name
        call(self.folder, "git", "clone", "--quiet", *words, source, name)
        for key, value in {"user.name": "kp show", "user.email": "show@localhost"}.items():
            call(path, "git", "config", key, value)
        for key, value in self.remote.items():
            call(path, "dvc", "remote", "modify", "--local", "storage", key, value)
        return path

    def environment(self, checkout: Path) -> dict[str, str]:
        """Of ``kp`` in a clone: its own code, the cluster, Prefect's server."""
        prefect = {name: value for name, value in self.server.environment.items() if name.startswith("PREFECT_")}
        cluster = {"KP_RAY_JOBS": self.hosts.url, "KP_STORAGE": str(self.hosts.storage)}
        return {**self.hosts.environment, **prefect, **cluster, "PYTHONPATH": str(checkout)}

    @property
    def command(self) -> list[str]:
        words = ["kp", "retrain", "--data", "shapes", "--detector", "heatmap", "--workers", "2"]
        for option in (f"train.epochs={self.epochs}", "train.threads=1", "detector.input_size=64"):
            words += ["--set", option]
        return words

    def begun(self, checkout: Path, log: str, *words: str) -> list[psutil.Process]:
        """A ``kp`` whose job has trained an epoch, and all processes that it started here."""
        with (self.folder / log).open("wb") as stream:
            process = subprocess.Popen(
                words, cwd=checkout, env=self.environment(checkout), stdout=stream, stderr=stream
            )
        wait_for(lambda: process.poll() is not None or self.trains(), 300, f"the first epoch, see {log}")
        return tree(process.pid)

    def trains(self) -> bool:
        """Whether a job runs that has trained an epoch."""
        running = [Path(job["metadata"]["folder"]) for job in self.hosts.jobs() if job["status"] == "RUNNING"]
        events = [path.read_text() for folder in running for path in folder.glob("progress.jsonl")]
        return any('"event": "epoch"' in text for text in events)

    def ended(self, processes: list[psutil.Process], sign: signal.Signals, expected: list[str]) -> None:
        """End a ``kp`` by a signal; what becomes of it here, and of the jobs."""
        processes[0].send_signal(sign)
        psutil.wait_procs(processes, timeout=60)
        left = [title(one) for one in processes if one.is_running()]
        states = sorted(job["status"] for job in self.hosts.jobs())
        if left or states != expected:
            raise SystemExit(f"after {sign.name} the jobs are {states}; left here: {left}")

    def killed(self, checkout: Path) -> None:
        self.ended(self.begun(checkout, "killed.log", *self.command), signal.SIGKILL, ["RUNNING"])
        self.tell("kp retrain was killed while it trained; nothing of it is left here, its job runs on")

    def cancelled(self, checkout: Path) -> None:
        processes = self.begun(checkout, "cancelled.log", *self.command, "--set", "train.seed=1")
        self.ended(processes, signal.SIGTERM, ["STOPPED", "STOPPED", "SUCCEEDED", "SUCCEEDED"])
        self.tell("SIGTERM to another kp retrain stopped its job")

    def follows(self, checkout: Path) -> str:
        """What the second ``kp retrain`` prints."""
        printed = call(checkout, *self.command, environment=self.environment(checkout))
        if "trains this run already: following it" not in printed:
            raise SystemExit(f"the job was not followed:\n{printed[-3000:]}")
        self.tell("kp retrain again followed the same job to its end")
        return printed

    def registered(self, checkout: Path, printed: str) -> None:
        if f"{MODEL}@v1" not in printed:
            raise SystemExit(f"no version was registered:\n{printed[-3000:]}")
        tags = call(self.folder / "names.git", "git", "tag").split()
        if f"{MODEL}@v1" not in tags or call(checkout, "git", "status", "--porcelain"):
            raise SystemExit(f"tags {tags}; {call(checkout, 'git', 'status')}")
        self.tell(f"registered; the tags at the git remote: {', '.join(tags)}")

    def was_a_job(self) -> str:
        """The hash of the weights that the job made."""
        jobs = self.hosts.jobs()
        if [job["status"] for job in jobs] != ["SUCCEEDED"]:
            raise SystemExit(f"not one job that succeeded: {jobs}")
        made = Path(jobs[0]["metadata"]["folder"]) / "model" / "weights.safetensors"
        if not made.is_relative_to(self.hosts.storage):
            raise SystemExit(f"the job wrote elsewhere: {made}")
        self.tell(f"job {jobs[0]['submission_id']} {jobs[0]['status']}, weights {_hash(made)[:16]}")
        return _hash(made)

    def known_to_prefect(self) -> None:
        states = {run["state"]["type"]: run["name"] for run in self.server.ask("/flow_runs/filter")}
        if "COMPLETED" not in states:
            raise SystemExit(f"the runs at Prefect's server: {states}")
        self.tell(f"Prefect's server knows the run '{states['COMPLETED']}' as completed")

    def comes_back(self, expected: str) -> None:
        other = self.clone(str(self.folder / "names.git"), "other", "--branch", f"{MODEL}@v1")
        call(other, "dvc", "pull", "--remote", "storage", "train")
        found = _hash(other / WEIGHTS)
        if found != expected:
            raise SystemExit(f"the model at the DVC remote has other bytes: {found}")
        self.tell(f"another clone has it from {self.remote['url'].partition(':')[0]}: weights {found[:16]}")

    def again(self, checkout: Path) -> None:
        printed = call(checkout, *self.command, environment=self.environment(checkout))
        if "nothing changed" not in printed or len(self.hosts.jobs()) != 1:
            raise SystemExit(f"trained again:\n{printed[-3000:]}")
        self.tell("kp retrain again: nothing changed, no job")

    def reproduced(self, checkout: Path) -> None:
        words = ("kp", "reproduce", f"{MODEL}@v1")
        self.ended(self.begun(checkout, "rebuild.log", *words), signal.SIGKILL, ["STOPPED", "SUCCEEDED"])
        self.tell("kp reproduce was killed while it trained: its job, which nobody would look for, is stopped")
        printed = call(checkout, *words, environment=self.environment(checkout))
        states = sorted(job["status"] for job in self.hosts.jobs())
        left = list((self.hosts.storage / "rebuilds").iterdir())
        if "equal byte for byte" not in printed or states != ["STOPPED", "SUCCEEDED", "SUCCEEDED"] or left:
            raise SystemExit(f"jobs {states}, in the shared storage {left}:\n{printed[-3000:]}")
        self.tell(f"kp reproduce: {printed.strip().splitlines()[-1]}, by a job of its own that leaves no folder")


def show(steps: Show) -> None:
    call(steps.folder, "git", "init", "--quiet", "--bare", "names.git")
    checkout = steps.clone(str(CHECKOUT), "checkout", "--no-tags")
    call(checkout, "git", "remote", "set-url", "origin", str(steps.folder / "names.git"))
    steps.tell("kp retrain begins")
    steps.killed(checkout)
    steps.registered(checkout, steps.follows(checkout))
    weights = steps.was_a_job()
    steps.known_to_prefect()
    steps.comes_back(weights)
    steps.again(checkout)
    steps.reproduced(checkout)
    steps.cancelled(checkout)
    print("shown: kp retrain as a job of the cluster, its bytes at the DVC remote, its run at Prefect's server")


def remote_options(stack: ExitStack, folder: Path) -> dict[str, str]:
    """Of the DVC remote: over ssh where that can be done."""
    try:
        if importlib.util.find_spec("dvc_ssh") is None:
            raise NotInstalledError("dvc-ssh is not installed (pip install 'kp-platform[cluster]')")
        port = stack.enter_context(sshd(folder))
    except NotInstalledError as error:
        print(f"{error}: the DVC remote is a folder", flush=True)
        return {"url": str(folder / "bytes")}
    address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder / 'bytes'}"
    return {"url": address, "keyfile": str(folder / "key")}


def database(stack: ExitStack) -> str:
    try:
        return stack.enter_context(postgres())
    except NotInstalledError as error:
        print(f"{error}: Prefect's server keeps a file", flush=True)
        return ""


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="work here and leave it; else in a temporary folder")
    parser.add_argument("--epochs", type=int, default=20, help="enough to outlast a start of kp")
    parser.add_argument("--loopback", action="store_true", help="no namespaces")
    options = parser.parse_args()
    clean_up_on_sigterm()
    namespaces = not options.loopback and can_be_apart()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="kp-retrain-"))).resolve()
    for path in (folder, folder / "ssh", folder / "prefect"):
        path.mkdir(exist_ok=True)
    print("hosts in network and mount namespaces" if namespaces else "raylets on the loopback device", flush=True)
    try:
        with ExitStack() as stack:
            remote = remote_options(stack, folder / "ssh")
            server = stack.enter_context(prefect_server(folder / "prefect", database(stack)))
            hosts = stack.enter_context(Hosts(folder, namespaces, count=2))
            show(Show(hosts, server, remote, options.epochs))
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
