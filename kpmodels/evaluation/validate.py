"""Predictions of a detector on a part of a data set, and the numbers that describe them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kpmodels.config import EvaluateOptions
from kpmodels.data.decode import BrokenImageError, decode_image
from kpmodels.data.rows import labelled_rows
from kpmodels.data.store import DatasetStore
from kpmodels.detectors.base import Detector
from kpmodels.detectors.inference import predict_images
from kpmodels.errors import UserError
from kpmodels.evaluation.coco import CocoResult
from kpmodels.evaluation.metrics import metrics_of
from kpmodels.evaluation.per_image import measure
from kpmodels.evaluation.table import ImageTable
from kpmodels.structures import Instances

CHUNK_PIXELS = 2**26

Progress = Callable[[int, int], None]


def boxes_used(detector: Detector) -> str:
    """``truth`` where the detector looks into given boxes, which evaluation takes from the truth; else ``none``."""
    return "truth" if detector.row_plan(training=False)["region"] == "box" else "none"


def predict_split(
    detector: Detector,
    store: DatasetStore,
    ids: Sequence[str],
    options: EvaluateOptions,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Instances]:
    """What a detector finds in images, by id; memory does not grow with their number.

    A detector that looks into boxes gets the true ones (without crowds and unlabelled instances), and what it finds
    has the label and the id of the instance whose box it was. Other detectors get nothing of the truth.

    Args:
        batch_size: Rows per forward pass; None: that of the options.
        progress: Called with the images done and all.

    Raises:
        UserError: an image that cannot be decoded; names its id and file.
    """
    size = batch_size or options.batch_size
    truth_boxes = boxes_used(detector) == "truth"
    found: dict[str, Instances] = {}
    for names, images in _chunks(store, ids, size):
        boxes = None
        if truth_boxes:
            boxes = [one.select(labelled_rows(one)) for one in map(store.instances, names)]
        parts = predict_images(detector, images, boxes, size)
        for place, (name, one) in enumerate(zip(names, parts, strict=True)):
            if boxes is not None:
                one.labels, one.ids = boxes[place].labels, list(boxes[place].ids)
            found[name] = one
        if progress is not None:
            progress(len(found), len(ids))
    return found


def validate(
    detector: Detector, store: DatasetStore, split: str, options: EvaluateOptions, rank: int = 0, world: int = 1
) -> dict[str, Instances]:
    """The share of one of ``world`` processes of a split's predictions; each image is in exactly one share."""
    return predict_split(detector, store, store.split(split)[rank::world], options)


def _chunks(store: DatasetStore, ids: Sequence[str], size: int) -> Iterator[tuple[list[str], list[NDArray[np.uint8]]]]:
    """Decoded images in the order of the files, at most ``size`` and about 64 megapixels at a time."""
    names: list[str] = []
    images: list[NDArray[np.uint8]] = []
    pixels = 0
    for name, data in store.stream(ids):
        record = store.record(name)
        if names and (len(names) >= size or pixels + record.width * record.height > CHUNK_PIXELS):
            yield names, images
            names, images, pixels = [], [], 0
        try:
            images.append(decode_image(data))
        except BrokenImageError as error:
            raise UserError(
                f"{store.folder}: image {name} ({record.file_name}): {error}", "fetch the data set again: dvc pull"
            ) from None
        names.append(name)
        pixels += record.width * record.height
    if names:
        yield names, images


def measure_split(
    predictions: Mapping[str, Instances], store: DatasetStore, ids: Sequence[str], options: EvaluateOptions
) -> tuple[ImageTable, dict[str, float]]:
    """The results per image of ``ids``, and their metrics."""
    truths = {one: store.instances(one) for one in ids}
    records = {one: store.record(one) for one in ids}
    table, coco = measure(truths, {one: predictions[one] for one in ids}, records, store.info, options)
    return table, flat_metrics(table, coco)


def summarize(
    predictions: Mapping[str, Instances], store: DatasetStore, ids: Sequence[str], options: EvaluateOptions
) -> dict[str, float]:
    """The metrics of predictions for the images ``ids``; an undefined metric is left out, all values are finite.

    Raises:
        KeyError: an image without predictions (no instances are an empty ``Instances``).
    """
    return measure_split(predictions, store, ids, options)[1]


def flat_metrics(table: ImageTable, coco: CocoResult | None) -> dict[str, float]:
    """All metrics of a table by key, with COCO's numbers by object size and its recalls."""
    values = {metric.key: metric.value(table) for metric in metrics_of(table.meta)}
    if coco is not None:
        start, end = ("oks_", table.meta.sigmas_ending) if table.meta.task == "pose" else ("box_", "")
        values = {f"{start}{name}{end}": value for name, value in coco.stats.items()} | values
    return {key: value for key, value in values.items() if math.isfinite(value)}


def score_of(metrics: Mapping[str, float], task: str) -> float:
    """The number that checkpoints are chosen by: finite, higher is better, smooth on small validation sets.

    - ``pose``: half OKS AP, half mean OKS over the instances. AP alone moves in steps on a few images and is 0 for the
      first epochs; mean OKS alone would not see false alarms.
    - ``points``: F1 at the radius, and at most 0.01 for the average Hausdorff distance, which tells apart what F1 calls
      equal (0 in the first epochs).
    - ``boxes``: AP, and at most 0.01 for the recall.
    """
    found = {key.removesuffix("_assumed_sigmas"): value for key, value in metrics.items()}
    if task == "pose":
        score = (found.get("oks_ap", 0.0) + found.get("oks_mean", 0.0)) / 2
    elif task == "points":
        score = found.get("f1", 0.0) + 0.01 / (1 + found.get("average_hausdorff", math.inf))
    else:
        score = found.get("box_ap", 0.0) + 0.01 * found.get("recall", 0.0)
    return score if math.isfinite(score) else 0.0
