"""False alarms against misses: choosing by the weights of the loss before training, or by the score threshold after it.

Axes: T score thresholds, N images, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kpmodels.config import EvaluateOptions
from kpmodels.data.store import DatasetStore
from kpmodels.evaluation.counting import CURVE_THRESHOLDS, count_image
from kpmodels.evaluation.significance import resample_weights, verdict
from kpmodels.evaluation.stored_predictions import read_predictions
from kpmodels.structures import Instances

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """What a miss and a false alarm cost."""

    miss: float
    false_alarm: float


@dataclass(frozen=True)
class CountsTable:
    """False alarms, misses and instances of each image at each score threshold; T thresholds, N images."""

    thresholds: tuple[float, ...]
    false_TN: Floats
    missed_TN: Floats
    true_N: Floats
    image_ids: list[str]
    groups: list[str]

    def cost_TN(self, cost: Cost) -> Floats:
        return cost.miss * self.missed_TN + cost.false_alarm * self.false_TN

    def place(self, threshold: float) -> int:
        """The row of the threshold next to this one."""
        return int(np.argmin(np.abs(np.asarray(self.thresholds) - threshold)))

    def rates(self, place: int) -> tuple[float, float]:
        """False alarms per image and miss rate at a row."""
        total = self.true_N.sum()
        return float(self.false_TN[place].mean()), float(self.missed_TN[place].sum() / total) if total else 0.0


@dataclass(frozen=True)
class Point:
    """A way to work: a model (by its place in the list) and a score threshold, with what came of it on test images."""

    model: int
    threshold: float
    cost_per_image: float
    false_alarms_per_image: float
    miss_rate: float


@dataclass(frozen=True)
class Choice:
    """For one kind of cost: the weights chosen before training, the threshold moved after it, and both together.

    All are chosen on the validation images and measured on the test images. ``gain``: how much cheaper per image
    choosing before is than moving the threshold of the model of equal weights, with its 95 % interval.
    """

    policy: str
    before: Point
    after: Point
    both: Point
    gain: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        return verdict(self.low, self.high)


def count_table(store: DatasetStore, results: Path, options: EvaluateOptions, split: str) -> CountsTable:
    """Count the predictions of a folder of results at every threshold of the curve and at the options' own."""
    ids = sorted(store.split(split))
    found = read_predictions(results / "predictions.parquet", store.info.num_keypoints)
    thresholds = tuple(sorted({*CURVE_THRESHOLDS, options.score_threshold}))
    empty = Instances.empty(store.info.num_keypoints)
    counts = [
        [count_image(store.instances(one), found.get(one, empty), threshold, store.info, options) for one in ids]
        for threshold in thresholds
    ]
    false_TN, missed_TN = (
        np.array([[getattr(one, name) for one in row] for row in counts], float) for name in ("false", "missed")
    )
    true_N = np.array([one.found + one.missed for one in counts[0]], float)
    return CountsTable(thresholds, false_TN, missed_TN, true_N, ids, [store.record(one).group for one in ids])


def choose(
    policies: Mapping[str, Cost],
    val: Sequence[CountsTable],
    test: Sequence[CountsTable],
    plain: int,
    threshold: float,
) -> list[Choice]:
    """The choices for each kind of cost.

    Args:
        val, test: Of each model, on validation and test images.
        plain: The model of equal weights, whose threshold is moved.
        threshold: That of the models that are chosen before training.
    """
    found = []
    for policy, cost in policies.items():
        val_MT = np.array([one.cost_TN(cost).mean(1) for one in val])
        fixed = val[0].place(threshold)
        before = int(val_MT[:, fixed].argmin()), fixed
        after = plain, int(val_MT[plain].argmin())
        model, place = np.unravel_index(int(val_MT.argmin()), val_MT.shape)
        chosen = [_point(test, one, cost) for one in (before, after, (int(model), int(place)))]
        difference_N = test[after[0]].cost_TN(cost)[after[1]] - test[before[0]].cost_TN(cost)[before[1]]
        low, high = _interval(difference_N, test[0])
        found.append(Choice(policy, chosen[0], chosen[1], chosen[2], float(difference_N.mean()), low, high))
    return found


def _point(test: Sequence[CountsTable], place: tuple[int, int], cost: Cost) -> Point:
    model, row = place
    table = test[model]
    return Point(model, table.thresholds[row], float(table.cost_TN(cost)[row].mean()), *table.rates(row))


def _interval(difference_N: Floats, table: CountsTable) -> tuple[float, float]:
    weights_RN = resample_weights(table.image_ids, table.groups)
    means = weights_RN @ difference_N / weights_RN.sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
