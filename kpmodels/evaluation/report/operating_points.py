"""The page of operating points: what was chosen before training beside what a moved threshold gives, and which is better."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kpmodels.data.store import open_dataset
from kpmodels.errors import UserError
from kpmodels.evaluation.comparison import compare_results
from kpmodels.evaluation.report.charts import Series, line_chart
from kpmodels.evaluation.report.entries import Entry, read_entries
from kpmodels.evaluation.report.files import write_text
from kpmodels.evaluation.report.html import card, escape, interval, number, opening, page, section, table, verdict_mark
from kpmodels.evaluation.report.side_by_side import metrics_card, options_card
from kpmodels.evaluation.trade_off import Choice, Cost, CountsTable, Point, choose, count_table


def write_operating_points(spec: dict[str, Any], data: Path, out: Path, summary: Path | None = None) -> dict[str, Any]:
    """Write the page, and what it says as JSON.

    Args:
        spec: ``title``, ``data``, ``plain`` (the title of the model of equal weights), ``policies`` (of each
            ``[cost of a miss, cost of a false alarm]``) and ``entries``: of each ``title``, ``results`` (on test),
            ``val_results``, ``model`` and ``link``.
        data: Folder of the data set.

    Returns:
        The summary: ``entries`` (title, false alarms per image and miss rate on test) and ``choices`` by policy.

    Raises:
        UserError: results that cannot be compared, or no model of equal weights.
    """
    entries = read_entries(spec["entries"])
    titles = [one.title for one in entries]
    if spec["plain"] not in titles:
        raise UserError(f"none of the models is {spec['plain']!r}", f"one of {', '.join(titles)}")
    store = open_dataset(data)
    options = entries[0].options
    val = [count_table(store, Path(row["val_results"]), options, "val") for row in spec["entries"]]
    test = [count_table(store, one.results, options, options.split) for one in entries]
    policies = {name: Cost(*costs) for name, costs in spec["policies"].items()}
    plain = titles.index(spec["plain"])
    choices = choose(policies, val, test, plain, options.score_threshold)
    write_text(out, page(spec["title"], _body(spec, entries, test, choices, options.score_threshold)))
    content = _summary(titles, test, choices, options.score_threshold)
    if summary is not None:
        write_text(summary, json.dumps(content, indent=1) + "\n")
    return content


def _summary(titles: list[str], test: list[CountsTable], choices: list[Choice], threshold: float) -> dict[str, Any]:
    def told(point: Point) -> dict[str, Any]:
        return asdict(point) | {"model": titles[point.model]}

    rates = [one.rates(one.place(threshold)) for one in test]
    return {
        "entries": [
            {"title": title, "false_alarms_per_image": alarms, "miss_rate": misses}
            for title, (alarms, misses) in zip(titles, rates, strict=True)
        ],
        "choices": {
            one.policy: {
                "before": told(one.before), "after": told(one.after), "both": told(one.both),
                "gain": one.gain, "low": one.low, "high": one.high, "verdict": one.verdict,
            }
            for one in choices
        },
    }  # fmt: skip


def _body(
    spec: dict[str, Any], entries: list[Entry], test: list[CountsTable], choices: list[Choice], threshold: float
) -> str:
    facts = [("data", spec["data"]), ("chosen on", "val"), ("measured on", entries[0].measured_on)]
    against = [compare_results(one.results, None) for one in entries]
    return "\n".join(
        [
            opening("Operating points", spec["title"], facts),
            section("Before training, or after it", _choices_card(entries, choices)),
            section("The curve", _curve_card(spec["plain"], entries, test, threshold)),
            section("Models", metrics_card(entries, against)),
            section("Where they differ", options_card(entries)),
        ]
    )


def _choices_card(entries: list[Entry], choices: list[Choice]) -> str:
    rows = []
    for one in choices:
        mark = verdict_mark(one.verdict, otherwise="unclear")
        saved = f"{number(one.gain, signed=True)} ({interval(one.low, one.high, signed=True)}): {mark}"
        ways = (("weights before", one.before, saved), ("threshold after", one.after, ""), ("both", one.both, ""))
        for way, point, last in ways:
            told = f"{entries[point.model].title}; at {point.threshold:g}"
            figures = [number(v) for v in (point.cost_per_image, point.false_alarms_per_image, point.miss_rate)]
            rows.append([f"{escape(one.policy)}: {way}", escape(told), *figures, last])
    head = ["chosen", "weights and threshold", "cost", "false alarms", "miss rate", "weights save"]
    note = (
        "per image; weights save: how much less than moving the threshold of the model of equal weights costs, with the "
        "95 % interval (paired bootstrap); both: weights and threshold together"
    )
    return card(table(head, rows, words=(1, 5)), "What each way costs on the test images", note)


def _curve_card(plain: str, entries: list[Entry], test: list[CountsTable], threshold: float) -> str:
    """Both curves, as far as about three times the false alarms of the model of equal weights."""
    single = next(table for entry, table in zip(entries, test, strict=True) if entry.title == plain)
    rates = [single.rates(place) for place in range(len(single.thresholds))]
    far = 3 * single.rates(single.place(threshold))[0] + 1
    points = sorted(one.rates(one.place(threshold)) for one in test)
    lines = [
        Series(name, [x for x, _ in kept], [y for _, y in kept], dashed)
        for name, all_points, dashed in (("one model, its threshold moved", rates, True), ("weights", points, False))
        if (kept := [(x, y) for x, y in all_points if x <= far])
    ]
    chart = line_chart(lines, "false alarms per image", "miss rate")
    note = f"a model for each pair of weights, at a threshold of {threshold:g}; those with more than {far:.1f} false alarms are left out"
    return f'<div class="grid">{card(chart, "Misses against false alarms", note)}</div>'
