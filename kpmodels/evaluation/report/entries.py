"""A measured model, and several of them as one list: what all pages about models are made from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kpmodels.config import EvaluateOptions
from kpmodels.errors import UserError
from kpmodels.evaluation.comparison import check_comparable
from kpmodels.evaluation.table import ImageTable, read_table


@dataclass(frozen=True)
class Entry:
    """A model that was measured. Reads everything on first use.

    Attributes:
        title: What it is called on the page.
        results: Folder that ``evaluate`` wrote.
        model: The model's folder, for its description and the course of its training; None where only its results matter.
        link: Address of its own report; may be empty.
    """

    title: str
    results: Path
    model: Path | None = None
    link: str = ""

    @cached_property
    def table(self) -> ImageTable:
        return read_table(self.results / "per_image.parquet")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return dict(_json(self.results / "metrics.json", {}))

    @cached_property
    def per_keypoint(self) -> dict[str, dict[str, float]]:
        return dict(_json(self.results / "per_keypoint.json", {}))

    @cached_property
    def curve(self) -> list[dict[str, float]]:
        """The rates over score thresholds."""
        return list(_json(self.results / "curve.json", []))

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the results depend on."""
        return dict(_json(self.results / "about.json", {}))

    @cached_property
    def options(self) -> EvaluateOptions:
        return EvaluateOptions.model_validate(self.about.get("options", {}))

    @property
    def measured_on(self) -> str:
        """The part of the data set that it was measured on, in words."""
        about = self.about
        return f"{self.options.split}, {about.get('images', 0)} images, {about.get('instances', 0)} instances"

    @cached_property
    def description(self) -> dict[str, Any]:
        """``model.json``."""
        return {} if self.model is None else dict(_json(self.model / "model.json", {}))

    @property
    def experiment(self) -> dict[str, Any]:
        return dict(self.description.get("experiment", {}))

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """A record per epoch, from ``history.jsonl`` of the model's folder; empty where there is none."""
        path = None if self.model is None else self.model / "history.jsonl"
        lines = path.read_text().splitlines() if path and path.is_file() else []
        return [json.loads(line) for line in lines if line.strip()]

    @property
    def scores(self) -> list[tuple[int, float]]:
        """Epochs with the score on the validation images, of those that were validated."""
        found = [(one["epoch"], (one.get("val") or {}).get("score")) for one in self.history]
        return [(epoch, score) for epoch, score in found if score is not None]

    @property
    def megabytes(self) -> float:
        """Size of the weights; NaN where there are none."""
        path = None if self.model is None else self.model / "weights.safetensors"
        return path.stat().st_size / 1e6 if path and path.is_file() else math.nan


def _json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text()) if path.is_file() else default


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
