"""One annotation of a COCO file: keypoints, box, area, segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from kpmodels.data.drop import Drop, DropImage, Label
from kpmodels.data.problems import Problems


def annotation_id(annotation: Any) -> str:
    """The id as a text; "" where there is none."""
    return str(annotation.get("id", "")) if isinstance(annotation, dict) else ""


def read_label(drop: Drop, image: DropImage, annotation: dict[str, Any], label: int) -> None:
    """Add the annotation to its image's labels, or a problem to the drop."""
    id, problems = f"annotation {annotation_id(annotation)}", drop.problems
    points = _keypoints(annotation, len(drop.keypoints), image.name, id, problems)
    if points is None:
        return
    try:
        box, area = _box_and_area(annotation, image)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        what = f"its box or segmentation cannot be read: {error}"
        problems.add("bad box", image.name, id, what, "bbox is [x, y, width, height] in pixels")
        return
    if box is None and not (points[:, 2] > 0).any():
        problems.add("nothing labelled", image.name, id, "no box and no labelled keypoint", "complete it or drop it")
        return
    crowd = bool(annotation.get("iscrowd", 0))
    image.labels.append(Label(points, label, box, area, crowd, annotation_id(annotation)))


def _keypoints(
    annotation: dict[str, Any], count: int, file: str, id: str, problems: Problems
) -> NDArray[np.float32] | None:
    """``[K, 3]`` float32, zeros where the annotation has none; None, and a problem, where they are wrong."""
    numbers = annotation.get("keypoints") or []
    if not numbers:
        return np.zeros((count, 3), np.float32)
    if len(numbers) != 3 * count:
        what = f"{len(numbers) / 3:g} keypoints, the category has {count}"
        problems.add(
            "wrong number of keypoints", file, id, what, "give x, y, visibility for each, zeros for unlabelled"
        )
        return None
    try:
        points = np.asarray(numbers, np.float32).reshape(count, 3)
        unknown = set(numbers[2::3]) - {0, 1, 2}
    except (TypeError, ValueError):
        problems.add("bad keypoints", file, id, "they are not all numbers", "x, y, visibility are numbers")
        return None
    if unknown:
        remedy = "it is 0 (not labelled), 1 (hidden) or 2 (seen)"
        problems.add("bad visibility", file, id, f"visibility {unknown.pop()}", remedy)
        return None
    return points


def _box_and_area(
    annotation: dict[str, Any], image: DropImage
) -> tuple[tuple[float, float, float, float] | None, float | None]:
    """Box (x1, y1, x2, y2) and area; from the segmentation (pycocotools) where the annotation lacks them."""
    area = annotation.get("area")
    box = annotation.get("bbox")
    segmentation = annotation.get("segmentation")
    if not box and segmentation and image.size:
        mask = _encode(segmentation, *image.size)
        box = [float(number) for number in coco_mask.toBbox(mask)]
        area = float(coco_mask.area(mask)) if area is None else area
    if not box:
        return None, None if area is None else float(area)
    x, y, width, height = (float(number) for number in box)
    return (x, y, x + width, y + height), None if area is None else float(area)


def _encode(segmentation: Any, width: int, height: int) -> Any:
    """A run-length code of polygons or of an uncompressed or compressed run-length code."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, height, width)
    return segmentation
