"""What a report is made from: the model that was measured, the champion if there is one, and the data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kpmodels.data.store import DatasetStore
from kpmodels.evaluation.comparison import Comparison, compare_results
from kpmodels.evaluation.report.entries import Entry
from kpmodels.evaluation.report.pictures import picture
from kpmodels.evaluation.stored_predictions import read_predictions
from kpmodels.structures import Instances


@dataclass(frozen=True)
class ReportSource:
    """Reads everything on first use.

    Attributes:
        new: The model that the report is about.
        store: The data set that was measured on.
        champion: What it is compared with, or None.
    """

    new: Entry
    store: DatasetStore
    champion: Entry | None = None

    @property
    def champion_title(self) -> str:
        return "" if self.champion is None else self.champion.title

    @cached_property
    def comparison(self) -> Comparison:
        return compare_results(self.new.results, None if self.champion is None else self.champion.results)

    @cached_property
    def predictions(self) -> dict[str, Instances]:
        """The predicted instances by image id; an image without any is not among them."""
        return read_predictions(self.new.results / "predictions.parquet", self.store.info.num_keypoints)

    def picture(self, image_id: str) -> bytes:
        """The predictions beside the truth, as a JPEG."""
        store = self.store
        found = self.predictions.get(image_id, Instances.empty(store.info.num_keypoints))
        return picture(store.read_bytes(image_id), store.instances(image_id), found, store.info, self.new.options)
