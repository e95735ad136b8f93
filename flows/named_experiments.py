"""Named experiments, and the experiment that a command line means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kpmodels.config import Experiment, override, parse_experiment
from kpmodels.errors import UserError, nearest

FOLDER = Path("flows") / "experiments"


def experiment_names(repository: Path) -> list[str]:
    """The names of the experiments in ``flows/experiments``."""
    return sorted(path.stem for path in (repository / FOLDER).glob("*.yaml"))


def read_named(repository: Path, name: str) -> dict[str, Any]:
    """The options that a named experiment sets.

    Raises:
        UserError: there is no such experiment.
    """
    path = repository / FOLDER / f"{name}.yaml"
    if name not in experiment_names(repository):
        raise UserError(
            f"no experiment {name!r} in {FOLDER}: {nearest(name, experiment_names(repository))}", f"write {path}"
        )
    return _mapping(path)


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
        content = _mapping(repository / "params.yaml")
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


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "run inside the repository") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no mapping of options")
    return content
