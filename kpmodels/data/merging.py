"""A drop merged into a data set: which images are new, which are known, which get newer labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.drop import DropImage, Label
from kpmodels.data.intake import Taken
from kpmodels.data.labels import Rules, checked_labels
from kpmodels.data.problems import Problems
from kpmodels.data.schema import ANNOTATIONS
from kpmodels.data.shards import ShardWriter
from kpmodels.data.store import DatasetStore


@dataclass
class Merge:
    """Takes the images of a drop one by one.

    Attributes:
        rules: How labels are brought into the data set's form.
        options: Of the ingest.
        problems: What could not be taken; grows.
        old: The data set before, or None.
        writer: Gets the new images; None to write nothing.
        source: What the images' ``source`` column says.
        labels: The labels of each image of the drop, by id.
        added: Ids of new images, with their groups.
        known: Ids of images that were there.
        new_bytes: Bytes of new images.
        sizes: (width, height) of new images.
    """

    rules: Rules
    options: IngestOptions
    problems: Problems
    old: DatasetStore | None
    writer: ShardWriter | None
    source: str
    labels: dict[str, list[Label]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    new_bytes: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._troubled = frozenset(problem.file for problem in self.problems.found)

    def take(self, taken: Taken) -> None:
        """One image: a problem, or a row of a shard and its labels."""
        image = taken.image
        id = f"image {image.id}" if image.id else ""
        if taken.error:
            self.problems.add("broken image", image.name, id, taken.error, "replace the file")
            if image.size is not None:  # its labels may be wrong besides: all is told at once
                checked_labels(image, *image.size, self.rules, self.problems)
            return
        if image.size is not None and image.size != (taken.width, taken.height):
            self._wrong_size(taken, id)
            return
        labels = checked_labels(image, taken.width, taken.height, self.rules, self.problems)
        if not labels and (image.labels or image.name in self._troubled):
            return  # all its labels are problems: without them it would pass for an image without objects
        if taken.image_id in self.labels:
            self._twice(taken, labels, id)
            return
        group = self._group(image)
        self.labels[taken.image_id] = labels
        self.names[taken.image_id] = image.name
        if self.old is not None and taken.image_id in self.old:
            self.known.append(taken.image_id)
            return
        self.added[taken.image_id] = group
        self.new_bytes += len(taken.data)
        self.sizes.append((taken.width, taken.height))
        if self.writer is not None:
            row = {"image_id": taken.image_id, "bytes": taken.data, "width": taken.width, "height": taken.height}
            self.writer.add({**row, "file_name": image.name, "group": group, "source": self.source})

    def _wrong_size(self, taken: Taken, id: str) -> None:
        assert taken.image.size is not None
        what = "the labels speak of {} x {} pixels, the image has {} x {}".format(
            *taken.image.size, taken.width, taken.height
        )
        remedy = "give the image that was labelled"
        if taken.image.size == (taken.height, taken.width):
            remedy += "; it may carry an EXIF rotation: apply it to the pixels before labelling"
        self.problems.add("wrong size", taken.image.name, id, what, remedy)

    def _twice(self, taken: Taken, labels: list[Label], id: str) -> None:
        """The same content under another name: fine with the same labels."""
        first = self.labels[taken.image_id]
        if len(first) == len(labels) and all(_same(a, b) for a, b in zip(first, labels, strict=True)):
            self.rules.count("images that are in the drop twice, with the same labels")
            return
        what = f"the same image as {self.names[taken.image_id]}, with other labels"
        self.problems.add("duplicate image", taken.image.name, id, what, "remove one of the two")

    def _group(self, image: DropImage) -> str:
        if not self.options.group_by:
            return ""
        if self.options.group_by == "folder":
            return image.folder
        found = re.search(self.options.group_by, image.name)
        if found is None:
            what = f"the name does not match the group expression {self.options.group_by!r}"
            self.problems.add("no group", image.name, image.id, what, "mend --set group_by=, or rename the file")
            return ""
        return found.group(1)

    def table(self) -> tuple[pa.Table, list[str]]:
        """The annotations of the data set after the drop, and the ids of known images whose labels changed."""
        old = self._old_table()
        changed = self._changed(old)
        if old.num_rows:
            old = old.filter(pc.invert(pc.is_in(old["image_id"], pa.array(changed, pa.string()))))
        owners = dict(zip(old["annotation_id"].to_pylist(), old["image_id"].to_pylist(), strict=True))
        rows: list[dict[str, Any]] = []
        for image_id in [*self.added, *changed]:
            for row in label_rows(image_id, self.labels[image_id]):
                row["annotation_id"] = _free(row["annotation_id"], image_id, owners)
                rows.append(row)
        return pa.concat_tables([old, pa.Table.from_pylist(rows, schema=ANNOTATIONS)]), changed

    def _old_table(self) -> pa.Table:
        if self.old is None:
            return ANNOTATIONS.empty_table()
        table = pq.read_table(self.old.folder / "annotations.parquet").cast(ANNOTATIONS)
        return table.combine_chunks()

    def _changed(self, old: pa.Table) -> list[str]:
        """Known images whose labels in the drop are not those of the data set (ids of annotations do not count)."""
        if self.old is None:
            return []
        changed = []
        for image_id in self.known:
            before, rows = self.old.instances(image_id), label_rows(image_id, self.labels[image_id])
            now = sorted(_content(row) for row in rows)
            then = sorted(
                (int(label), points.ravel().tolist(), box.tolist(), float(area), bool(crowd))
                for label, points, box, area, crowd in zip(
                    before.labels, before.keypoints, before.boxes, before.areas, before.crowd, strict=True
                )
            )
            if now != then:
                changed.append(image_id)
        return changed


def _same(a: Label, b: Label) -> bool:
    fields = ("label", "box", "area", "crowd")
    return np.array_equal(a.keypoints_K3, b.keypoints_K3) and all(getattr(a, f) == getattr(b, f) for f in fields)


def label_rows(image_id: str, labels: list[Label]) -> list[dict[str, Any]]:
    """Rows of ``annotations.parquet``; where the source has no id, one is made of the image's id and a number."""
    return [
        {
            "image_id": image_id,
            "annotation_id": label.id or f"{image_id[:8]}-{number}",
            "label": label.label,
            "keypoints": np.asarray(label.keypoints_K3, np.float32).ravel().tolist(),
            "box": np.asarray(label.box, np.float32).tolist(),
            "area": float(np.float32(label.area)),
            "crowd": label.crowd,
        }
        for number, label in enumerate(labels)
    ]


def _content(row: dict[str, Any]) -> tuple[int, list[float], list[float], float, bool]:
    return row["label"], row["keypoints"], row["box"], row["area"], row["crowd"]


def _free(id: str, image_id: str, owners: dict[str, str]) -> str:
    """The annotation's id, made unique where another annotation of the data set has it already."""
    candidate, number = id, 0
    while candidate in owners:
        candidate = f"{id}@{image_id}" + (f"-{number}" if number else "")
        number += 1
    owners[candidate] = image_id
    return candidate
