"""Predictions of a detector on a part of a data set, and the numbers that describe them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kpmodels.config import EvaluateOptions
from kpmodels.data.store import DatasetStore
from kpmodels.evaluation.coco import CocoResult
from kpmodels.evaluation.metrics import metrics_of
from kpmodels.evaluation.per_image import measure
from kpmodels.evaluation.table import ImageTable
from kpmodels.structures import Instances


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
