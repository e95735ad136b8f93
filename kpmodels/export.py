"""A model as ONNX, proved to give what PyTorch gives."""

from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kpmodels.detectors.base import Detector
from kpmodels.errors import UserError
from kpmodels.model import load_model
from kpmodels.resolve import resolve_model

TOLERANCE = 1e-4
OPSET = 18


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: The ONNX file.
        outputs: Names of its outputs.
        max_difference: Largest absolute difference to PyTorch over all outputs, where values above 1 are compared
            relative to their size.
    """

    path: Path
    outputs: tuple[str, ...]
    max_difference: float


class _Maps(nn.Module):
    """A detector with a tuple for an output, as ONNX wants it."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images_B3SS: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.detector.maps(images_B3SS).values())


def export(model: str | Path, out_path: Path) -> ExportReport:
    """Write a model as one ONNX file, and run it with onnxruntime beside PyTorch.

    Its input ``images`` is float32 ``[B, 3, S, S]``, RGB in 0..255, with any B and the S it was trained with: the
    normalisation is inside. Its outputs are the maps that are decoded (without flip test). Kind, keypoint names, sizes
    and options stand in its metadata under ``kpmodels``, as JSON.

    Args:
        model: As for ``kpmodels.load``.
        out_path: Where to write; replaced only when the check is passed.

    Raises:
        UserError: no such model, no place to write to, or outputs that differ by more than 1e-4.
    """
    loaded = load_model(resolve_model(model))
    detector, out_path = loaded.detector, Path(out_path)
    size = detector.options.input_size
    images = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (2, 3, size, size)).astype(np.float32))
    with torch.no_grad():
        expected = {name: value.numpy() for name, value in detector.maps(images).items()}
    temporary = out_path.with_name(f".{out_path.stem}.{os.getpid()}.onnx")
    try:
        out_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out_path}: cannot be written: {error.strerror or error}", "name another --out") from None
    try:
        _write(detector, images, list(expected), temporary, _description(detector, loaded.meta))
        difference = _compare(temporary, images.numpy(), expected)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{out_path}: not written: onnxruntime's output differs from PyTorch's by {difference:.2g}, more than "
                f"{TOLERANCE:g}",
                "export with another version of onnxruntime or torch, and report this model's options",
            )
        os.replace(temporary, out_path)
    except OSError as error:
        raise UserError(f"{out_path}: cannot be written: {error.strerror or error}", "name another --out") from None
    finally:
        temporary.unlink(missing_ok=True)
    return ExportReport(out_path, tuple(expected), difference)


def _write(detector: Detector, images: Tensor, outputs: list[str], path: Path, description: dict[str, Any]) -> None:
    import onnx

    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Maps(detector).eval(),
            (images,),
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"kpmodels": json.dumps(description, sort_keys=True)})
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _description(detector: Detector, meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": detector.kind,
        "input": "RGB, 0..255, float32",
        "rows": detector.row_plan(training=False),
        "options": detector.options.model_dump(mode="json"),
        "info": detector.info.to_dict(),
        "weights_sha256": meta["weights_sha256"],
    }


def _compare(path: Path, images: Any, expected: dict[str, Any]) -> float:
    """The largest difference over all outputs, for two images and for one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for count in (len(images), 1):
        results = session.run(list(expected), {"images": images[:count]})
        for value, result in zip(expected.values(), results, strict=True):
            scale = np.maximum(1, np.abs(value[:count]))
            largest = max(largest, float((np.abs(result - value[:count]) / scale).max()))
    return largest
