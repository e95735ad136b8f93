"""Rows: what a network sees of an image, as a map from the original image's pixels to the network's input.

A row shows a square region of the original image, given by its centre and its side, in an input of S x S pixels.
Pixel centres lie at integers, so an image of w x h pixels covers (-0.5, -0.5) to (w - 0.5, h - 0.5), its centre is
((w - 1) / 2, (h - 1) / 2), and the map is ``input = (S / side) * (original - centre) + (S - 1) / 2``: widths are
scaled, not distances of first and last pixel. What lies outside of the image is filled with ``PAD_VALUE``.

Suffixes: R rows, N boxes, 4 is x1, y1, x2, y2, 23 an affine map used as ``A @ (x, y, 1)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kpmodels.structures import Instances

Region = Literal["image", "box", "image+box", "tile"]

PAD_VALUE = 114
MIN_BOX_SIDE = 8.0


@dataclass(frozen=True)
class RowPlan:
    """How images become rows.

    Attributes:
        input_size: Side S of the square network input, in pixels.
        region: ``image``: the whole image, letterboxed; ``box``: one row per instance; ``image+box``: both (training
            mixes them, evaluation begins with ``image`` and refines with ``box``); ``tile``: the input slides over
            the image.
        padding: A box's region is the square of its longer side times this.
        tile_scale: Input pixels per original pixel of a tile.
    """

    input_size: int
    region: Region = "image"
    padding: float = 1.25
    tile_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.region not in get_args(Region):
            raise ValueError(f"region {self.region!r} is none of {get_args(Region)}")
        if self.input_size < 1 or self.padding <= 0 or self.tile_scale <= 0:
            raise ValueError(f"input_size, padding and tile_scale must be above 0: {self}")


@dataclass(frozen=True)
class Row:
    """One row of one image.

    Attributes:
        affine_23: float64, original pixels to input pixels.
        instance: Index of the box or instance that the row shows; -1 for a whole image or a tile.
        core_xyxy: Of a tile: the part of the plane, in original pixels, that belongs to it alone. Cores are half
            open (x1 <= x < x2), infinite at the image's border, and cover the plane without overlap.
    """

    affine_23: NDArray[np.float64]
    instance: int = -1
    core_xyxy: tuple[float, float, float, float] | None = None


def region_affines(centre_R2: Any, side_R: Any, size: int) -> NDArray[np.float64]:
    """The maps ``[R, 2, 3]`` from original pixels to an input of ``size`` that shows the given square regions."""
    centre_R2 = np.asarray(centre_R2, np.float64).reshape(-1, 2)
    scale_R = size / np.broadcast_to(np.asarray(side_R, np.float64), len(centre_R2))
    affines_R23 = np.zeros((len(centre_R2), 2, 3))
    affines_R23[:, 0, 0] = affines_R23[:, 1, 1] = scale_R
    affines_R23[:, :, 2] = (size - 1) / 2 - scale_R[:, None] * centre_R2
    return affines_R23


def box_regions(boxes_N4: Any, padding: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres ``[N, 2]`` and sides ``[N]`` of boxes' regions; boxes under 8 pixels are treated as 8 pixels."""
    boxes_N4 = np.asarray(boxes_N4, np.float64).reshape(-1, 4)
    longer_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).max(1, initial=0)
    return (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2, np.maximum(longer_N, MIN_BOX_SIDE) * padding


def image_regions(sizes_N2: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres ``[N, 2]`` and sides ``[N]`` of the squares that hold whole images of sizes (width, height)."""
    sizes_N2 = np.asarray(sizes_N2, np.float64).reshape(-1, 2)
    return (sizes_N2 - 1) / 2, sizes_N2.max(1, initial=1)


def labelled_rows(instances: Instances) -> NDArray[np.bool_]:
    """Which instances make a row of their own: no crowd, and at least one keypoint labelled (or none exist)."""
    if instances.keypoints.shape[1] == 0:
        return ~instances.crowd
    return ~instances.crowd & (instances.keypoints[..., 2] > 0).any(1)


def eval_rows(width: int, height: int, instances: Instances | Any | None, plan: RowPlan) -> list[Row]:
    """The rows that evaluation and prediction look at, without anything random.

    Args:
        width, height: Of the original image, in pixels.
        instances: For region ``box``: boxes ``[N, 4]``, each a row, or Instances, of which crowd and those without a
            labelled keypoint are left out. Not used otherwise.
        plan: ``image+box`` gives the rows of its first pass, the whole image; for the second call with region ``box``.

    Raises:
        ValueError: region ``box`` without boxes.
    """
    if plan.region == "tile":
        return tile_rows(width, height, plan)
    if plan.region != "box":
        affines_R23 = region_affines(*image_regions([(width, height)]), plan.input_size)
        return [Row(affines_R23[0])]
    if instances is None:
        raise ValueError("rows of boxes need boxes")
    if isinstance(instances, Instances):
        index_N, boxes = np.flatnonzero(labelled_rows(instances)), instances.boxes
    else:
        boxes = np.asarray(instances, np.float32).reshape(-1, 4)
        index_N = np.arange(len(boxes))
    affines_R23 = region_affines(*box_regions(boxes[index_N], plan.padding), plan.input_size)
    return [Row(affine_23, int(index)) for affine_23, index in zip(affines_R23, index_N, strict=True)]


def tile_rows(width: int, height: int, plan: RowPlan) -> list[Row]:
    """Tiles that cover the image with a quarter of overlap, row by row from the top left.

    The last tile of a row or column is shifted in. An image smaller than a tile is centred in one.
    Cores meet in the middle of what two neighbours share.
    """
    columns, rows = _spans(width, plan), _spans(height, plan)
    centres_R2 = [(x, y) for y, _, _ in rows for x, _, _ in columns]
    cores = [(x1, y1, x2, y2) for _, y1, y2 in rows for _, x1, x2 in columns]
    affines_R23 = region_affines(centres_R2, plan.input_size / plan.tile_scale, plan.input_size)
    return [Row(affine_23, -1, core) for affine_23, core in zip(affines_R23, cores, strict=True)]


def _spans(length: int, plan: RowPlan) -> list[tuple[float, float, float]]:
    """Centre, start and end of the core of each tile along one axis of ``length`` original pixels."""
    side = plan.input_size / plan.tile_scale
    if length <= side:
        return [((length - 1) / 2, -math.inf, math.inf)]
    stride = (plan.input_size - plan.input_size // 4) / plan.tile_scale
    count = 1 + math.ceil((length - side) / stride - 1e-9)
    starts = [min(index * stride, length - side) - 0.5 for index in range(count)]
    seams = [(after + before + side) / 2 for before, after in pairwise(starts)]
    edges = [-math.inf, *seams, math.inf]
    return [(start + side / 2, edges[i], edges[i + 1]) for i, start in enumerate(starts)]


def in_core(instances: Instances, row: Row) -> Instances:
    """The instances whose place (mean keypoint, or the box's centre where there are none) is in the row's core."""
    if row.core_xyxy is None or not len(instances):
        return instances
    x1, y1, x2, y2 = row.core_xyxy
    if instances.keypoints.shape[1]:
        x_N, y_N = instances.keypoints[..., :2].mean(1).T
    else:
        x_N, y_N = (instances.boxes[:, :2] + instances.boxes[:, 2:]).T / 2
    return instances.select((x1 <= x_N) & (x_N < x2) & (y1 <= y_N) & (y_N < y2))


def merge_rows(found: Iterable[Instances], rows: Iterable[Row], num_keypoints: int) -> Instances:
    """The instances of one image from those of its rows (in original pixels): tiles keep only what is in their core.

    The count of an image of several tiles is the sum of the tiles' counts, each scaled by the part of its instances
    that lie in its core (by 1 where it has none), so that what two tiles both see is counted once.
    """
    parts = []
    for instances, row in zip(found, rows, strict=True):
        kept = in_core(instances, row)
        if instances.count is not None and len(instances):
            kept.count = instances.count * len(kept) / len(instances)
        parts.append(kept)
    return Instances.concatenate(parts) if parts else Instances.empty(num_keypoints)


def invert(affines_R23: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse maps ``[R, 2, 3]``.

    Raises:
        numpy.linalg.LinAlgError: a map is singular.
    """
    inverse_R22 = np.linalg.inv(affines_R23[:, :, :2])
    return np.concatenate([inverse_R22, -inverse_R22 @ affines_R23[:, :, 2:]], axis=2)


def compose(second_R23: NDArray[np.float64], first_R23: NDArray[np.float64]) -> NDArray[np.float64]:
    """The maps that apply ``first`` and then ``second``, ``[R, 2, 3]``."""
    linear_R22 = second_R23[:, :, :2] @ first_R23[:, :, :2]
    shift_R21 = second_R23[:, :, :2] @ first_R23[:, :, 2:] + second_R23[:, :, 2:]
    return np.concatenate([linear_R22, shift_R21], axis=2)


def transform_points(affines_R23: NDArray[np.float64], points_RK2: Any) -> NDArray[np.float64]:
    """Points ``[R, K, 2]`` mapped by their row's affine."""
    points_RK2 = np.asarray(points_RK2, np.float64)
    return points_RK2 @ affines_R23[:, :, :2].transpose(0, 2, 1) + affines_R23[:, None, :, 2]
