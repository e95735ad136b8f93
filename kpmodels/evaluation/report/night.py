"""The page of a night: what came of each source of data and of each experiment, most important first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kpmodels.evaluation.report.files import write_text
from kpmodels.evaluation.report.html import DASH, card, details, escape, interval, number, opening, page, section, table

COLOURS = {"failed": "worse", "promoted": "better"}
ORDER = ("failed", "promoted", "kept the champion", "unchanged", "new data", "nothing new")


def write_night(spec: dict[str, Any], out: Path) -> None:
    """Write the page.

    Args:
        spec: ``title``, ``summary`` and ``outcomes``; of each ``name``, ``kind`` (data or model), ``word`` (the outcome),
            ``version``, ``reason``, ``error``, ``data``, ``figures`` (of the gate; may be empty), ``link``.
    """
    outcomes = sorted(spec["outcomes"], key=lambda one: ORDER.index(one["word"]))
    models = [one for one in outcomes if one["kind"] == "model"]
    data = [one for one in outcomes if one["kind"] == "data"]
    failed = [one for one in outcomes if one["error"]]
    state = "worse" if failed else "better" if any(one["word"] == "promoted" for one in models) else ""
    body = "\n".join(
        [
            opening("Nightly", spec["title"]),
            f'<div class="verdict {state}">{escape(spec["summary"])}</div>',
            section("What failed", *(_failure(one) for one in failed)),
            section("Models", _models(models)) if models else "",
            section("Data", _data(data)) if data else "",
        ]
    )
    write_text(out, page(spec["title"], body))


def _failure(one: dict[str, Any]) -> str:
    first, _, rest = one["error"].partition("\n")
    tail = "\n".join(rest.splitlines()[-40:])
    return card(
        f"<p>{escape(first)}</p>" + (details("the end of its log", f"<pre>{escape(tail)}</pre>") if tail else ""),
        one["name"],
    )


def _models(models: list[dict[str, Any]]) -> str:
    head = ["model", "outcome", "data", "decided by", "new", "champion before", "better by", "why"]
    rows = [_model(one) for one in models]
    worse = [(one["name"], slice_) for one in models for slice_ in one["figures"].get("slices", []) if slice_["worse"]]
    told = "".join(
        f"<p>{escape(name)}: clearly worse on {escape(slice_['name'])}, {escape(slice_['metric'])} "
        f"{number(slice_['improvement'], signed=True)}.</p>"
        for name, slice_ in worse
    )
    return card(table(head, rows, words=(1, 2, 3, 7)) + told)


def _model(one: dict[str, Any]) -> list[str]:
    figures = one["figures"]
    name = escape(f"{one['name']}@{one['version']}" if one["version"] else one["name"])
    gain = DASH
    if figures.get("improvement") is not None:
        bounds = interval(figures["low"], figures["high"], signed=True)
        gain = f"{number(figures['improvement'], signed=True)} ({bounds})"
    return [
        f'<a href="{escape(one["link"])}">{name}</a>' if one["link"] else name,
        f'<span class="{COLOURS.get(one["word"], "")}">{escape(one["word"])}</span>',
        escape(one["data"]) or DASH,
        escape(figures.get("title", "")) or DASH,
        number(figures.get("new")),
        number(figures.get("champion")),
        gain,
        escape(one["reason"].partition(": ")[0]) or DASH,
    ]


def _data(data: list[dict[str, Any]]) -> str:
    rows = [
        [
            escape(f"{one['name']}@{one['version']}" if one["version"] else one["name"]),
            escape(one["word"]),
            escape(one["reason"]),
        ]
        for one in data
    ]
    return card(table(["data set", "outcome", "what"], rows, words=(1, 2)))
