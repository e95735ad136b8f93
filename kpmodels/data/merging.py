"""A drop merged into a data set: which images are new, which are known, which get newer labels."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.columns import LabelColumns
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
        images: The images of the drop that were taken, by id: their numbers in ``columns``.
        columns: Their labels.
        names: Their names.
        added: Ids of new images, with their groups.
        known: Ids of images that were there.
        new_bytes: Bytes of new images.
        sizes: Width and height of new images, one after the other.
    """

    rules: Rules
    options: IngestOptions
    problems: Problems
    old: DatasetStore | None
    writer: ShardWriter | None
    source: str
    images: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    new_bytes: int = 0
    sizes: array[int] = field(default_factory=lambda: array("i"))

    def __post_init__(self) -> None:
        self.columns = LabelColumns(self.rules.info.num_keypoints)
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
        if taken.image_id in self.images:
            self._twice(taken, labels, id)
            return
        group = self._group(image)
        self.images[taken.image_id] = self.columns.add(labels)
        self.names[taken.image_id] = image.name
        if self.old is not None and taken.image_id in self.old:
            self.known.append(taken.image_id)
            return
        self.added[taken.image_id] = group
        self.new_bytes += len(taken.data)
        self.sizes.extend((taken.width, taken.height))
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
        if self.columns.same(self.images[taken.image_id], labels):
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
        new = self.columns.table(
            ((one, self.images[one]) for one in [*self.added, *changed]), set(old["annotation_id"].to_pylist())
        )
        return pa.concat_tables([old, new]), changed

    def _old_table(self) -> pa.Table:
        if self.old is None:
            return ANNOTATIONS.empty_table()
        table = pq.read_table(self.old.folder / "annotations.parquet").cast(ANNOTATIONS)
        return table.combine_chunks()

    def _changed(self, old: pa.Table) -> list[str]:
        """Known images whose labels in the drop are not those of the data set (ids of annotations do not count)."""
        if self.old is None:
            return []
        return [one for one in self.known if self.columns.differs(self.images[one], self.old.instances(one))]
