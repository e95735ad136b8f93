"""Named experiments, and the experiment that a command line means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kpmodels.config import Experiment, override, parse_experiment, read_options
from kpmodels.errors import UserError, nearest

FOLDER = Path("flows") / "experiments"
PARAMS = "params.yaml"


def experiment_names(repository: Path) -> list[str]:
    """The names of the experiments in ``flows/experiments``, and of that in ``params.yaml``."""
    own = str(read_options(repository / PARAMS).get("name", "")) if (repository / PARAMS).exists() else ""
    return sorted({path.stem for path in (repository / FOLDER).glob("*.yaml")} | ({own} - {""}))


def read_named(repository: Path, name: str) -> dict[str, Any]:
    """The options that a named experiment sets.

    Raises:
        UserError: there is no such experiment.
    """
    path = repository / FOLDER / f"{name}.yaml"
    if not path.exists() and name in experiment_names(repository):
        return read_options(repository / PARAMS)
    if name not in experiment_names(repository):
        raise UserError(
            f"no experiment {name!r} in {FOLDER}: {nearest(name, experiment_names(repository))}", f"write {path}"
        )
    return read_options(path)


def choose_experiment(
    repository: Path, *, name: str = "", data: str = "", detector: str = "", assignments: tuple[str, ...] = ()
) -> Experiment:
    """The experiment that a command line means.

    A named experiment, or with ``data`` or ``detector`` the defaults of that detector, or else the repository's
    ``params.yaml``; then ``data``, ``detector`` and the ``key=value`` assignments on top.

    Args:
        data: Name of the data set, or ``name@vN``.
    """
    if name:
        content = read_named(repository, name)
    elif data or detector:
        content = {}
    else:
        content = read_options(repository / PARAMS)
    changes = list(assignments)
    set_keys = {change.partition("=")[0] for change in changes}
    if detector:
        changes.insert(0, f"detector.kind={detector}")
    content = override(content, changes)
    if data:
        base, _, version = data.partition("@")
        content["data"] = {"name": base, "version": version}
    if not name and (data or detector) and "name" not in set_keys:
        kind = content.get("detector", {}).get("kind", "heatmap")
        content["name"] = f"{content.get('data', {}).get('name', 'shapes')}-{kind}"
    return parse_experiment(content, name or "command line")


def choose_entries(repository: Path, entries: list[str], data: str, changes: list[str]) -> list[tuple[str, Experiment]]:
    """The experiments that a comparison means, with their titles; all on the data set of the first, or on ``data``.

    Raises:
        UserError: fewer than two, twice the same, an unknown experiment or option.
    """
    if len(entries) < 2 or len(set(entries)) < len(entries):
        raise UserError(
            "a comparison needs two different entries or more",
            "for example: kp compare A B, or kp compare A 'A key=value'",
        )
    chosen: list[tuple[str, Experiment]] = []
    for entry in entries:
        name, *own = entry.split()
        first = chosen[0][1].data if chosen else None
        wanted = data or (f"{first.name}@{first.version}".rstrip("@") if first else "")
        found = choose_experiment(repository, name=name, data=wanted, assignments=(*changes, *own))
        chosen.append((entry, found))
    return chosen
