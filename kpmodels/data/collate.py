"""From images and rows to a ``Batch``: one warp per row, and the labels of the whole batch moved at once.

Suffixes: R rows, M instances of all images or rows together (flat), N instances of a row (padded), K keypoints,
I images, 4 is x1, y1, x2, y2, 23 an affine map used as ``A @ (x, y, 1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from kpmodels.data.rows import PAD_VALUE, Row, RowPlan, invert, transform_points
from kpmodels.structures import Batch, Instances

REDUCTIONS = (8, 4, 2)
_CORNERS = np.array([[0, 1], [2, 1], [2, 3], [0, 3]])  # columns of x1, y1, x2, y2 that make the four corners


@dataclass(frozen=True)
class Truths:
    """The instances of many images in flat arrays; image i has the rows ``starts_I[i]`` to ``starts_I[i + 1]``."""

    keypoints_MK3: NDArray[np.float32]
    boxes_M4: NDArray[np.float32]
    labels_M: NDArray[np.int64]
    areas_M: NDArray[np.float32]
    crowd_M: NDArray[np.bool_]
    ids: list[str]
    starts_I: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[Instances], num_keypoints: int) -> Truths:
        joined = Instances.concatenate([Instances.empty(num_keypoints), *parts])
        starts_I = np.cumsum([0, *(len(part) for part in parts)])
        columns = (joined.keypoints, joined.boxes, joined.labels, joined.areas, joined.crowd)
        return cls(*columns, ids=joined.ids, starts_I=starts_I)

    def pick(self, images_R: Any, instances_R: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What rows hold: one instance of an image, or (instance -1) all. Returns (flat instance, row), both ``[M]``."""
        images_R, instances_R = np.asarray(images_R, np.int64), np.asarray(instances_R, np.int64)
        first_R = self.starts_I[images_R] + np.maximum(instances_R, 0)
        count_R = np.where(instances_R >= 0, 1, self.starts_I[images_R + 1] - self.starts_I[images_R])
        row_M = np.repeat(np.arange(len(images_R)), count_R)
        return np.repeat(first_R, count_R) + _position_in_row(row_M, count_R), row_M


def _position_in_row(row_M: NDArray[np.int64], count_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2 ... within each row, for entries sorted by row."""
    return np.arange(len(row_M)) - (np.cumsum(count_R) - count_R)[row_M]


@dataclass
class Moved:
    """Instances in input pixels, flat, and the row that each belongs to."""

    keypoints_MK3: NDArray[np.float64]
    boxes_M4: NDArray[np.float64]
    areas_M: NDArray[np.float64]
    source_M: NDArray[np.int64]
    row_M: NDArray[np.int64]


def move_truths(
    truths: Truths,
    picked: tuple[NDArray[np.int64], NDArray[np.int64]],
    affines_R23: NDArray[np.float64],
    size: int,
    mirror: tuple[NDArray[np.bool_], list[int]] | None = None,
    keep_all_R: NDArray[np.bool_] | None = None,
) -> Moved:
    """Instances in input pixels, without those that the input does not show.

    A keypoint outside of the input (beyond -0.5 or size - 0.5) gets visibility 0; keypoints of visibility 0 are set
    to (0, 0). A box becomes the hull of its moved corners, clipped to the input. An area is scaled, not clipped.
    An instance stays when a labelled keypoint of it is inside, or when it has none labelled and its box keeps at
    least one pixel to each side.

    Args:
        picked: From ``Truths.pick``.
        mirror: ``[R]`` which rows are mirrored, and the skeleton's ``flip_index``.
        keep_all_R: Rows whose instances stay in any case (rows of one instance).
    """
    source_M, row_M = picked
    keypoints_MK3 = truths.keypoints_MK3[source_M].astype(np.float64)
    if mirror is not None:
        mirrored_M = mirror[0][row_M]
        keypoints_MK3[mirrored_M] = keypoints_MK3[mirrored_M][:, mirror[1]]
    labelled_M = (keypoints_MK3[..., 2] > 0).any(1)
    xy_MK2 = transform_points(affines_R23[row_M], keypoints_MK3[..., :2])
    inside_MK = ((xy_MK2 >= -0.5) & (xy_MK2 <= size - 0.5)).all(2)
    seen_MK = inside_MK & (keypoints_MK3[..., 2] > 0)
    keypoints_MK3[..., :2] = xy_MK2
    keypoints_MK3[~seen_MK] = 0
    corners_M42 = transform_points(affines_R23[row_M], truths.boxes_M4[source_M][:, _CORNERS])
    boxes_M4 = np.concatenate([corners_M42.min(1), corners_M42.max(1)], axis=1).clip(-0.5, size - 0.5)
    areas_M = truths.areas_M[source_M] * np.abs(np.linalg.det(affines_R23[:, :, :2]))[row_M]
    box_shown_M = (boxes_M4[:, 2:] - boxes_M4[:, :2] >= 1).all(1)
    keep_M = np.where(labelled_M, seen_MK.any(1), box_shown_M)
    if keep_all_R is not None:
        keep_M |= keep_all_R[row_M]
    return Moved(keypoints_MK3[keep_M], boxes_M4[keep_M], areas_M[keep_M], source_M[keep_M], row_M[keep_M])


def collate(
    images_RHW3: NDArray[np.uint8],
    affines_R23: NDArray[np.float64],
    truths: Truths,
    moved: Moved,
    image_ids: list[str],
    instance_ids: list[str],
    sizes: list[tuple[int, int]],
) -> Batch:
    """The batch of warped rows and moved instances, padded to the most instances of a row (at least one)."""
    rows = len(images_RHW3)
    count_R = np.bincount(moved.row_M, minlength=rows)
    place = (moved.row_M, _position_in_row(moved.row_M, count_R))
    shape = (rows, max(1, int(count_R.max(initial=0))))

    def padded(values_M: NDArray[Any], dtype: Any) -> torch.Tensor:
        result = np.zeros((*shape, *values_M.shape[1:]), dtype)
        result[place] = values_M
        return torch.from_numpy(result)

    return Batch(
        images_B3HW=torch.from_numpy(images_RHW3).permute(0, 3, 1, 2),
        keypoints_BNK3=padded(moved.keypoints_MK3, np.float32),
        boxes_BN4=padded(moved.boxes_M4, np.float32),
        labels_BN=padded(truths.labels_M[moved.source_M], np.int64),
        areas_BN=padded(moved.areas_M, np.float32),
        crowd_BN=padded(truths.crowd_M[moved.source_M], bool),
        present_BN=padded(np.ones(len(moved.row_M), bool), bool),
        to_original_B23=torch.from_numpy(invert(affines_R23).astype(np.float32)),
        image_ids=image_ids,
        instance_ids=instance_ids,
        sizes=sizes,
    )


def reduction(affine_23: NDArray[np.float64]) -> int:
    """By how much (1, 2, 4 or 8) an image may be reduced before a warp, so that the warp still does not enlarge it.

    A bilinear warp that reduces by more than two skips pixels; reducing before avoids that.
    """
    (a, b, _), (c, d, _) = affine_23.tolist()
    area = abs(a * d - b * c)  # input pixels per original pixel
    return next((factor for factor in REDUCTIONS if area * factor**2 <= 1), 1)


def reduce_image(image_HW3: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The image at 1/factor of its sides (rounded up), each pixel the mean of what it covers."""
    if factor == 1:
        return image_HW3
    height, width = image_HW3.shape[:2]
    side = (-(-width // factor), -(-height // factor))
    return np.asarray(cv2.resize(image_HW3, side, interpolation=cv2.INTER_AREA), np.uint8)


def warp(
    image_HW3: NDArray[np.uint8],
    scale_2: tuple[float, float],
    affine_23: NDArray[np.float64],
    out_SS3: NDArray[np.uint8],
) -> None:
    """Draw a row: the image moved by ``affine_23``, into ``out_SS3``; ``PAD_VALUE`` where there is no image.

    Args:
        image_HW3: RGB, the original image or a reduced one.
        scale_2: Pixels of ``image_HW3`` per original pixel, along x and y (1 for the original). Pixel centres:
            ``reduced = (original + 0.5) * scale - 0.5``.
        affine_23: Original pixels to input pixels.
    """
    enlarge_2 = 1 / np.asarray(scale_2)
    matrix_23 = affine_23 * np.array([*enlarge_2, 1])
    matrix_23[:, 2] += affine_23[:, :2] @ (enlarge_2 / 2 - 0.5)
    height, width = out_SS3.shape[:2]
    border = (PAD_VALUE,) * 3
    cv2.warpAffine(
        image_HW3, matrix_23, (width, height), dst=out_SS3, borderMode=cv2.BORDER_CONSTANT, borderValue=border
    )


def warp_rows(images: Sequence[NDArray[np.uint8]], rows: Sequence[Row], size: int) -> NDArray[np.uint8]:
    """The rows of original images, ``[R, S, S, 3]``; an image of several rows is reduced once per reduction."""
    out_RSS3 = np.empty((len(rows), size, size, 3), np.uint8)
    reduced: dict[tuple[int, int], NDArray[np.uint8]] = {}
    for image_HW3, row, out_SS3 in zip(images, rows, out_RSS3, strict=True):
        factor = reduction(row.affine_23)
        key = (id(image_HW3), factor)
        if key not in reduced:
            reduced[key] = reduce_image(image_HW3, factor)
        scale_2 = tuple(np.array(reduced[key].shape[1::-1]) / image_HW3.shape[1::-1])
        warp(reduced[key], scale_2, row.affine_23, out_SS3)
    return out_RSS3


def make_batch(
    images: Sequence[NDArray[np.uint8]],
    rows: Sequence[Row],
    plan: RowPlan,
    truths: Sequence[Instances] | None = None,
    image_ids: Sequence[str] | None = None,
    num_keypoints: int = 0,
) -> Batch:
    """The batch of rows of images in memory, without anything random: what evaluation and prediction look at.

    Args:
        images: RGB uint8 ``[H, W, 3]``, one per row; rows of the same image repeat it (the same object: it is not
            copied).
        rows: From ``eval_rows``.
        truths: The instances of each row's image, or None. A row of one instance holds that one.
        image_ids: One per row; empty strings when None.
        num_keypoints: K of the batch's (empty) keypoints when there are no truths.
    """
    if truths is not None and len(truths):
        num_keypoints = truths[0].keypoints.shape[1]
    flat = Truths.of(truths or [], num_keypoints)
    index_R = np.array([row.instance for row in rows], np.int64)
    affines_R23 = np.stack([row.affine_23 for row in rows]) if rows else np.zeros((0, 2, 3))
    picked = (np.zeros(0, np.int64),) * 2 if truths is None else flat.pick(np.arange(len(rows)), index_R)
    moved = move_truths(flat, picked, affines_R23, plan.input_size, keep_all_R=index_R >= 0)
    first_R = flat.starts_I[:-1] if truths is not None else np.zeros(len(rows), np.int64)
    return collate(
        warp_rows(images, rows, plan.input_size),
        affines_R23,
        flat,
        moved,
        image_ids=list(image_ids) if image_ids is not None else [""] * len(rows),
        instance_ids=[
            flat.ids[start + i] if i >= 0 and truths is not None else ""
            for start, i in zip(first_R, index_R, strict=True)
        ],
        sizes=[(image.shape[1], image.shape[0]) for image in images],
    )
