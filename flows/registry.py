"""Versions and stages of data and models: GTO tags in git (see `registry_tags.py`), read and written."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from flows import git
from flows.registry_tags import (
    Assignment,
    ModelVersion,
    events_of,
    gto,
    make_alias,
    moment,
    split_message,
    with_stages,
)
from flows.repository import exclusive
from kpmodels.errors import UserError, nearest
from kpmodels.registry_names import (
    ALIAS_TAG,
    NAME,
    STAGE_TAG,
    VERSION_TAG,
    long_version,
    short_version,
    version_number,
)

CHAMPION = "champion"


def register(repository: Path, name: str, commit: str, message: str, kind: str = "model", gate: str = "") -> str:
    """Makes the commit the next version of `name`: `v1`, `v2`, ... A commit that is a version already keeps it.

    Args:
        gate: What the gate said, `promote` or `keep`; kept as a trailer.

    Raises:
        UserError: a name that GTO does not take, one that names something of another kind, or no git identity.
    """
    if not re.fullmatch(NAME, name):
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
            if same or gto(
                repository, "register", name, commit, "--version", long_version(version),
                message=message, marks={"Kind": kind, "Gate": gate},
            ):  # fmt: skip
                make_alias(repository, f"{name}@{version}", commit, message)
                return version
    raise UserError(f"{name}: no free version could be found", "another program registers at the same time; try again")


def list_versions(repository: Path, name: str | None = None, kind: str | None = "model") -> list[ModelVersion]:
    """All registered versions, in order of name and version; of one kind, or of all with `kind=None`."""
    tags = git.tags(repository)
    rows: dict[tuple[str, str], ModelVersion] = {}
    for tag in tags:
        found = VERSION_TAG.fullmatch(tag.name)
        if not found or (name is not None and found["name"] != name):
            continue
        key = (found["name"], short_version(found["version"]))
        if found["cancel"]:
            rows.pop(key, None)
            continue
        text, marks = split_message(tag.message)
        rows[key] = ModelVersion(
            *key, tag.commit, moment(tag.created), (), text, marks.get("Kind", "model"), marks.get("Gate", "")
        )
    held = {(event.name, event.stage): event.commit for event in events_of(tags)}
    complete = [with_stages(row, held) for row in rows.values() if kind in (None, row.kind)]
    return sorted(complete, key=lambda row: (row.name, version_number(row.version)))


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


def promotion_is_missing(repository: Path, row: ModelVersion) -> bool:
    """Whether the gate said that this version be champion, and it never was: the run was stopped in between."""
    return row.gate == "promote" and not any(event.version == row.version for event in history(repository, row.name))


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
    return [event for event in events_of(git.tags(repository)) if event.name == name]


def registry_tags(repository: Path, name: str | None = None) -> list[str]:
    """The tags that make up the registry, of one name or of all."""
    found = []
    for tag in git.tags(repository):
        match = VERSION_TAG.fullmatch(tag.name) or STAGE_TAG.fullmatch(tag.name) or ALIAS_TAG.fullmatch(tag.name)
        if match and name in (None, match["name"]):
            found.append(tag.name)
    return found


def complete(repository: Path, name: str | None = None) -> None:
    """Makes the plain tags `name@v3` that are missing: whoever registered was killed between the two tags."""
    with exclusive(repository, "registry"):
        present = set(registry_tags(repository, name))
        for row in list_versions(repository, name, kind=None):
            if str(row) not in present and "." not in row.version:
                make_alias(repository, str(row), row.commit, row.message)


def push_tags(repository: Path, names: Sequence[str] | None = None) -> bool:
    """Pushes the registry's tags (of these names, or of all) to the git remote; False when there is no git remote.

    Raises UserError when the remote cannot be reached or holds another commit under one of the names.
    """
    every: Sequence[str | None] = names or [None]
    for name in every:
        complete(repository, name)
    wanted = [tag for name in every for tag in registry_tags(repository, name)]
    return git.push(repository, [f"refs/tags/{tag}" for tag in wanted])


def next_version(known: Sequence[ModelVersion]) -> str:
    """The version after the highest of these."""
    return f"v{max((version_number(row.version)[0] for row in known), default=0) + 1}"


def _assign(repository: Path, row: ModelVersion, message: str, action: str) -> None:
    _wait_for_a_later_second(repository, row.name)
    words = ("assign", row.name, "--version", long_version(row.version), "--stage", CHAMPION, "--force")
    if not gto(repository, *words, message=message, marks={"Kind": row.kind, "Action": action}):
        raise UserError(f"{row} could not be made champion: its tag exists already", "git fetch --tags, then try again")


def _wait_for_a_later_second(repository: Path, name: str) -> None:
    """GTO and DVC order the assignments of a name by the second of their tags: never make two in the same one."""
    newest = max((tag.created for tag in git.tags(repository) if tag.name.startswith(f"{name}#")), default=0)
    wait = newest + 1 - time.time()
    if wait > 10:
        raise UserError(f"the newest stage tag of {name} is {wait:.0f} s in the future", "set this machine's clock")
    time.sleep(max(wait, 0.0))
