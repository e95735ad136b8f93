"""Ultralytics pose and detection: ``data.yaml``, and a text file of normalized numbers per image.

sleap-io reads these too, but gives up the boxes, classes and visibility of poses and passes over malformed lines; so
this reader is our own. Coordinates are the fractions times width and height, with no shift: the files are
made that way from pixel coordinates.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.decode import BrokenImageError, image_size
from kpmodels.data.drop import IMAGE_SUFFIXES, Drop, DropImage, Label, climbs_out, need_names, walk_files
from kpmodels.errors import UserError, nearest


def find_ultralytics(root: Path) -> Path | None:
    """The ``data.yaml`` (or another YAML file with ``names`` and ``train`` or ``kpt_shape``), or None."""
    for path in walk_files(root, frozenset({".yaml", ".yml"})):
        try:
            content = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        if isinstance(content, dict) and "names" in content and content.keys() & {"train", "val", "kpt_shape"}:
            return path
    return None


def read_ultralytics(root: Path, options: IngestOptions, path: Path | None = None) -> Drop:
    """All splits of an Ultralytics folder as one drop.

    Raises:
        UserError: When ``data.yaml`` is missing or wrong, or keypoints have no names.
    """
    path = path or find_ultralytics(root)
    if path is None:
        raise UserError(f"{root}: no data.yaml with names and train", "check the source")
    content = yaml.safe_load(path.read_text())
    names = content["names"]
    by_number = {
        int(number): str(name) for number, name in (names.items() if isinstance(names, dict) else enumerate(names))
    }
    numbers = sorted(by_number)
    classes = [by_number[number] for number in numbers]
    if options.category and options.category not in classes:
        raise UserError(f"no category {options.category!r}: {nearest(options.category, classes)}")
    shape = [int(number) for number in content.get("kpt_shape") or (0, 3)]
    drop = Drop("ultralytics", categories=(options.category,) if options.category else tuple(classes))
    _skeleton(drop, content, shape[0], options, path)
    wanted = {
        number: drop.categories.index(name)
        for number, name in zip(numbers, classes, strict=True)
        if name in drop.categories
    }
    for image in _images(path, content, drop):
        _read_labels(drop, root, image, wanted, set(numbers), shape, options)
    return drop


def _skeleton(drop: Drop, content: dict[str, Any], count: int, options: IngestOptions, path: Path) -> None:
    given = content.get("kpt_names") or content.get("node_names") or content.get("keypoint_names") or ()
    if isinstance(given, dict):  # by class, as newer versions write it: all classes share them
        given = next(iter(given.values()), ())
    drop.keypoints = options.keypoints or tuple(str(name) for name in given)
    if count and len(drop.keypoints) != count:
        raise need_names(path.name, count)
    drop.limbs = tuple((int(a), int(b)) for a, b in content.get("skeleton") or ())
    index = content.get("flip_idx")
    if index:
        if sorted(index) != list(range(count)):
            raise UserError(f"{path.name}: flip_idx is no permutation of 0 to {count - 1}", "mend it")
        drop.flip_pairs = tuple((i, j) for i, j in enumerate(index) if i < j)


def _images(path: Path, content: dict[str, Any], drop: Drop) -> list[Path]:
    """The image files of all splits that data.yaml names, without duplicates."""
    found: dict[Path, None] = {}
    for split in ("train", "val", "test"):
        places = content.get(split) or ()
        for place in [places] if isinstance(places, str) else places:
            folder = _resolve(path, content.get("path"), str(place))
            if folder is None:
                what = f"{split}: {place} is not a folder within the drop"
                drop.problems.add("path out of the folder", path.name, split, what, "give paths inside the drop")
                continue
            found.update(dict.fromkeys(walk_files(folder, IMAGE_SUFFIXES)))
    return list(found)


def _resolve(path: Path, base: Any, place: str) -> Path | None:
    """The folder of a split. ``path:`` in the file is often absolute and of another machine: only its end counts."""
    place = place.removeprefix("./").replace("../", "") if place.startswith("../") else place.removeprefix("./")
    parts = PurePosixPath(place).parts
    candidates = [PurePosixPath(*parts[i:]) for i in range(1 if climbs_out(place) else 0, len(parts))] if parts else []
    bases = [path.parent]
    if base and not climbs_out(str(base)):
        bases.insert(0, path.parent / str(base))
    for candidate in candidates:
        for one in bases:
            if (one / candidate).is_dir() and ".." not in candidate.parts:
                return one / candidate
    return None


def _read_labels(
    drop: Drop,
    root: Path,
    path: Path,
    wanted: dict[int, int],
    known: set[int],
    shape: list[int],
    options: IngestOptions,
) -> None:
    name = path.relative_to(root).as_posix()
    text_path = _text_path(path)
    if text_path is None and options.unlabelled != "empty":
        # Ultralytics itself takes an image without a text file as one without objects
        drop.notes[:] = list(
            dict.fromkeys([*drop.notes, "images without a text file were taken as images without objects"])
        )
    image = DropImage(name, path, folder=path.parent.name)
    drop.images.append(image)
    if text_path is None:
        return
    try:
        image.size = image_size(path.read_bytes())
    except BrokenImageError:
        return  # told when the images are read
    for number, line in enumerate(text_path.read_text(errors="replace").splitlines(), 1):
        if line.split():
            _read_line(drop, image, line.split(), f"{text_path.name} line {number}", wanted, known, shape)


def _text_path(image: Path) -> Path | None:
    """``.../labels/.../name.txt`` for ``.../images/.../name.jpg``, or the text beside the image."""
    parts = list(image.with_suffix(".txt").parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            swapped = Path(*parts[:i], "labels", *parts[i + 1 :])
            if swapped.is_file():
                return swapped
    beside = image.with_suffix(".txt")
    return beside if beside.is_file() else None


def _read_line(
    drop: Drop,
    image: DropImage,
    cells: list[str],
    where: str,
    wanted: dict[int, int],
    known: set[int],
    shape: list[int],
) -> None:
    problems, (count, columns) = drop.problems, shape
    try:
        numbers = np.array([float(cell) for cell in cells])
    except ValueError:
        problems.add(
            "bad keypoints", image.name, where, f"{' '.join(cells)!r:.60} is not all numbers", "export it again"
        )
        return
    if len(numbers) != 5 + count * columns:
        what = f"{len(numbers)} numbers, expected class, box and {count} keypoints of {columns}: {5 + count * columns}"
        problems.add("wrong number of keypoints", image.name, where, what, "make the line agree with kpt_shape")
        return
    if int(numbers[0]) not in known:
        problems.add("unknown category", image.name, where, f"class {cells[0]}", "add it to names in data.yaml")
        return
    if int(numbers[0]) not in wanted:
        return
    assert image.size is not None
    width, height = image.size
    cx, cy, w, h = numbers[1:5] * (width, height, width, height)
    points = np.zeros((count, 3), np.float32)
    given = numbers[5:].reshape(count, columns)
    points[:, :2] = given[:, :2] * (width, height)
    points[:, 2] = given[:, 2] if columns == 3 else 2 * (given != 0).any(1)
    image.labels.append(Label(points, wanted[int(numbers[0])], (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)))
