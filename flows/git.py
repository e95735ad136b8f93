"""The few things that flows ask of git, each one command; what the user must mend is a `UserError`.

Hooks, signing and automatic garbage collection of the user's configuration are off in here: a nightly run must not
wait for a passphrase, and `dvc install`ed hooks would pull and push behind our back.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kpmodels.errors import UserError

QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false", "-c", "gc.auto=0")
# A git hook, or a tool that runs us from one, sets these; they would redirect us to its own index or work tree.
_REDIRECTING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
_LOCKED = re.compile(r"Unable to create '([^']+\.lock)': File exists")
MAX_SNAPSHOT_BYTES = 50_000_000


class GitError(RuntimeError):
    """A git command that failed for a reason that is not the user's to mend."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without what redirects git, and with messages in English (they are read)."""
    environment = {key: value for key, value in os.environ.items() if key not in _REDIRECTING}
    return environment | {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0"} | dict(extra or {})


def git(folder: Path, *words: str, env: Mapping[str, str] | None = None, text: str | None = None) -> str:
    """The standard output of `git WORDS` in `folder`, without the last line's end.

    Raises:
        UserError: git is not installed, or `folder` is in no repository. GitError: any other failure.
    """
    try:
        done = subprocess.run(
            ["git", *QUIET, *words],
            cwd=folder,
            env=clean_environment(env),
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise UserError("git is not installed, or the folder is gone: " + str(folder), "install git") from error
    if done.returncode == 0:
        return done.stdout.rstrip("\n")
    problem = done.stderr.strip() or done.stdout.strip()
    if "not a git repository" in problem:
        raise UserError(f"{folder} is not inside a git repository", "run it in a clone of this repository")
    if "detected dubious ownership" in problem:
        raise UserError(problem.splitlines()[0], f"git config --global --add safe.directory {folder}")
    if "No space left on device" in problem:
        raise UserError(f"no space left on the disk of {folder}", "free some space (`kp gc` lists what runs hold)")
    if lock := _LOCKED.search(problem):
        raise UserError(
            f"another git is at work here, or one was killed: {lock[1]} exists", f"if no git runs: rm {lock[1]}"
        )
    raise GitError(f"git {' '.join(words)} failed in {folder}: {problem}")


def succeeds(folder: Path, *words: str) -> bool:
    """Whether `git WORDS` ends with exit code 0."""
    try:
        git(folder, *words)
    except GitError:
        return False
    return True


def require_identity(folder: Path) -> None:
    """Raises UserError when git does not know who commits."""
    if not succeeds(folder, "var", "GIT_COMMITTER_IDENT"):
        raise UserError(
            "git does not know who you are, so a run cannot be committed",
            'git config user.name "Your Name" && git config user.email you@example.org',
        )


def head(folder: Path) -> str:
    """The commit of HEAD. Raises UserError in a repository without a commit."""
    commit = resolve(folder, "HEAD")
    if commit is None:
        raise UserError(f"the git repository at {folder} has no commit yet", "make a first commit")
    return commit


def resolve(folder: Path, revision: str) -> str | None:
    """The commit that a name, tag or hash stands for; None when there is none."""
    try:
        return git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except GitError:
        return None


def status(folder: Path) -> list[str]:
    """What differs from HEAD, one line `XY path` each: changed, staged and new files that git does not ignore."""
    listing = git(folder, "status", "--porcelain", "--untracked-files=all", "-z")
    return [entry for entry in listing.split("\0") if entry]


def is_dirty(folder: Path) -> bool:
    return bool(status(folder))


def show(folder: Path, revision: str, path: str) -> str | None:
    """The text of a file at a revision; None when it is not there."""
    try:
        return git(folder, "show", f"{revision}:{path}") + "\n"
    except GitError:
        return None


def is_ancestor(folder: Path, older: str, newer: str) -> bool:
    """Whether `newer` holds the history of `older` (a commit holds its own)."""
    return succeeds(folder, "merge-base", "--is-ancestor", older, newer)


def snapshot(folder: Path, message: str, changed: Sequence[str]) -> str:
    """A commit, child of HEAD, of everything in the checkout that git does not ignore; HEAD itself when nothing differs.

    Made through an index of its own: neither the checkout nor its index nor any branch changes.

    Args:
        changed: What `status` tells.

    Raises:
        UserError: a new file is too large to be committed by accident, or a new folder is a repository of its own.
    """
    base = head(folder)
    if not changed:
        return base
    _refuse_unfit(folder, [entry[3:] for entry in changed if entry.startswith("??")])
    require_identity(folder)
    with tempfile.TemporaryDirectory(prefix="kp-index-") as scratch:
        env = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        git(folder, "read-tree", base, env=env)
        git(folder, "add", "--all", "--", ":/", env=env)
        tree = git(folder, "write-tree", env=env)
    if tree == git(folder, "rev-parse", f"{base}^{{tree}}"):
        return base
    return git(folder, "commit-tree", tree, "-p", base, "-m", message)


def _refuse_unfit(folder: Path, untracked: Sequence[str]) -> None:
    top = Path(git(folder, "rev-parse", "--show-toplevel"))
    for name in untracked:
        path = top / name
        if name.endswith("/"):
            raise UserError(f"{name} is a git repository inside this one", f"add {name} to .gitignore or move it away")
        if path.is_file() and not path.is_symlink() and path.stat().st_size > MAX_SNAPSHOT_BYTES:
            size = path.stat().st_size / 1e6
            raise UserError(
                f"{name} is new and has {size:.0f} MB, too much to go into the run's snapshot commit",
                f"add {name} to .gitignore, track it with `dvc add`, or commit it yourself",
            )


def commit_paths(folder: Path, paths: Sequence[str], message: str) -> str:
    """Commits just these paths of the work tree (those that exist or are tracked); HEAD when nothing in them changed."""
    require_identity(folder)
    known = [path for path in paths if (folder / path).exists() or git(folder, "ls-files", "--", path)]
    if known:
        git(folder, "add", "--all", "--", *known)
    if succeeds(folder, "diff", "--cached", "--quiet"):
        return head(folder)
    git(folder, "commit", "--quiet", "--no-verify", "--message", message)
    return head(folder)


def add_worktree(folder: Path, path: Path, commit: str) -> None:
    """A work tree at `path` with `commit` checked out, on no branch."""
    git(folder, "worktree", "prune")
    git(folder, "worktree", "add", "--quiet", "--force", "--detach", str(path), commit)


def remove_worktree(folder: Path, path: Path) -> None:
    """Removes a work tree with all that is in it, also a half-made one."""
    if not succeeds(folder, "worktree", "remove", "--force", "--force", str(path)) and path.exists():
        import shutil

        shutil.rmtree(path)
    git(folder, "worktree", "prune")


def update_refs(folder: Path, refs: Mapping[str, str | None]) -> None:
    """Sets these refs to commits (None deletes one), all of them or none."""
    lines = [f"update {ref} {commit}" if commit else f"delete {ref}" for ref, commit in refs.items()]
    git(folder, "update-ref", "--stdin", text="\n".join(lines) + "\n")


@dataclass(frozen=True)
class Tag:
    """An annotated tag: the commit it names, when (seconds since 1970, UTC) and by whom it was made, and what it says."""

    name: str
    commit: str
    created: int
    message: str
    by: str


def tags(folder: Path, pattern: str = "") -> list[Tag]:
    """The annotated tags, oldest first; `pattern` as for `git tag --list`."""
    layout = (
        "%(refname:strip=2)%00%(objecttype)%00%(*objectname)%00%(creatordate:unix)%00%(contents)%00%(taggername)%00%01"
    )
    listing = git(folder, "for-each-ref", f"--format={layout}", f"refs/tags/{pattern}")
    rows = [row.strip("\n").split("\0") for row in listing.split("\x01") if row.strip("\n")]
    found = [Tag(row[0], row[2], int(row[3]), row[4].strip(), row[5]) for row in rows if row[1] == "tag"]
    return sorted(found, key=lambda tag: tag.created)


def make_tag(folder: Path, name: str, commit: str, message: str) -> None:
    """An annotated tag. Raises GitError when the name is taken."""
    git(folder, "tag", "--annotate", "--file=-", "--cleanup=verbatim", name, commit, text=message + "\n")


def remote(folder: Path) -> str | None:
    """The git remote to push to: `remote.pushDefault`, else `origin`, else the only one; None without a remote."""
    names = git(folder, "remote").split()
    if not names:
        return None
    try:
        return git(folder, "config", "remote.pushDefault")
    except GitError:
        return "origin" if "origin" in names else names[0] if len(names) == 1 else None


def push(folder: Path, refs: Sequence[str]) -> bool:
    """Pushes these full ref names, all or none; False when the repository has no git remote.

    Raises:
        UserError: the remote cannot be reached, or holds another commit under one of the names.
    """
    name = remote(folder)
    if name is None or not refs:
        return False
    try:
        git(folder, "push", "--quiet", "--atomic", "--no-verify", name, *[f"{ref}:{ref}" for ref in refs])
    except GitError as error:
        text = str(error)
        if "already exists" in text or "rejected" in text:
            raise UserError(
                f"the git remote '{name}' has another commit under one of {', '.join(refs)}",
                f"git fetch {name} --tags, look at both, and register again under the next version",
            ) from error
        raise UserError(
            f"pushing to the git remote '{name}' failed: {text.splitlines()[-1]}",
            f"check `git ls-remote {name}`; nothing is lost, and the next run or `git push {name} --tags` pushes it",
        ) from error
    return True


def fetch_tags(folder: Path) -> bool:
    """Brings the remote's tags; False when there is no remote or it cannot be reached (work goes on offline)."""
    name = remote(folder)
    return name is not None and succeeds(folder, "fetch", "--quiet", "--tags", name)
