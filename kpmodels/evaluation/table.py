"""The table of results per image: the one source of all metrics, in memory and as ``per_image.parquet``.

One row per image, sorted by image id. List columns hold what metrics that are no means of images need (medians,
average precision), so that any metric can be computed again for any choice of images from the file alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kpmodels.errors import UserError
from kpmodels.evaluation.average_precision import THRESHOLDS, CategoryMatches, average_precision, categories_of

_META = b"kp"
_NUMBERS, _COUNTS = pa.list_(pa.float32()), pa.list_(pa.int32())

COMMON: dict[str, pa.DataType] = {
    "image_id": pa.string(),
    "file_name": pa.string(),
    "group": pa.string(),
    "source": pa.string(),
    "size": pa.float32(),  # mean size of the instances, pixels; null without any
    "n_true": pa.int32(),  # measured instances
    "n_pred": pa.int32(),  # predictions at the score threshold
    "tp": pa.int32(),
    "fp": pa.int32(),
    "fn": pa.int32(),
}
AVERAGE_PRECISION: dict[str, pa.DataType] = {
    "ap_labels": _COUNTS,
    "ap_scores": _NUMBERS,
    "ap_matched": _COUNTS,
    "ap_ignored": _COUNTS,
    "ap_truth_labels": _COUNTS,
}
BY_TASK: dict[str, dict[str, pa.DataType]] = {
    "pose": {
        "pixel_error": pa.float32(),  # mean over the image; null where nothing is paired
        "nme": pa.float32(),
        "keypoint_errors": _NUMBERS,  # K means in pixels; null where not labelled or not paired
        "errors": _NUMBERS,  # each labelled keypoint of the paired instances, in pixels
        "scaled_errors": _NUMBERS,  # the same divided by the size of the instance
        "error_keypoints": _COUNTS,  # which keypoint each is
        "labelled": _COUNTS,  # K: labelled keypoints of all measured instances
        "oks": _NUMBERS,  # each measured instance; 0 where not paired
        **AVERAGE_PRECISION,
    },
    "points": {
        "pixel_error": pa.float32(),
        "errors": _NUMBERS,  # distances of the found points
        "average_hausdorff": pa.float32(),
        "count_true": pa.float32(),
        "count_pred": pa.float32(),
        "count_error": pa.float32(),
    },
    "boxes": {"overlaps": _NUMBERS, **AVERAGE_PRECISION},  # intersection over union of the found boxes
}


@dataclass(frozen=True)
class TableMeta:
    """What the metrics of a table depend on besides its rows; stored in the Parquet file."""

    task: str
    keypoints: tuple[str, ...]
    categories: tuple[str, ...]
    sigmas_ending: str
    pck_thresholds: tuple[float, ...]
    radius: float
    score_threshold: float
    split: str


@dataclass(frozen=True)
class ImageTable:
    """Results per image; N rows."""

    table: pa.Table
    meta: TableMeta

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]], meta: TableMeta) -> ImageTable:
        """A table of rows that hold every column of the task; sorted by image id."""
        columns = COMMON | BY_TASK[meta.task]
        names = {"oks": "oks" + meta.sigmas_ending}
        rows = sorted(rows, key=lambda row: row["image_id"])
        arrays = [pa.array([row[name] for row in rows], kind) for name, kind in columns.items()]
        return cls(pa.table(arrays, names=[names.get(name, name) for name in columns]), meta)

    @cached_property
    def image_ids(self) -> list[str]:
        return self.table["image_id"].to_pylist()

    def strings(self, name: str) -> list[str]:
        return self.table[name].to_pylist()

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers ``[N]``; null is NaN."""
        return self.table[name].to_numpy().astype(np.float64)

    def lists(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The values of a list column in one array, and the row that each belongs to."""
        column = self.table[name].combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        return values, np.repeat(np.arange(len(self)), lengths)

    @cached_property
    def matches(self) -> list[CategoryMatches]:
        """What average precision is computed from."""
        (labels, images), (truth, truth_images) = self.lists("ap_labels"), self.lists("ap_truth_labels")
        matched, ignored = (self.lists(name)[0].astype(np.int64) for name in ("ap_matched", "ap_ignored"))
        scores = self.lists("ap_scores")[0]
        return categories_of(labels, scores, matched, ignored, images, truth, truth_images, len(self))  # type: ignore[arg-type]

    def average_precisions(self, weights_RN: NDArray[np.float64]) -> NDArray[np.float64]:
        """AP per weighting and threshold ``[R, T]``; kept for the array last asked for, since AP, AP50 and AP75 share it."""
        asked, result = self.__dict__.get("_average_precisions", (None, None))
        if asked is not weights_RN or result is None:
            rows = [average_precision(self.matches, weights_N) for weights_N in weights_RN]
            result = np.array(rows).reshape(len(weights_RN), THRESHOLDS)
            self.__dict__["_average_precisions"] = (weights_RN, result)
        return result

    def select(self, image_ids: list[str]) -> ImageTable:
        """The rows of the given images, in that order."""
        place = {one: row for row, one in enumerate(self.image_ids)}
        return ImageTable(self.table.take(pa.array([place[one] for one in image_ids], pa.int64())), self.meta)

    def write(self, path: Path) -> None:
        """Write Parquet; equal tables give equal bytes."""
        stored = self.table.replace_schema_metadata({_META: json.dumps(asdict(self.meta), sort_keys=True).encode()})
        pq.write_table(stored, path, compression="zstd")


def read_table(path: Path) -> ImageTable:
    """The table of a ``per_image.parquet``.

    Raises:
        UserError: there is none, or it is no such table.
    """
    try:
        table = pq.read_table(path)
        meta = json.loads(table.schema.metadata[_META])
    except (FileNotFoundError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise UserError(f"{path}: no results per image ({error})", "measure the model with: kp evaluate") from None
    for name in ("keypoints", "categories", "pck_thresholds"):
        meta[name] = tuple(meta[name])
    return ImageTable(table, TableMeta(**meta))
