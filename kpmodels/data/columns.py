"""The labels of many images in a few flat arrays, which take less than half the memory of objects."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kpmodels.data.drop import Label
from kpmodels.data.schema import ANNOTATIONS
from kpmodels.structures import Instances


class LabelColumns:
    """Labels, image after image, as they are stored: coordinates are float32.

    Args:
        num_keypoints: K, of each label.
    """

    def __init__(self, num_keypoints: int) -> None:
        self._k = num_keypoints
        self._starts = array("q", [0])  # rows of image i: starts[i] to starts[i + 1]
        self._keypoints, self._boxes, self._areas = array("f"), array("f"), array("f")
        self._labels, self._crowd = array("i"), bytearray()
        self._ids: list[str] = []

    def __len__(self) -> int:
        """How many labels there are."""
        return len(self._ids)

    def add(self, labels: list[Label]) -> int:
        """Take the labels of one more image, whose boxes and areas are known; returns its number, from 0."""
        for label in labels:
            assert label.box is not None
            assert label.area is not None
            self._keypoints.frombytes(np.asarray(label.keypoints_K3, np.float32).tobytes())
            self._boxes.extend(label.box)
            self._areas.append(label.area)
            self._labels.append(label.label)
            self._crowd.append(label.crowd)
            self._ids.append(label.id)
        self._starts.append(len(self._ids))
        return len(self._starts) - 2

    def same(self, image: int, labels: list[Label]) -> bool:
        """Whether an image has these very labels in this order; ids do not count."""
        other = LabelColumns(self._k)
        other.add(labels)
        return np.array_equal(self._content(image), other._content(0))

    def differs(self, image: int, before: Instances) -> bool:
        """Whether an image's labels are others than those of the data set; order and ids do not count."""
        points = np.asarray(before.keypoints, np.float32).reshape(len(before), 3 * self._k)
        then = _rows(before.labels, points, before.boxes, before.areas, before.crowd)
        return sorted(self._content(image).tolist()) != sorted(then.tolist())

    def _content(self, image: int) -> NDArray[np.float64]:
        """The rows of an image as ``_rows`` puts them together."""
        start, end = self._starts[image : image + 2]
        width = 3 * self._k
        points = np.array(self._keypoints[width * start : width * end]).reshape(end - start, width)
        boxes = np.array(self._boxes[4 * start : 4 * end]).reshape(end - start, 4)
        return _rows(self._labels[start:end], points, boxes, self._areas[start:end], self._crowd[start:end])

    def table(self, images: Iterable[tuple[str, int]], taken: set[str]) -> pa.Table:
        """Rows of ``annotations.parquet``. Where the source has no id, one is made of the image's id and a number.

        Args:
            images: The id of each wanted image, and its number.
            taken: Ids of annotations that must not be given again; grows.
        """
        rows: list[range] = []
        image_ids: list[str] = []
        ids: list[str] = []
        for image_id, number in images:
            rows.append(range(*self._starts[number : number + 2]))
            for index, row in enumerate(rows[-1]):
                image_ids.append(image_id)
                ids.append(_free(self._ids[row] or f"{image_id[:8]}-{index}", image_id, taken))
        wanted = np.fromiter((row for part in rows for row in part), np.int64, len(ids))
        points = _view(self._keypoints, np.float32).reshape(len(self), 3 * self._k)[wanted]
        ends = np.arange(len(ids) + 1, dtype=np.int32) * np.int32(3 * self._k)
        boxes = _view(self._boxes, np.float32).reshape(len(self), 4)[wanted]
        columns = {
            "image_id": pa.array(image_ids, pa.string()),
            "annotation_id": pa.array(ids, pa.string()),
            "label": pa.array(_view(self._labels, np.int32)[wanted]),
            "keypoints": pa.ListArray.from_arrays(pa.array(ends), pa.array(points.ravel())),
            "box": pa.FixedSizeListArray.from_arrays(pa.array(boxes.ravel()), 4),
            "area": pa.array(_view(self._areas, np.float32)[wanted]),
            "crowd": pa.array(_view(self._crowd, np.bool_)[wanted]),
        }
        return pa.Table.from_arrays([columns[name] for name in ANNOTATIONS.names], schema=ANNOTATIONS)


def _rows(labels: Any, points: Any, boxes: Any, areas: Any, crowd: Any) -> NDArray[np.float64]:
    """``[N, 1 + 3 K + 4 + 1 + 1]``: label, keypoints, box, area and crowd of N instances."""
    flat = [np.asarray(one, np.float64)[:, None] for one in (labels, areas, list(crowd))]
    return np.hstack([flat[0], points, boxes, *flat[1:]], dtype=np.float64)


def _view(values: Any, kind: type[np.generic]) -> NDArray[Any]:
    return np.frombuffer(values, kind) if len(values) else np.zeros(0, kind)


def _free(id: str, image_id: str, taken: set[str]) -> str:
    """The annotation's id, made unique where another annotation of the data set has it already."""
    candidate, number = id, 0
    while candidate in taken:
        candidate = f"{id}@{image_id}" + (f"-{number}" if number else "")
        number += 1
    taken.add(candidate)
    return candidate
