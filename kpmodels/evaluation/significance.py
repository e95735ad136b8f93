"""Paired bootstrap: is the difference between two models more than the luck of the test images?

Images are drawn with replacement, whole groups (videos, sequences) at once since their images are alike, the same
draw for both models; a metric's difference over many draws gives its interval (Efron & Tibshirani 1993, ch. 13; for
clustered data Field & Welsh 2007).

Axes: R resamples, N images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kpmodels.evaluation.metrics import Metric
from kpmodels.evaluation.table import ImageTable

RESAMPLES = 1000
SEED = 20190616


@dataclass(frozen=True)
class Difference:
    """A metric of two models; ``low`` and ``high`` bound 95 % of the resampled differences, None if undefined."""

    new: float
    old: float
    low: float | None
    high: float | None

    @property
    def difference(self) -> float:
        return self.new - self.old


def verdict(low: float, high: float) -> str:
    """What the interval of an improvement (positive is better) says."""
    return "better" if low > 0 else "worse" if high < 0 else "no clear difference"


def resample_weights(
    image_ids: list[str], groups: list[str], resamples: int = RESAMPLES, seed: int = SEED
) -> NDArray[np.float64]:
    """How often each image is drawn in each resample, ``[R, N]``; an image without a group is a group of its own."""
    names = [f"group {group}" if group else f"image {one}" for one, group in zip(image_ids, groups, strict=True)]
    unique, cluster_N = np.unique(np.asarray(names, str), return_inverse=True)
    if not len(unique):
        return np.zeros((resamples, 0))
    draws_RC = np.random.default_rng(seed).multinomial(len(unique), np.full(len(unique), 1 / len(unique)), resamples)
    return draws_RC[:, cluster_N].astype(np.float64)


def paired_difference(metric: Metric, new: ImageTable, old: ImageTable, weights_RN: NDArray[np.float64]) -> Difference:
    """The metric of two models on the same images in the same order, with the interval of its difference."""
    if new.image_ids != old.image_ids:
        raise ValueError("a paired comparison needs the same images in the same order")
    value_new, value_old = metric.value(new), metric.value(old)
    differences = metric.statistic(new, weights_RN) - metric.statistic(old, weights_RN)
    differences = differences[np.isfinite(differences)]
    if len(differences) < max(len(weights_RN) / 2, 1) or _no_variation(weights_RN):
        return Difference(value_new, value_old, None, None)
    low, high = np.quantile(differences, [0.025, 0.975])
    return Difference(value_new, value_old, float(low), float(high))


def _no_variation(weights_RN: NDArray[np.float64]) -> bool:
    """True when all resamples are the same: one image, or one group."""
    return bool((weights_RN == weights_RN[:1]).all())


def interval(metric: Metric, table: ImageTable, weights_RN: NDArray[np.float64]) -> tuple[float, float] | None:
    """The 95 % interval of one model's metric, or None where it is undefined in most resamples."""
    values = metric.statistic(table, weights_RN)
    values = values[np.isfinite(values)]
    if len(values) < max(len(weights_RN) / 2, 1) or _no_variation(weights_RN):
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
