"""What the detectors of corners share: heads, the way from labels to maps, and the last steps of decoding.

Suffixes: B rows, N objects (padded), L categories, D boxes of a row, H and W of the map, C channels, P kinds of points.
Points in the map are continuous: cell c covers [c, c + 1).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpmodels.config.boxes import CornerOptions
from kpmodels.decoding.corner_pairs import Boxes, concatenated, mirrored
from kpmodels.decoding.keypoint_peaks import Points, gather_at, positions, top_points
from kpmodels.decoding.soft_nms import soft_nms
from kpmodels.detectors.base import Normalize, to_original
from kpmodels.detectors.extra_losses import ExtraLosses
from kpmodels.losses.heatmap import heatmap_focal
from kpmodels.losses.offsets import offset_loss
from kpmodels.necks.trunk import Trunk, build_trunk
from kpmodels.structures import Batch, Instances
from kpmodels.targets.corners import PointTargets
from kpmodels.targets.crowds import ignore_crowds

CANDIDATES = 1000  # boxes of a view that go into the suppression (CornerNet, section 3.3)
LEAST_SCORE = 1e-3
MIRRORED = "mirrored_"
PRIOR = 0.1  # chance of a point in a cell before training, as in the papers
log = logging.getLogger(__name__)


def point_head(channels: int, width: int, outputs: int, is_heatmap: bool = False) -> nn.Sequential:
    """A 3x3 convolution with ReLU and a 1x1 convolution; a heatmap's bias starts at a chance of 0.1."""
    last = nn.Conv2d(width, outputs, 1)
    if is_heatmap:
        assert last.bias is not None
        nn.init.constant_(last.bias, math.log(PRIOR / (1 - PRIOR)))
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True), last)


# ---------------------------------------------------------------------------------------------------- stages


class StagedNet(nn.Module):
    """A trunk, and heads on each of its stages: one of a timm backbone, one per stack of an hourglass."""

    def __init__(self, options: CornerOptions, heads: Callable[[int, int], nn.Module]) -> None:
        """``heads(channels, width)`` makes the heads of one stage, from features to maps by name."""
        super().__init__()
        self.trunk = build_trunk(options.backbone, options.input_size)
        self.normalize = Normalize(self.trunk.mean, self.trunk.std)
        channels = self.trunk.out_channels
        width = options.head_channels or channels
        self.stages = nn.ModuleList(heads(channels, width) for _ in range(self.trunk.num_stages))

    def forward(self, images_B3HW: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The maps (in training those of all stages, joined by :func:`join_stages`), and the last feature map."""
        features = self.trunk(self.normalize(images_B3HW))
        used = slice(None) if self.training else slice(-1, None)
        heads = zip(self.stages[used], features.stages[used], strict=True)
        return join_stages([head(maps) for head, maps in heads]), features.map


def test_sizes(options: CornerOptions, trunk: Trunk) -> list[int]:
    """The input sizes of a multi-scale test, rounded to what the trunk can take."""
    step = max(32, trunk.bottleneck_stride)
    return [max(step, round(options.input_size * scale / step) * step) for scale in options.test_scales]


def join_stages(stages: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The outputs of all stages in one dictionary: the last under their names, earlier ones as ``name@stage``."""
    joined = dict(stages[-1])
    for number, outputs in enumerate(stages[:-1]):
        joined |= {f"{name}@{number}": value for name, value in outputs.items()}
    return joined


def split_stages(outputs: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """What :func:`join_stages` joined, the last stage last."""
    count = 1 + len({name.partition("@")[2] for name in outputs if "@" in name})
    stages: list[dict[str, Tensor]] = [{} for _ in range(count)]
    for name, value in outputs.items():
        plain, _, number = name.partition("@")
        stages[int(number) if number else -1][plain] = value
    return stages


def mean_over_stages(stages: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Each term's mean over the stages (the papers divide the sum by the number of stages)."""
    return {name: torch.stack([terms[name] for terms in stages]).mean() for name in stages[0]}


# ---------------------------------------------------------------------------------------------------- labels


def boxes_in_map(batch: Batch, stride: int) -> tuple[Tensor, Tensor]:
    """Boxes ``[B, N, 4]`` in map cells, and which of them are objects (no padding, no crowd)."""
    return (batch.boxes_BN4 + 0.5) / stride, batch.present_BN & ~batch.crowd_BN


def points_of_boxes(boxes_BN4: Tensor, with_center: bool = False) -> Tensor:
    """Top left, bottom right (and center) as ``[B, N, P, 2]``."""
    low, high = boxes_BN4[..., :2], boxes_BN4[..., 2:]
    return torch.stack([low, high, (low + high) / 2][: 3 if with_center else 2], dim=2)


def keypoints_by_category(points_BNP2: Tensor, labels_BN: Tensor, valid_BN: Tensor, categories: int) -> Tensor:
    """Points as keypoints ``[B, N, P * L, 3]``, as the added losses want them: each is visible in the map of its category.

    The maps are those of the first kind of point for all categories, then those of the next kind.
    """
    own_BNL = F.one_hot(labels_BN, categories) * valid_BN[..., None]
    visible = own_BNL[:, :, None].expand(-1, -1, points_BNP2.shape[2], -1)
    xy = points_BNP2[:, :, :, None].expand(-1, -1, -1, categories, -1)
    return torch.cat([xy, visible[..., None].to(xy.dtype)], dim=-1).flatten(2, 3)


def focal_losses(logits_BCHW: Tensor, targets: Sequence[PointTargets], boxes_BN4: Tensor, batch: Batch) -> Tensor:
    """The penalty-reduced focal losses of all kinds of points, added up; inside of crowds nothing is punished."""
    crowd_BN = batch.present_BN & batch.crowd_BN
    losses = []
    for logits, own in zip(logits_BCHW.chunk(len(targets), dim=1), targets, strict=True):
        wanted = ignore_crowds(own.heatmaps_BLHW, boxes_BN4, batch.labels_BN, crowd_BN)
        losses.append(heatmap_focal(logits, wanted, positive_from=1.0))
    return torch.stack(losses).sum()


def vector_losses(
    maps_BCHW: Tensor, targets: Sequence[PointTargets], wanted: Sequence[Tensor], present_BN: Tensor
) -> Tensor:
    """Smooth L1 of the vectors (x, y) of each kind of point, read in its cells: the sum over the kinds.

    Args:
        maps_BCHW: Two channels per kind.
        targets: Of each kind, for the cells.
        wanted: Of each kind ``[B, N, 2]``.
    """
    return torch.stack(
        [
            offset_loss(gather_at(maps, own.cells_BN), vectors, present_BN)
            for maps, own, vectors in zip(maps_BCHW.chunk(len(targets), dim=1), targets, wanted, strict=True)
        ]
    ).sum()


def added_terms(
    extra: ExtraLosses, outputs: dict[str, Tensor], keypoints_BNK3: Tensor, stride: int
) -> dict[str, Tensor]:
    """What the losses that any heatmap can carry add, for keypoints in map cells."""
    probabilities = outputs["heatmaps"].float().sigmoid()
    return extra.terms(outputs, probabilities, keypoints_BNK3, keypoints_BNK3[..., :2] * stride)


class ManyObjects:
    """Says once when images hold more objects than the detector gives; in training none is left out."""

    def __init__(self, options: CornerOptions) -> None:
        self.limit = min(options.top_points, options.max_boxes)
        self.told = False

    def look(self, objects: int) -> None:
        if objects > self.limit and not self.told:
            log.warning(
                "an image holds %d objects: all of them train, but at most %d boxes are found per image; raise "
                "detector.top_points and detector.max_boxes",
                objects,
                self.limit,
            )
            self.told = True


# ---------------------------------------------------------------------------------------------------- prediction


def two_views(maps: Callable[[Tensor], dict[str, Tensor]], images_B3HW: Tensor, flip_test: bool) -> dict[str, Tensor]:
    """The maps of the images and, as ``mirrored_...``, those of the mirrored images."""
    outputs = maps(images_B3HW)
    if flip_test:
        outputs |= {f"{MIRRORED}{name}": value for name, value in maps(images_B3HW.flip(-1)).items()}
    return outputs


def views_of(outputs: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The maps of each view, the mirrored one last."""
    plain = {name: value for name, value in outputs.items() if not name.startswith(MIRRORED)}
    other = {name.removeprefix(MIRRORED): value for name, value in outputs.items() if name.startswith(MIRRORED)}
    return [plain, other] if other else [plain]


def read_points(heatmaps_BLHW: Tensor, offsets_B2HW: Tensor, number: int) -> tuple[Points, Tensor]:
    """The highest points of one kind, and their places (x, y) in map cells."""
    points = top_points(heatmaps_BLHW, number)
    return points, positions(points.cells_BK, offsets_B2HW)


def read_corners(maps: dict[str, Tensor], kinds: int, number: int) -> list[tuple[Points, Tensor]]:
    """The highest top left corners and bottom right ones, the first two of the ``kinds`` of points in the maps."""
    heatmaps, offsets = maps["heatmaps"].chunk(kinds, dim=1), maps["offsets"].chunk(kinds, dim=1)
    return [read_points(heatmaps[kind], offsets[kind], number) for kind in range(2)]


def joined_views(views: Sequence[Boxes], width: int) -> Boxes:
    """The boxes of the plain view and, mirrored back, those of the other; ``width`` is that of the maps."""
    plain, *other = views
    return concatenated([plain, *(mirrored(boxes, width) for boxes in other)])


def boxes_as_instances(boxes: Boxes, batch: Batch, stride: int, num_keypoints: int) -> list[Instances]:
    """The boxes of each row in pixels of its original image, clipped to it; without those that are none."""
    B, D, _ = boxes.boxes_BD4.shape
    corners = boxes.boxes_BD4.float().view(B, 2 * D, 2) * stride - 0.5
    places = to_original(corners, batch.to_original_B23).view(B, D, 4).cpu().numpy()
    scores, labels = boxes.scores_BD.float().cpu().numpy(), boxes.labels_BD.cpu().numpy()
    found = []
    for row, size in enumerate(batch.sizes):
        clipped = places[row].clip(-0.5, np.tile(size, 2) - 0.5)
        kept = (scores[row] > 0) & (clipped[:, 2:] > clipped[:, :2]).all(1)
        keypoints = np.zeros((int(kept.sum()), num_keypoints, 3), np.float32)
        found.append(Instances.make(keypoints, boxes=clipped[kept], labels=labels[row][kept], scores=scores[row][kept]))
    return found


def suppress(boxes: Boxes, options: CornerOptions) -> Boxes:
    """The best boxes after (soft) non-maximum suppression within each category, of all rows at once."""
    return soft_nms(
        boxes,
        options.max_boxes,
        options.suppression,
        sigma=options.suppression_sigma,
        overlap=options.suppression_overlap,
        threshold=LEAST_SCORE,
    )


def suppress_instances(found: Instances, options: CornerOptions) -> Instances:
    """The same for the candidates of one image."""
    scores = torch.from_numpy(found.scores)[None]
    candidates = Boxes(
        torch.from_numpy(found.boxes)[None], scores, torch.from_numpy(found.labels)[None], scores, scores
    )
    kept = suppress(candidates, options)
    chosen = (kept.scores_BD[0] > 0).numpy()
    boxes, scores_D, labels = (values[0].numpy()[chosen] for values in kept[:3])
    keypoints = np.zeros((len(boxes), found.keypoints.shape[1], 3), np.float32)
    return Instances.make(keypoints, boxes=boxes, labels=labels, scores=scores_D)
