"""A contact sheet: some images of a data set with their labels, as one picture."""

from __future__ import annotations

import math
import random
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kpmodels.data.decode import decode_image
from kpmodels.data.drawing import Style, draw_instances, draw_text, legend
from kpmodels.data.store import DatasetStore
from kpmodels.errors import UserError
from kpmodels.structures import Instances

TILE = 320
_COLOURS = {"train": (150, 200, 255), "val": (255, 210, 120), "test": (255, 140, 140)}


def contact_sheet(
    store: DatasetStore,
    out: Path | str,
    count: int = 24,
    seed: int = 0,
    split: str | None = None,
    columns: int = 0,
) -> Path:
    """Draw ``count`` images, chosen by the seed, with keypoints, limbs, boxes, their split and a legend of names.

    Args:
        store: The data set.
        out: Where the sheet goes: a PNG, or a JPEG by its suffix; written whole or not at all.
        count, seed: How many images, and which.
        split: train, val, test; None or all for all.
        columns: 0: about as many as rows.

    Returns:
        The path written.

    Raises:
        UserError: When the split has no image.
    """
    ids = store.split(split or "all")
    if not ids:
        raise UserError(f"{store.info.name}: no image in split {split}", "take another split")
    chosen = sorted(random.Random(seed).sample(ids, min(count, len(ids))))
    columns = columns or math.ceil(math.sqrt(len(chosen)))
    tiles = {one: draw_tile(store, one, data) for one, data in store.stream(chosen)}
    rows = -(-len(chosen) // columns)
    sheet = np.full((rows * TILE, columns * TILE, 3), 16, np.uint8)
    for number, one in enumerate(chosen):
        y, x = (number // columns) * TILE, (number % columns) * TILE
        sheet[y : y + TILE, x : x + TILE] = tiles[one]
    sheet = np.concatenate([sheet, legend(store.info, sheet.shape[1])])
    return write_picture(sheet, Path(out))


def draw_tile(store: DatasetStore, image_id: str, data: bytes) -> NDArray[np.uint8]:
    """One image of the sheet, ``[TILE, TILE, 3]``: scaled to fit, with its labels, name and split."""
    record, truth = store.record(image_id), store.instances(image_id)
    scale = min((TILE - 4) / record.width, (TILE - 4) / record.height)
    shrink = int(1 / scale) if scale < 1 else 1
    pixels = decode_image(data, record.width // shrink, record.height // shrink)
    if scale > 4:
        scale = 4.0
    # a JPEG may have come smaller: draw on what came, with coordinates to match
    ratio = pixels.shape[1] / record.width
    drawn = draw_instances(
        pixels,
        _scaled(truth, ratio),
        store.info,
        Style(scale=scale / ratio, radius=3, boxes=store.info.task != "points"),
    )
    tile = np.full((TILE, TILE, 3), 16, np.uint8)
    drawn = drawn[:TILE, :TILE]
    tile[: drawn.shape[0], : drawn.shape[1]] = drawn
    draw_text(tile, f"{record.split}", (0, 0), 12, _COLOURS[record.split])
    below = min(drawn.shape[0], TILE - 16)  # right under its image: nearer to that than to the next one
    draw_text(tile, f"{record.file_name[-34:]}  n={len(truth)}", (0, below), 11)
    return tile


def _scaled(instances: Instances, ratio: float) -> Instances:
    """Instances in an image resized by ``ratio`` (pixel centres at integers)."""
    if ratio == 1:
        return instances
    keypoints = instances.keypoints.copy()
    keypoints[..., :2] = (keypoints[..., :2] + 0.5) * ratio - 0.5
    boxes = (instances.boxes + 0.5) * ratio - 0.5
    return Instances.make(keypoints, boxes, instances.labels, instances.scores, instances.areas * ratio**2)


def write_picture(image_HW3: NDArray[np.uint8], path: Path) -> Path:
    """Write an RGB image, whole or not at all: as JPEG where the name says so, else as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = ".jpg" if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
    done, data = cv2.imencode(kind, cv2.cvtColor(image_HW3, cv2.COLOR_RGB2BGR))
    assert done
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(bytes(data))
    temporary.replace(path)
    return path
