"""From a model's name to a folder: reading the registry, which is git tags (GTO) and DVC; writing it is the flows' alone.

How the tags are written is said in ``registry_names``. The weights come from ``dvc artifacts get``, run as a command, into a
cache named after name, version and commit, so nothing is fetched twice and nothing old is taken for new.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kpmodels.errors import UserError, nearest
from kpmodels.registry_names import MODEL, STAGE_TAG, VERSION_TAG, long_version, short_version, version_number


@dataclass(frozen=True)
class _Tag:
    """A tag, the commit that it names, and the second when it was made."""

    name: str
    commit: str
    created: int


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
    match = MODEL.fullmatch(model)
    if match is None:
        raise UserError(
            f"{model}: no such folder, and no name of a model", "write name, name@vN, name#stage or a folder"
        )
    root = _repository(model, repository)
    tags = _tags(root)
    version, commit = _find(match["name"], match["version"] or "", match["stage"] or "", tags, root)
    folder = cache_folder() / f"{match['name']}@{version}-{commit[:12]}"
    if not (folder / "model.json").is_file():
        _fetch(root, match["name"], version, folder)
    return folder


def cache_folder() -> Path:
    """Where fetched models lie: ``KP_CACHE``, else ``~/.cache/kp/models``."""
    return Path(os.environ.get("KP_CACHE") or Path.home() / ".cache" / "kp" / "models")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _repository(model: str, repository: Path | None) -> Path:
    where = repository or Path.cwd()
    top = _git(where, "rev-parse", "--show-toplevel")
    if not top:
        raise UserError(
            f"{model}: no such folder, and {where} is in no git repository whose registry could hold that name",
            "run inside the repository, or name a folder",
        )
    return Path(top)


def _tags(root: Path) -> list[_Tag]:
    form = "%(refname:strip=2)%09%(creatordate:unix)%09%(objectname)%09%(*objectname)"
    lines = (line.split("\t") for line in _git(root, "for-each-ref", f"--format={form}", "refs/tags").splitlines())
    return [_Tag(name, peeled or own, int(created or 0)) for name, created, own, peeled in lines]


def _find(name: str, version: str, stage: str, tags: list[_Tag], root: Path) -> tuple[str, str]:
    """The full version (``v3.0.0``) that is meant and its commit."""
    matches = [(tag, match) for tag in tags if (match := VERSION_TAG.fullmatch(tag.name))]
    cancelled = {(match["name"], match["version"]) for _, match in matches if match["cancel"]}
    known = {m["name"] for _, m in matches if (m["name"], m["version"]) not in cancelled}
    commits = {m["version"]: tag.commit for tag, m in matches if m["name"] == name and not m["cancel"]}
    versions = sorted((v for v in commits if (name, v) not in cancelled), key=version_number)
    if not versions:
        hint = nearest(name, known) if known else "nothing is registered yet: kp retrain makes the first version"
        raise UserError(f"{name}: no such folder, and no model of that name in the registry of {root}", hint)
    if stage:
        commit = _holder(name, stage, tags)
        held = [v for v in versions if commits[v] == commit]
        if not held:
            raise UserError(
                f"{name}#{stage}: no version is {stage}", f"kp promote {name}@{short_version(versions[-1])}"
            )
        return held[-1], commit
    wanted = long_version(version) if version else versions[-1]
    if wanted not in versions:
        raise UserError(
            f"{name}@{version}: not registered", f"there are {', '.join(short_version(v) for v in versions)}"
        )
    return wanted, commits[wanted]


def _holder(name: str, stage: str, tags: list[_Tag]) -> str:
    """The commit that holds a stage now; empty if none does."""
    matches = [(tag, match) for tag in tags if (match := STAGE_TAG.fullmatch(tag.name))]
    events = [
        (tag.created, int(m["counter"] or 0), "" if m["cancel"] else tag.commit)
        for tag, m in matches
        if m["name"] == name and m["stage"] == stage
    ]
    return max(events)[2] if events else ""


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
                f"{name}@{short_version(version)}: its weights cannot be fetched: {lines[-1][:300]}",
                f"fetch what others pushed: git fetch --tags, and give DVC a remote that has them; by hand: "
                f"dvc artifacts get . {name} --rev {version}",
            )
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(out, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
