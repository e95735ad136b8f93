"""The gate: is a challenger clearly better than the champion, and nowhere clearly worse?

Both were measured on the same images. What decides is one number (a metric, or what false alarms and misses cost) and the
95 % interval of its paired difference (``significance.py``); then no slice of the images, and no keypoint, may be clearly
worse: worse by more than a tolerance, with an interval that lies wholly on the worse side.

Axes: R resamples, N images.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kpmodels.config import GateOptions
from kpmodels.errors import UserError, nearest
from kpmodels.evaluation.comparison import check_comparable
from kpmodels.evaluation.metrics import Metric, main_metric, metrics_of, pck
from kpmodels.evaluation.significance import RESAMPLES, SEED, Difference, paired_difference, resample_weights
from kpmodels.evaluation.table import ImageTable, read_table

BY_COST = ("early-warning", "guidance")
MOST_SOURCES = 20


@dataclass(frozen=True)
class SliceFigures:
    """A part of the images, or a keypoint: the improvement there (positive is better) with its interval."""

    name: str
    metric: str
    images: int
    improvement: float
    low: float | None
    high: float | None
    worse: bool


@dataclass(frozen=True)
class GateVerdict:
    """What the gate says, with its figures.

    Attributes:
        metric, title: What decided.
        new, champion: Its values; ``champion`` is None where there is none.
        improvement, low, high: The difference with its 95 % interval, positive where the new version is better.
    """

    promote: bool
    reason: str
    policy: str
    metric: str
    title: str
    images: int
    new: float
    champion: float | None = None
    improvement: float | None = None
    low: float | None = None
    high: float | None = None
    slices: list[SliceFigures] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    new: Path, champion: Path | None, options: GateOptions, resamples: int = RESAMPLES, seed: int = SEED
) -> GateVerdict:
    """The gate's verdict on the results of a new version and of the champion.

    Args:
        new, champion: Folders that ``evaluate`` wrote; None where there is no champion yet.

    Raises:
        UserError: a metric that was not measured or of which no direction is better, or results that were not made on
            the same images in the same way.
    """
    table = read_table(new / "per_image.parquet")
    metric = deciding_metric(options, table)
    value = metric.value(table)
    facts: dict[str, Any] = {
        "policy": options.policy, "metric": metric.key, "title": metric.title, "images": len(table), "new": value
    }  # fmt: skip
    if options.policy == "never":
        return GateVerdict(False, "the gate's policy is: never", **facts)
    if champion is None:
        return GateVerdict(True, f"first version: {metric.title} {value:.4g}", **facts)
    old = read_table(champion / "per_image.parquet")
    check_comparable(table, old, new, champion)
    weights_RN = resample_weights(table.image_ids, table.strings("group"), resamples, seed)
    found = _improvement(paired_difference(metric, table, old, weights_RN), metric)
    slices = _slices(metric, table, old, weights_RN, options) if options.slices else []
    facts |= {"champion": found.old, "improvement": found.value, "low": found.low, "high": found.high}
    promote, reason = _decide(options, metric, value, found, slices)
    return GateVerdict(promote, reason, **facts, slices=slices)


def deciding_metric(options: GateOptions, table: ImageTable) -> Metric:
    """The number that a policy looks at."""
    if options.policy in BY_COST:
        return _cost(options)
    known = {metric.key: metric for metric in metrics_of(table.meta)}
    key = options.metric or main_metric(table.meta)
    if key not in known:
        raise UserError(f"gate.metric: nothing is measured as {key!r}: {nearest(key, known)}")
    if known[key].higher_is_better is None:
        raise UserError(f"gate.metric: no direction of {key} is better", f"for example {main_metric(table.meta)}")
    return known[key]


def _cost(options: GateOptions) -> Metric:
    miss = options.miss_cost if options.policy == "early-warning" else 1.0
    false_alarm = options.false_alarm_cost if options.policy == "guidance" else 1.0

    def statistic(table: ImageTable, weights_RN: NDArray[np.float64]) -> NDArray[np.float64]:
        cost_N = miss * table.numbers("fn") + false_alarm * table.numbers("fp")
        total_R = weights_RN.sum(1)
        return np.divide(weights_RN @ cost_N, total_R, out=np.full(len(total_R), np.nan), where=total_R > 0)

    title = f"cost per image (miss {miss:g}, false alarm {false_alarm:g})"
    return Metric("cost_per_image", title, "", False, statistic)


@dataclass(frozen=True)
class _Improvement:
    """A metric of both models, and by how much the new one is better, with its interval."""

    new: float
    old: float
    value: float
    low: float | None
    high: float | None


def _improvement(found: Difference, metric: Metric) -> _Improvement:
    if metric.higher_is_better:
        return _Improvement(found.new, found.old, found.difference, found.low, found.high)
    low, high = (None if one is None else -one for one in (found.high, found.low))
    return _Improvement(found.new, found.old, -found.difference, low, high)


def _decide(
    options: GateOptions, metric: Metric, value: float, found: _Improvement, slices: list[SliceFigures]
) -> tuple[bool, str]:
    figures = f"{metric.title} {value:.4g} against the champion's {found.old:.4g}"
    if options.policy == "always":
        return True, f"the gate's policy is: always; {figures}"
    if not math.isfinite(found.value):
        return False, f"cannot be compared: {figures}"
    figures += f", {found.value:+.4g} {_interval(found)}"
    more = f" by more than {options.min_difference:g}" if options.min_difference else ""
    if found.value <= options.min_difference:
        return False, f"not better{more}: {figures}"
    if options.policy != "better" and (found.low is None or found.low <= options.min_difference):
        return False, f"not clearly better{more}: {figures}"
    worse = [one for one in slices if one.worse]
    if worse:
        names = ", ".join(f"{one.name} ({one.metric} {one.improvement:+.4g})" for one in worse)
        return False, f"better, but clearly worse on {names}: {figures}"
    looked = f"; no slice of {len(slices)} is clearly worse" if slices else ""
    return True, f"better{more}: {figures}{looked}"


def _interval(found: _Improvement) -> str:
    if found.low is None or found.high is None:
        return "(no interval: too few images)"
    return f"[{found.low:+.4g}, {found.high:+.4g}]"


# -------------------------------------------------------------------------------------------------------- slices


def _slices(
    metric: Metric, new: ImageTable, old: ImageTable, weights_RN: NDArray[np.float64], options: GateOptions
) -> list[SliceFigures]:
    """By keypoint (PCK at the middle threshold), small instances, and each source where there are several."""
    everywhere = np.ones(len(new), bool)
    looked: list[tuple[str, Metric, NDArray[np.bool_]]] = [
        (f"keypoint {name}", _keypoint_metric(new, number), everywhere) for number, name in enumerate(_names(new))
    ]
    looked += [(name, metric, kept_N) for name, kept_N in _parts(new).items()]
    found = [_slice(*one, new, old, weights_RN, options) for one in looked if one[2].sum() >= options.slice_images]
    return [one for one in found if one is not None]


def _names(table: ImageTable) -> tuple[str, ...]:
    return table.meta.keypoints if table.meta.task == "pose" and table.meta.pck_thresholds else ()


def _keypoint_metric(table: ImageTable, number: int) -> Metric:
    thresholds = table.meta.pck_thresholds
    middle = thresholds[len(thresholds) // 2]
    return Metric("pck", f"PCK@{middle:g}", "", True, pck(middle, number))


def _parts(table: ImageTable) -> dict[str, NDArray[np.bool_]]:
    parts: dict[str, NDArray[np.bool_]] = {}
    size_N = table.numbers("size")
    known = size_N[np.isfinite(size_N)]
    if len(known) and known.max() > 0:  # points have no size
        parts["small instances"] = size_N < np.quantile(known, 1 / 3)
    source_N = np.asarray(table.strings("source"), str)
    sources, counts = np.unique(source_N, return_counts=True)
    if len(sources) > 1:
        most = sorted(zip(-counts, sources, strict=True))[:MOST_SOURCES]
        parts |= {f"source {name or '(none)'}": source_N == name for _, name in most}
    return parts


def _slice(
    name: str,
    metric: Metric,
    kept_N: NDArray[np.bool_],
    new: ImageTable,
    old: ImageTable,
    weights_RN: NDArray[np.float64],
    options: GateOptions,
) -> SliceFigures | None:
    """The improvement on the images of a slice, or None where it is undefined."""
    plain = [float(metric.statistic(one, kept_N[None].astype(float))[0]) for one in (new, old)]
    if not all(map(math.isfinite, plain)):
        return None
    resampled = paired_difference(metric, new, old, weights_RN * kept_N)
    found = _improvement(Difference(plain[0], plain[1], resampled.low, resampled.high), metric)
    worse = found.high is not None and found.high < 0 and found.value < -options.slice_tolerance
    return SliceFigures(name, metric.title, int(kept_N.sum()), found.value, found.low, found.high, worse)
