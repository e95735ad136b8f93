"""The charts of the page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kpmodels.evaluation.report.charts import Series, bar_chart, line_chart
from kpmodels.evaluation.report.entries import Entry
from kpmodels.evaluation.report.html import card
from kpmodels.evaluation.report.source import ReportSource
from kpmodels.evaluation.table import ImageTable

MOST_BARS = 40
CURVE_STEPS = 60


def error_charts(source: ReportSource) -> str:
    """How errors are spread over keypoints, and how many keypoints or points lie within a distance."""
    cards = [_by_keypoint(source.new), _cumulative(source), _counts(source.new.table)]
    shown = "".join(one for one in cards if one)
    return f'<div class="grid">{shown}</div>' if shown else ""


def _by_keypoint(entry: Entry) -> str:
    values = entry.per_keypoint
    if entry.table.meta.task != "pose" or not values:
        return ""
    names = list(entry.table.meta.keypoints)
    medians, tails = (
        [values[n].get(key, math.nan) for n in names] for key in ("pixel_error_median", "pixel_error_p95")
    )
    order = sorted(range(len(names)), key=lambda i: (-(tails[i] if math.isfinite(tails[i]) else math.inf), names[i]))
    shown = order[:MOST_BARS]
    chart = bar_chart([names[i] for i in shown], [medians[i] for i in shown], [tails[i] for i in shown], "px")
    note = "bar: median, whisker: 95th percentile, in pixels of the original image"
    if len(names) > MOST_BARS:
        note += f"; the {MOST_BARS} largest of {len(names)}"
    return card(chart, "Pixel error by keypoint", note)


def _cumulative(source: ReportSource) -> str:
    """The part of the labelled keypoints (or points) within a distance; what was not found never is."""
    task = source.new.table.meta.task
    if task == "boxes":
        return ""
    tables = {"new": source.new.table}
    if source.champion is not None:
        tables[source.champion.title] = source.champion.table
    errors = np.concatenate([one.lists("errors")[0] for one in tables.values()])
    if not len(errors):
        return ""
    farthest = float(np.quantile(errors, 0.98)) * 1.25 or 1.0
    x = np.linspace(0, farthest, CURVE_STEPS)
    lines = [Series(name, x.tolist(), _within(one, x), name != "new") for name, one in tables.items()]
    what = "points" if task == "points" else "labelled keypoints"
    note = "part of all that are labelled; those that were not found count as farther than any distance"
    return card(
        line_chart(lines, "distance in pixels", "part within", (0.0, 1.0)),
        f"{what.capitalize()} within a distance",
        note,
    )


def _within(results: ImageTable, distances: np.ndarray) -> list[float]:
    errors = np.sort(results.lists("errors")[0])
    total = results.numbers("n_true").sum() if results.meta.task == "points" else results.lists("labelled")[0].sum()
    return (np.searchsorted(errors, distances, side="right") / max(float(total), 1)).tolist()


def _counts(results: ImageTable) -> str:
    """Estimated against true counts."""
    if results.meta.task != "points" or not len(results):
        return ""
    true, estimated = results.numbers("count_true"), results.numbers("count_pred")
    levels = np.unique(true)
    means = [float(estimated[true == level].mean()) for level in levels]
    lines = [
        Series("estimated (mean)", levels.tolist(), means),
        Series("perfect", levels.tolist(), levels.tolist(), True),
    ]
    return card(
        line_chart(lines, "true count", "estimated count"), "Count", "mean of the images with the same true count"
    )


def threshold_charts(source: ReportSource) -> str:
    """Precision and recall over the score threshold, and the misses that a number of false alarms buys."""
    curve = source.new.curve
    old = [] if source.champion is None else source.champion.curve
    if not curve:
        return ""
    x = [point["threshold"] for point in curve]

    def lines(keys: dict[str, str]) -> list[Series]:
        found = [Series(name, x, [point[key] for point in curve]) for key, name in keys.items()]
        there = [point["threshold"] for point in old]
        return found + [
            Series(f"{name}, {source.champion_title}", there, [point[key] for point in old], True)
            for key, name in keys.items()
            if old
        ]

    used = f"the metrics above are taken at {source.new.options.score_threshold:g}"
    rates = line_chart(lines({"precision": "precision", "recall": "recall"}), "score threshold", "part", (0.0, 1.0))
    trade = [Series("new", [p["false_alarms_per_image"] for p in curve], [p["miss_rate"] for p in curve])]
    if old:
        xs, ys = [p["false_alarms_per_image"] for p in old], [p["miss_rate"] for p in old]
        trade.append(Series(source.champion_title, xs, ys, True))
    cards = [card(rates, "Precision and recall", used)]
    if max(point["false_alarms_per_image"] for point in curve) > 0:
        chart = line_chart(trade, "false alarms per image", "miss rate", (0.0, 1.0))
        cards.append(card(chart, "Misses against false alarms", "each point is a score threshold"))
    return f'<div class="grid">{"".join(cards)}</div>'


def training_charts(entry: Entry) -> str:
    """Losses and validation score over the epochs, from the model's history."""
    history = entry.history
    if not history:
        return ""
    cards = []
    losses = line_chart(_loss_lines(history), "epoch", "loss")
    if losses:
        cards.append(card(losses, "Training loss", "weighted terms and their sum, mean over each epoch"))
    if entry.scores:
        chart = line_chart(
            [Series("score", [x for x, _ in entry.scores], [y for _, y in entry.scores])], "epoch", "score"
        )
        cards.append(card(chart, "Validation score", "what checkpoints are chosen by; higher is better"))
    return f'<div class="grid">{"".join(cards)}</div>' if cards else ""


def _loss_lines(history: list[dict[str, Any]]) -> list[Series]:
    epochs = [one["epoch"] for one in history]
    lines = [Series("all", epochs, [one.get("loss", math.nan) for one in history])]
    names = list(dict.fromkeys(name for one in history for name in one.get("terms", {})))
    if len(names) > 1:
        lines += [Series(n, epochs, [one.get("terms", {}).get(n, math.nan) for one in history]) for n in names[:4]]
    return lines
