"""COCO keypoints and boxes.

Coordinates are taken as they are: COCO files are written both with pixel centres at integers and with edges there, and
nothing in the file says which; a shift that some need and others do not would be half a pixel wrong for one of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.drop import Drop, DropImage, Files, locate, need_names, unlisted_images, walk_files
from kpmodels.data.readers.coco_labels import annotation_id, read_label
from kpmodels.errors import UserError, nearest

UNMEASURED = (
    "not from the source",
    "set to",
    "assumed",
    "guess",
    "converter",
    "not measured",
    "ill-suited",
    "point data",
)
"""Words of a ``sigmas_note`` that say that the sigmas are nobody's measurement."""


def find_coco(root: Path) -> list[Path]:
    """The COCO files of a folder: JSON objects with ``images`` and ``annotations``."""
    return [path for path in walk_files(root, frozenset({".json"})) if _looks_like_coco(path)]


def _looks_like_coco(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    if not head.lstrip().startswith(b"{"):
        return False
    keys = sum(key in head for key in (b'"images"', b'"annotations"', b'"categories"'))
    if keys >= 2 or path.stat().st_size <= len(head):
        return keys >= 2  # also where it is damaged: reading it tells what is wrong
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def read_coco(root: Path, options: IngestOptions, paths: list[Path] | None = None) -> Drop:
    """All COCO files of a folder as one drop.

    Raises:
        UserError: When a file is no COCO, when the categories have different skeletons and none is chosen, or when
            keypoints have no names.
    """
    paths = find_coco(root) if paths is None else paths
    if not paths:
        raise UserError(f"{root}: no COCO file (JSON with images, annotations and categories)", "check the source")
    drop = Drop("coco")
    files = Files(root)
    contents = [(path, _load(path)) for path in paths]
    categories = _categories([(path, content["categories"]) for path, content in contents], options)
    _describe(drop, contents, categories, options)
    for path, content in contents:
        _read_one(drop, files, path, content, categories)
    if options.unlabelled == "empty":
        unlisted_images(files, drop, options, paths[0].name)
    else:
        extra = len(set(files.paths) - {image.path for image in drop.images})
        if extra:
            drop.notes.append(f"{extra} image files that the labels do not list were left out")
    return drop


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path.name} is no valid JSON: {error}", "export it again") from None
    lists = (
        all(isinstance(content.get(key), list) for key in ("images", "annotations"))
        if isinstance(content, dict)
        else False
    )
    if not lists or not isinstance(content.setdefault("categories", []), list):
        raise UserError(
            f"{path.name} is no COCO file: images, annotations, categories must be lists", "check the source"
        )
    return dict(content)


def _categories(parts: list[tuple[Path, list[Any]]], options: IngestOptions) -> list[dict[str, Any]]:
    """The wanted categories in order of their first appearance, by name."""
    found: dict[str, dict[str, Any]] = {}
    for path, listed in parts:
        for one in listed:
            if not isinstance(one, dict) or "id" not in one or "name" not in one:
                raise UserError(f"{path.name}: the category {one!r} has no id or no name", "complete it")
            found.setdefault(str(one["name"]), one)
    if not found:
        raise UserError(f"{parts[0][0].name} has no categories", "add the list 'categories' with ids and names")
    if options.category:
        if options.category not in found:
            raise UserError(f"no category {options.category!r}: {nearest(options.category, found)}")
        return [found[options.category]]
    names = {tuple(one.get("keypoints") or ()) for one in found.values()}
    if len(names) > 1:
        shapes = "; ".join(
            f"{name}: {len(one.get('keypoints') or ())} keypoints" for name, one in list(found.items())[:20]
        )
        raise UserError(f"the categories have different keypoints ({shapes})", "take one with --set category=NAME")
    return list(found.values())


def _describe(
    drop: Drop, contents: list[tuple[Path, dict[str, Any]]], categories: list[dict[str, Any]], options: IngestOptions
) -> None:
    """Fill in what the first category and the file say of skeleton, sigmas, source and licence."""
    first = categories[0]
    drop.categories = tuple(str(one["name"]) for one in categories)
    drop.keypoints = tuple(str(name) for name in first.get("keypoints") or ())
    if not drop.keypoints and not options.keypoints:
        count = next((len(one["keypoints"]) // 3 for _, c in contents for one in _with_points(c, drop.categories)), 0)
        if count:
            raise need_names(contents[0][0].name, count)
    drop.keypoints = drop.keypoints or options.keypoints
    drop.limbs = _index_pairs(first, "skeleton", len(drop.keypoints), contents[0][0])
    if first.get("flip_pairs") is not None:
        drop.flip_pairs = _index_pairs(first, "flip_pairs", len(drop.keypoints), contents[0][0])
    if first.get("sigmas"):
        drop.sigmas = tuple(float(sigma) for sigma in first["sigmas"])
        note = str(first.get("sigmas_note", ""))
        drop.sigmas_assumed = any(word in note.lower() for word in UNMEASURED)
    info = contents[0][1].get("info") or {}
    drop.source = " ".join(str(info[key]) for key in ("description", "url") if info.get(key))
    licences = [
        one.get("name") or one.get("url") for one in contents[0][1].get("licenses") or () if isinstance(one, dict)
    ]
    drop.licence = "; ".join(str(one) for one in licences if one)


def _with_points(content: dict[str, Any], categories: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The annotations of the wanted categories that have keypoints."""
    ids = {_key(one["id"]) for one in content["categories"] if str(one["name"]) in categories}
    for one in content["annotations"]:
        if isinstance(one, dict) and one.get("keypoints") and _key(one.get("category_id")) in ids:
            yield one


def _index_pairs(category: dict[str, Any], key: str, count: int, path: Path) -> tuple[tuple[int, int], ...]:
    """Pairs of 1-based keypoint numbers as pairs of indices from 0."""
    pairs = category.get(key) or []
    try:
        result = tuple((int(a) - 1, int(b) - 1) for a, b in pairs)
    except (TypeError, ValueError):
        raise UserError(f"{path.name}: {key} of category {category['name']} is no list of pairs", "mend it") from None
    bad = [pair for pair, (a, b) in zip(pairs, result, strict=True) if not (0 <= a < count and 0 <= b < count)]
    if bad:
        what = (
            f"{path.name}: {key} of category {category['name']} has {bad[0]}, but keypoints are numbered 1 to {count}"
        )
        raise UserError(what, "number the keypoints from 1, as COCO does")
    return result


def _read_one(drop: Drop, files: Files, path: Path, content: dict[str, Any], categories: list[dict[str, Any]]) -> None:
    name = path.relative_to(files.root).as_posix() if path.is_relative_to(files.root) else path.name
    near = (path.parent, path.parent / "images", path.parent.parent / "images")
    by_id: dict[int | str, DropImage] = {}
    for entry in content["images"]:
        _read_image(drop, files, entry, name, near, by_id)
    wanted = {str(one["name"]): index for index, one in enumerate(categories)}
    labels = {_key(one["id"]): wanted.get(str(one["name"]), -1) for one in content["categories"]}
    seen: set[str] = set()
    problems, left_out = drop.problems, 0
    for annotation in content["annotations"]:
        if not isinstance(annotation, dict) or "image_id" not in annotation:
            problems.add("annotation without image", name, annotation_id(annotation), "it has no image_id", "add it")
            continue
        image = by_id.get(_key(annotation["image_id"]))
        if image is None:
            what = f"its image_id {annotation['image_id']} is not among the images of {name}"
            problems.add(
                "label for a missing image",
                name,
                f"annotation {annotation_id(annotation)}",
                what,
                "add the image or drop it",
            )
        elif labels.get(_key(annotation.get("category_id"))) is None:
            what = f"category_id {annotation.get('category_id')} is not among the categories of {name}"
            problems.add(
                "unknown category", image.name, f"annotation {annotation_id(annotation)}", what, "add the category"
            )
        elif annotation_id(annotation) in seen:
            what = f"{name} has more than one annotation with this id"
            problems.add(
                "duplicate annotation id",
                image.name,
                f"annotation {annotation_id(annotation)}",
                what,
                "give each its own",
            )
        elif labels[_key(annotation["category_id"])] < 0:
            left_out += 1
        else:
            seen.update([annotation_id(annotation)] if annotation_id(annotation) else [])
            read_label(drop, image, annotation, labels[_key(annotation["category_id"])])
    if left_out:
        drop.notes.append(f"{left_out} annotations of other categories were left out of {name}")


def _key(id: Any) -> int | str:
    """An id as a dictionary's key; 7 and "7" stay apart, 7.0 is 7."""
    return id if isinstance(id, int | str) else int(id) if isinstance(id, float) and id.is_integer() else repr(id)


def _read_image(
    drop: Drop, files: Files, entry: Any, name: str, near: tuple[Path, ...], by_id: dict[int | str, DropImage]
) -> None:
    if not isinstance(entry, dict) or "id" not in entry or not entry.get("file_name"):
        drop.problems.add("bad image entry", name, "", f"{entry!r:.80} has no id or no file_name", "complete it")
        return
    file_name, id = str(entry["file_name"]), _key(entry["id"])
    if id in by_id:
        what = f"{name} has more than one image with this id"
        drop.problems.add("duplicate image id", file_name, f"image {id}", what, "give each image its own id")
        return
    image = DropImage(file_name, None, id=str(id), size=_size(entry))
    by_id[id] = image  # also where its file is missing: its labels are then told with it, not one by one
    image.path = locate(files, drop, file_name, f"image {id}", near, name)
    if image.path is not None:
        image.folder = os.path.basename(os.path.dirname(image.path))
        drop.images.append(image)


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    """(width, height) where the entry states them."""
    width, height = entry.get("width"), entry.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0:
        return int(width), int(height)
    return None
