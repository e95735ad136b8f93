"""Every metric, defined once, as a function of the table of results per image and of weights of the images.

With all weights 1 a metric is the plain number. Weights that say how often an image was drawn make bootstrap
resamples, and weights 0 and 1 make slices, without measuring anything again.

Axes: R weightings, N images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kpmodels.evaluation.points import count_errors
from kpmodels.evaluation.table import ImageTable, TableMeta

Floats = NDArray[np.float64]
Statistic = Callable[[ImageTable, Floats], Floats]


@dataclass(frozen=True)
class Metric:
    """A number that describes a model.

    Attributes:
        key: Its name in ``metrics.json``.
        title: Its name for people.
        unit: ``px``, ``%`` or empty; ``%`` numbers are already percent.
        higher_is_better: False for errors, None where neither is (a bias).
        statistic: ``(table, weights_RN) -> [R]``; NaN where it is undefined.
    """

    key: str
    title: str
    unit: str
    higher_is_better: bool | None
    statistic: Statistic

    def value(self, table: ImageTable) -> float:
        return float(self.statistic(table, np.ones((1, len(table))))[0])


def metrics_of(meta: TableMeta) -> list[Metric]:
    """The metrics of a task, most telling first."""
    by_task = {"pose": _pose_metrics, "points": _point_metrics, "boxes": _box_metrics}
    special, common = by_task[meta.task](meta), _detection_metrics()
    return [*common, *special] if meta.task == "points" else [*special, *common]


def main_metric(meta: TableMeta) -> str:
    """The metric that models are compared by when nobody says otherwise."""
    return {"pose": "oks_ap" + meta.sigmas_ending, "points": "f1", "boxes": "box_ap"}[meta.task]


def pck_key(threshold: float) -> str:
    """``pck_0_05`` for 0.05: a point would be read as nesting by DVC."""
    return f"pck_{threshold:g}".replace(".", "_")


def _pose_metrics(meta: TableMeta) -> list[Metric]:
    end = meta.sigmas_ending
    said = " (assumed sigmas)" if end else ""
    return [
        Metric(f"oks_ap{end}", f"OKS AP{said}", "", True, _ap(slice(None))),
        Metric(f"oks_ap50{end}", f"OKS AP50{said}", "", True, _ap(slice(0, 1))),
        Metric(f"oks_ap75{end}", f"OKS AP75{said}", "", True, _ap(slice(5, 6))),
        Metric(f"oks_mean{end}", f"mean OKS{said}", "", True, _list_mean(f"oks{end}")),
        *_error_metrics("pixel error"),
        Metric("nme", "NME", "", False, _list_mean("scaled_errors")),
        *(Metric(pck_key(t), f"PCK@{t:g}", "", True, pck(t)) for t in meta.pck_thresholds),
        Metric("missed_keypoints", "keypoints of unpaired instances", "", False, _missed_keypoints),
    ]


def _point_metrics(meta: TableMeta) -> list[Metric]:
    def of_count(name: str) -> Statistic:
        return lambda t, w: count_errors(t.numbers("count_pred"), t.numbers("count_true"), w)[name]

    return [
        Metric("average_hausdorff", "average Hausdorff distance", "px", False, _image_mean("average_hausdorff")),
        Metric("count_mae", "count MAE", "", False, of_count("mae")),
        Metric("count_rmse", "count RMSE", "", False, of_count("rmse")),
        Metric("count_mape", "count MAPE", "%", False, of_count("mape")),
        Metric("count_mpe", "count MPE", "%", None, of_count("mpe")),
        Metric("count_r", "count correlation r", "", True, of_count("r")),
        Metric("count_r2", "count R²", "", True, of_count("r2")),
        *_error_metrics("error of found points"),
    ]


def _box_metrics(meta: TableMeta) -> list[Metric]:
    return [
        Metric("box_ap", "box AP", "", True, _ap(slice(None))),
        Metric("box_ap50", "box AP50", "", True, _ap(slice(0, 1))),
        Metric("box_ap75", "box AP75", "", True, _ap(slice(5, 6))),
        Metric("mean_overlap", "mean overlap of found boxes", "", True, _list_mean("overlaps")),
    ]


def _detection_metrics() -> list[Metric]:
    return [
        Metric("f1", "F1", "", True, _ratio(("tp", "tp"), ("tp", "tp", "fp", "fn"))),
        Metric("precision", "precision", "", True, _ratio(("tp",), ("tp", "fp"))),
        Metric("recall", "recall", "", True, _ratio(("tp",), ("tp", "fn"))),
        Metric("false_alarms_per_image", "false alarms per image", "", False, _image_mean("fp")),
        Metric("miss_rate", "miss rate", "", False, _ratio(("fn",), ("tp", "fn"))),
    ]


def _error_metrics(title: str) -> list[Metric]:
    return [
        Metric("pixel_error_mean", f"{title}, mean", "px", False, _list_mean("errors")),
        Metric("pixel_error_median", f"{title}, median", "px", False, quantile("errors", 0.5)),
        Metric("pixel_error_p95", f"{title}, 95th percentile", "px", False, quantile("errors", 0.95)),
    ]


def _divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def _ratio(above: tuple[str, ...], below: tuple[str, ...]) -> Statistic:
    """A sum of columns over another, both summed over the images."""

    def statistic(table: ImageTable, weights_RN: Floats) -> Floats:
        top, bottom = (np.sum([table.numbers(name) for name in names], axis=0) for names in (above, below))
        return _divide(weights_RN @ top, weights_RN @ bottom)

    return statistic


def _image_mean(name: str) -> Statistic:
    return lambda table, weights_RN: _divide(weights_RN @ table.numbers(name), weights_RN.sum(1))


def _list_mean(name: str) -> Statistic:
    """The mean over all entries of a list column."""

    def statistic(table: ImageTable, weights_RN: Floats) -> Floats:
        values, rows = table.lists(name)
        sums, counts = (np.bincount(rows, one, minlength=len(table)) for one in (values, np.ones(len(values))))
        return _divide(weights_RN @ sums, weights_RN @ counts)

    return statistic


def quantile(name: str, q: float, keypoint: int | None = None) -> Statistic:
    """The quantile of all entries of a list column (of one keypoint), interpolated as numpy does.

    For whole weights it is numpy's number of the set in which each image occurs so many times.
    """

    def statistic(table: ImageTable, weights_RN: Floats) -> Floats:
        values, rows = table.lists(name)
        if keypoint is not None:
            kept = table.lists("error_keypoints")[0] == keypoint
            values, rows = values[kept], rows[kept]
        order = np.argsort(values, kind="stable")
        values, rows = values[order], rows[order]
        return np.array([_weighted_quantile(values, weights_N[rows], q) for weights_N in weights_RN])

    return statistic


def _weighted_quantile(values: Floats, weights: Floats, q: float) -> float:
    cumulative = np.cumsum(weights)
    if not len(values) or cumulative[-1] <= 0:
        return float("nan")
    place = q * (cumulative[-1] - 1)
    low, high = np.searchsorted(cumulative, [np.floor(place), np.ceil(place)], side="right")
    part = place - np.floor(place)
    last = len(values) - 1
    return float((1 - part) * values[min(low, last)] + part * values[min(high, last)])


def pck(threshold: float, keypoint: int | None = None) -> Statistic:
    """The part of the labelled keypoints (of one kind) predicted within a part of the instance's size.

    Keypoints of instances that no prediction was paired with are wrong.
    """

    def statistic(table: ImageTable, weights_RN: Floats) -> Floats:
        values, rows = table.lists("scaled_errors")
        right = values <= threshold
        if keypoint is not None:
            right &= table.lists("error_keypoints")[0] == keypoint
        hits = np.bincount(rows, right.astype(np.float64), minlength=len(table))
        return _divide(weights_RN @ hits, weights_RN @ labelled(table, keypoint))

    return statistic


def labelled(table: ImageTable, keypoint: int | None = None) -> Floats:
    """Labelled keypoints (of one kind) per image ``[N]``."""
    counts_NK = table.lists("labelled")[0].reshape(len(table), -1)
    return counts_NK.sum(1) if keypoint is None else counts_NK[:, keypoint]


def _missed_keypoints(table: ImageTable, weights_RN: Floats) -> Floats:
    paired = np.bincount(table.lists("errors")[1], minlength=len(table))
    total = labelled(table)
    return _divide(weights_RN @ (total - paired), weights_RN @ total)


def _ap(thresholds: slice) -> Statistic:
    return lambda table, weights_RN: table.average_precisions(weights_RN)[:, thresholds].mean(1)


def per_keypoint(table: ImageTable) -> dict[str, dict[str, float]]:
    """For each keypoint by name: pixel errors, PCK, and how many are labelled; of poses only.

    What is undefined is left out.
    """
    if table.meta.task != "pose":
        return {}
    ones = np.ones((1, len(table)))
    result = {}
    for k, name in enumerate(table.meta.keypoints):
        errors = table.lists("errors")[0][table.lists("error_keypoints")[0] == k]
        values = {"labelled": float(labelled(table, k).sum())}
        if len(errors):
            values["pixel_error_mean"] = float(errors.mean())
            values["pixel_error_median"] = float(quantile("errors", 0.5, k)(table, ones)[0])
            values["pixel_error_p95"] = float(quantile("errors", 0.95, k)(table, ones)[0])
        if values["labelled"]:
            values |= {pck_key(t): float(pck(t, k)(table, ones)[0]) for t in table.meta.pck_thresholds}
        result[name] = values
    return result
