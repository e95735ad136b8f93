"""The experiment: everything that decides a result, as ``params.yaml`` holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from kpmodels.config.base import Options
from kpmodels.config.data import AugmentOptions, DataOptions
from kpmodels.config.detectors import DetectorOptions, HeatmapOptions
from kpmodels.config.evaluation import EvaluateOptions
from kpmodels.config.gate import GateOptions
from kpmodels.config.losses import LossOptions
from kpmodels.config.problems import describe
from kpmodels.config.training import TrainOptions
from kpmodels.errors import UserError


def _offer_choices(schema: dict[str, Any]) -> None:
    """The forms of the Prefect UI offer the choices of ``anyOf``; for ``oneOf`` they show plain JSON."""
    schema["anyOf"] = schema.pop("oneOf")
    schema.pop("discriminator")


class Experiment(Options):
    """A detector, the data it learns from, and how. Equal experiments on equal data and code give equal results."""

    name: str = Field("shapes-heatmap", description="Name of the model.", pattern=r"^[a-z0-9][a-z0-9-]*$")
    data: DataOptions = Field(DataOptions(), description="The data set.")
    detector: DetectorOptions = Field(
        HeatmapOptions(), description="The detector and its options.", json_schema_extra=_offer_choices
    )
    losses: LossOptions = Field(LossOptions(), description="Loss families that any heatmap can carry.")
    augment: AugmentOptions = Field(AugmentOptions(), description="Augmentation of the training images.")
    train: TrainOptions = Field(TrainOptions(), description="Training.")
    evaluate: EvaluateOptions = Field(EvaluateOptions(), description="Evaluation.")
    gate: GateOptions = Field(GateOptions(), description="When a new version becomes champion.")


def parse_experiment(content: dict[str, Any], where: str = "params.yaml") -> Experiment:
    """An experiment from plain values.

    Raises:
        UserError: an unknown key or a value out of range; names the key and the nearest valid one.
    """
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {describe(error, Experiment)}", "see the options with: kp options") from None


def read_experiment(path: Path) -> Experiment:
    """The experiment of a YAML file; what the file leaves out has its default."""
    return parse_experiment(read_options(path), str(path))


def read_options(path: Path) -> dict[str, Any]:
    """The plain values of a YAML file of options.

    Raises:
        UserError: there is no such file, or it holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "run inside the repository, or name another file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no mapping of options")
    return content


def write_experiment(experiment: Experiment, path: Path) -> None:
    """Write every option, defaults too, so that a later change of a default does not change an old result."""
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))


def override(content: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """A copy of nested values with ``key.sub=value`` assignments applied; values are read as YAML.

    A new ``detector.kind`` drops the options of the detector that was there before.
    """
    result = _deep_copy(content)
    for assignment in sorted(assignments, key=lambda a: not a.startswith("detector.kind=")):
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UserError(f"--set {assignment}: not of the form key=value", "for example --set train.epochs=20")
        value = yaml.safe_load(text)
        *parents, last = key.strip().split(".")
        if key == "detector.kind" and result.get("detector", {}).get("kind") != value:
            result["detector"] = {}
        node = result
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"--set {assignment}: {parent} holds a value and no options")
        node[last] = value
    return result


def _deep_copy(content: dict[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, dict) else value for key, value in content.items()}
