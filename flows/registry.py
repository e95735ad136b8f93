"""Versions and stages of data and models: GTO tags in git, read with git, written with the `gto` command.

GTO 1.10 knows three-part versions only: our version `v3` is its tag `name@v3.0.0`, which `dvc artifacts get --rev v3.0.0`
and `gto show` read. Beside it stands a plain tag `name@v3` on the same commit, so that what people write is a git
revision (`git checkout name@v3`); GTO ignores it. Stage tags are GTO's own: `name#champion#2`.

A tag's message ends in trailers: `Kind: model` or `Kind: data`; `Action: rollback` on the assignment of a rollback.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows import git
from flows.dvc import environment, errors_of
from flows.process import run
from flows.repository import exclusive
from kpmodels.errors import UserError, nearest

CHAMPION = "champion"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
_VERSION_TAG = re.compile(rf"(?P<name>{_NAME})@(?P<version>v\d+\.\d+\.\d+)(?P<cancel>!?)(?:#\d+)?")
_STAGE_TAG = re.compile(rf"(?P<name>{_NAME})#(?P<stage>{_NAME})(?P<cancel>!?)(?:#(?P<counter>\d+))?")
_TRAILER = re.compile(r"^(Kind|Action): (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class ModelVersion:
    """A registered version: `name@version` on a commit, with the stages that it holds now."""

    name: str
    version: str
    commit: str
    created: str
    stages: tuple[str, ...]
    message: str
    kind: str = "model"

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Assignment:
    """A promotion (or rollback) in the past: which version got which stage, when and why. `version` is "" for a removal."""

    name: str
    version: str
    stage: str
    created: str
    message: str
    action: str = "promote"
    commit: str = ""


def register(repository: Path, name: str, commit: str, message: str, kind: str = "model") -> str:
    """Makes the commit the next version of `name`: `v1`, `v2`, ... A commit that is a version already keeps it.

    Raises:
        UserError: a name that GTO does not take, one that names something of another kind, or no git identity.
    """
    if not re.fullmatch(_NAME, name):
        raise UserError(
            f"{name!r} cannot name a {kind}", "use letters, digits, '-' and '_', a letter or digit at both ends"
        )
    git.require_identity(repository)
    with exclusive(repository, "registry"):
        for _ in range(5):
            known = list_versions(repository, name, kind=None)
            if known and known[0].kind != kind:
                raise UserError(f"{name} is the name of a {known[0].kind}", f"give the {kind} another name")
            same = [row for row in known if row.commit == commit]
            version = same[0].version if same else next_version(known)
            if same or _gto(
                repository, "register", name, commit, "--version", long_version(version), message=message, kind=kind
            ):
                _alias(repository, f"{name}@{version}", commit, message)
                return version
    raise UserError(f"{name}: no free version could be found", "another program registers at the same time; try again")


def list_versions(repository: Path, name: str | None = None, kind: str | None = "model") -> list[ModelVersion]:
    """All registered versions, in order of name and version; of one kind, or of all with `kind=None`."""
    tags = git.tags(repository)
    rows: dict[tuple[str, str], ModelVersion] = {}
    for tag in tags:
        found = _VERSION_TAG.fullmatch(tag.name)
        if not found or (name is not None and found["name"] != name):
            continue
        key = (found["name"], short_version(found["version"]))
        if found["cancel"]:
            rows.pop(key, None)
            continue
        text, marks = _split(tag.message)
        rows[key] = ModelVersion(*key, tag.commit, _moment(tag.created), (), text, marks.get("Kind", "model"))
    held = {(event.name, event.stage): event.commit for event in _events(tags)}
    complete = [_with_stages(row, held) for row in rows.values() if kind in (None, row.kind)]
    return sorted(complete, key=lambda row: (row.name, _number(row.version)))


def list_models(repository: Path) -> list[ModelVersion]:
    """All registered models, in order of name and version."""
    return list_versions(repository)


def find(repository: Path, name: str, version: str = "", kind: str = "model") -> ModelVersion:
    """A version of `name`; the newest without a version, the champion for `#champion`. Raises UserError if there is none."""
    rows = list_versions(repository, name, kind)
    if not rows:
        names = {row.name for row in list_versions(repository, None, kind)}
        hint = nearest(name, names) if names else f"there is no {kind} yet"
        raise UserError(f"no {kind} is registered as {name!r}: {hint}", "`kp models` and `kp data list` list all")
    if version == f"#{CHAMPION}":
        best = champion(repository, name)
        if best is None:
            raise UserError(f"{name} has no champion", f"kp promote {name}@{rows[-1].version}")
        return best
    wanted = short_version(version if version.startswith("v") else f"v{version}") if version else rows[-1].version
    for row in rows:
        if row.version == wanted:
            return row
    raise UserError(f"{name} has no version {version!r}", f"it has {', '.join(row.version for row in rows)}")


def champion(repository: Path, name: str) -> ModelVersion | None:
    """The version that is champion now, if any."""
    return next((row for row in list_versions(repository, name, None) if CHAMPION in row.stages), None)


def promote(repository: Path, name: str, version: str, message: str) -> ModelVersion:
    """Makes a version the champion; nothing happens when it is already.

    Raises UserError: no such version, or no git identity.
    """
    git.require_identity(repository)
    with exclusive(repository, "registry"):
        row = find(repository, name, version)
        if CHAMPION not in row.stages:
            _assign(repository, row, message, "promote")
    return find(repository, name, row.version)


def rollback(repository: Path, name: str, message: str) -> ModelVersion:
    """Makes the champion before the present one champion again.

    Promotions stack up and a rollback takes the top one off: after promoting v1, v2, v3, a first rollback gives v2, a
    second v1, a third is an error; a promotion of v4 after the first would lie on v2, so that the next gives v2 again.

    Raises UserError when there was no champion before.
    """
    git.require_identity(repository)
    with exclusive(repository, "registry"):
        stack = champion_stack(repository, name)
        if len(stack) < 2:
            now = f"only {stack[0]} was ever champion" if stack else "it has no champion"
            raise UserError(f"{name} cannot be rolled back: {now}", f"kp models --history {name}")
        row = find(repository, name, stack[-2])
        _assign(repository, row, message, "rollback")
    return find(repository, name, row.version)


def champion_stack(repository: Path, name: str) -> list[str]:
    """The champions that a rollback would go back through, the present one last."""
    registered = {row.version for row in list_versions(repository, name)}
    stack: list[str] = []
    for event in history(repository, name):
        if event.stage != CHAMPION:
            continue
        if event.action != "promote" and stack:
            stack.pop()
        if event.version and (not stack or stack[-1] != event.version):
            stack.append(event.version)
    return [version for version in stack if version in registered]


def history(repository: Path, name: str) -> list[Assignment]:
    """Every assignment of a stage of `name`, oldest first."""
    return [event for event in _events(git.tags(repository)) if event.name == name]


def registry_tags(repository: Path, name: str | None = None) -> list[str]:
    """The tags that make up the registry, of one name or of all."""
    found = []
    for tag in git.tags(repository):
        match = _VERSION_TAG.fullmatch(tag.name) or _STAGE_TAG.fullmatch(tag.name) or _ALIAS.fullmatch(tag.name)
        if match and name in (None, match["name"]):
            found.append(tag.name)
    return found


_ALIAS = re.compile(rf"(?P<name>{_NAME})@(?P<version>v\d+)")


def push_tags(repository: Path, names: Sequence[str] | None = None) -> bool:
    """Pushes the registry's tags (of these names, or of all) to the git remote; False when there is no git remote.

    Raises UserError when the remote cannot be reached or holds another commit under one of the names.
    """
    every: Sequence[str | None] = names or [None]
    wanted = [tag for name in every for tag in registry_tags(repository, name)]
    return git.push(repository, [f"refs/tags/{tag}" for tag in wanted])


def next_version(known: Sequence[ModelVersion]) -> str:
    """The version after the highest of these."""
    return f"v{max((_number(row.version)[0] for row in known), default=0) + 1}"


def short_version(version: str) -> str:
    """`v3` for `v3.0.0`; any other as it is."""
    return version.removesuffix(".0.0")


def long_version(version: str) -> str:
    """`v3.0.0` for `v3`, as GTO and `dvc artifacts get --rev` want it; any other as it is."""
    return f"{version}.0.0" if re.fullmatch(r"v\d+", version) else version


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in long_version(version)[1:].split("."))


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ")


def _split(message: str) -> tuple[str, dict[str, str]]:
    """A tag's message without our trailers, and these."""
    return _TRAILER.sub("", message).strip(), dict(_TRAILER.findall(message))


def _with_stages(row: ModelVersion, held: dict[tuple[str, str], str]) -> ModelVersion:
    stages = tuple(stage for (name, stage), commit in sorted(held.items()) if (name, commit) == (row.name, row.commit))
    return ModelVersion(row.name, row.version, row.commit, row.created, stages, row.message, row.kind)


def _events(tags: Sequence[git.Tag]) -> list[Assignment]:
    """The stage tags as assignments, oldest first; a stage that was taken away has no version and no commit."""
    versions = {}
    for tag in tags:
        found = _VERSION_TAG.fullmatch(tag.name)
        if found and not found["cancel"]:
            versions[found["name"], tag.commit] = short_version(found["version"])
    events = []
    matches = [(tag, match) for tag in tags if (match := _STAGE_TAG.fullmatch(tag.name))]
    for tag, match in sorted(matches, key=lambda pair: (pair[0].created, int(pair[1]["counter"] or 0))):
        text, marks = _split(tag.message)
        removed = bool(match["cancel"])
        version = "" if removed else versions.get((match["name"], tag.commit), "")
        action = "removed" if removed else marks.get("Action", "promote")
        commit = "" if removed else tag.commit
        events.append(Assignment(match["name"], version, match["stage"], _moment(tag.created), text, action, commit))
    return events


def _assign(repository: Path, row: ModelVersion, message: str, action: str) -> None:
    _wait_for_a_later_second(repository, row.name)
    words = ("assign", row.name, "--version", long_version(row.version), "--stage", CHAMPION, "--force")
    if not _gto(repository, *words, message=message, kind=row.kind, action=action):
        raise UserError(f"{row} could not be made champion: its tag exists already", "git fetch --tags, then try again")


def _wait_for_a_later_second(repository: Path, name: str) -> None:
    """GTO and DVC order the assignments of a name by the second of their tags: never make two in the same one."""
    newest = max((tag.created for tag in git.tags(repository) if tag.name.startswith(f"{name}#")), default=0)
    wait = newest + 1 - time.time()
    if wait > 10:
        raise UserError(f"the newest stage tag of {name} is {wait:.0f} s in the future", "set this machine's clock")
    time.sleep(max(wait, 0.0))


def _gto(repository: Path, *words: str, message: str, kind: str, action: str = "") -> bool:
    """Runs `gto WORDS`; False when the tag that it would make exists already."""
    trailers = f"Kind: {kind}" + (f"\nAction: {action}" if action else "")
    text = f"{message.strip()}\n\n{trailers}"
    command = [sys.executable, "-m", "gto.cli", *words, "--repo", str(repository), "--message", text]
    done = run(command, repository, env=environment(), check=False)
    if done.code == 0:
        return True
    if "already" in done.text:
        return False
    raise UserError(f"gto {words[0]} {words[1]} failed: {errors_of(done.text)}", "`gto doctor` checks the registry")


def _alias(repository: Path, tag: str, commit: str, message: str) -> None:
    """The plain tag `name@v3` beside GTO's `name@v3.0.0`."""
    present = git.resolve(repository, f"refs/tags/{tag}")
    if present is None:
        git.make_tag(repository, tag, commit, message)
    elif present != commit:
        raise UserError(f"the tag {tag} names another commit, {present[:8]}", f"git tag -d {tag}, then register again")
