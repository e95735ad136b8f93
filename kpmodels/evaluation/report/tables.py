"""The numbers of the page: tiles, the verdict, the table of metrics, slices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kpmodels.evaluation.comparison import Comparison, MetricComparison
from kpmodels.evaluation.metrics import Metric, metrics_of
from kpmodels.evaluation.report.html import DASH, escape, interval, number, section, table, verdict_mark
from kpmodels.evaluation.report.source import ReportSource
from kpmodels.evaluation.significance import interval as metric_interval
from kpmodels.evaluation.significance import resample_weights
from kpmodels.evaluation.table import ImageTable

TILES = {
    "pose": ("oks_ap", "pck_0_1", "pixel_error_median", "pixel_error_p95", "nme", "miss_rate"),
    "points": ("f1", "precision", "recall", "average_hausdorff", "count_mae", "false_alarms_per_image"),
    "boxes": ("box_ap", "box_ap50", "precision", "recall", "false_alarms_per_image", "miss_rate"),
}
SLICE_METRICS = {
    "pose": ("oks_ap", "pck_0_1", "pixel_error_median", "miss_rate"),
    "points": ("f1", "precision", "recall", "false_alarms_per_image"),
    "boxes": ("box_ap", "precision", "recall", "false_alarms_per_image"),
}
MOST_SOURCES = 12
SAME_SIZE = 1.1


def tiles(source: ReportSource) -> str:
    """The few numbers that a person looks at first."""
    comparison = source.comparison
    parts = []
    for row in _picked(comparison, TILES[source.new.table.meta.task]):
        unit = f'<span class="unit">{escape(row.unit)}</span>' if row.unit else ""
        change = (
            f'<div class="change">{_change(row, source.champion_title)}</div>' if row.difference is not None else ""
        )
        parts.append(
            f'<div class="tile"><div class="name">{escape(row.title)}</div>'
            f'<div class="value">{number(row.new, row.unit)}{unit}</div>{change}</div>'
        )
    return f'<div class="tiles">{"".join(parts)}</div>'


def _picked(comparison: Comparison, keys: tuple[str, ...]) -> Iterator[MetricComparison]:
    for key in keys:
        row = comparison.metrics.get(key) or comparison.metrics.get(f"{key}_assumed_sigmas")
        if row is not None:
            yield row


def _change(row: MetricComparison, champion: str) -> str:
    word = row.verdict if row.verdict in ("better", "worse") else ""
    text = f"{number(row.difference, row.unit, signed=True)} to {escape(champion)}"
    return f'<span class="{word}">{text}</span>' if word else text


def verdict(source: ReportSource) -> str:
    """In one sentence: is the new model better than the champion?"""
    comparison = source.comparison
    if not comparison.has_champion or comparison.main not in comparison.metrics:
        return ""
    row = comparison.of(comparison.main)
    words = {
        "better": "is better than",
        "worse": "is worse than",
    }.get(row.verdict, "shows no clear difference to")
    bounds = f" (95 % interval {interval(row.low, row.high, row.unit, True)})" if row.low is not None else ""
    return (
        f'<div class="verdict {row.verdict.split(" ")[0]}">The new model <b>{words} {escape(source.champion_title)}</b>: '
        f"{escape(row.title)} {number(row.new, row.unit)} against {number(row.champion, row.unit)}, "
        f"{number(row.difference, row.unit, True)}{bounds}, on the same {comparison.images} images.</div>"
    )


def metrics_table(source: ReportSource) -> str:
    """All metrics, beside the champion's where there is one, with intervals."""
    comparison = source.comparison
    rows = list(comparison.metrics.values())
    main = next((place for place, row in enumerate(rows) if row.key == comparison.main), None)
    if comparison.has_champion:
        head = ["metric", "new", escape(source.champion_title), "difference", "95 % interval", "verdict"]
        cells = [_compared(row) for row in rows]
        return f'<div class="card">{table(head, cells, words=(5,), main=main)}</div>'
    bounds = _own_intervals(source.new.table)
    cells = [
        [_name(row), _with_unit(row.new, row), interval(low, high, row.unit)]
        for row in rows
        for low, high in [bounds.get(row.key, (None, None))]
    ]
    return f'<div class="card">{table(["metric", "value", "95 % interval"], cells, main=main)}</div>'


def _compared(row: MetricComparison) -> list[str]:
    return [
        _name(row),
        _with_unit(row.new, row),
        _with_unit(row.champion, row),
        number(row.difference, row.unit, signed=True),
        interval(row.low, row.high, row.unit, signed=True),
        verdict_mark(row.verdict) or DASH,
    ]


def _name(row: MetricComparison) -> str:
    arrow = {True: "↑", False: "↓", None: ""}[row.higher_is_better]
    return f'{escape(row.title)} <span class="soft" title="which way is better">{arrow}</span>'


def _with_unit(value: float | None, row: MetricComparison) -> str:
    text = number(value, row.unit)
    return f'{text} <span class="soft">{escape(row.unit)}</span>' if row.unit and value is not None else text


def _own_intervals(results: ImageTable) -> dict[str, tuple[float, float]]:
    weights_RN = resample_weights(results.image_ids, results.strings("group"), _resamples(len(results)))
    found = {metric.key: metric_interval(metric, results, weights_RN) for metric in metrics_of(results.meta)}
    return {key: bounds for key, bounds in found.items() if bounds is not None}


def _resamples(images: int) -> int:
    """Fewer for large sets, whose intervals are narrow and whose resamples take long."""
    return 1000 if images <= 1000 else 200


def slices(results: ImageTable) -> str:
    """The main metrics on parts of the images: small and large, few and many, by source."""
    parts = list(_masks(results))
    if not parts:
        return ""
    known = {metric.key.removesuffix(results.meta.sigmas_ending): metric for metric in metrics_of(results.meta)}
    metrics = [known[key] for key in SLICE_METRICS[results.meta.task] if key in known]
    parts = [("all images", np.ones(len(results), bool)), *parts]
    rows = [[escape(name), str(int(mask.sum())), *_values(metrics, results, mask)] for name, mask in parts]
    head = ["images", "number", *(escape(metric.title) for metric in metrics)]
    return section("Parts of the images", f'<div class="card">{table(head, rows, main=0)}</div>')


def _values(metrics: list[Metric], results: ImageTable, mask: NDArray[np.bool_]) -> list[str]:
    weights_1N = mask[None].astype(np.float64)
    return [number(float(metric.statistic(results, weights_1N)[0]), metric.unit) for metric in metrics]


def _masks(results: ImageTable) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    size, count = results.numbers("size"), results.numbers("n_true")
    known = np.isfinite(size)
    if known.sum() >= 4 and size[known].max() > SAME_SIZE * size[known].min():
        middle = float(np.median(size[known]))
        yield f"smaller instances (up to {middle:.0f} px)", known & (size <= middle)
        yield f"larger instances (over {middle:.0f} px)", known & (size > middle)
    some = count > 0
    if some.any() and not some.all():
        yield "without instances", ~some
    if some.sum() >= 4 and count[some].max() > count[some].min():
        middle = int(np.median(count[some]))
        middle = min(middle, int(count[some].max()) - 1)
        yield f"1 to {middle} instances" if middle > 1 else "1 instance", some & (count <= middle)
        yield f"more than {middle} instances" if middle > 1 else "2 instances and more", count > middle
    sources = np.asarray(results.strings("source"), str)
    names = sorted(set(sources.tolist()) - {""})
    if 2 <= len(names) <= MOST_SOURCES:
        for name in names:
            yield f"source {name}", sources == name
