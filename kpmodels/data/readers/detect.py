"""Which form a drop has, and reading it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.archives import Source
from kpmodels.data.drop import Drop
from kpmodels.data.readers.coco import find_coco, read_coco
from kpmodels.data.readers.labelstudio import find_labelstudio, read_labelstudio
from kpmodels.data.readers.masks import find_masks, read_masks
from kpmodels.data.readers.points import find_points, read_points
from kpmodels.data.readers.sleap import find_dlc, find_sleap, read_dlc, read_sleap
from kpmodels.data.readers.ultralytics import find_ultralytics, read_ultralytics
from kpmodels.errors import UserError

FINDERS: dict[str, Callable[[Path], object]] = {
    "coco": find_coco,
    "sleap": find_sleap,
    "labelstudio": find_labelstudio,
    "dlc": find_dlc,
    "ultralytics": find_ultralytics,
    "points": find_points,
    "masks": find_masks,
}
"""What tells that a folder has a form: something that is true when it has. In this order, the first that fits is taken."""


def recognize(root: Path) -> str:
    """The form of the labels in a folder.

    Raises:
        UserError: When none fits.
    """
    for name, find in FINDERS.items():
        if find(root):
            return name
    known = "COCO json, SLEAP .slp, Label Studio json, DeepLabCut csv, Ultralytics data.yaml, csv with image,x,y, images/ + masks/"
    raise UserError(
        f"{root.name}: no labels in a form that is known ({known})", "say which with --format, or convert them"
    )


def read_drop(source: Source, options: IngestOptions) -> Drop:
    """Read the labels of a source. The images themselves are not opened, but for the sizes that a form needs.

    Raises:
        UserError: When the form is unknown or the labels as a whole cannot be read. Single bad entries become problems
            of the drop.
    """
    root, file = source.root, source.file
    form = options.format if options.format != "auto" else _of_file(file) if file else recognize(root)
    many = [file] if file else None
    if form == "coco":
        return read_coco(root, options, many)
    if form == "sleap":
        return read_sleap(root, options, many)
    if form == "dlc":
        return read_dlc(root, options, many)
    if form == "points":
        return read_points(root, options, many)
    if form == "labelstudio":
        return read_labelstudio(root, options, file)
    if form == "ultralytics":
        return read_ultralytics(root, options, file)
    return read_masks(root, options)


def _of_file(path: Path) -> str:
    """The form of a single label file; the folder it lies in is searched for its images."""
    suffix = path.suffix.lower()
    if suffix in (".slp", ".nwb", ".mat"):
        return "sleap"
    if suffix in (".yaml", ".yml"):
        return "ultralytics"
    for name, find in (
        ("coco", find_coco),
        ("labelstudio", find_labelstudio),
        ("dlc", find_dlc),
        ("points", find_points),
    ):
        found = find(path.parent)
        if path == found or (isinstance(found, list) and path in found):
            return name
    raise UserError(f"{path.name} is neither an archive nor a label file of a known form", "say which with --format")
