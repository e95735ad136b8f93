"""From a model's name to a folder: reading the registry, which is git tags (GTO) and DVC; writing it is the flows' alone.

A version is the tag ``name@v3``; a stage is the last of the tags ``name#champion#1``, ``name#champion#2`` ... (one with a
``!`` takes the stage away). The weights come from ``dvc artifacts get``, run as a command, into a cache that is named after
name, version and commit, so nothing is fetched twice and nothing old is taken for new.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kpmodels.errors import UserError, nearest

NAME = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)(?:@(?P<version>v[0-9]+)|#(?P<stage>[a-z0-9-]+))?")


def resolve_model(model: str | Path, repository: Path | None = None) -> Path:
    """The folder of a model: itself where it is one, else the cached copy of what the name stands for.

    Args:
        model: A folder, ``name`` (its newest version), ``name@vN``, or ``name#stage``.
        repository: The git repository that holds the registry; None: the one around the working directory.

    Raises:
        UserError: neither a folder nor a name of the registry, or the weights cannot be fetched.
    """
    if isinstance(model, Path) or "/" in model or Path(model).exists():
        return Path(model)
    match = NAME.fullmatch(model)
    if match is None:
        raise UserError(f"{model}: no such folder, and no name of a model", "write name, name@vN, name#stage or a folder")
    root = _repository(model, repository)
    name, commit = match["name"], ""
    version = match["version"] or ""
    if match["stage"]:
        version, commit = _at_stage(root, name, match["stage"])
    elif not version:
        version = _newest(root, name)
    commit = commit or _commit(root, f"{name}@{version}", name)
    folder = cache_folder() / f"{name}@{version}-{commit[:12]}"
    if not (folder / "model.json").is_file():
        _fetch(root, name, version, folder)
    return folder


def cache_folder() -> Path:
    """Where fetched models lie: ``KP_CACHE``, else ``~/.cache/kp/models``."""
    return Path(os.environ.get("KP_CACHE") or Path.home() / ".cache" / "kp" / "models")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _repository(model: str, repository: Path | None) -> Path:
    top = _git(repository or Path.cwd(), "rev-parse", "--show-toplevel")
    if not top:
        raise UserError(
            f"{model}: no such folder, and {repository or Path.cwd()} is in no git repository whose registry could hold "
            "that name",
            "run inside the repository, or name a folder",
        )
    return Path(top)


def _versions(root: Path, name: str) -> list[str]:
    """The registered versions of a model, oldest first; those that were taken back are not among them."""
    tags = _git(root, "tag", "--list", f"{name}@*").split()
    taken_back = {tag[:-1].split("#")[0] for tag in tags if tag.endswith("!")}
    numbers = [tag.rpartition("@v")[2] for tag in tags if re.fullmatch(r".+@v[0-9]+", tag) and tag not in taken_back]
    return [f"v{number}" for number in sorted(int(n) for n in numbers)]


def _newest(root: Path, name: str) -> str:
    versions = _versions(root, name)
    if not versions:
        _unknown(root, name)
    return versions[-1]


def _commit(root: Path, tag: str, name: str) -> str:
    commit = _git(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
    if not commit:
        versions = _versions(root, name)
        if not versions:
            _unknown(root, name)
        raise UserError(f"{tag}: not registered", f"registered versions of {name}: {', '.join(versions)}")
    return commit


def _at_stage(root: Path, name: str, stage: str) -> tuple[str, str]:
    """Version and commit that hold a stage now."""
    tags = _git(root, "tag", "--list", f"{name}#*").split()
    pattern = re.compile(rf"{re.escape(name)}#{re.escape(stage)}(!?)(?:#([0-9]+))?")
    events = [(int(m[2] or 0), m[1] == "!", tag) for tag in tags if (m := pattern.fullmatch(tag))]
    if not events or max(events)[1]:
        if not _versions(root, name):
            _unknown(root, name)
        raise UserError(f"{name}#{stage}: no version holds this stage", f"give it: kp promote {name}@vN --stage {stage}")
    commit = _git(root, "rev-parse", f"refs/tags/{max(events)[2]}^{{commit}}")
    here = set(_git(root, "tag", "--points-at", commit).split())
    versions = [version for version in _versions(root, name) if f"{name}@{version}" in here]
    if not versions:
        raise UserError(f"{max(events)[2]}: at its commit {commit[:12]} no version of {name} is registered")
    return versions[-1], commit


def _unknown(root: Path, name: str) -> None:
    known = {tag.partition("@")[0] for tag in _git(root, "tag", "--list", "*@v*").split()}
    hint = nearest(name, known) if known else "nothing is registered yet: kp retrain makes the first version"
    raise UserError(f"{name}: no such folder, and no model of that name in the registry of {root}", hint)


def _fetch(root: Path, name: str, version: str, folder: Path) -> None:
    """Run ``dvc artifacts get`` into a temporary folder beside its place, then rename."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    out = temporary / "model"
    command = [sys.executable, "-m", "dvc", "artifacts", "get", str(root), name, "--rev", version, "-o", str(out)]
    try:
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode or not (out / "model.json").is_file():
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["no model.json came"]
            raise UserError(
                f"{name}@{version}: its weights cannot be fetched: {lines[-1][:300]}",
                f"fetch what others pushed: git fetch --tags, and give DVC a remote that has them; by hand: "
                f"dvc artifacts get . {name} --rev {version}",
            )
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(out, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
