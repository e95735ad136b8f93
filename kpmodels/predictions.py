"""Predictions for people and other programs: drawings, and JSON in the form of COCO."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpmodels.errors import UserError
from kpmodels.structures import DatasetInfo, Instances

if TYPE_CHECKING:
    from kpmodels.predictor import Predictor

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
DRAWN_SIDE = 480
CHUNK = 16


@dataclass(frozen=True)
class Predicted:
    """What :func:`predict_files` wrote: how many images and instances, and the JSON file."""

    images: int
    instances: int
    json: Path


def predict_files(
    model: str | Path,
    images: Sequence[Path],
    out: Path,
    boxes: Path | None = None,
    threshold: float = 0.0,
    device: str | None = None,
) -> Predicted:
    """Predict, draw and write: a JPEG per image and ``predictions.json`` into ``out``.

    Args:
        model: What :func:`kpmodels.predictor.load` takes.
        images: Image files, or folders whose images (not those of their folders) are taken.
        boxes: COCO JSON whose boxes, by file name, the detector looks into.
        threshold: Instances that score less are neither drawn nor written.
        device: None: a GPU if there is one.

    Raises:
        UserError: no images, one that is missing or broken, or boxes that do not fit.
    """
    from kpmodels.predictor import load

    files = image_files(images)
    given = None if boxes is None else read_boxes(boxes, files)
    predictor = load(model, device)
    out.mkdir(parents=True, exist_ok=True)
    found, sizes = _predict_and_draw(predictor, files, given, out, threshold)
    content = to_coco(found, predictor.model.info, sizes)
    target = out / "predictions.json"
    _write(target, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    return Predicted(len(files), sum(len(one) for one in found.values()), target)


def _predict_and_draw(
    predictor: Predictor, files: list[Path], given: dict[Path, Any] | None, out: Path, threshold: float
) -> tuple[dict[str, Instances], dict[str, tuple[int, int]]]:
    """The instances and the (width, height) of each file, by its path; a drawing of each is written."""
    from kpmodels.predictor import as_rgb

    found: dict[str, Instances] = {}
    sizes: dict[str, tuple[int, int]] = {}
    names = drawing_names(files)
    for part in _chunks(files):
        arrays = [as_rgb(path) for path in part]
        looked = predictor(arrays, None if given is None else [given[path] for path in part])
        for path, image, instances in zip(part, arrays, looked, strict=True):
            kept = instances.select(instances.scores >= np.float32(threshold))
            found[str(path)], sizes[str(path)] = kept, (image.shape[1], image.shape[0])
            _write(out / names[path], _jpeg(draw_prediction(image, kept, predictor.model.info)))
    return found, sizes


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files that files and folders stand for, folders in the order of their names; each once.

    Raises:
        UserError: a path that does not exist, a folder without images, or nothing at all.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file())
            if not inside:
                raise UserError(f"{path}: no images in this folder", f"images end in {', '.join(sorted(SUFFIXES))}")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: no such file or folder", "name images, or folders of images")
    if not files:
        raise UserError("no images to look at", "name images, or folders of images")
    return list(dict.fromkeys(files))


def read_boxes(path: Path, files: Sequence[Path]) -> dict[Path, NDArray[np.float32]]:
    """Boxes ``[N, 4]`` (x1, y1, x2, y2) of each file from COCO JSON, by file name with or without folders.

    Raises:
        UserError: not COCO JSON, or a file without boxes.
    """
    try:
        content = json.loads(path.read_text())
        names = {str(one["file_name"]): one["id"] for one in content["images"]}
        rows: dict[Any, list[list[float]]] = {}
        for one in content["annotations"]:
            x, y, width, height = (float(value) for value in one["bbox"])
            rows.setdefault(one["image_id"], []).append([x, y, x + width, y + height])
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}", "name a COCO file with images and boxes") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not COCO with boxes: {error!r}", "it needs images and annotations with bbox"
        ) from None
    short = {Path(name).name: one for name, one in names.items()}
    result = {}
    for file in files:
        image_id = names.get(str(file), short.get(file.name))
        if image_id is None or image_id not in rows:
            raise UserError(f"{path}: no boxes for {file}", "add them, or leave this image out")
        result[file] = np.asarray(rows[image_id], np.float32)
    return result


def drawing_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for the drawing of each file, all different: that of the file, numbered where two are alike."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}.jpg", 1
        while name.lower() in taken:
            number += 1
            name = f"{file.stem}-{number}.jpg"
        taken.add(name.lower())
        names[file] = name
    return names


def to_coco(
    predictions: Mapping[str, Instances], info: DatasetInfo, sizes: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, Any]:
    """Predictions by file name as a COCO data set, which labelling tools and ``kp data ingest`` read.

    Each annotation has ``score`` and, with keypoints, ``keypoint_scores`` beside COCO's own fields (visibility is 2). An
    image has ``count`` where the detector estimates one. Coordinates are pixels, (0, 0) the centre of the top left one.

    Args:
        sizes: (width, height) by file name.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, found) in enumerate(predictions.items(), 1):
        image: dict[str, Any] = {"id": image_id, "file_name": name}
        if sizes is not None:
            image["width"], image["height"] = sizes[name]
        if found.count is not None:
            image["count"] = round(float(found.count), 3)
        images.append(image)
        for row in range(len(found)):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_annotation(found, row)})
    categories = [{"id": label + 1, "name": name, **_skeleton(info)} for label, name in enumerate(info.categories)]
    return {
        "info": {"description": f"predictions for {info.name}"},
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }


def _skeleton(info: DatasetInfo) -> dict[str, Any]:
    if not info.num_keypoints:
        return {}
    limbs = [[a + 1, b + 1] for a, b in info.skeleton.limbs]
    return {"keypoints": list(info.skeleton.names), "skeleton": limbs}


def _annotation(found: Instances, row: int) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(value), 3) for value in found.boxes[row])
    result: dict[str, Any] = {
        "category_id": int(found.labels[row]) + 1,
        "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
        "area": round(float(found.areas[row]), 3),
        "iscrowd": 0,
        "score": round(float(found.scores[row]), 5),
    }
    if found.keypoints.shape[1]:
        places = [[round(float(x), 3), round(float(y), 3), 2] for x, y, _ in found.keypoints[row]]
        result["keypoints"] = [value for place in places for value in place]
        result["num_keypoints"] = len(places)
        result["keypoint_scores"] = [round(float(score), 5) for score in found.keypoints[row, :, 2]]
    return result


def draw_prediction(image_HW3: NDArray[np.uint8], found: Instances, info: DatasetInfo) -> NDArray[np.uint8]:
    """The RGB image with the instances on it, small images enlarged; the estimated count in its corner."""
    from kpmodels.data.drawing import Style, draw_instances, draw_text

    scale = max(1.0, DRAWN_SIDE / max(image_HW3.shape[:2]))
    canvas = draw_instances(image_HW3, found, info, Style(scale=scale, boxes=info.task == "boxes"))
    if found.count is not None:
        draw_text(canvas, f"{found.count:.1f} counted, {len(found)} drawn", (4, 4), size=16)
    return canvas


def _chunks(files: Sequence[Path]) -> Iterator[list[Path]]:
    rest = iter(files)
    while part := list(islice(rest, CHUNK)):
        yield part


def _jpeg(image_HW3: NDArray[np.uint8]) -> bytes:
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image_HW3), quality=92))


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
