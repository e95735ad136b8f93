"""A new model against the champion, metric by metric, on the same images."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kpmodels.errors import UserError, nearest
from kpmodels.evaluation.metrics import Metric, main_metric, metrics_of
from kpmodels.evaluation.significance import RESAMPLES, SEED, paired_difference, resample_weights, verdict
from kpmodels.evaluation.table import ImageTable, read_table

AGAIN = "measure both models on the same data version and with the same evaluate options: kp evaluate"


@dataclass(frozen=True)
class MetricComparison:
    """One metric of the new model and of the champion.

    Attributes:
        higher_is_better: None where neither is.
        champion, difference: None without a champion.
        low, high: 95 % interval of ``difference`` (new minus champion) by paired bootstrap.
        verdict: ``better``, ``worse``, ``no clear difference`` (the interval holds 0) or empty.
    """

    key: str
    title: str
    unit: str
    higher_is_better: bool | None
    new: float
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = ""

    @property
    def improvement(self) -> float | None:
        """The difference, positive when the new model is better."""
        if self.difference is None or self.higher_is_better is None:
            return None
        return self.difference if self.higher_is_better else -self.difference


@dataclass(frozen=True)
class Comparison:
    """All metrics; ``main`` is the one that models are compared by when nobody says otherwise."""

    main: str
    metrics: dict[str, MetricComparison]
    has_champion: bool
    images: int

    def of(self, metric: str) -> MetricComparison:
        """One metric; raises ``UserError`` with the nearest name for an unknown one."""
        if metric not in self.metrics:
            raise UserError(f"unknown metric {metric}: {nearest(metric, self.metrics)}")
        return self.metrics[metric]

    def to_dict(self) -> dict[str, Any]:
        rows = {key: asdict(row) | {"improvement": row.improvement} for key, row in self.metrics.items()}
        return {"main_metric": self.main, "has_champion": self.has_champion, "images": self.images, "metrics": rows}


def compare_results(new: Path, champion: Path | None, resamples: int = RESAMPLES, seed: int = SEED) -> Comparison:
    """Compare the folders that ``evaluate`` wrote for two models.

    Raises:
        UserError: they were not measured on the same images and labels in the same way.
    """
    table = read_table(new / "per_image.parquet")
    metrics, main = metrics_of(table.meta), main_metric(table.meta)
    if champion is None:
        rows = {metric.key: _alone(metric, metric.value(table)) for metric in metrics}
        return Comparison(main, _defined(rows) | _others(new, None, rows), False, len(table))
    old = read_table(champion / "per_image.parquet")
    check_comparable(table, old, new, champion)
    weights_RN = resample_weights(table.image_ids, table.strings("group"), resamples, seed)
    rows = {metric.key: _against(metric, table, old, weights_RN) for metric in metrics}
    return Comparison(main, _defined(rows) | _others(new, champion, rows), True, len(table))


def _defined(rows: dict[str, MetricComparison]) -> dict[str, MetricComparison]:
    return {key: row for key, row in rows.items() if math.isfinite(row.new)}


def _alone(metric: Metric, value: float) -> MetricComparison:
    return MetricComparison(metric.key, metric.title, metric.unit, metric.higher_is_better, value)


def _against(metric: Metric, new: ImageTable, old: ImageTable, weights_RN: Any) -> MetricComparison:
    found = paired_difference(metric, new, old, weights_RN)
    if not math.isfinite(found.old):
        return _alone(metric, found.new)
    direction = metric.higher_is_better
    says = ""
    if direction is not None and found.low is not None and found.high is not None:
        low, high = (found.low, found.high) if direction else (-found.high, -found.low)
        says = verdict(low, high)
    return MetricComparison(
        metric.key, metric.title, metric.unit, direction,
        found.new, found.old, found.difference, found.low, found.high, says,
    )  # fmt: skip


def _others(new: Path, champion: Path | None, known: dict[str, MetricComparison]) -> dict[str, MetricComparison]:
    """COCO's further numbers (recall, by object size), which have no interval."""
    mine = _read_metrics(new)
    theirs = _read_metrics(champion) if champion is not None else {}
    rows = {}
    for key, value in mine.items():
        if key in known or isinstance(value, str | bool):
            continue
        old = theirs.get(key)
        difference = None if old is None else value - old
        rows[key] = MetricComparison(key, _title(key), "", True, value, old, difference)
    return rows


def _title(key: str) -> str:
    """``oks_ap_medium_assumed_sigmas`` in words."""
    said = " (assumed sigmas)" if key.endswith("_assumed_sigmas") else ""
    words = key.removesuffix("_assumed_sigmas").split("_")
    upper = {"oks": "OKS", "ap": "AP", "ar": "AR"}
    return " ".join(upper.get(word, word.upper() if word[:2] in ("ap", "ar") else word) for word in words) + said


def _read_metrics(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error})", AGAIN) from None
    return dict(content)


def check_comparable(new: ImageTable, old: ImageTable, new_path: Path, old_path: Path) -> None:
    """Raise a UserError where two tables were not made on the same images and labels in the same way."""
    both = f"{new_path} and {old_path}"
    for name, value in asdict(new.meta).items():
        if value != getattr(old.meta, name):
            raise UserError(f"{both} differ in {name}: {value} and {getattr(old.meta, name)}", AGAIN)
    if new.image_ids != old.image_ids:
        missing = sorted(set(new.image_ids) ^ set(old.image_ids))
        raise UserError(f"{both}: {len(missing)} images are in one only, the first is {missing[0]}", AGAIN)
    for column in ("n_true", "group"):
        if new.table[column] != old.table[column]:
            row = int(
                np.flatnonzero([a != b for a, b in zip(new.strings(column), old.strings(column), strict=True)])[0]
            )
            raise UserError(f"{both}: image {new.image_ids[row]} has another {column} (other labels?)", AGAIN)
