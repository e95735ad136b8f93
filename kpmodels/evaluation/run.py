"""Measure a model on a part of a data set, and write what was found: the evaluate stage."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kpmodels.config import EvaluateOptions
from kpmodels.data.needed import measured_ids
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.errors import UserError
from kpmodels.evaluation.counting import threshold_curve
from kpmodels.evaluation.map_pictures import write_map_pictures
from kpmodels.evaluation.metrics import per_keypoint
from kpmodels.evaluation.report.build import build_report
from kpmodels.evaluation.report.samples import images_with_maps
from kpmodels.evaluation.stored_predictions import write_predictions
from kpmodels.evaluation.validate import Progress, boxes_used, measure_split, predict_split
from kpmodels.model import LoadedModel, load_model
from kpmodels.progress import progress_printer
from kpmodels.structures import DatasetInfo, Instances

PACKAGES = ("torch", "numpy", "pycocotools", "opencv-python-headless", "timm")


def evaluate(
    model_folder: Path,
    data: Path,
    options: EvaluateOptions,
    out: Path,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a model; write ``out`` complete or not at all; return the content of its ``metrics.json``.

    ``out`` gets ``metrics.json`` (flat: numbers, and ``boxes: truth`` where true boxes were given), ``per_image.parquet``,
    ``predictions.parquet``, ``per_keypoint.json``, ``curve.json`` (rates over score thresholds), ``about.json``, ``maps/``
    (the network's maps for some of the images that the report shows) and ``report.html``. Equal inputs give equal bytes:
    none holds a time or a path.

    Args:
        device: None: a GPU if there is one.
        progress: Called with images done and all; None prints it.

    Raises:
        UserError: no images in the split, another skeleton than the model's, or what reading model and data raise.
    """
    import torch

    store = open_dataset(data)
    model = load_model(model_folder, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    ids = _checked_ids(store, model, options)
    shown = progress or progress_printer("images")
    predictions = predict_split(model.detector, store, ids, options, progress=shown)
    about = _about(store, model, ids, options)
    extra = {"boxes": boxes_used(model.detector)}

    def draw(shown: Sequence[str], folder: Path) -> None:
        write_map_pictures(model.detector, store, shown, options, folder)

    return write_results(predictions, store, ids, options, out, model_folder, about, extra, draw)


def write_results(
    predictions: Mapping[str, Instances],
    store: DatasetStore,
    ids: Sequence[str],
    options: EvaluateOptions,
    out: Path,
    model_folder: Path,
    about: Mapping[str, Any],
    extra: Mapping[str, Any],
    draw: Callable[[Sequence[str], Path], None] | None = None,
) -> dict[str, Any]:
    """Measure predictions and write the folder that :func:`evaluate` describes; ``extra`` goes into the metrics.

    ``draw`` is called with the ids of a few images that the report shows, and draws maps into the folder.
    """
    table, numbers = measure_split(predictions, store, ids, options)
    metrics: dict[str, Any] = {**numbers, **extra}
    truths, founds = [store.instances(one) for one in ids], [predictions[one] for one in ids]
    curve = threshold_curve(truths, founds, store.info, options)
    with _complete(out) as folder:
        table.write(folder / "per_image.parquet")
        write_predictions(predictions, folder / "predictions.parquet")
        _write_json(folder / "metrics.json", metrics)
        _write_json(folder / "per_keypoint.json", per_keypoint(table))
        _write_json(folder / "curve.json", [asdict(point) for point in curve])
        _write_json(folder / "about.json", about)
        if draw is not None:
            draw(images_with_maps(table, options.samples), folder)
        build_report(folder, model_folder, store, folder / "report.html", samples=options.samples)
    return metrics


def _checked_ids(store: DatasetStore, model: LoadedModel, options: EvaluateOptions) -> list[str]:
    ids = measured_ids(store, options.split)
    ours, theirs = model.info, store.info
    if (ours.task, ours.skeleton.names) != (theirs.task, theirs.skeleton.names):
        raise UserError(
            f"the model was trained for {_described(ours)}, data set {theirs.name} holds {_described(theirs)}",
            "measure it on the data set that it was trained on",
        )
    return ids


def _described(info: DatasetInfo) -> str:
    names = ", ".join(info.skeleton.names[:4]) + (" ..." if info.num_keypoints > 4 else "")
    return f"{info.task} ({info.num_keypoints} keypoints: {names})" if info.num_keypoints else info.task


def _about(store: DatasetStore, model: LoadedModel, ids: Sequence[str], options: EvaluateOptions) -> dict[str, Any]:
    """What the results depend on."""
    return {
        "data": store.info.name,
        "data_fingerprint": store.fingerprint,
        "model": model.experiment.name,
        "weights_sha256": model.meta["weights_sha256"],
        "images": len(ids),
        "instances": sum(len(store.instances(one)) for one in ids),
        "options": options.model_dump(mode="json"),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


@contextlib.contextmanager
def _complete(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out`` that takes its place when the block ends well, and goes when it does not."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    folder.chmod(0o755)
    try:
        yield folder
        if out.exists():
            shutil.rmtree(out)
        os.rename(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
