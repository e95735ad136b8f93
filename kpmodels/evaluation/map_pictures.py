"""What the network saw: its maps laid over the image, with their peaks ringed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from kpmodels.config import EvaluateOptions
from kpmodels.data.collate import make_batch
from kpmodels.data.decode import decode_image
from kpmodels.data.drawing import draw_text
from kpmodels.data.rows import RowPlan, eval_rows, labelled_rows
from kpmodels.data.store import DatasetStore
from kpmodels.detectors.base import Detector
from kpmodels.evaluation.report.samples import MAPS

PANEL = 320
DIMMED = 0.45
MOST_RINGS = 200


@torch.no_grad()
def write_map_pictures(
    detector: Detector, store: DatasetStore, ids: Sequence[str], options: EvaluateOptions, folder: Path
) -> None:
    """Write ``folder/maps/<image id>.jpg`` for each image: a panel per map of ``Detector.pictures``, side by side.

    Of an image that makes several rows (tiles, instances) the first is shown; one that makes none has no picture.
    """
    plan = RowPlan(**detector.row_plan(training=False))
    device = next(detector.parameters()).device
    (folder / MAPS).mkdir()
    for image_id in ids:
        image, truth = decode_image(store.read_bytes(image_id)), store.instances(image_id)
        boxed = truth.select(labelled_rows(truth)).boxes if plan.region == "box" else None
        rows = eval_rows(image.shape[1], image.shape[0], boxed, plan)[:1]
        if not rows:
            continue
        batch = make_batch([image], rows, plan, num_keypoints=detector.info.num_keypoints).to(device)
        maps = detector.pictures(detector.infer(batch.images_B3HW))
        shown = batch.images_B3HW[0].permute(1, 2, 0).cpu().numpy()
        panels = [_panel(shown, one[0].float().cpu().numpy(), name, options) for name, one in maps.items()]
        strip = np.concatenate(panels, axis=1)[..., ::-1]
        done, encoded = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 84])
        if not done:
            raise RuntimeError("OpenCV cannot write JPEG")
        (folder / MAPS / f"{image_id}.jpg").write_bytes(encoded.tobytes())


def _panel(
    image_SS3: NDArray[np.uint8], map_HW: NDArray[np.float32], title: str, options: EvaluateOptions
) -> NDArray[np.uint8]:
    """The dimmed input with the map in colours over it; rings around peaks that reach the score threshold."""
    size = (PANEL, PANEL)
    grey = cv2.cvtColor(cv2.resize(image_SS3, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    levels = np.rint(np.clip(map_HW, 0, 1) * 255).astype(np.uint8)
    heat = cv2.applyColorMap(cv2.resize(levels, size, interpolation=cv2.INTER_NEAREST), cv2.COLORMAP_INFERNO)
    dimmed = (grey[..., None].repeat(3, axis=2) * DIMMED).astype(np.uint8)
    canvas = np.asarray(cv2.add(cv2.cvtColor(heat, cv2.COLOR_BGR2RGB), dimmed), np.uint8)
    scale = PANEL / map_HW.shape[1], PANEL / map_HW.shape[0]
    for x, y in _peaks(map_HW, options.score_threshold):
        centre = round((x + 0.5) * scale[0]), round((y + 0.5) * scale[1])
        cv2.circle(canvas, centre, 5, (255, 255, 255), 1, cv2.LINE_AA)
    draw_text(canvas, title, (4, 4), size=14)
    return canvas


def _peaks(map_HW: NDArray[np.float32], threshold: float) -> list[tuple[int, int]]:
    """Column and row of the highest local maxima that reach the threshold."""
    is_peak = (map_HW == cv2.dilate(map_HW, np.ones((3, 3), np.uint8))) & (map_HW >= max(threshold, 1e-3))
    rows, columns = np.nonzero(is_peak)
    order = np.argsort(-map_HW[rows, columns], kind="stable")[:MOST_RINGS]
    return list(zip(columns[order].tolist(), rows[order].tolist(), strict=True))
