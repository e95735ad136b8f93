"""Pictures of predictions beside the truth, cut out and enlarged so that errors can be seen."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kpmodels.config import EvaluateOptions
from kpmodels.data.decode import decode_image
from kpmodels.data.drawing import Style, draw_instances
from kpmodels.evaluation.counting import confident, matched_predictions
from kpmodels.evaluation.keypoints import best_scored, counted, pair_instances
from kpmodels.structures import DatasetInfo, Instances

SIDE = 480
SMALLEST_CUT = 96
FOUND, FALSE, MISSED, TRUTH = (64, 220, 130), (255, 84, 84), (255, 176, 32), (255, 255, 255)


@dataclass(frozen=True)
class Cut:
    """A part of an image enlarged: ``drawn = (original - corner) * scale`` up to the half pixel at the border."""

    image_HW3: NDArray[np.uint8]
    corner: NDArray[np.float64]
    scale: float

    def shifted(self, instances: Instances) -> Instances:
        """The instances in pixels of the cut before it was enlarged."""
        moved = instances.select(slice(None))
        moved.keypoints = moved.keypoints.copy()
        moved.keypoints[..., :2] -= self.corner.astype(np.float32)
        moved.boxes = moved.boxes - np.tile(self.corner, 2).astype(np.float32)
        return moved

    def place(self, xy: Any) -> tuple[int, int]:
        """Where a point of the original is drawn."""
        x, y = np.clip((np.asarray(xy, np.float64) - self.corner + 0.5) * self.scale - 0.5, -4096, 4096)
        return round(float(x)), round(float(y))


def picture(data: bytes, truth: Instances, found: Instances, info: DatasetInfo, options: EvaluateOptions) -> bytes:
    """A JPEG of at most 480 pixels a side; for what the colours mean see ``colours``."""
    image_HW3 = decode_image(data)
    pose = info.task == "pose"
    shown = best_scored(truth, found) if pose else confident(found, options.score_threshold)
    measured = truth.select(counted(truth))
    cut = _cut(image_HW3, _hull(measured, shown, info))
    canvas = _draw_pose(cut, measured, shown, info) if pose else _draw_found(cut, measured, shown, info, options)
    done, encoded = cv2.imencode(".jpg", canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])
    if not done:
        raise RuntimeError("OpenCV cannot write JPEG")
    return encoded.tobytes()


def data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def colours(info: DatasetInfo) -> list[tuple[str, str]]:
    """What is drawn how: (CSS style of the sign, words)."""

    def css(colour: tuple[int, int, int]) -> str:
        return f"rgb{colour}".replace(" ", "")

    if info.task == "pose":
        return [
            ("background:var(--c1)", "predicted (a colour per keypoint)"),
            ("border:2px solid var(--text)", "labelled"),
            ("height:2px;border-radius:0;background:var(--text);vertical-align:middle", "the error between them"),
        ]
    what = "point" if info.task == "points" else "box"
    return [
        (f"background:{css(FOUND)}", f"found {what}"),
        (f"background:{css(FALSE)}", "false alarm"),
        (f"border:2px solid {css(MISSED)}", "missed"),
    ]


def _hull(truth: Instances, found: Instances, info: DatasetInfo) -> NDArray[np.float64] | None:
    """The box around all that is drawn; None where nothing is."""
    if info.num_keypoints:
        labelled = truth.keypoints[truth.keypoints[..., 2] > 0]
        parts = [labelled[:, :2], found.keypoints[..., :2].reshape(-1, 2)]
    else:
        parts = [truth.boxes.reshape(-1, 2), found.boxes.reshape(-1, 2)]
    points = np.concatenate(parts).astype(np.float64)
    return np.concatenate([points.min(0), points.max(0)]) if len(points) else None


def _cut(image_HW3: NDArray[np.uint8], hull: NDArray[np.float64] | None) -> Cut:
    """The square around the hull with a quarter to spare, moved into the image, enlarged to 480 pixels."""
    size = np.array(image_HW3.shape[1::-1], np.float64)
    if hull is None:
        low, high = np.zeros(2), size
    else:
        side = np.maximum((hull[2:] - hull[:2]).max() * 1.3, SMALLEST_CUT)
        extent = np.minimum(side, size)
        low = np.clip((hull[:2] + hull[2:] - extent) / 2, 0, size - extent)
        high = low + extent
    low, high = np.floor(low).astype(int), np.ceil(high).astype(int)
    part = image_HW3[low[1] : high[1], low[0] : high[0]]
    return Cut(np.ascontiguousarray(part), low.astype(np.float64), SIDE / max(part.shape[:2]))


def _draw_pose(cut: Cut, truth: Instances, found: Instances, info: DatasetInfo) -> NDArray[np.uint8]:
    """The predicted skeletons; rings where the labels are, lines from each to its prediction."""
    drawn = cut.shifted(found)
    drawn.keypoints[..., 2] = np.maximum(drawn.keypoints[..., 2], 0.01)
    canvas = draw_instances(cut.image_HW3, drawn, info, Style(scale=cut.scale, radius=6, boxes=False))
    pairs = pair_instances(truth, found, info.single_instance)
    for row, column in zip(pairs.truth, pairs.found, strict=True):
        for k in np.flatnonzero(truth.keypoints[row, :, 2] > 0):
            ends = cut.place(truth.keypoints[row, k, :2]), cut.place(found.keypoints[column, k, :2])
            cv2.line(canvas, *ends, TRUTH, 1, cv2.LINE_AA)
    for xy in truth.keypoints[truth.keypoints[..., 2] > 0][:, :2]:
        cv2.circle(canvas, cut.place(xy), 9, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.circle(canvas, cut.place(xy), 9, TRUTH, 1, cv2.LINE_AA)
    return canvas


def _draw_found(
    cut: Cut, truth: Instances, found: Instances, info: DatasetInfo, options: EvaluateOptions
) -> NDArray[np.uint8]:
    """Found in green, false alarms in red, missed in orange; points as discs and rings, boxes as boxes."""
    size = (max(1, round(cut.image_HW3.shape[1] * cut.scale)), max(1, round(cut.image_HW3.shape[0] * cut.scale)))
    canvas = np.asarray(cv2.resize(cut.image_HW3, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    hit = np.zeros(len(found), bool)
    hit[matched_predictions(truth, found, info, options)] = True
    reached = np.zeros(len(truth), bool)
    reached[matched_predictions(found, truth, info, options)] = True
    for row in range(len(truth)):
        _sign(canvas, cut, truth, row, info, TRUTH if reached[row] else MISSED, hollow=True)
    for row in np.argsort(hit, kind="stable"):
        _sign(canvas, cut, found, int(row), info, FOUND if hit[row] else FALSE, hollow=False)
    return canvas


def _sign(
    canvas: NDArray[np.uint8], cut: Cut, instances: Instances, row: int, info: DatasetInfo,
    colour: tuple[int, int, int], hollow: bool,
) -> None:  # fmt: skip
    if info.task == "boxes":
        box = instances.boxes[row]
        ends = cut.place(box[:2]), cut.place(box[2:])
        cv2.rectangle(canvas, *ends, colour, 1 if colour == TRUTH else 2, cv2.LINE_AA)
        return
    centre = cut.place(instances.keypoints[row, 0, :2])
    if hollow:
        cv2.circle(canvas, centre, 11, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.circle(canvas, centre, 11, colour, 1 if colour == TRUTH else 3, cv2.LINE_AA)
    else:
        cv2.circle(canvas, centre, 6, colour, -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, 6, (0, 0, 0), 1, cv2.LINE_AA)
