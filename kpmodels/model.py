"""A model on disk: a folder with ``weights.safetensors`` and ``model.json``, and nothing in it that can run code."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kpmodels.config import Experiment, parse_experiment
from kpmodels.detectors.base import Detector
from kpmodels.detectors.build import build_detector
from kpmodels.errors import UserError
from kpmodels.structures import DatasetInfo
from kpmodels.weights import PICKLES, read_weights, sha256_of, write_weights

FORMAT = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"
AGAIN = "fetch it again (kp models lists what there is), or train it again (kp retrain)"


@dataclass
class LoadedModel:
    """A detector in evaluation mode, and what it was made with; ``meta`` is the rest of ``model.json``."""

    detector: Detector
    experiment: Experiment
    info: DatasetInfo
    meta: dict[str, Any]


def save_model(
    folder: Path, detector: Detector, experiment: Experiment, info: DatasetInfo, extra: dict[str, Any] | None = None
) -> None:
    """Write a model folder, complete or not at all; equal detectors give equal bytes.

    The experiment is saved with the detector's options as it resolved them. ``extra`` (numbers and texts: metrics, data
    version, commit) goes into ``model.json`` too. In a folder that exists the two files are replaced, the description
    last: with the weights' hash in it, an interruption between the two is found when loading.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        memory = set(detector.training_memory())
        state = {name: value for name, value in detector.state_dict().items() if name not in memory}
        write_weights(state, temporary / WEIGHTS)
        resolved = experiment.model_copy(update={"detector": detector.options})
        content = {
            "format": FORMAT,
            "kind": detector.kind,
            "experiment": resolved.model_dump(mode="json"),
            "info": info.to_dict(),
            "weights_sha256": sha256_of(temporary / WEIGHTS),
            "extra": extra or {},
        }
        (temporary / DESCRIPTION).write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
        if folder.exists():
            for name in (WEIGHTS, DESCRIPTION):
                os.replace(temporary / name, folder / name)
        else:
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(folder: Path, device: str | torch.device = "cpu") -> LoadedModel:
    """The model of a folder, in evaluation mode.

    Raises:
        UserError: no such folder, a file missing or broken, weights that are not those of the description, or a format
            newer than this program.
    """
    folder = Path(folder)
    content = read_description(folder)
    experiment = parse_experiment(content["experiment"], str(folder / DESCRIPTION))
    info = DatasetInfo.from_dict(content["info"])
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{weights}: missing", AGAIN)
    if sha256_of(weights) != content["weights_sha256"]:
        raise UserError(f"{weights}: not the weights that {DESCRIPTION} describes (their sha256 differs)", AGAIN)
    detector = build_detector(_without_pretrained(experiment), info)
    fresh = detector.state_dict()
    try:
        detector.load_state_dict({n: fresh[n] for n in detector.training_memory()} | read_weights(weights), strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{weights}: does not fit the network of {DESCRIPTION}: {reason}", AGAIN) from None
    detector.options = experiment.detector
    detector.eval().to(device)
    meta = {key: value for key, value in content.items() if key not in ("experiment", "info")}
    return LoadedModel(detector, experiment, info, meta)


def read_description(folder: Path) -> dict[str, Any]:
    """The content of a model folder's ``model.json``, checked to be complete; for the errors see ``load_model``."""
    if not folder.exists():
        raise UserError(f"{folder}: no such model folder", "kp models lists the models that can be named")
    if folder.is_file():
        why = "a pickle can run code when it is loaded, so none is taken as a model" if folder.suffix in PICKLES else ""
        raise UserError(
            f"{folder}: a file, not a model folder{': ' + why if why else ''}",
            f"give a folder with {WEIGHTS} and {DESCRIPTION}; weights to start from go to detector.backbone.weights",
        )
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UserError(f"{path}: missing; {folder} is not a model folder", AGAIN)
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable: {error}", AGAIN) from None
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise UserError(f"{path}: of format {version}; this program knows formats up to {FORMAT}", "update the program")
    missing = {"format", "experiment", "info", "weights_sha256"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))}", AGAIN)
    return content


def _without_pretrained(experiment: Experiment) -> Experiment:
    """The experiment for building the network alone: its weights follow, ImageNet's need not be here."""
    backbone = experiment.detector.backbone.model_copy(update={"pretrained": False, "weights": ""})
    return experiment.model_copy(update={"detector": experiment.detector.model_copy(update={"backbone": backbone})})
