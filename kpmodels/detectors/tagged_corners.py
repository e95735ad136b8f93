"""Corners that are grouped by an embedding, the tag: what CornerNet introduced and CenterNet took over.

Suffixes: B rows, N objects (padded), H and W of the map, C channels, K points.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kpmodels.config import CenterNetOptions, CornerNetOptions
from kpmodels.decoding.corner_pairs import Boxes, pair_corners
from kpmodels.decoding.keypoint_peaks import gather_at
from kpmodels.detectors import corner_parts as parts
from kpmodels.losses.embedding import PullPush, pull_push
from kpmodels.structures import Batch
from kpmodels.targets.corners import PointTargets

TaggedOptions = CornerNetOptions | CenterNetOptions


def tagged_terms(
    options: TaggedOptions,
    outputs: dict[str, Tensor],
    targets: Sequence[PointTargets],
    present_BN: Tensor,
    boxes_BN4: Tensor,
    batch: Batch,
) -> dict[str, Tensor]:
    """``heatmap``, ``offset``, ``pull`` and ``push`` of one stage (CornerNet, equation 6; CenterNet, equation 2).

    Args:
        targets: Of the top left corners, the bottom right ones, and what other points there are.
    """
    offsets = [own.offsets_BN2 for own in targets]
    pull, push = pull_and_push(outputs["tags"], targets[0], targets[1], present_BN)
    return {
        "heatmap": options.focal_weight * parts.focal_losses(outputs["heatmaps"], targets, boxes_BN4, batch),
        "offset": options.offset_weight * parts.vector_losses(outputs["offsets"], targets, offsets, present_BN),
        "pull": options.pull_weight * pull,
        "push": options.push_weight * push,
    }


def pull_and_push(
    tags_B2HW: Tensor, top_left: PointTargets, bottom_right: PointTargets, present_BN: Tensor
) -> PullPush:
    """Both losses of the embeddings of the corners, means over the rows."""
    first = gather_at(tags_B2HW[:, :1], top_left.cells_BN)[..., 0]
    second = gather_at(tags_B2HW[:, 1:], bottom_right.cells_BN)[..., 0]
    pull_B, push_B = pull_push(first, second, present_BN)
    return PullPush(pull_B.mean(), push_B.mean())


def tagged_pairs(options: TaggedOptions, maps: dict[str, Tensor], kinds: int) -> Boxes:
    """The pairs of corners of one view, in map cells; the maps hold so many ``kinds`` of points, the corners first."""
    tags = maps["tags"].split(1, dim=1)
    (top_left, top_left_xy), (bottom_right, bottom_right_xy) = parts.read_corners(maps, kinds, options.top_points)
    return pair_corners(
        top_left,
        bottom_right,
        top_left_xy,
        bottom_right_xy,
        gather_at(tags[0], top_left.cells_BK)[..., 0],
        gather_at(tags[1], bottom_right.cells_BK)[..., 0],
        options.tag_distance,
        parts.CANDIDATES,
    )
