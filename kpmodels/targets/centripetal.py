"""The way from the corners of boxes to their centers, as targets (CentripetalNet, Dong et al., CVPR 2020).

Suffixes: B images, N objects (padded), 2 is (x, y). Units are cells of the output map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kpmodels.targets.corners import clip_boxes, containing_cells

SMALLEST = 0.01
"""Half sizes of boxes below so many cells count as this: their logarithm stays finite."""


class CentripetalTargets(NamedTuple):
    """What is to be predicted in the cells of the corners; 0 for objects that are not there."""

    guiding_top_left_BN2: Tensor
    guiding_bottom_right_BN2: Tensor
    centripetal_top_left_BN2: Tensor
    centripetal_bottom_right_BN2: Tensor
    present_BN: Tensor
    """bool, as in :class:`kpmodels.targets.corners.CornerTargets`."""


def centripetal_targets(boxes_BN4: Tensor, valid_BN: Tensor, size: tuple[int, int]) -> CentripetalTargets:
    """Guiding and centripetal shifts of both corners (sections 3.2 and 3.3).

    The guiding shift, which steers the deformable convolution, is the distance from the corner's cell to the center.
    The centripetal shift is the logarithm of the distance from the corner itself, so half the box's size. Both count
    towards the center: right and down from the top left corner, left and up from the bottom right one.

    Where two objects have a corner in one cell, each has its own row here. (The published program keeps one map, in
    which the later object overwrites the earlier.)

    Args: as for :func:`kpmodels.targets.corners.corner_targets`, which gives the cells.
    """
    boxes, present = clip_boxes(boxes_BN4, valid_BN, size)
    low, high = boxes[..., :2], boxes[..., 2:]
    centers = (low + high) / 2
    half = ((high - low) / 2).clamp(min=SMALLEST).log()
    shifts = (centers - containing_cells(low, size), containing_cells(high, size) - centers, half)
    to_middle, from_middle, log_half = (torch.where(present[..., None], shift, 0).float() for shift in shifts)
    return CentripetalTargets(to_middle, from_middle, log_half, log_half, present)
