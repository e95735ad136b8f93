"""A model as one file for other programs, proved to give what PyTorch gives: ONNX, or a ``torch.export`` program."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
        path: The file.
        outputs: Names of its outputs.
        max_difference: Largest absolute difference to PyTorch over all outputs, where values above 1 are compared
            relative to their size.
        why_not_onnx: Empty, or what of the model ONNX does not know: then the file is a program of ``torch.export``.
    """

    path: Path
    outputs: tuple[str, ...]
    max_difference: float
    why_not_onnx: str = ""


Run = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


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
    and options stand in its metadata under ``kpmodels``, as JSON. A model with a part that ONNX lacks becomes a program of
    ``torch.export`` instead (``.pt2``, for ``torch.export.load``), of the same inputs and outputs.

    Args:
        model: As for ``kpmodels.load``.
        out_path: Where to write; replaced only when the check is passed. A program gets the ending ``.pt2``.

    Raises:
        UserError: no such model, no place to write to, or outputs that differ by more than 1e-4.
    """
    loaded = load_model(resolve_model(model))
    detector, out_path = loaded.detector, Path(out_path)
    size = detector.options.input_size
    images = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (2, 3, size, size)).astype(np.float32))
    with torch.no_grad():
        expected = {name: value.numpy() for name, value in detector.maps(images).items()}
    names = list(expected)
    about = json.dumps(_description(detector, loaded.meta), sort_keys=True)
    try:
        return _checked(
            out_path, images.numpy(), expected, lambda path: _write_onnx(detector, images, names, path, about)
        )
    except torch.onnx.OnnxExporterError as error:
        why = _reason(error)
    program = out_path.with_suffix(".pt2")
    done = _checked(program, images.numpy(), expected, lambda path: _write_program(detector, images, path, about))
    return replace(done, why_not_onnx=why)


def _checked(
    out_path: Path, images: NDArray[np.float32], expected: dict[str, Any], write: Callable[[Path], Run]
) -> ExportReport:
    """Write beside ``out_path``, compare what was written with what is expected, and put it in its place."""
    temporary = out_path.with_name(f".{out_path.stem}.{os.getpid()}{out_path.suffix or '.onnx'}")
    try:
        out_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out_path}: cannot be written: {error.strerror or error}", "name another --out") from None
    try:
        difference = _compare(write(temporary), images, expected)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{out_path}: not written: its output differs from PyTorch's by {difference:.2g}, more than {TOLERANCE:g}",
                "export with another version of onnxruntime or torch, and report this model's options",
            )
        os.replace(temporary, out_path)
    except OSError as error:
        raise UserError(f"{out_path}: cannot be written: {error.strerror or error}", "name another --out") from None
    finally:
        temporary.unlink(missing_ok=True)
    return ExportReport(out_path, tuple(expected), difference)


def _write_onnx(detector: Detector, images: Tensor, outputs: list[str], path: Path, about: str) -> Run:
    import onnx
    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Maps(detector).eval(),
            (images,),
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {"kpmodels": about})
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda values: session.run(outputs, {"images": values})


def _write_program(detector: Detector, images: Tensor, path: Path, about: str) -> Run:
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(_Maps(detector).eval(), (images,), dynamic_shapes=shapes)
    torch.export.save(program, path, extra_files={"kpmodels": about})
    module = torch.export.load(path).module()
    return lambda values: [value.detach().numpy() for value in module(torch.from_numpy(values))]


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: it names the operation."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _description(detector: Detector, meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": detector.kind,
        "input": "RGB, 0..255, float32",
        "rows": detector.row_plan(training=False),
        "options": detector.options.model_dump(mode="json"),
        "info": detector.info.to_dict(),
        "weights_sha256": meta["weights_sha256"],
    }


def _compare(run: Run, images: NDArray[np.float32], expected: dict[str, Any]) -> float:
    """The largest difference over all outputs, for two images and for one."""
    largest = 0.0
    for count in (len(images), 1):
        for value, result in zip(expected.values(), run(images[:count]), strict=True):
            scale = np.maximum(1, np.abs(value[:count]))
            largest = max(largest, float((np.abs(result - value[:count]) / scale).max()))
    return largest
