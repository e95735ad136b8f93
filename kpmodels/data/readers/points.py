"""Point lists: CSV with a header ``image,x,y[,label]``, one row per point, in pixels (0, 0 the centre of the first pixel).

A row whose x and y are empty says that the image has no points.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.drop import Drop, DropImage, Files, Label, locate, unlisted_images, walk_files
from kpmodels.errors import UserError, nearest

_NAMES = {
    "image": ("image", "file", "file_name", "filename", "path", "image_name", "image_id"),
    "x": ("x", "col", "x_px"),
    "y": ("y", "row", "y_px"),
    "label": ("label", "class", "category"),
}


def find_points(root: Path) -> list[Path]:
    """The CSV files of a folder whose header has an image, an x and a y column."""
    found = walk_files(root, frozenset({".csv", ".tsv"}))
    return [path for path in found if {"image", "x", "y"} <= _columns(_header(path)).keys()]


def _header(path: Path) -> list[str]:
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(1 << 16)
    return next(csv.reader([line], delimiter=_delimiter(line)), [])


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _columns(header: list[str]) -> dict[str, int]:
    """Which column is the image, x, y, label."""
    names = [name.strip().lower() for name in header]
    return {key: names.index(name) for key, aliases in _NAMES.items() for name in reversed(aliases) if name in names}


def read_points(root: Path, options: IngestOptions, paths: list[Path] | None = None) -> Drop:
    """All point lists of a folder as one drop: one keypoint, ``point``, and a category per label.

    Raises:
        UserError: When there is no list, or the chosen category is in none.
    """
    paths = find_points(root) if paths is None else paths
    if not paths:
        raise UserError(
            f"{root}: no CSV with the columns image, x, y (and label)", "write this header as its first line"
        )
    drop, files = Drop("points"), Files(root)
    drop.keypoints = options.keypoints or ("point",)
    rows = [(path, number, *row) for path in paths for number, row in _rows(path)]
    names = sorted({label for *_, label in rows if label})
    if options.category and names and options.category not in names:
        raise UserError(f"no category {options.category!r}: {nearest(options.category, names)}")
    drop.categories = (options.category,) if options.category else tuple(names) or ("point",)
    images: dict[str, DropImage] = {}
    for path, number, image, x, y, label in rows:
        entry = _image(drop, files, images, image, path, number)
        if entry is not None:
            _add(drop, entry, f"{path.name} line {number}", x, y, label)
    drop.images = [image for image in images.values() if image.path is not None]
    unlisted_images(files, drop, options, paths[0].name)
    return drop


def _rows(path: Path) -> list[tuple[int, tuple[str, str, str, str]]]:
    """(line number, (image, x, y, label)) of the rows that are not blank."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        text = file.read()
    lines = text.splitlines()
    reader = csv.reader(lines, delimiter=_delimiter(lines[0]) if lines else ",")
    columns = _columns(next(reader, []))
    result = []
    for row in reader:
        cells = {key: row[at].strip() if at < len(row) else "" for key, at in columns.items()}
        if any(cells.values()):
            result.append((reader.line_num, (cells["image"], cells["x"], cells["y"], cells.get("label", ""))))
    return result


def _image(
    drop: Drop, files: Files, images: dict[str, DropImage], name: str, path: Path, number: int
) -> DropImage | None:
    """The entry of an image, made at its first row; its ``path`` is None where its file is missing."""
    where = f"{path.name} line {number}"
    if not name:
        drop.problems.add("label for a missing image", path.name, f"line {number}", "no image is named", "name it")
        return None
    if name not in images:
        found = locate(files, drop, name, where, (path.parent, path.parent / "images"), path.name)
        images[name] = DropImage(name, found, folder=found.parent.name if found else "")
    return images[name]


def _add(drop: Drop, image: DropImage, where: str, x: str, y: str, label: str) -> None:
    if not x and not y:
        return
    try:
        point = float(x), float(y)
    except ValueError:
        point = math.nan, math.nan
    if not all(math.isfinite(number) for number in point):
        what = f"{where} has x {x!r}, y {y!r}"
        drop.problems.add(
            "bad keypoints", image.name, where, what, "give two numbers, or none for an image without points"
        )
        return
    if label and label not in drop.categories:
        return  # another category than the chosen one
    keypoints = np.array([[*point, 2]], np.float32)
    image.labels.append(Label(keypoints, drop.categories.index(label) if label else 0))
