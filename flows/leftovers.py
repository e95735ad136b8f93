"""What a killed run left behind: processes of its stages that are still ending, and locks of git in its worktree.

Whoever calls this holds the run's lock (see ``workspace.py``), so no process that is found can be at work for anybody.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from flows import git
from flows.process import GRACE_SECONDS

MARK = "KP_PROGRESS"  # in the environment of every stage, and so of all that it starts; of one run of one repository


def processes_of(progress_file: Path) -> list[psutil.Process]:
    """The living processes that stages of a run started, and those that these started: also Ray's, and orphans."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in ours and _is_of(process, progress_file)]


def end_processes(progress_file: Path, grace: float = GRACE_SECONDS) -> int:
    """End what is left of a run that was killed: politely, then for good. How many processes there were."""
    left = processes_of(progress_file)
    for end, patience in ((psutil.Process.terminate, grace), (psutil.Process.kill, 5.0)):
        for process in left:
            try:
                end(process)
            except psutil.Error:
                continue
        psutil.wait_procs(left, timeout=patience if left else 0)
        if not processes_of(progress_file):
            break
    return len(left)


def remove_git_locks(worktree: Path) -> None:
    """Remove the locks of a git that was killed in the worktree: nobody but the run works there."""
    folder = Path(git.git(worktree, "rev-parse", "--absolute-git-dir"))
    for name in ("index.lock", "HEAD.lock"):
        (folder / name).unlink(missing_ok=True)


def _is_of(process: psutil.Process, progress_file: Path) -> bool:
    try:
        environment = process.environ()
        alive = process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False
    return alive and environment.get(MARK) == str(progress_file)
