"""The tags that make up the registry, as text: what GTO and we write into names and messages of tags, read and written.

GTO 1.10 knows three-part versions only: our version `v3` is its tag `name@v3.0.0`, which `dvc artifacts get --rev v3.0.0`
and `gto show` read. Beside it stands a plain tag `name@v3` on the same commit, so that what people write is a git
revision (`git checkout name@v3`); GTO ignores it. Stage tags are GTO's own: `name#champion#2`.

A tag's message ends in trailers: `Kind: model` or `Kind: data`; `Action: rollback` on the assignment of a rollback;
`Gate: promote` or `Gate: keep` on a version, what the gate said of it before it was registered.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from flows import git
from flows.dvc import environment, errors_of
from flows.process import run
from kpmodels.errors import UserError

NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
VERSION_TAG = re.compile(rf"(?P<name>{NAME})@(?P<version>v\d+\.\d+\.\d+)(?P<cancel>!?)(?:#\d+)?")
STAGE_TAG = re.compile(rf"(?P<name>{NAME})#(?P<stage>{NAME})(?P<cancel>!?)(?:#(?P<counter>\d+))?")
_TRAILER = re.compile(r"^(Kind|Action|Gate): (\S+)$", re.MULTILINE)
ALIAS_TAG = re.compile(rf"(?P<name>{NAME})@(?P<version>v\d+)")


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
    gate: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Assignment:
    """A promotion (or rollback) in the past: which version got which stage, when, why and by whom (the git identity).

    `version` is "" for a removal.
    """

    name: str
    version: str
    stage: str
    created: str
    message: str
    action: str = "promote"
    commit: str = ""
    by: str = ""


def short_version(version: str) -> str:
    """`v3` for `v3.0.0`; any other as it is."""
    return version.removesuffix(".0.0")


def long_version(version: str) -> str:
    """`v3.0.0` for `v3`, as GTO and `dvc artifacts get --rev` want it; any other as it is."""
    return f"{version}.0.0" if re.fullmatch(r"v\d+", version) else version


def version_number(version: str) -> tuple[int, ...]:
    """What versions are ordered by."""
    return tuple(int(part) for part in long_version(version)[1:].split("."))


def moment(seconds: int) -> str:
    """Seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ")


def split_message(message: str) -> tuple[str, dict[str, str]]:
    """A tag's message without our trailers, and these."""
    return _TRAILER.sub("", message).strip(), dict(_TRAILER.findall(message))


def with_stages(row: ModelVersion, held: dict[tuple[str, str], str]) -> ModelVersion:
    """The version with the stages whose newest assignment is to its commit; ``held``: commit by name and stage."""
    stages = tuple(stage for (name, stage), commit in sorted(held.items()) if (name, commit) == (row.name, row.commit))
    return replace(row, stages=stages)


def events_of(tags: Sequence[git.Tag]) -> list[Assignment]:
    """The stage tags as assignments, oldest first; a stage that was taken away has no version and no commit."""
    versions = {}
    for tag in tags:
        found = VERSION_TAG.fullmatch(tag.name)
        if found and not found["cancel"]:
            versions[found["name"], tag.commit] = short_version(found["version"])
    events = []
    matches = [(tag, match) for tag in tags if (match := STAGE_TAG.fullmatch(tag.name))]
    for tag, match in sorted(matches, key=lambda pair: (pair[0].created, int(pair[1]["counter"] or 0))):
        text, marks = split_message(tag.message)
        removed = bool(match["cancel"])
        version = "" if removed else versions.get((match["name"], tag.commit), "")
        action = "removed" if removed else marks.get("Action", "promote")
        commit = "" if removed else tag.commit
        events.append(
            Assignment(match["name"], version, match["stage"], moment(tag.created), text, action, commit, tag.by)
        )
    return events


def gto(repository: Path, *words: str, message: str, marks: Mapping[str, str]) -> bool:
    """Runs `gto WORDS`; False when the tag that it would make exists already. `marks` become trailers of its message."""
    trailers = "\n".join(f"{key}: {value}" for key, value in marks.items() if value)
    text = f"{message.strip()}\n\n{trailers}"
    command = [sys.executable, "-m", "gto.cli", *words, "--repo", str(repository), "--message", text]
    done = run(command, repository, env=environment(), check=False)
    if done.code == 0:
        return True
    if "already" in done.text:
        return False
    raise UserError(f"gto {words[0]} {words[1]} failed: {errors_of(done.text)}", "`gto doctor` checks the registry")


def make_alias(repository: Path, tag: str, commit: str, message: str) -> None:
    """The plain tag `name@v3` beside GTO's `name@v3.0.0`."""
    present = git.resolve(repository, f"refs/tags/{tag}")
    if present is None:
        git.make_tag(repository, tag, commit, message)
    elif present != commit:
        raise UserError(f"the tag {tag} names another commit, {present[:8]}", f"git tag -d {tag}, then register again")
