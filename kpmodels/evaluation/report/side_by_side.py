"""One page that puts several models, measured on the same images, side by side."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from kpmodels.evaluation.comparison import Comparison, MetricComparison, compare_results
from kpmodels.evaluation.metrics import main_metric
from kpmodels.evaluation.report.charts import Series, line_chart
from kpmodels.evaluation.report.entries import Entry, differing_options, read_entries
from kpmodels.evaluation.report.files import write_text
from kpmodels.evaluation.report.html import (
    DASH,
    card,
    escape,
    interval,
    number,
    opening,
    page,
    section,
    table,
    verdict_mark,
)

COLUMNS = {
    "pose": ("oks_ap", "oks_ap50", "pck_0_1", "pixel_error_median", "nme", "false_alarms_per_image", "miss_rate"),
    "points": ("f1", "precision", "recall", "false_alarms_per_image", "miss_rate", "count_mae"),
    "boxes": ("box_ap", "box_ap50", "box_ap75", "precision", "recall", "false_alarms_per_image", "miss_rate"),
}


def write_side_by_side(spec: dict[str, Any], out: Path, summary: Path | None = None) -> dict[str, Any]:
    """Write the page, and what it says as JSON; equal inputs give equal bytes.

    Args:
        spec: ``title``, ``data`` (what the data version is called) and ``entries``: of each ``title``, ``results``,
            ``model`` and ``link``. The first is what the others are compared with.

    Returns:
        The summary: ``main_metric`` and of each entry ``title``, ``metrics`` and ``against_first`` (of the main metric:
        difference, low, high, verdict; empty for the first).

    Raises:
        UserError: see :func:`read_entries`.
    """
    entries = read_entries(spec["entries"])
    first, *others = entries
    against = [
        compare_results(first.results, None),  # nothing is learned from a model against itself
        *(compare_results(one.results, first.results) for one in others),
    ]
    write_text(out, page(spec["title"], _body(spec, entries, against)))
    content = _summary(spec, entries, against)
    if summary is not None:
        write_text(summary, json.dumps(content, indent=1) + "\n")
    return content


def _summary(spec: dict[str, Any], entries: list[Entry], against: list[Comparison]) -> dict[str, Any]:
    main = main_metric(entries[0].table.meta)
    rows = []
    for entry, comparison in zip(entries, against, strict=True):
        row = comparison.of(main)
        found = {"difference": row.difference, "low": row.low, "high": row.high, "verdict": row.verdict}
        rows.append({"title": entry.title, "metrics": entry.metrics, "against_first": found, "link": entry.link})
    return {"title": spec["title"], "data": spec["data"], "main_metric": main, "entries": rows}


def _body(spec: dict[str, Any], entries: list[Entry], against: list[Comparison]) -> str:
    facts = [("data", spec["data"]), ("split", entries[0].measured_on), ("models", str(len(entries)))]
    return "\n".join(
        [
            opening("Comparison", spec["title"], facts),
            section("Metrics", metrics_card(entries, against), _difference_card(entries, against)),
            section("Curves", f'<div class="grid">{trade_card(entries)}{_training_card(entries)}</div>'),
            section("Where they differ", options_card(entries)),
        ]
    )


def metrics_card(entries: list[Entry], against: list[Comparison]) -> str:
    """A row for each model; the best number of each column is bold."""
    task = entries[0].table.meta.task
    columns = [key for key in COLUMNS[task] if _row(against[0], key) is not None]
    cells = [[_linked(entry)] for entry in entries]
    for key in columns:
        rows = [_row(one, key) for one in against]
        best = _best(rows)
        for place, row in enumerate(rows):
            text = DASH if row is None else number(row.new, row.unit)
            cells[place].append(f"<b>{text}</b>" if place in best else text)
    for entry, row_cells in zip(entries, cells, strict=True):
        row_cells.append(DASH if math.isnan(entry.megabytes) else f"{entry.megabytes:.1f}")
    titles = [_title(_row(against[0], key)) for key in columns]
    note = "bold: the best of the column"
    return card(table(["model", *titles, "weights, MB"], cells), "All models on the same images", note)


def _row(comparison: Comparison, key: str) -> MetricComparison | None:
    return comparison.metrics.get(key) or comparison.metrics.get(f"{key}_assumed_sigmas")


def _title(row: MetricComparison | None) -> str:
    if row is None:
        return ""
    arrow = {True: "\N{NO-BREAK SPACE}↑", False: "\N{NO-BREAK SPACE}↓", None: ""}[row.higher_is_better]
    return escape(row.title) + (f", {escape(row.unit)}" if row.unit else "") + arrow


def _best(rows: list[MetricComparison | None]) -> set[int]:
    known = {place: row.new for place, row in enumerate(rows) if row is not None and math.isfinite(row.new)}
    direction = next((row.higher_is_better for row in rows if row is not None), None)
    if direction is None or len(known) < 2 or len(set(known.values())) == 1:
        return set()
    top = max(known.values()) if direction else min(known.values())
    return {place for place, value in known.items() if value == top}


def _linked(entry: Entry) -> str:
    name = escape(entry.title)
    return f'<a href="{escape(entry.link)}">{name}</a>' if entry.link else name


def _difference_card(entries: list[Entry], against: list[Comparison]) -> str:
    """The main metric against the first model, with the interval of the paired difference."""
    main = main_metric(entries[0].table.meta)
    rows = []
    for entry, comparison in list(zip(entries, against, strict=True))[1:]:
        row = comparison.of(main)
        mark = verdict_mark(row.verdict)
        bounds = interval(row.low, row.high, row.unit, signed=True)
        rows.append([escape(entry.title), number(row.difference, row.unit, signed=True), bounds, mark or DASH])
    head = ["model", "difference", "95 % interval", "verdict"]
    title = f"{against[0].of(main).title} against {entries[0].title}"
    return card(table(head, rows, words=(3,)), title, "paired bootstrap over the images, whole groups at once")


def trade_card(entries: list[Entry]) -> str:
    """The misses that a number of false alarms buys, over the score thresholds of each model."""
    lines = [
        Series(one.title, [p["false_alarms_per_image"] for p in one.curve], [p["miss_rate"] for p in one.curve])
        for one in entries
    ]
    chart = line_chart(lines, "false alarms per image", "miss rate", (0.0, 1.0))
    return card(chart, "Misses against false alarms", "each point is a score threshold") if chart else ""


def _training_card(entries: list[Entry]) -> str:
    lines = [Series(one.title, [x for x, _ in one.scores], [y for _, y in one.scores]) for one in entries]
    chart = line_chart(lines, "epoch", "score")
    return card(chart, "Validation score", "what checkpoints are chosen by; higher is better") if chart else ""


def options_card(entries: list[Entry]) -> str:
    """The options that are not the same in all experiments."""
    different = differing_options(entries)
    rows = [[escape(name), *(escape(value) or DASH for value in values)] for name, values in different.items()]
    if not rows:
        return "<p>The experiments are the same.</p>"
    words = tuple(range(1, len(entries) + 1))
    return card(table(["option", *(escape(one.title) for one in entries)], rows, words=words))
