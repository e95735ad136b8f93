"""Several measured models as one list: what the pages that put models side by side are made from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kpmodels.errors import UserError
from kpmodels.evaluation.comparison import check_comparable
from kpmodels.evaluation.table import ImageTable, read_table


@dataclass(frozen=True)
class Entry:
    """A model that was measured.

    Attributes:
        title: What it is called on the page.
        results: Folder that ``evaluate`` wrote.
        model: The model's folder.
        link: Address of its own report; may be empty.
    """

    title: str
    results: Path
    model: Path
    link: str = ""

    @cached_property
    def table(self) -> ImageTable:
        return read_table(self.results / "per_image.parquet")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return dict(json.loads((self.results / "metrics.json").read_text()))

    @cached_property
    def about(self) -> dict[str, Any]:
        return dict(json.loads((self.results / "about.json").read_text()))

    @cached_property
    def curve(self) -> list[dict[str, float]]:
        return list(json.loads((self.results / "curve.json").read_text()))

    @cached_property
    def experiment(self) -> dict[str, Any]:
        return dict(json.loads((self.model / "model.json").read_text())["experiment"])

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        path = self.model / "history.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines if line.strip()]

    @property
    def megabytes(self) -> float:
        """Size of the weights."""
        return (self.model / "weights.safetensors").stat().st_size / 1e6


def read_entries(rows: list[dict[str, str]]) -> list[Entry]:
    """The entries of a plain list.

    Raises:
        UserError: fewer than two, two of one title, or results that were not made on the same images in the same way.
    """
    entries = [Entry(row["title"], Path(row["results"]), Path(row["model"]), row.get("link", "")) for row in rows]
    if len(entries) < 2:
        raise UserError("one model alone cannot be compared", "name two experiments or more")
    titles = [one.title for one in entries]
    if len(set(titles)) < len(titles):
        raise UserError(f"two entries have one title: {', '.join(titles)}")
    for one in entries[1:]:
        check_comparable(one.table, entries[0].table, one.results, entries[0].results)
    return entries


def differing_options(entries: list[Entry]) -> dict[str, list[str]]:
    """The options in which the experiments differ, by dotted name, with the value of each (empty where it has none)."""
    flat = [flatten(one.experiment) for one in entries]
    names = list(dict.fromkeys(name for options in flat for name in options))
    table = {name: [str(options.get(name, "")) for options in flat] for name in names if name != "name"}
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def flatten(options: dict[str, Any], before: str = "") -> dict[str, Any]:
    """
    >>> flatten({"train": {"epochs": 3}, "name": "a"})
    {'train.epochs': 3, 'name': 'a'}
    """
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= flatten(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat
