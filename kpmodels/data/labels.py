"""The labels of one image, checked against the image and brought into the data set's form."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kpmodels.data.drop import DropImage, Label
from kpmodels.data.problems import Problems
from kpmodels.structures import DatasetInfo

EDGE = 1.0
"""Keypoints so many pixels beyond the border are taken: rounding and edge conventions put them there."""
HULL_PIXELS, HULL_PART = 8.0, 0.06
"""A box made from keypoints is their hull, wider by so many pixels or this part of its longer side on each side."""


@dataclass
class Rules:
    """How labels of a drop become labels of the data set.

    Attributes:
        info: Of the data set.
        order: ``order[k]`` is where the drop's keypoint k goes; empty for boxes.
        category: ``category[label]`` of the drop is the data set's label.
        counts: What was done to labels, for notes.
    """

    info: DatasetInfo
    order: list[int]
    category: list[int]
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keeps_order = self.order == list(range(self.info.num_keypoints))

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def checked_labels(image: DropImage, width: int, height: int, rules: Rules, problems: Problems) -> list[Label]:
    """The labels that can be taken, in the data set's order of keypoints and categories; a problem for each other."""
    if not image.labels:
        return []
    size = (width, height)
    points_NK3 = _in_order(image.labels, rules)
    fine = _all_inside(points_NK3, size) and all(map(_has_finite_box, image.labels))
    taken = []
    for number, (label, points_K3) in enumerate(zip(image.labels, points_NK3, strict=True)):
        id = f"annotation {label.id or number + 1}"
        if fine or _is_right(label, points_K3, image, id, size, rules, problems):
            done = _with_box(label, points_K3, image, id, size, rules, problems)
            if done is not None:
                taken.append(done)
    return taken


def _in_order(labels: list[Label], rules: Rules) -> NDArray[np.float32]:
    """The keypoints in the data set's order; those that are not labelled lie at 0, 0."""
    points_NK3 = np.array([label.keypoints_K3 for label in labels], np.float32)
    if not rules.keeps_order:
        given_NK3 = points_NK3
        points_NK3 = np.zeros((len(labels), rules.info.num_keypoints, 3), np.float32)
        if rules.order:
            points_NK3[:, rules.order] = given_NK3
    points_NK3[points_NK3[..., 2] == 0] = 0
    return points_NK3


def _all_inside(points_NK3: NDArray[np.float32], size: tuple[int, int]) -> bool:
    """Whether no keypoint can be wrong: all are finite and inside (those that are not labelled are at 0, 0)."""
    if not points_NK3.size:
        return True
    flat = points_NK3.reshape(-1, 3)
    x1, y1, seen1 = np.minimum.reduce(flat).tolist()  # not a number where any is
    x2, y2, seen2 = np.maximum.reduce(flat).tolist()
    low, margin = -0.5 - EDGE, EDGE - 0.5
    inside = x1 >= low and y1 >= low and x2 <= size[0] + margin and y2 <= size[1] + margin
    return bool(inside and seen1 >= 0 and math.isfinite(seen2))


def _with_box(
    label: Label,
    points_K3: NDArray[np.float32],
    image: DropImage,
    id: str,
    size: tuple[int, int],
    rules: Rules,
    problems: Problems,
) -> Label | None:
    """The label in the data set's form; None, and a problem, where its box is none or has no part inside the image."""
    if label.box is not None and (label.box[2] < label.box[0] or label.box[3] < label.box[1]):
        width, height = label.box[2] - label.box[0], label.box[3] - label.box[1]
        what = f"its box has a negative width or height: {width:g} x {height:g} pixels"
        problems.add("bad box", image.name, id, what, "mend it; without a box one is made from the keypoints")
        return None
    box = _box(label, points_K3, size, rules)
    if box is None:
        what = f"its box {label.box} has no part inside the image of {size[0]} x {size[1]} pixels"
        problems.add("bad box", image.name, id, what, "boxes are in pixels of the image, with width and height above 0")
        return None
    area = label.area
    if area is None or not math.isfinite(area) or area <= 0:
        area = (box[2] - box[0]) * (box[3] - box[1])
        rules.count("areas taken from the boxes")
    return Label(points_K3, rules.category[label.label], box, float(area), label.crowd, label.id)


def _has_finite_box(label: Label) -> bool:
    return label.box is None or all(map(math.isfinite, label.box))


def _is_right(
    label: Label,
    points_K3: NDArray[np.float32],
    image: DropImage,
    id: str,
    size: tuple[int, int],
    rules: Rules,
    problems: Problems,
) -> bool:
    if not (np.isfinite(points_K3).all() and _has_finite_box(label)):
        problems.add("bad keypoints", image.name, id, "a coordinate is not a finite number", "give numbers in pixels")
        return False
    limit = np.array(size, np.float32) - 0.5 + EDGE
    outside = ((points_K3[:, :2] < -0.5 - EDGE) | (points_K3[:, :2] > limit)).any(1) & (points_K3[:, 2] > 0)
    if not outside.any():
        return True
    names = rules.info.skeleton.names
    where = ", ".join(f"{names[k]} ({points_K3[k, 0]:g}, {points_K3[k, 1]:g})" for k in np.flatnonzero(outside)[:5])
    what = f"{where} of an image of {size[0]} x {size[1]} pixels"
    problems.add("keypoint outside its image", image.name, id, what, "mend it, or set its visibility to 0")
    return False


def _box(
    label: Label, points_K3: NDArray[np.float32], size: tuple[int, int], rules: Rules
) -> tuple[float, float, float, float] | None:
    """The label's box within the image, or one made from its keypoints; None where neither is possible."""
    if label.box is not None and (label.box[2] > label.box[0]) and (label.box[3] > label.box[1]):
        clipped = _clip(label.box, size)
        if max(abs(a - b) for a, b in zip(label.box, clipped, strict=True)) > 0.01:
            rules.count("boxes over the border cut off there")
        if clipped[2] > clipped[0] and clipped[3] > clipped[1]:
            return clipped
        return None
    seen = points_K3[points_K3[:, 2] > 0, :2].astype(np.float64)
    if not len(seen):
        return None
    low, high = seen.min(0), seen.max(0)
    if len(points_K3) == 1:
        pad = 0.5  # the pixel that holds the point
    else:
        pad = max(HULL_PIXELS, HULL_PART * float((high - low).max()))
        rules.count(f"boxes made from keypoints (hull and {HULL_PIXELS:g} px or {HULL_PART:.0%} about it)")
    hull = (float(low[0] - pad), float(low[1] - pad), float(high[0] + pad), float(high[1] + pad))
    return _clip(hull, size) if len(points_K3) > 1 else hull


def _clip(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box cut off at the image's border: x from 0 to width, y from 0 to height."""
    (x1, y1, x2, y2), (width, height) = box, size
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
