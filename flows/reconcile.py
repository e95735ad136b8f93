"""Flow runs that their process cannot end any more: killed, it leaves them `Running` on the server for ever.

Every flow notes its process by a file `.runs/flows/<flow run>` that it keeps locked (`on_running=[note_process]`). The
system frees the lock when the process dies, however it dies. So a file that is free names a run that nobody works on,
and when the deployments start, or the next flow, such a run is marked as crashed. Runs of other machines have no file here.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled, Crashed

from flows.repository import Lock, find_repository, runs_folder

WHY = "its process was killed, or the machine stopped; started again, it goes on from what was finished"
SETTLED = 2.0  # seconds after which a file has its lock, if its process lives
_held: dict[tuple[int, UUID], Lock] = {}  # as long as this process lives; a fork of it holds nothing


def note_process(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """A hook of every flow: this process works on the run. What others left behind when they were killed is ended."""
    repository = find_repository(Path.cwd())
    lock = Lock(_folder(repository) / str(flow_run.id))
    if lock.acquire():
        _held[os.getpid(), flow_run.id] = lock
    for run in crash_the_dead(repository):
        flow_run_logger(flow_run, flow).info("flow run %r was marked as crashed: its process is gone", run)


def crash_the_dead(repository: Path) -> list[str]:
    """Mark the runs whose process is gone as crashed, or as cancelled where that was asked for; their names."""
    free = [
        lock for path in sorted(_folder(repository).iterdir()) if not _is_new(path) and (lock := Lock(path)).acquire()
    ]
    if not free:
        return []
    try:
        with get_client(sync_client=True) as client:
            return [name for lock in free if (name := _settle(client, lock.path))]
    finally:
        for lock in free:
            lock.release()


def _settle(client: SyncPrefectClient, path: Path) -> str:
    """End the run of a file, and remove the file; the run's name where it had not ended."""
    try:
        name = _crash(client, UUID(path.name))
    except (ObjectNotFound, ValueError):
        return ""  # of another server, which may know it
    path.unlink()
    return name


def _is_new(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < SETTLED
    except FileNotFoundError:  # another flow has dealt with it in this moment
        return True


def _crash(client: SyncPrefectClient, run: UUID) -> str:
    """The run's name where it had not ended; else empty."""
    found = client.read_flow_run(run)
    if found.state is None or found.state.is_final():
        return ""
    ended: State[Any] = Cancelled(message=WHY) if found.state.is_cancelling() else Crashed(message=WHY)
    client.set_flow_run_state(run, ended, force=True)
    return found.name


def _folder(repository: Path) -> Path:
    folder = runs_folder(repository) / "flows"
    folder.mkdir(exist_ok=True)
    return folder
