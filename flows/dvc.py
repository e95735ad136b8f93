"""The DVC commands that flows need, each a subprocess of the environment's own Python, never its internal API.

Measured with DVC 3.67.1, and the reasons for what is done here:

- `dvc push` ends with code 0 when files that it should push are in no cache: it only warns. Here that is an error.
- The output folder of a stage, and data that was added, is *linked* to the cache only when `hardlink` comes first in
  `cache.type`; with `reflink` first on a disk without reflinks it stays a copy.
- `dvc repro` without `--single-item` re-reads the folder of `datasets.dvc` and rewrites the pointer to what is there:
  with only one of the data sets pulled, that loses the others from the pointer. So stages run one by one.
"""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flows.git import clean_environment
from flows.process import Completed, LineCallback, ProcessError, run
from kpmodels.addresses import shown
from kpmodels.errors import UserError

MISSING = "Missing cache files"
ADVICE = re.compile(
    r"\s*(To track the changes with git, run:|git add .*|To enable auto staging, run:|Use `dvc push` .*|dvc config core.autostage .*)?"
)
NOT_STORED = "failed to transfer"  # `dvc add` on a full disk says so, and exits with 0
_PRIVATE = {"DVC_NO_ANALYTICS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


class DvcError(RuntimeError):
    """A DVC command that failed for a reason that is not the user's to mend; the message is DVC's own."""


@dataclass(frozen=True)
class Remotes:
    """The DVC remotes of a repository: name to address (local ones absolute), and the default's name."""

    urls: dict[str, str]
    default: str | None

    @property
    def order(self) -> list[str]:
        """The names, the default first."""
        return sorted(self.urls, key=lambda name: (name != self.default, name))


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment with this Python first on the PATH, its output unbuffered, and no usage reports."""
    base = clean_environment(_PRIVATE | {"PYTHONUNBUFFERED": "1"})
    binaries = str(Path(sys.executable).parent)
    return base | {"PATH": f"{binaries}:{base.get('PATH', '')}"} | dict(extra or {})


def dvc(
    folder: Path,
    *words: str,
    on_line: LineCallback | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> Completed:
    """Runs `dvc WORDS` in `folder`.

    Raises:
        UserError: what the user must mend (no remote, one that cannot be reached, no space, another DVC at work).
        DvcError: any other failure. Neither when `check` is false.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *words]
    done = run(command, folder, env=environment(env), on_line=on_line, check=False)
    if check and (done.code != 0 or NOT_STORED in done.text):
        raise _explained(words, done, folder)
    return done


def _explained(words: Sequence[str], done: Completed, folder: Path) -> Exception:
    """The error behind a failed command, as the user should read it."""
    text = done.text
    what = f"`dvc {' '.join(words)}` failed"
    reason = errors_of(text)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        if words[0] == "push":
            remedy = "free some space there (`dvc remote list` says where), or name another remote; the bytes stay in the cache"
            return UserError(f"{what}: no space left at the DVC remote", remedy)
        return UserError(f"{what}: no space left on the disk", "free some space (`kp gc` lists what runs hold)")
    if "no remote specified" in text:
        return UserError(
            "no DVC remote is configured, so data and models cannot be shared",
            "dvc remote add --default storage /path/or/url",
        )
    if "Unable to acquire lock" in text or "is busy, it is being blocked" in text:
        return UserError(f"{what}: another DVC command is at work in {folder}", "wait for it to end, then try again")
    if "you are not inside of a DVC repository" in text:
        return UserError(f"{folder} has no .dvc folder", "start in a clone of this repository, or run `dvc init`")
    if "but requires" in text and "to be installed" in text:
        return UserError(f"{what}: {reason}", "pip install the package that it names")
    if words[0] in ("push", "pull", "fetch"):
        return UserError(
            f"{what}: {reason}",
            "check that the DVC remote can be reached (`dvc remote list`); what was made stays in the cache",
        )
    return DvcError(f"{what}: {reason}")


def errors_of(text: str) -> str:
    """DVC's error messages out of its output; the last line when there is none."""
    found = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    lines = [line for line in text.splitlines() if line.strip()]
    return "; ".join(found) if found else lines[-1] if lines else "no message"


def effective_config(repository: Path) -> dict[str, str]:
    """All settings that hold in a checkout (project, local, user, system), local paths in them made absolute by DVC."""
    files = [repository / ".dvc" / name for name in ("config", "config.local")]
    return dict(_listed_config(repository, tuple(file.read_bytes() if file.exists() else b"" for file in files)))


@lru_cache(maxsize=8)
def _listed_config(repository: Path, _contents: tuple[bytes, ...]) -> dict[str, str]:
    """DVC's own list, asked for once as long as the configuration files say the same: the question takes half a second."""
    lines = dvc(repository, "config", "--list").lines
    return dict(line.split("=", 1) for line in lines if "=" in line)


def local_config(worktree: Path) -> configparser.RawConfigParser:
    """What `share_cache` wrote for a worktree."""
    parser = configparser.RawConfigParser()
    parser.read(worktree / ".dvc" / "config.local")
    return parser


def remotes(worktree: Path) -> Remotes:
    """The DVC remotes of a worktree that `share_cache` was called for."""
    config = local_config(worktree)
    marks = {section: re.fullmatch(r"'remote \"(.+)\"'", section) for section in config.sections()}
    urls = {mark[1]: config.get(section, "url", fallback="") for section, mark in marks.items() if mark}
    return Remotes(urls, config.get("core", "remote", fallback=None))


def share_cache(repository: Path, worktree: Path) -> None:
    """Lets a worktree use the checkout's cache and remotes, by way of the worktree's `.dvc/config.local`.

    Relative addresses of remotes would mean folders inside of the worktree; they are written absolute. The file
    may hold the credentials of the checkout's own configuration, so only its owner can read it.
    """
    config = effective_config(repository)
    sections: dict[str, dict[str, str]] = {}
    for key, value in config.items():
        head, _, option = key.rpartition(".")
        if head.startswith("remote."):
            sections.setdefault(f"'remote \"{head.removeprefix('remote.')}\"'", {})[option] = value
    core = {"site_cache_dir": str(worktree / ".dvc" / "tmp" / "site"), "analytics": "false", "autostage": "false"}
    sections["core"] = core | ({"remote": config["core.remote"]} if "core.remote" in config else {})
    cache = config.get("cache.dir", str(repository / ".dvc" / "cache"))
    sections["cache"] = {"dir": cache, "type": "hardlink,symlink,copy"}
    write_config(worktree / ".dvc" / "config.local", sections)


def write_config(path: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    """Writes a DVC configuration file, whole or not at all."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_dict(sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".part")
    scratch.touch(mode=0o600)
    with scratch.open("w") as stream:
        parser.write(stream)
    scratch.replace(path)


def repro_stage(
    worktree: Path,
    stage: str,
    *,
    force: bool = False,
    on_line: LineCallback | None = None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Brings one stage of `dvc.yaml` up to date: runs it when its inputs changed, or takes its outputs from the cache.

    Raises:
        UserError, DvcError: as `dvc`. ProcessError: the stage's own command failed; it holds the tail of the log.
    """
    words = ["repro", "--single-item", *(["--force"] if force else []), stage]
    done = dvc(worktree, *words, on_line=on_line and _without_advice(on_line), env=env, check=False)
    if done.code == 0 and NOT_STORED not in done.text:
        return done
    if "failed to run: " in done.text or "failed to reproduce" in done.text:
        raise ProcessError(done, f"failed in stage '{stage}'")
    raise _explained(words, done, worktree)


def _without_advice(on_line: LineCallback) -> LineCallback:
    """DVC tells how to commit by hand what the flow commits: that, and empty lines, are left out."""
    return lambda line: None if ADVICE.fullmatch(line) else on_line(line)


def checkout(worktree: Path, *targets: str) -> bool:
    """Links targets from the cache, over whatever lies there; False when some of their bytes are not in the cache."""
    done = dvc(worktree, "checkout", "--force", *targets, check=False)
    return done.code == 0 and MISSING not in done.text


def pull(
    worktree: Path, targets: Sequence[str], remote: str | None = None, on_line: LineCallback | None = None
) -> None:
    """Brings just these targets: from the cache if they are there, else from `remote`, else from each remote in turn.

    Raises UserError when no remote has them all.
    """
    if checkout(worktree, *targets):
        return
    known = remotes(worktree)
    problems = []
    for name in [remote] if remote else known.order:
        words = ["pull", "--force", "--remote", name, *targets]
        done = dvc(worktree, *words, on_line=on_line, check=False)
        if (done.code == 0 and MISSING not in done.text) or checkout(worktree, *targets):
            return
        problems.append(f"{name} ({shown(known.urls.get(name, 'unknown'))}): {_why_missing(done)}")
    found = "; ".join(problems) or "no DVC remote is configured"
    raise UserError(f"{', '.join(targets)} is neither in the cache nor in a DVC remote. {found}", "dvc remote list")


def _why_missing(done: Completed) -> str:
    return "some files are missing" if MISSING in done.text or done.code == 0 else errors_of(done.text)


def push(
    worktree: Path, targets: Sequence[str] = (), remote: str | None = None, on_line: LineCallback | None = None
) -> str:
    """Pushes these targets (all of the workspace's without any) to the default remote; gives back that remote's name.

    What is neither in the cache nor in that remote (the bundled data set of a fresh clone, say) is first brought
    from the other remotes, so that the remote alone can restore everything that the pointers name.

    Raises UserError: no remote, one that cannot be reached, or bytes that are nowhere.
    """
    known = remotes(worktree)
    target = remote or known.default
    if target is None:
        dvc(worktree, "push", *targets)  # says so, in DVC's own words
    words = ["push", *(["--remote", target] if target else []), *targets]
    done = dvc(worktree, *words, on_line=on_line)
    for other in known.order:
        if MISSING not in done.text:
            break
        if other != target:
            dvc(worktree, "fetch", "--remote", other, *targets, check=False)
            done = dvc(worktree, *words, on_line=on_line)
    if MISSING in done.text:
        raise UserError(
            f"not everything could be pushed to the DVC remote '{target}': files are missing from the cache",
            "dvc fetch --all-commits, then run it again; nothing that was made is lost",
        )
    return str(target)


def status(worktree: Path) -> str:
    """What `dvc status` says of the workspace."""
    return dvc(worktree, "status").text


def add(worktree: Path, target: str) -> None:
    """Puts a file or folder under DVC, or what changed in it, without the rest of a larger tracked folder being there."""
    dvc(worktree, "add", target)
