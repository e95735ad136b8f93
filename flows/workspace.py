"""A run's own git worktree under `.runs/`: made, worked in one DVC stage at a time, committed, kept by a ref, pushed.

The user's checkout, its index and its branches are never touched. A run that was cut off is opened again under the same
name and goes on. The finished commit is kept by `refs/runs/<run>`; a second name, `refs/remotes/runs/<run>`, is there
because `dvc gc --all-commits` looks at branches, remote branches and tags only, and would delete the run's bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from flows import dvc, git, leftovers
from flows.process import Completed, LineCallback
from flows.repository import Lock, exclusive, runs_folder, training_storage
from kpmodels.errors import UserError

COMMITTED = ("params.yaml", "datasets.dvc", "dvc.lock", "metrics")
RESERVED = ("train", "prefect", "flows", "reports")
_RUN_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]|\.(?!\.))*")


@dataclass(frozen=True)
class Base:
    """The commit that a new run stands on, and that in words for the log."""

    commit: str
    note: str


def checkout_base(repository: Path, snapshot: bool = True) -> Base:
    """The checkout as it is now. Git is asked once, so that a run's name and its commit come from the same files.

    Args:
        snapshot: Uncommitted changes become a commit of their own; else they are refused with a UserError.
    """
    changed = git.status(repository)
    if not changed:
        commit = git.head(repository)
        return Base(commit, f"stands on commit {commit[:8]}")
    names = ", ".join(entry[3:] for entry in changed[:5]) + (", ..." if len(changed) > 5 else "")
    if not snapshot:
        raise UserError(f"uncommitted changes: {names}", "commit them, or let the run take a snapshot of them")
    commit = git.snapshot(repository, f"Snapshot of uncommitted changes\n\n{names}", changed)
    return Base(commit, f"stands on commit {commit[:8]}, a snapshot of uncommitted changes in {names}")


def revision_base(repository: Path, revision: str) -> Base:
    """A commit by its name, whatever the checkout holds. Raises UserError when there is none."""
    commit = git.resolve(repository, revision)
    if commit is None:
        raise UserError(f"there is no commit {revision!r}", "`git tag` and `kp models` list the names")
    return Base(commit, f"stands on {revision} ({commit[:8]})")


class Workspace:
    """An open worktree; only one at a time per run, on this machine. Use as a context manager, or `close()` it.

    Attributes:
        repository: The checkout that the run belongs to.
        run: The run's name.
        path: The worktree, `.runs/<run>`.
        resumed: The worktree, or the run's ref, was there already.
        note: What the run stands on, in words for the log: the commit, or a snapshot of uncommitted changes.
        storage: Where its training keeps checkpoints; that of all runs of the repository.
        shared_runs: The same in the shared storage of a cluster: a folder in it; empty: that of all runs.
        data: The data version that was placed in it, which errors name; "" before.
    """

    def __init__(self, repository: Path, run: str, lock: Lock, resumed: bool, note: str) -> None:
        self.repository = repository
        self.run = run
        self.path = repository / ".runs" / run
        self.resumed = resumed
        self.note = note
        self.storage = training_storage(repository)
        self.data = ""
        self.shared_runs = ""
        self._lock = lock

    @classmethod
    def create(
        cls, repository: Path, run: str, *, base: Base | None = None, revision: str | None = None, wait: float = 0.0
    ) -> Workspace:
        """Opens the run's worktree, making it when it is not there. What a killed run of the name left behind is ended.

        Args:
            base: What a new run stands on; None: the checkout with its uncommitted changes.
            revision: Stand on this commit instead, whatever the checkout holds.
            wait: Seconds to wait for another process that has the run open.

        Raises:
            UserError: a bad run name, the run is open elsewhere, no such revision, no identity for the snapshot.
        """
        if not _RUN_NAME.fullmatch(run) or run in RESERVED or run.endswith((".lock", ".part")):
            raise UserError(f"{run!r} cannot name a run", "use letters, digits, '-', '_' and single dots; not 'train'")
        lock = Lock(runs_folder(repository) / f"{run}.lock")
        if not lock.acquire(wait):
            raise UserError(f"the run {run} is open in {lock.holder()}", "wait for it, or end it, or name another run")
        try:
            leftovers.end_processes(repository / ".runs" / f"{run}.progress.jsonl")
            return cls._open(repository, run, lock, base, revision)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open(cls, repository: Path, run: str, lock: Lock, base: Base | None, revision: str | None) -> Workspace:
        path = repository / ".runs" / run
        kept = git.resolve(repository, f"refs/runs/{run}")
        if (path / ".dvc" / "config.local").exists() and git.succeeds(path, "rev-parse", "--verify", "HEAD"):
            leftovers.remove_git_locks(path)
            dvc.share_cache(repository, path)
            return cls(repository, run, lock, True, f"goes on in {path}, at commit {git.head(path)[:8]}")
        if kept:
            base = Base(kept, f"opened again at its commit {kept[:8]}")
        elif revision is not None:
            base = revision_base(repository, revision)
        base = base or checkout_base(repository)
        with exclusive(repository, "worktrees"):  # git's own list of them is not made for two at once
            if path.exists():
                git.remove_worktree(repository, path)
            git.add_worktree(repository, path, base.commit)
        dvc.share_cache(repository, path)
        return cls(repository, run, lock, kept is not None, base.note)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Lets others open the run. The worktree stays, with its results, until `remove` or `kp gc`."""
        self._lock.release()

    @property
    def head(self) -> str:
        """The commit that the worktree stands on: of the run once it is committed, of its base before."""
        return git.head(self.path)

    @property
    def ref(self) -> str:
        return f"refs/runs/{self.run}"

    @property
    def progress_file(self) -> Path:
        """Where the training of the run tells how far it is, one JSON line per event."""
        return self.repository / ".runs" / f"{self.run}.progress.jsonl"

    def environment(self) -> dict[str, str]:
        """What the stages run with: this Python, the worktree's code, checkpoints and progress outside of the outputs."""
        inherited = git.clean_environment().get("PYTHONPATH", "")
        code = f"{self.path}:{inherited}" if inherited else str(self.path)
        told = {"KP_RUN": self.run, "KP_RUN_STORAGE": str(self.storage), "KP_PROGRESS": str(self.progress_file)}
        told |= {
            "KP_CALLER": str(os.getpid()),
            "KP_DATA_VERSION": self.data,
        }  # a cluster's training goes on when we are killed
        if self.shared_runs:
            told["KP_STORAGE_RUNS"] = self.shared_runs
        return dvc.environment({**told, "PYTHONPATH": code})

    def read_params(self) -> dict[str, Any]:
        path = self.path / "params.yaml"
        return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}

    def write_params(self, params: Mapping[str, Any]) -> None:
        """Replaces the run's `params.yaml`; leaves the file as it is, comments and all, when it says the same already."""
        if self.read_params() == dict(params):
            return
        scratch = self.path / "params.yaml.part"
        scratch.write_text(yaml.safe_dump(dict(params), sort_keys=False, allow_unicode=True))
        scratch.replace(self.path / "params.yaml")

    def run_stage(
        self, stage: str, on_line: LineCallback | None = None, force: bool = False, anew: bool = False
    ) -> Completed:
        """Brings one stage of `dvc.yaml` up to date, in a process group that ends with us.

        Args:
            force: Run it although nothing changed. A training goes on from its checkpoints, or is found finished.
            anew: Not that either: a training begins at its beginning, and what there was is moved aside.

        Raises:
            ProcessError: the stage's command failed; the error holds the tail of its log. UserError: see `dvc.dvc`.
        """
        for leftover in ("rwlock", "rwlock.lock"):  # of a killed DVC; the run's lock says that none is at work
            (self.path / ".dvc" / "tmp" / leftover).unlink(missing_ok=True)
        self.storage.mkdir(parents=True, exist_ok=True)
        environment = self.environment() | ({"KP_FORCE": "1"} if anew else {})
        return dvc.repro_stage(self.path, stage, force=force, on_line=on_line, env=environment)

    def pull(self, targets: Sequence[str], on_line: LineCallback | None = None) -> None:
        """Links these targets from the cache, after bringing to it what is missing."""
        dvc.pull(self.path, targets, on_line=on_line)

    def commit(self, message: str) -> str:
        """Commits parameters, data pointer, `dvc.lock` and metrics; the commit as it is when none of them changed."""
        return git.commit_paths(self.path, COMMITTED, message)

    def keep(self) -> str:
        """Keeps the worktree's commit by the run's ref, so that no garbage collection takes it. Gives back the commit."""
        commit = self.head
        git.update_refs(self.repository, {self.ref: commit, f"refs/remotes/runs/{self.run}": commit})
        return commit

    def push(self, on_line: LineCallback | None = None) -> str:
        """Pushes the bytes to the DVC remote, then the run's ref to the git remote (where there is one); in words, where to.

        Raises UserError when either cannot be reached; nothing is lost, and a later push pushes it.
        """
        store = dvc.push(self.path, on_line=on_line)
        shared = git.push(self.repository, [self.ref] if git.resolve(self.repository, self.ref) else [])
        return f"DVC remote '{store}'" + (f" and git remote '{git.remote(self.repository)}'" if shared else "")

    def remove(self) -> None:
        """Deletes the worktree; its commit, if it was kept, and its bytes in the cache stay."""
        with exclusive(self.repository, "worktrees"):
            git.remove_worktree(self.repository, self.path)
        self.progress_file.unlink(missing_ok=True)
        self._lock.path.unlink(missing_ok=True)
        self.close()
