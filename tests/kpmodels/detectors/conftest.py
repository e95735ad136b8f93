"""Small pictures whose points are discs, or whose boxes are rectangles, of a colour of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from kpmodels.structures import Batch, DatasetInfo, Skeleton

torch.set_num_threads(1)
COLOURS = np.array([[230, 40, 40], [40, 230, 40], [60, 60, 240], [230, 230, 40]], np.uint8)


def draw_discs(size: int, points_M2: np.ndarray, colours_M: np.ndarray, radius: float = 4.0) -> np.ndarray:
    """A dark picture ``[size, size, 3]`` with a disc on each point (x, y)."""
    image = np.full((size, size, 3), 30, np.uint8)
    y, x = np.mgrid[:size, :size]
    for point, colour in zip(points_M2, colours_M, strict=True):
        image[np.hypot(x - point[0], y - point[1]) <= radius] = COLOURS[colour % len(COLOURS)]
    return image


def disc_batch(points: list[np.ndarray], size: int, scale: float = 1.0) -> Batch:
    """One row per array of points ``[N, K, 2]``; original pixels are ``scale`` times input pixels, plus (10, 20)."""
    B, N, K = len(points), max(1, *(len(p) for p in points)), points[0].shape[1]
    keypoints, present = np.zeros((B, N, K, 3), np.float32), np.zeros((B, N), bool)
    boxes = np.zeros((B, N, 4), np.float32)
    images = np.empty((B, size, size, 3), np.uint8)
    for row, own in enumerate(points):
        keypoints[row, : len(own), :, :2], keypoints[row, : len(own), :, 2] = own, 2
        present[row, : len(own)] = True
        boxes[row, : len(own)] = np.concatenate([own.min(1) - 4, own.max(1) + 4], axis=1)
        images[row] = draw_discs(size, own.reshape(-1, 2), np.tile(np.arange(K), len(own)))
    affine = torch.tensor([[scale, 0, 10], [0, scale, 20]]).expand(B, 2, 3)
    return Batch(
        images_B3HW=torch.from_numpy(images).permute(0, 3, 1, 2),
        keypoints_BNK3=torch.from_numpy(keypoints),
        boxes_BN4=torch.from_numpy(boxes),
        labels_BN=torch.zeros(B, N, dtype=torch.long),
        areas_BN=torch.from_numpy((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])),
        crowd_BN=torch.zeros(B, N, dtype=torch.bool),
        present_BN=torch.from_numpy(present),
        to_original_B23=affine.contiguous(),
        image_ids=[f"image-{row}" for row in range(B)],
        instance_ids=[""] * B,
        sizes=[(size, size)] * B,
    )


def box_batch(boxes: list[np.ndarray], labels: list[list[int]], size: int, scale: float = 1.0) -> Batch:
    """One row per array of boxes ``[N, 4]``: rectangles in the colour of their category, the last ones on top."""
    B, N = len(boxes), max(1, *(len(own) for own in boxes))
    padded, named, present = np.zeros((B, N, 4), np.float32), np.zeros((B, N), np.int64), np.zeros((B, N), bool)
    images = np.full((B, size, size, 3), 30, np.uint8)
    for row, own in enumerate(boxes):
        padded[row, : len(own)], named[row, : len(own)], present[row, : len(own)] = own, labels[row], True
        for (x1, y1, x2, y2), label in zip(own, labels[row], strict=True):
            images[row, round(y1 + 0.5) : round(y2 + 0.5), round(x1 + 0.5) : round(x2 + 0.5)] = COLOURS[label]
    affine = torch.tensor([[scale, 0, 10], [0, scale, 20]]).expand(B, 2, 3)
    return Batch(
        images_B3HW=torch.from_numpy(images).permute(0, 3, 1, 2),
        keypoints_BNK3=torch.zeros(B, N, 0, 3),
        boxes_BN4=torch.from_numpy(padded),
        labels_BN=torch.from_numpy(named),
        areas_BN=torch.from_numpy((padded[..., 2] - padded[..., 0]) * (padded[..., 3] - padded[..., 1])),
        crowd_BN=torch.zeros(B, N, dtype=torch.bool),
        present_BN=torch.from_numpy(present),
        to_original_B23=affine.contiguous(),
        image_ids=[f"image-{row}" for row in range(B)],
        instance_ids=[""] * B,
        sizes=[(round(size * scale) + 10, round(size * scale) + 20)] * B,
    )


@pytest.fixture
def make_box_batch() -> Callable[..., Batch]:
    return box_batch


@pytest.fixture
def boxes_info() -> DatasetInfo:
    return DatasetInfo("rectangles", "boxes", ("red", "green"), Skeleton(()))


@pytest.fixture
def make_disc_batch() -> Callable[..., Batch]:
    return disc_batch


@pytest.fixture
def pose_info() -> DatasetInfo:
    skeleton = Skeleton(("left", "right", "tail"), flip_pairs=((0, 1),))
    return DatasetInfo("discs", "pose", ("thing",), skeleton, single_instance=True)


@pytest.fixture
def points_info() -> DatasetInfo:
    return DatasetInfo("dots", "points", ("dot",), Skeleton(("point",)))


@pytest.fixture
def pose_points() -> list[np.ndarray]:
    """Two rows with one instance of three keypoints each, for 64 pixels."""
    first = np.array([[[12.3, 14.7], [48.6, 20.2], [30.4, 50.1]]])
    second = np.array([[[50.0, 44.5], [14.2, 40.7], [33.3, 12.9]]])
    return [first, second]
