"""The bundled set, made by code: flying critters with five keypoints, or dots to count or to box. Released under CC0.

A critter is seen from above: a body with a beak (nose), two wings that flap on their own, a tail that bends at the
rump. Left and right look alike and are told apart by the direction in which the critter flies: upwards, more or less.
Coordinates (x, y) are pixels with (0, 0) at the centre of the top left pixel.

Labels are where an annotator would click: the true place plus Gaussian noise. A keypoint's OKS sigma is defined as the
root mean square distance of labels to the truth over the square root of the object's area; the noise is drawn with
just that, so the sigmas of this set are true by construction.

Suffixes: K keypoints, P points of a polygon.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 128
QUALITY = 90
HEADING = np.deg2rad(45)  # critters fly up the image, at most so far to either side
FINE = 4  # everything is drawn at four times the size and averaged, so that edges are smooth and places exact
NAMES = ("nose", "left_wing", "right_wing", "rump", "tail")
SIGMAS = (0.020, 0.028, 0.028, 0.035, 0.028)
LIMBS = ((1, 4), (1, 2), (1, 3), (4, 5))
FLIP_PAIRS = ((2, 3),)

Kind = Literal["pose", "points", "boxes"]
Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """An image with what it holds: keypoints ``[N, K, 2]`` as drawn, the pixels covered by each, hidden or not."""

    image_HW3: Pixels
    places_NK2: Points
    labels_NK2: Points
    hidden_NK: NDArray[np.bool_]
    boxes_N4: Points
    areas_N: Points


def make_shapes(folder: Path, count: int = 160, seed: int = 0, kind: Kind = "pose") -> None:
    """Write a drop: ``folder/images/*.jpg`` and ``folder/annotations.json`` in COCO form.

    Args:
        count: Images. Image i is the same whatever the count.
        seed: Equal seeds give equal files.
        kind: ``pose``: one critter per image; ``points``: 0 to 20 dots among other shapes; ``boxes``: their boxes.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        rng = np.random.default_rng([seed, number, 0 if kind == "pose" else 1])
        drawn = draw_critter(rng) if kind == "pose" else draw_dots(rng)
        name = f"shapes-{number:04d}.jpg"
        encoded = simplejpeg.encode_jpeg(drawn.image_HW3, quality=QUALITY)
        (folder / "images" / name).write_bytes(encoded)
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 1})
        annotations += _annotations(drawn, number, len(annotations), kind)
    content = {
        "info": {"description": f"shapes ({kind}), a synthetic set", "version": "1.0", "contributor": "made by code"},
        "licenses": [{"id": 1, "name": "CC0-1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        "images": images,
        "annotations": annotations,
        "categories": [_category(kind)],
    }
    (folder / "annotations.json").write_text(json.dumps(content) + "\n")


def _category(kind: Kind) -> dict[str, Any]:
    """The COCO category; limbs and flip pairs count keypoints from 1, as COCO does."""
    if kind != "pose":
        keypoints = {"keypoints": ["centre"], "skeleton": []} if kind == "points" else {}
        return {"id": 1, "name": "dot", "supercategory": "shape", **keypoints}
    skeleton = {"keypoints": list(NAMES), "skeleton": LIMBS, "flip_pairs": FLIP_PAIRS, "sigmas": SIGMAS}
    return {"id": 1, "name": "critter", "supercategory": "shape", **skeleton}


def _annotations(drawn: Drawn, image: int, before: int, kind: Kind) -> list[dict[str, Any]]:
    result = []
    columns = (drawn.labels_NK2, drawn.hidden_NK, drawn.boxes_N4, drawn.areas_N)
    for number, (labels_K2, hidden_K, box_4, area) in enumerate(zip(*columns, strict=True)):
        keypoints_K3 = np.column_stack([labels_K2.round(2), np.where(hidden_K, 1, 2)])
        keypoints = {"keypoints": keypoints_K3.ravel().tolist(), "num_keypoints": len(keypoints_K3)}
        x1, y1, x2, y2 = box_4.tolist()
        result.append(
            {
                "id": before + number + 1,
                "image_id": image,
                "category_id": 1,
                "iscrowd": 0,
                **(keypoints if kind != "boxes" else {}),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(area),
            }
        )
    return result


def _fill(canvas: NDArray[Any], points_P2: Points, colour: Any) -> None:
    """Fill a polygon given in pixels of the final image, on the fine canvas."""
    fine_P2 = np.rint((points_P2 + 0.5) * FINE - 0.5).astype(np.int32)
    cv2.fillPoly(canvas, [fine_P2.reshape(-1, 1, 2)], colour)


def _shrink(canvas: NDArray[Any]) -> Any:
    """The fine canvas averaged to the final image; pixel centres map as ``(fine + 0.5) / FINE - 0.5``."""
    return cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def _disc(centre_2: Points, radius_x: float, radius_y: float | None = None, angle: float = 0.0) -> Points:
    turn_P = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring_P2 = np.column_stack([radius_x * np.cos(turn_P), (radius_y or radius_x) * np.sin(turn_P)])
    return centre_2 + ring_P2 @ _turn(angle).T


def _turn(angle: float) -> Points:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _colour(rng: np.random.Generator, hue: tuple[float, float], value: tuple[float, float]) -> list[float]:
    """A random RGB colour with its hue (0 to 180) and brightness (0 to 255) in ranges."""
    hsv = np.array([[[rng.uniform(*hue) % 180, rng.uniform(120, 220), rng.uniform(*value)]]], np.uint8)
    return [float(channel) for channel in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]]


def _background(rng: np.random.Generator) -> Pixels:
    """A smooth mottled ground in muted colours, at fine size."""
    coarse = rng.uniform(60, 150, (6, 8, 3)).astype(np.float32)
    coarse = coarse.mean(2, keepdims=True) * 0.6 + coarse * 0.4
    ground = cv2.resize(coarse, (WIDTH * FINE, HEIGHT * FINE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(ground.clip(0, 255), np.uint8)


def _distract(canvas: Pixels, rng: np.random.Generator, count: int, hue: tuple[float, float]) -> None:
    """Draw ellipses, boxes, triangles and bars that are not what is looked for."""
    for _ in range(count):
        centre_2 = rng.uniform((0, 0), (WIDTH, HEIGHT))
        radius, angle, corners = rng.uniform(3, 11), rng.uniform(0, 2 * np.pi), int(rng.integers(0, 4))
        colour = _colour(rng, hue, (60, 200))
        if corners == 0:
            _fill(canvas, _disc(centre_2, radius, radius * rng.uniform(0.4, 1), angle), colour)
            continue
        turn_P = angle + np.linspace(0, 2 * np.pi, corners + 2, endpoint=False)
        outline_P2 = radius * np.column_stack([np.cos(turn_P), rng.uniform(0.3, 1) * np.sin(turn_P)])
        _fill(canvas, centre_2 + outline_P2, colour)


def _finish(canvas: Pixels, rng: np.random.Generator) -> Pixels:
    """Shrink, and add a little sensor noise."""
    image_HW3 = _shrink(canvas).astype(np.float64) + rng.normal(0, 3, (HEIGHT, WIDTH, 1))
    return np.asarray(np.rint(image_HW3).clip(0, 255), np.uint8)


def draw_critter(rng: np.random.Generator) -> Drawn:
    """One image with one critter."""
    canvas = _background(rng)
    _distract(canvas, rng, int(rng.integers(3, 8)), (75, 165))
    size = rng.uniform(1.0, 1.6)
    pose = _Pose.random(rng, size)
    centre_2 = rng.uniform((40, 40), (WIDTH - 40, HEIGHT - 40))
    towards = _turn(rng.uniform(-HEADING, HEADING) - np.pi / 2)  # y points down: a quarter turn back is up
    places_K2 = centre_2 + pose.places_K2 @ towards.T
    mask = np.zeros(canvas.shape[:2], np.uint8)
    colours = [
        _colour(rng, (15, 35), (190, 250)),
        _colour(rng, (-8, 12), (150, 230)),
        _colour(rng, (20, 32), (60, 110)),
    ]
    for outline_P2, colour in zip(pose.outlines, (1, 1, 2, 0, 2, 0), strict=True):
        _fill(canvas, centre_2 + outline_P2 @ towards.T, colours[colour])
        _fill(mask, centre_2 + outline_P2 @ towards.T, 1)
    hidden_K = np.zeros(len(NAMES), bool)
    if rng.random() < 0.2:
        hidden = int(rng.integers(len(NAMES)))
        _fill(
            canvas,
            _disc(places_K2[hidden] + rng.uniform(-2, 2, 2), rng.uniform(4, 6)),
            _colour(rng, (75, 165), (60, 200)),
        )
        hidden_K[hidden] = True
    box_4, area = _extent(mask)
    per_axis_K1 = np.array(SIGMAS)[:, None] * np.sqrt(area / 2)
    labels_K2 = (places_K2 + rng.normal(0, 1, places_K2.shape) * per_axis_K1).clip(0, (WIDTH - 1, HEIGHT - 1))
    drawn = (places_K2[None], labels_K2[None], hidden_K[None], box_4[None], np.array([area]))
    return Drawn(_finish(canvas, rng), *drawn)


@dataclass(frozen=True)
class _Pose:
    """A critter around (0, 0) that flies to +x: its keypoints, and the polygons to fill, the lowest first.

    In an image y points down, so the left wing of one that flies to +x is at negative y.
    """

    places_K2: Points
    outlines: tuple[Points, ...]

    @classmethod
    def random(cls, rng: np.random.Generator, size: float) -> _Pose:
        nose_2, shoulder_2, rump_2 = np.array([16.0, 0]), np.array([4.0, 0]), np.array([-10.0, 0])
        span, sweep = rng.uniform(15, 20, 2), rng.uniform(-0.5, 0.9, 2)  # length and backward angle of both wings
        left_2 = shoulder_2 + span[0] * np.array([-np.sin(sweep[0]), -np.cos(sweep[0])])
        right_2 = shoulder_2 + span[1] * np.array([-np.sin(sweep[1]), np.cos(sweep[1])])
        bend = rng.uniform(-0.9, 0.9)
        tail_2 = rump_2 + rng.uniform(10, 14) * np.array([-np.cos(bend), -np.sin(bend)])
        aside_2 = np.array([np.sin(bend), -np.cos(bend)]) * 1.6
        outlines = (
            np.array([(9.0, 0.0), left_2, (-3.0, 0.0)]),
            np.array([(9.0, 0.0), right_2, (-3.0, 0.0)]),
            np.array([rump_2 + aside_2, tail_2, rump_2 - aside_2]),
            _disc(np.array([0.5, 0.0]), 11, 5),
            _disc(rump_2, 2.4),
            np.array([(9.5, -3.5), nose_2, (9.5, 3.5)]),
        )
        places_K2 = np.array([nose_2, left_2, right_2, rump_2, tail_2])
        return cls(size * places_K2, tuple(size * outline_P2 for outline_P2 in outlines))


def draw_dots(rng: np.random.Generator) -> Drawn:
    """One image with 0 to 20 bright dots at least 7 pixels apart; about every seventh image has none."""
    canvas = _background(rng)
    _distract(canvas, rng, int(rng.integers(4, 12)), (75, 165))
    wanted = 0 if rng.random() < 0.1 else int(rng.integers(0, 21))
    places: list[Points] = []
    while len(places) < wanted:
        place_2 = rng.uniform((4, 4), (WIDTH - 5, HEIGHT - 5))
        if all(np.hypot(*(place_2 - other)) >= 7 for other in places):
            places.append(place_2)
    places_N2 = np.array(places).reshape(-1, 2)
    boxes_N4, areas_N = np.zeros((wanted, 4)), np.zeros(wanted)
    for number, place_2 in enumerate(places_N2):
        mask = np.zeros(canvas.shape[:2], np.uint8)
        outline_P2 = _disc(place_2, rng.uniform(1.8, 3.2))
        _fill(canvas, outline_P2, _colour(rng, (15, 35), (200, 255)))
        _fill(mask, outline_P2, 1)
        boxes_N4[number], areas_N[number] = _extent(mask)
    places_NK2, hidden_NK = places_N2[:, None], np.zeros((wanted, 1), bool)
    return Drawn(_finish(canvas, rng), places_NK2, places_NK2, hidden_NK, boxes_N4, areas_N)


def _extent(mask: Pixels) -> tuple[Points, float]:
    """The box of a fine mask as COCO has it (x1, y1 the outer edges of the first pixel, which lies at 0), and its area."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / FINE
    return edges, float(mask.sum()) / FINE**2
