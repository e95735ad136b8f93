"""From whole images to instances: rows, batches, the two passes of ``image+box``, and the merging of tiles.

The one way that evaluation and prediction share. Of ``kpmodels.data`` it knows how an image becomes rows, nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kpmodels.data.collate import make_batch
from kpmodels.data.rows import Row, RowPlan, eval_rows, merge_rows
from kpmodels.detectors.base import Detector
from kpmodels.detectors.heatmap import CONFIDENT
from kpmodels.structures import Instances, hull_boxes

Image = NDArray[np.uint8]


def predict_images(
    detector: Detector, images: Sequence[Image], boxes: Sequence[Any] | None = None, batch_size: int = 16
) -> list[Instances]:
    """What a detector finds in each image, in pixels of the image.

    Args:
        detector: On any device; it is in evaluation mode while this runs.
        images: RGB uint8 ``[H, W, 3]``, of any sizes.
        boxes: Per image, boxes ``[N, 4]`` to look into, or Instances, whose crowd and unlabelled rows are left out. They
            are for region ``box`` alone; detectors that find their instances themselves do not look at them.
        batch_size: Rows per forward pass.

    Returns:
        Per image its Instances; for region ``box`` one per box looked into, in their order, with that box.

    Raises:
        ValueError: region ``box`` without boxes.
    """
    plan = RowPlan(**detector.row_plan(training=False))
    if plan.region == "box":
        if boxes is None:
            raise ValueError("this detector looks into boxes, and none are given")
        return predict_boxes(detector, images, boxes, batch_size)
    sizes = detector.test_sizes()
    if len(sizes) > 1:
        scales = [_predict_whole(detector, images, replace(plan, input_size=size), batch_size, True) for size in sizes]
        return [detector.suppress(Instances.concatenate(list(found))) for found in zip(*scales, strict=True)]
    merged = _predict_whole(detector, images, replace(plan, input_size=sizes[0]), batch_size)
    return _refine(detector, images, merged, batch_size) if plan.region == "image+box" else merged


def _predict_whole(
    detector: Detector, images: Sequence[Image], plan: RowPlan, batch_size: int, candidates: bool = False
) -> list[Instances]:
    """What the rows of each image hold, put together."""
    rows = [eval_rows(image.shape[1], image.shape[0], None, plan) for image in images]
    found = _predict_rows(detector, images, rows, plan, batch_size, candidates)
    K = detector.info.num_keypoints
    return [merge_rows(parts, own, K) for parts, own in zip(found, rows, strict=True)]


def predict_boxes(
    detector: Detector, images: Sequence[Image], boxes: Sequence[Any], batch_size: int = 16
) -> list[Instances]:
    """One instance per box, in the order of the boxes; see :func:`predict_images`."""
    plan = RowPlan(**{**detector.row_plan(training=False), "region": "box"})
    rows = [eval_rows(im.shape[1], im.shape[0], own, plan) for im, own in zip(images, boxes, strict=True)]
    found = _predict_rows(detector, images, rows, plan, batch_size)
    results = []
    for parts, own, given in zip(found, rows, boxes, strict=True):
        merged = merge_rows(parts, own, detector.info.num_keypoints)
        all_boxes = given.boxes if isinstance(given, Instances) else np.asarray(given, np.float32).reshape(-1, 4)
        merged.boxes = all_boxes[[row.instance for row in own]].astype(np.float32)
        sides = np.maximum(merged.boxes[:, 2:] - merged.boxes[:, :2], 0)
        merged.areas = sides[:, 0] * sides[:, 1]
        results.append(merged)
    return results


def _refine(detector: Detector, images: Sequence[Image], found: list[Instances], batch_size: int) -> list[Instances]:
    """The second pass: look again into the hull of the keypoints found with confidence.

    An image with fewer than two such keypoints keeps what the first pass found, as one whose second pass is worse.
    """
    hulls = [_confident_hull(one) for one in found]
    again = [index for index, hull in enumerate(hulls) if len(hull)]
    second = predict_boxes(detector, [images[i] for i in again], [hulls[i] for i in again], batch_size)
    result = list(found)
    for index, one in zip(again, second, strict=True):
        if one.scores[0] < CONFIDENT:
            continue
        hull = _confident_hull(one)
        result[index] = Instances.make(one.keypoints, boxes=hull if len(hull) else one.boxes, scores=one.scores)
    return result


def _confident_hull(found: Instances) -> NDArray[np.float32]:
    """The hull ``[1, 4]`` of an image's one instance; ``[0, 4]`` if fewer than two keypoints are sure."""
    keypoints = found.keypoints[:1].copy()
    keypoints[keypoints[..., 2] <= CONFIDENT] = 0
    sure = int((keypoints[..., 2] > 0).sum())
    return hull_boxes(keypoints) if sure >= 2 else np.zeros((0, 4), np.float32)


@torch.no_grad()
def _predict_rows(
    detector: Detector,
    images: Sequence[Image],
    rows: Sequence[Sequence[Row]],
    plan: RowPlan,
    batch_size: int,
    candidates: bool = False,
) -> list[list[Instances]]:
    """What each row of each image holds, or the candidates for it; rows of different images share batches."""
    decode = detector.candidates if candidates else detector.decode
    flat = [(index, row) for index, own in enumerate(rows) for row in own]
    device = next(detector.parameters()).device
    was_training = detector.training
    detector.eval()
    found: list[list[Instances]] = [[] for _ in images]
    try:
        for start in range(0, len(flat), batch_size):
            part = flat[start : start + batch_size]
            batch = make_batch(
                [images[index] for index, _ in part],
                [row for _, row in part],
                plan,
                num_keypoints=detector.info.num_keypoints,
            ).to(device)
            outputs = detector.infer(batch.images_B3HW)
            for (index, _), one in zip(part, decode(outputs, batch), strict=True):
                found[index].append(one)
    finally:
        detector.train(was_training)
    return found
