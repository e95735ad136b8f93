"""What a report is made from: the folders of results, of the model, of the champion's results, and the data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kpmodels.config import EvaluateOptions
from kpmodels.data.store import DatasetStore
from kpmodels.evaluation.comparison import Comparison, compare_results
from kpmodels.evaluation.stored_predictions import read_predictions
from kpmodels.evaluation.table import ImageTable, read_table
from kpmodels.structures import Instances


@dataclass(frozen=True)
class ReportSource:
    """Reads everything on first use.

    Attributes:
        results: Folder that ``evaluate`` wrote for the model.
        model: The model's folder, for its description and the course of its training.
        store: The data set that was measured on.
        champion: Folder that ``evaluate`` wrote for the champion, or None.
        title, champion_title: What the two are called; an empty title is the model's name.
    """

    results: Path
    model: Path
    store: DatasetStore
    champion: Path | None = None
    title: str = ""
    champion_title: str = "champion"

    @cached_property
    def table(self) -> ImageTable:
        return read_table(self.results / "per_image.parquet")

    @cached_property
    def champion_table(self) -> ImageTable | None:
        return None if self.champion is None else read_table(self.champion / "per_image.parquet")

    @cached_property
    def comparison(self) -> Comparison:
        return compare_results(self.results, self.champion)

    @cached_property
    def about(self) -> dict[str, Any]:
        return dict(_json(self.results / "about.json", {}))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return dict(_json(self.results / "metrics.json", {}))

    @cached_property
    def options(self) -> EvaluateOptions:
        return EvaluateOptions.model_validate(self.about.get("options", {}))

    @cached_property
    def description(self) -> dict[str, Any]:
        """``model.json``."""
        return dict(_json(self.model / "model.json", {}))

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """A record per epoch, from ``history.jsonl`` of the model's folder; empty where there is none."""
        path = self.model / "history.jsonl"
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]

    def curve(self, champion: bool = False) -> list[dict[str, float]]:
        """The rates over score thresholds."""
        folder = self.champion if champion else self.results
        return [] if folder is None else list(_json(folder / "curve.json", []))

    def per_keypoint(self, champion: bool = False) -> dict[str, dict[str, float]]:
        folder = self.champion if champion else self.results
        return {} if folder is None else dict(_json(folder / "per_keypoint.json", {}))

    @cached_property
    def predictions(self) -> dict[str, Instances]:
        """The predicted instances by image id; an image without any is not among them."""
        return read_predictions(self.results / "predictions.parquet", self.store.info.num_keypoints)


def _json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text()) if path.is_file() else default
