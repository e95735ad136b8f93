"""Where corners and centers of boxes lie in the output map, as targets (CornerNet and CenterNet).

Suffixes: B images, N objects (padded), L categories, H and W the size of the map, 2 is (x, y).
Boxes are in map cells, continuous: cell c covers [c, c + 1), so a box over the whole map is 0, 0, W, H.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kpmodels.targets.corner_gaussians import gaussian_maps
from kpmodels.targets.gaussian_radius import RadiusForm, cell_radius


class PointTargets(NamedTuple):
    """One kind of point: the top left corners, the bottom right ones or the centers."""

    heatmaps_BLHW: Tensor
    """Gaussians, exactly 1 in the cell of each object's point; of several the highest."""
    cells_BN: Tensor
    """``y * W + x`` of the cell of each object; 0 for those that are not there."""
    offsets_BN2: Tensor
    """From the cell's corner to the point, 0 to 1; 0 for those that are not there."""


class CornerTargets(NamedTuple):
    """The two corners of all objects."""

    top_left: PointTargets
    bottom_right: PointTargets
    present_BN: Tensor
    """bool: valid objects with an area inside the map."""


def corner_targets(
    boxes_BN4: Tensor,
    labels_BN: Tensor,
    valid_BN: Tensor,
    size: tuple[int, int],
    categories: int,
    overlap: float = 0.3,
    radius: RadiusForm = "exact",
    divisor: float = 6.0,
) -> CornerTargets:
    """Heatmaps, cells and offsets of both corners (CornerNet, Law and Deng, ECCV 2018, section 3.2 and eq. 2).

    All objects count; the published program takes 128 of an image.

    Args:
        boxes_BN4: x1, y1, x2, y2 in map cells; what lies outside the map is cut off.
        labels_BN: Categories from 0.
        valid_BN: Which rows are objects.
        size: (height, width) of the map.
        categories: L.
        overlap: A corner that is off by the radius leaves this intersection over union. CenterNet's program has 0.7.
        radius: ``unnormalised`` for the radii of CenterNet's program (see
            :func:`kpmodels.targets.gaussian_radius.gaussian_radius`).
        divisor: The Gaussians' standard deviation is (2 radius + 1) / ``divisor``.
    """
    boxes, present = clip_boxes(boxes_BN4, valid_BN, size)
    radii_BN = cell_radius(boxes[..., 3] - boxes[..., 1], boxes[..., 2] - boxes[..., 0], overlap, radius)
    corners_2BN2 = torch.stack([boxes[..., :2], boxes[..., 2:]])
    both = _point_targets(corners_2BN2, labels_BN, present, radii_BN, size, categories, divisor)
    top_left, bottom_right = (PointTargets(*values) for values in zip(*both, strict=True))
    return CornerTargets(top_left, bottom_right, present)


def center_targets(
    boxes_BN4: Tensor,
    labels_BN: Tensor,
    valid_BN: Tensor,
    size: tuple[int, int],
    categories: int,
    overlap: float = 0.3,
    radius: RadiusForm = "exact",
    divisor: float = 5.0,
) -> PointTargets:
    """Heatmaps, cells and offsets of the boxes' centers (CenterNet: Keypoint Triplets, Duan et al., ICCV 2019).

    Args: as for :func:`corner_targets`, whose ``present_BN`` holds here too. The paper does not state the Gaussians;
    as in its program they have the corners' radii and are a little wider.
    """
    boxes, present = clip_boxes(boxes_BN4, valid_BN, size)
    radii_BN = cell_radius(boxes[..., 3] - boxes[..., 1], boxes[..., 2] - boxes[..., 0], overlap, radius)
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    (targets,) = zip(
        *_point_targets(centers[None], labels_BN, present, radii_BN, size, categories, divisor), strict=True
    )
    return PointTargets(*targets)


def clip_boxes(boxes_BN4: Tensor, valid_BN: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The parts of the boxes inside the map, and which of them are objects: valid ones with an area there.

    Rows that are no objects become zeros. The boxes are float32, or float64 if they were.
    """
    boxes = boxes_BN4 if boxes_BN4.dtype == torch.float64 else boxes_BN4.float()
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    present = valid_BN & (boxes[..., 2:] > boxes[..., :2]).all(-1)
    return torch.where(present[..., None], boxes, 0), present


def containing_cells(points_x2: Tensor, size: tuple[int, int]) -> Tensor:
    """Column and row, int64, of the cell that holds each point; the map's far edges belong to its last cells."""
    height, width = size
    return torch.minimum(points_x2.long(), torch.tensor([width - 1, height - 1], device=points_x2.device))


def _point_targets(
    points_TBN2: Tensor,
    labels_BN: Tensor,
    present_BN: Tensor,
    radii_BN: Tensor,
    size: tuple[int, int],
    categories: int,
    divisor: float,
) -> PointTargets:
    """Targets with one more dimension in front, of T kinds of points of the same objects."""
    (T, B, _, _), (H, W) = points_TBN2.shape, size
    cells_TBN2 = containing_cells(points_TBN2, size)
    image, row = present_BN.nonzero(as_tuple=True)
    maps_P = image * categories + labels_BN[image, row].long()
    maps_TP = torch.arange(T, device=maps_P.device)[:, None] * (B * categories) + maps_P
    cells, radii_P = cells_TBN2[:, image, row].flatten(0, 1), radii_BN[image, row].repeat(T)
    drawn = gaussian_maps(cells, maps_TP.flatten(), radii_P, (T * B * categories, H, W), divisor)
    offsets = torch.where(present_BN[..., None], points_TBN2 - cells_TBN2, 0).float()
    places_TBN = cells_TBN2[..., 1] * W + cells_TBN2[..., 0]
    return PointTargets(drawn.view(T, B, categories, H, W), places_TBN, offsets)
