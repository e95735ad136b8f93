"""Label Studio JSON: tasks with keypoint and rectangle labels; percentages become pixels (times size / 100, no shift).

sleap-io reads these too, but only files that it wrote itself (it needs a video in each task's ``meta``), takes the
keypoints in an arbitrary order, and gives up boxes and repeated points; so this reader is our own.

Keypoints belong to a rectangle by a relation or as its children (``parentID``). Keypoints of no rectangle make up one
instance, or one each where there is one kind of keypoint only (point lists).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.drop import Drop, DropImage, Files, Label, locate, walk_files
from kpmodels.errors import UserError


def find_labelstudio(root: Path) -> Path | None:
    """A JSON list of tasks with ``annotations`` (or ``completions``), or None."""
    for path in walk_files(root, frozenset({".json"})):
        with open(path, "rb") as file:
            head = file.read(1 << 16)
        if head.lstrip().startswith(b"[") and (b'"annotations"' in head or b'"completions"' in head):
            return path
    return None


def read_labelstudio(root: Path, options: IngestOptions, path: Path | None = None) -> Drop:
    """A Label Studio export as a drop. Keypoints come in the order of their first appearance, unless named in options.

    Raises:
        UserError: When there is no such file, or it is no list of tasks.
    """
    path = path or find_labelstudio(root)
    if path is None:
        raise UserError(f"{root}: no Label Studio export (a JSON list of tasks with annotations)", "check the source")
    try:
        tasks = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path.name} is no valid JSON: {error}", "export it again") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UserError(f"{path.name} is no list of tasks", "export as JSON (not JSON-MIN) from Label Studio")
    drop, files = Drop("labelstudio"), Files(root)
    results = [_results(task) for task in tasks]
    drop.keypoints = options.keypoints or tuple(_names(results, "keypointlabels"))
    boxes = _names(results, "rectanglelabels")
    drop.categories = (options.category,) if options.category else tuple(boxes) or ("object",)
    for task, result in zip(tasks, results, strict=True):
        _read_task(drop, files, task, result, path)
    return drop


def _results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """What the first annotation of a task that was not cancelled holds."""
    for annotation in task.get("annotations") or task.get("completions") or ():
        if not annotation.get("was_cancelled"):
            return [one for one in annotation.get("result") or () if isinstance(one, dict)]
    return []


def _names(results: list[list[dict[str, Any]]], kind: str) -> list[str]:
    values = [one["value"].get(kind) or ["?"] for result in results for one in result if one.get("type") == kind]
    return list(dict.fromkeys(str(value[0]) for value in values))


def _file_name(task: dict[str, Any]) -> str:
    """The image's file name: the last part of the path or address in the task's data."""
    data = task.get("data") or {}
    meta = (task.get("meta") or {}).get("video", {}).get("filename")
    if isinstance(meta, list):
        meta = meta[(task.get("meta") or {})["video"].get("frame_idx", 0)]
    value = data.get("image") or data.get("img") or meta or next((v for v in data.values() if isinstance(v, str)), "")
    parsed = urlparse(str(value))
    inner = parse_qs(parsed.query).get("d")
    return unquote(inner[0] if inner else parsed.path)


def _read_task(drop: Drop, files: Files, task: dict[str, Any], result: list[dict[str, Any]], path: Path) -> None:
    name, id = _file_name(task), f"task {task.get('id', '?')}"
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    if not base:
        drop.problems.add(
            "label for a missing image", path.name, id, "the task names no image", "export with data.image"
        )
        return
    stripped = re.sub(r"^[0-9a-f]{8}-", "", base)  # uploads are stored as <8 digits>-<name>
    known = {one.name for one in files.paths}
    chosen = name.lstrip("/") if ".." in name else base if base in known else stripped
    found = locate(files, drop, chosen, id, (path.parent,), path.name)
    if found is None:
        return
    image = DropImage(files.name_of(found), found, id=str(task.get("id", "")), folder=found.parent.name)
    drop.images.append(image)
    try:
        image.labels = _instances(drop, image, result)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        drop.problems.add("bad annotation", image.name, id, f"{type(error).__name__}: {error}", "export it again")


def _instances(drop: Drop, image: DropImage, result: list[dict[str, Any]]) -> list[Label]:
    points = {one["id"]: one for one in result if one.get("type") == "keypointlabels"}
    boxes = {one["id"]: one for one in result if one.get("type") == "rectanglelabels"}
    owner = {one["id"]: one["parentID"] for one in points.values() if one.get("parentID") in boxes}
    for one in result:
        ends = (one.get("from_id"), one.get("to_id"))
        for box, point in (ends, ends[::-1]):
            if one.get("type") == "relation" and box in boxes and point in points:
                owner[point] = box
    groups: dict[str, list[dict[str, Any]]] = {id: [] for id in boxes}
    free: list[dict[str, Any]] = []
    for id, one in points.items():
        (groups[owner[id]] if id in owner else free).append(one)
    labels = [_label(drop, image, members, boxes[id]) for id, members in groups.items()]
    sets = [[one] for one in free] if len(drop.keypoints) == 1 else [free] if free else []
    labels += [_label(drop, image, members, None) for members in sets]
    return [label for label in labels if label is not None]


def _label(drop: Drop, image: DropImage, members: list[dict[str, Any]], box: dict[str, Any] | None) -> Label | None:
    keypoints = np.zeros((len(drop.keypoints), 3), np.float32)
    for one in members:
        name = str(one["value"]["keypointlabels"][0])
        if name not in drop.keypoints:
            continue
        row = drop.keypoints.index(name)
        if keypoints[row, 2]:
            what = f"{name} is labelled twice in one instance"
            drop.problems.add(
                "wrong number of keypoints", image.name, str(one["id"]), what, "join keypoints to rectangles"
            )
            return None
        keypoints[row] = (*_pixels(image, one, "x", "y"), 2)
    if box is None:
        return Label(keypoints, id=str(members[0]["id"]))
    category = str(box["value"]["rectanglelabels"][0])
    if category not in drop.categories:
        return None
    x, y = _pixels(image, box, "x", "y")
    w, h = _pixels(image, box, "width", "height")
    return Label(keypoints, drop.categories.index(category), (x, y, x + w, y + h), id=str(box["id"]))


def _pixels(image: DropImage, one: dict[str, Any], x: str, y: str) -> tuple[float, float]:
    """Two percentages of a result as pixels; notes the size of the image that it speaks of."""
    image.size = (int(one["original_width"]), int(one["original_height"]))
    return float(one["value"][x]) * image.size[0] / 100, float(one["value"][y]) * image.size[1] / 100
