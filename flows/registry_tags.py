"""The tags that make up the registry (see `kpmodels/registry_names.py`): what GTO and we write into them, read and written.

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
from kpmodels.registry_names import STAGE_TAG, VERSION_TAG, short_version

_TRAILER = re.compile(r"^(Kind|Action|Gate): (\S+)$", re.MULTILINE)


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
