"""Instances drawn on images: for contact sheets, predictions and reports."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kpmodels.structures import DatasetInfo, Instances

Colour = tuple[int, int, int]
_SHIFT = 4  # OpenCV draws at 1/16 of a pixel when told so
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Style:
    """How instances are drawn.

    Attributes:
        scale: Pixels drawn per pixel of the image (the image is enlarged or reduced first).
        radius: Of a keypoint, in drawn pixels; 0: chosen by the drawn size.
        boxes, limbs: Whether they are drawn.
        colour: One colour for everything, or None: a colour per keypoint, and per category where there are no keypoints.
        min_score: Keypoints (and boxes) of predictions below it are left out. Truth is always drawn.
    """

    scale: float = 1.0
    radius: int = 0
    boxes: bool = True
    limbs: bool = True
    colour: Colour | None = None
    min_score: float = 0.0


def palette(count: int) -> list[Colour]:
    """``count`` RGB colours, apart from each other and bright."""
    hues = [(0.02 + i / max(count, 1)) % 1 for i in range(count)]
    values = [1.0, 0.82, 0.92]
    parts = [colorsys.hsv_to_rgb(hue, 0.85 if i % 2 else 0.7, values[i % 3]) for i, hue in enumerate(hues)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in parts]


def draw_instances(
    image_HW3: NDArray[np.uint8], instances: Instances, info: DatasetInfo, style: Style | None = None
) -> NDArray[np.uint8]:
    """A copy of the RGB image, resized by ``style.scale``, with the instances on it.

    A keypoint that is seen (or predicted) is a disc, a hidden one (visibility 1) a ring. Coordinates are pixels of
    ``image_HW3``, (0, 0) the centre of the top left pixel.
    """
    style = style or Style()
    canvas = _resized(image_HW3, style.scale)
    radius = style.radius or max(2, round(min(canvas.shape[:2]) / 120))
    points_NK3 = instances.keypoints.astype(np.float64)
    points_NK3[..., :2] = (points_NK3[..., :2] + 0.5) * style.scale - 0.5
    boxes_N4 = (instances.boxes.astype(np.float64) + 0.5) * style.scale - 0.5
    for row in range(len(instances)):
        colour = style.colour or _category_colour(info, int(instances.labels[row]))
        if style.boxes and instances.scores[row] >= style.min_score:
            _draw_box(canvas, boxes_N4[row], colour, thickness=1 if info.num_keypoints else max(1, radius // 2))
        if info.num_keypoints:
            _draw_pose(canvas, points_NK3[row], info, style, radius)
    return canvas


def _resized(image_HW3: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return image_HW3.copy()
    size = (max(1, round(image_HW3.shape[1] * scale)), max(1, round(image_HW3.shape[0] * scale)))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image_HW3, size, interpolation=kind), np.uint8)


def _category_colour(info: DatasetInfo, label: int) -> Colour:
    if len(info.categories) <= 1:
        return (255, 220, 0)
    return palette(len(info.categories))[label]


def _fixed(xy: Any) -> tuple[int, int]:
    """A point in the fixed-point numbers that OpenCV draws with; kept within what 32 bits hold."""
    x, y = np.clip(np.asarray(xy, float), -1e5, 1e5)
    return round(x * 2**_SHIFT), round(y * 2**_SHIFT)


def _draw_box(canvas: NDArray[np.uint8], box_4: NDArray[np.float64], colour: Colour, thickness: int) -> None:
    cv2.rectangle(canvas, _fixed(box_4[:2]), _fixed(box_4[2:]), colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_pose(
    canvas: NDArray[np.uint8], points_K3: NDArray[np.float64], info: DatasetInfo, style: Style, radius: int
) -> None:
    colours = [style.colour] * len(points_K3) if style.colour else palette(len(points_K3))
    shown_K = (points_K3[:, 2] > 0) & (points_K3[:, 2] >= style.min_score)
    for a, b in info.skeleton.limbs if style.limbs else ():
        if shown_K[a] and shown_K[b]:
            ends = _fixed(points_K3[a, :2]), _fixed(points_K3[b, :2])
            cv2.line(canvas, *ends, colours[b], max(1, radius // 2), cv2.LINE_AA, _SHIFT)
    for k in np.flatnonzero(shown_K):
        centre, hidden = _fixed(points_K3[k, :2]), points_K3[k, 2] == 1 and not style.min_score
        size = radius * 2**_SHIFT
        if not hidden:
            cv2.circle(canvas, centre, size, colours[k], -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, centre, size, colours[k] if hidden else _BLACK, 1, cv2.LINE_AA, _SHIFT)


def draw_text(
    canvas: NDArray[np.uint8], text: str, corner: tuple[int, int], size: int = 12, colour: Colour = _WHITE
) -> None:
    """Text on a dark ground, in place; ``corner`` (x, y) is its top left, ``size`` the height of a line in pixels."""
    scale = size / 26
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x, y = corner
    cv2.rectangle(canvas, (x, y), (x + width + 3, y + height + base + 2), _BLACK, -1)
    cv2.putText(canvas, text, (x + 2, y + height + 1), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def legend(info: DatasetInfo, width: int, line: int = 16) -> NDArray[np.uint8]:
    """A strip ``[H, width, 3]`` that names the keypoints, or the categories where there are none, in their colours."""
    names = info.skeleton.names or info.categories
    colours = palette(len(names)) if info.skeleton.names or len(names) > 1 else [_category_colour(info, 0)]
    column = 12 + max([_text_width(name, line) for name in names], default=0) + line
    columns = max(1, width // column)
    rows = -(-len(names) // columns)
    strip = np.full((rows * line + 4, width, 3), 24, np.uint8)
    for i, (name, colour) in enumerate(zip(names, colours, strict=True)):
        x, y = (i % columns) * column + line // 2, (i // columns) * line + line // 2 + 2
        cv2.circle(strip, (x, y), line // 3, colour, -1, cv2.LINE_AA)
        cv2.putText(
            strip, name, (x + line // 2 + 2, y + 4), cv2.FONT_HERSHEY_SIMPLEX, line / 40, _WHITE, 1, cv2.LINE_AA
        )
    return strip


def _text_width(text: str, line: int) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, line / 40, 1)[0][0])
