"""Train on a cluster: submit a job, or find the one that trains the run already, and wait for its model."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from kpmodels.config import Experiment
from kpmodels.data.store import open_dataset
from kpmodels.errors import UserError, mistake_in
from kpmodels.jobs import caller
from kpmodels.jobs.client import JobInfo, Jobs, RayJobs
from kpmodels.jobs.code import package_to_send
from kpmodels.jobs.mirror import Mirror
from kpmodels.jobs.places import RUNS, meeting_places
from kpmodels.jobs.request import Request
from kpmodels.training.identity import identify, run_name
from kpmodels.training.launch import check, finished, publish

PERIOD = 1.0
STOP_SECONDS = 10.0  # Ray gives a job three seconds to end by itself
TAIL = 40  # lines of the log in the error of a job that failed


def train_by_job(
    experiment: Experiment,
    data: Path,
    out: Path,
    storage: Path,
    *,
    jobs: str | Jobs,
    shared: Path | None = None,
    runs: str = RUNS,
    force: bool = False,
) -> dict[str, Any]:
    """Train an experiment as a job of a Ray cluster and write the model to ``out``.

    The job's name derives from the run's, so a call while it runs follows the same job. Ended by Ctrl-C or SIGTERM, the
    call stops the job; killed, or ended because the flow that made it was killed, it leaves it running, and the next
    call finds it. In a folder of runs of its own, no next call would: there the job is stopped in the second case too.

    Args:
        data: Folder of the data set, here.
        storage: Of the runs, where ``shared`` is None; then it, and ``data``, must be seen by all nodes.
        jobs: Address of the cluster's dashboard.
        shared: A folder that is mounted under the same path here and on every node.
        runs: The folder in it that keeps the runs.
        force: As in ``launch.train``; of no matter to a job that runs already.

    Returns:
        As ``launch.train``.

    Raises:
        UserError: as ``launch.train``; the cluster cannot be reached or refuses the token; a node lacks the storage; the
            job was stopped by somebody else.
        RuntimeError: the job failed; with the end of its log.
    """
    if experiment.train.workers == 0:
        raise UserError("train.workers is 0, which trains without Ray", "use --set train.workers=1 or more")
    store = open_dataset(data.resolve())
    check(experiment, store)
    places = meeting_places(store, storage.absolute(), shared.absolute() if shared else None, runs)
    identity = identify(experiment, store.fingerprint)
    force = force or os.environ.get("KP_FORCE", "") not in ("", "0")
    request = Request(
        run_name(identity),
        experiment.model_dump(mode="json"),
        identity,
        str(places.data),
        str(places.runs),
        force,
    )
    summary = None if force else finished(Path(request.folder))
    reused = summary is not None
    if summary is None:
        places.runs.mkdir(parents=True, exist_ok=True)
        _run(RayJobs(jobs) if isinstance(jobs, str) else jobs, request, found_again=runs == RUNS)
        summary = finished(Path(request.folder))
    if summary is None:
        raise UserError(
            f"the job ended well, but there is no model in {request.folder}",
            "mount the shared storage under the same path here and on every node",
        )
    publish(Path(request.folder), experiment, out)
    return {**summary, "reused": reused}


def _run(jobs: Jobs, request: Request, found_again: bool) -> None:
    """Find or start the job, and follow it to its end."""
    with _terminated_as_interrupted():
        job, runs = find(jobs, request)
        mirror = Mirror(Path(request.folder), from_start=runs)
        try:
            if runs:
                print(f"job {job} trains this run already: following it", flush=True)
            else:
                job = _submit(jobs, job, request)
            info, log = _follow(jobs, job, mirror)
        except KeyboardInterrupt:
            if caller.lives() or not found_again:
                _stop(jobs, job)
            raise
    if info.status != "SUCCEEDED":
        _fail(job, info, log)


def find(jobs: Jobs, request: Request) -> tuple[str, bool]:
    """The name of the run's job, and whether it runs. One that has ended leaves its name taken: the next has a number."""
    for attempt in count(1):
        job = f"kp-{request.run}" + (f"-{attempt}" if attempt > 1 else "")
        info = jobs.info(job)
        if info is None:
            return job, False
        if not info.ended and info.folder == request.folder:
            return job, True
    raise AssertionError


def _submit(jobs: Jobs, job: str, request: Request) -> str:
    """Start a job of that name; another caller's, where that was faster. Gives back its name."""
    with tempfile.TemporaryDirectory(prefix="kp-wheel-") as scratch:
        package = package_to_send(Path(scratch))
        while not jobs.submit(job, request, package):
            job, runs = find(jobs, request)
            if runs:
                print(f"job {job} trains this run already: following it", flush=True)
                return job
    print(f"submitted job {job}", flush=True)
    return job


def _follow(jobs: Jobs, job: str, mirror: Mirror) -> tuple[JobInfo, str]:
    """Print the job's lines as they come, until it has ended."""
    printed = 0
    while True:
        info = jobs.info(job)
        log = jobs.log(job)
        mirror.update()
        whole = len(log) if info is None or info.ended else log.rfind("\n") + 1
        if whole > printed:
            sys.stdout.write(log[printed:whole])
            sys.stdout.flush()
            printed = whole
        if info is None:
            raise UserError(f"the cluster knows no job {job} any more: it was started anew", "start the training again")
        if info.ended:
            return info, log
        time.sleep(PERIOD)


def _stop(jobs: Jobs, job: str) -> None:
    try:
        jobs.stop(job)
        end = time.monotonic() + STOP_SECONDS
        while time.monotonic() < end:
            info = jobs.info(job)
            if info is None or info.ended:
                print(f"stopped job {job}; the same command goes on from its last checkpoint", flush=True)
                return
            time.sleep(0.5)
        print(f"asked for job {job} to stop", flush=True)
    except UserError as error:
        print(f"job {job} could not be stopped and may run on: {error}", file=sys.stderr, flush=True)


def _fail(job: str, info: JobInfo, log: str) -> NoReturn:
    """Raise what the job's log says: the user's own mistake in its words, else the end of the log."""
    if info.status == "STOPPED":
        raise UserError(f"job {job} was stopped", "start the training again: it goes on from its last checkpoint")
    lines = log.splitlines()
    mistake = mistake_in(lines)
    if mistake is not None:
        raise mistake
    tail = "\n".join(lines[-TAIL:]) or "(it printed nothing)"
    raise RuntimeError(f"job {job} failed: {info.message.splitlines()[0] if info.message else info.status}\n{tail}")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, while it lasts; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        with suppress(ValueError, TypeError):
            signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
