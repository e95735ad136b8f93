"""Boxes as pairs of keypoints: the top left and the bottom right corner.

Law and Deng, "CornerNet: Detecting Objects as Paired Keypoints", ECCV 2018. Heatmaps say where corners of each category
are, offsets where in the cell, and embeddings which two belong together (section 3.1). Corner pooling looks along the two
edges that meet in a corner for evidence of it (section 3.4).

Suffixes: B rows, N objects (padded), L categories, H and W of the map, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kpmodels.config import CornerNetOptions, LossOptions
from kpmodels.decoding.corner_pairs import Boxes
from kpmodels.detectors import corner_parts as parts
from kpmodels.detectors.base import Detector
from kpmodels.detectors.extra_losses import ExtraLosses
from kpmodels.detectors.tagged_corners import tagged_pairs, tagged_terms
from kpmodels.necks.corner_modules import CornerPooling
from kpmodels.structures import Batch, DatasetInfo, Instances
from kpmodels.targets.corners import corner_targets


class CornerNetDetector(Detector):
    """Trunk, and for each of its stages (the stacks of an hourglass) the heads of both corners."""

    kind = "cornernet"
    finds_boxes = True

    def __init__(self, options: CornerNetOptions, losses: LossOptions, info: DatasetInfo, batch_size: int = 16) -> None:
        super().__init__(options, losses, info)
        categories = len(info.categories)
        self.net = parts.StagedNet(options, lambda channels, width: CornerHeads(channels, width, categories))
        self.stride = self.net.trunk.out_stride
        self.extra = ExtraLosses(losses, self.net.trunk.out_channels, 2 * categories, self.stride, batch_size)
        self.many = parts.ManyObjects(options)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        return self.net.trunk.pretrained_parameters()

    def row_plan(self, training: bool) -> dict[str, Any]:
        return {"input_size": self.options.input_size, "region": "image"}

    def test_sizes(self) -> list[int]:
        return parts.test_sizes(self.options, self.net.trunk)

    # ------------------------------------------------------------------------------------------------ network

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """``heatmaps`` ``[B, 2 L, H, W]`` (logits, top left corners first), ``tags`` ``[B, 2, H, W]``, ``offsets``
        ``[B, 4, H, W]`` (x, y of either corner); in training those of earlier stages too; ``embeddings`` for the
        contrastive loss."""
        outputs, features = self.net(images_B3HW)
        return outputs | self.extra.embed(features)

    def maps(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        outputs = self(images_B3HW)
        heatmaps = self.extra.mix_in(outputs["heatmaps"].float().sigmoid(), outputs)
        return {"heatmaps": heatmaps, "tags": outputs["tags"].float(), "offsets": outputs["offsets"].float()}

    def infer(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        return parts.two_views(self.maps, images_B3HW, self.options.flip_test)

    # ------------------------------------------------------------------------------------------------ training

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """``heatmap``, ``offset``, ``pull`` and ``push`` (equation 6), means over the stages, and what ``losses`` adds."""
        options, categories = self.options, len(self.info.categories)
        self.many.look(batch.present_BN.shape[1])
        size = outputs["heatmaps"].shape[2], outputs["heatmaps"].shape[3]
        boxes, valid = parts.boxes_in_map(batch, self.stride)
        targets = corner_targets(boxes, batch.labels_BN, valid, size, categories, options.gaussian_overlap)
        both, present = (targets.top_left, targets.bottom_right), targets.present_BN
        stages = [tagged_terms(options, stage, both, present, boxes, batch) for stage in parts.split_stages(outputs)]
        points = parts.points_of_boxes(boxes)
        keypoints = parts.keypoints_by_category(points - 0.5, batch.labels_BN, present, categories)
        return parts.mean_over_stages(stages) | parts.added_terms(self.extra, outputs, keypoints, self.stride)

    # ------------------------------------------------------------------------------------------------ prediction

    def decode(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        """The best boxes of each row, from the maps of ``infer``: those of both views, after soft-NMS (section 3.3)."""
        boxes = parts.suppress(self._boxes(outputs), self.options)
        return parts.boxes_as_instances(boxes, batch, self.stride, self.info.num_keypoints)

    def candidates(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        return parts.boxes_as_instances(self._boxes(outputs), batch, self.stride, self.info.num_keypoints)

    def _boxes(self, outputs: dict[str, Tensor]) -> Boxes:
        """The boxes of all views in map cells, before the suppression."""
        views = [tagged_pairs(self.options, view, 2) for view in parts.views_of(outputs)]
        return parts.joined_views(views, outputs["heatmaps"].shape[3])

    def suppress(self, found: Instances) -> Instances:
        return parts.suppress_instances(found, self.options)

    def pictures(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        top_left, bottom_right = outputs["heatmaps"].chunk(2, dim=1)
        return {"top left corners": top_left.amax(1), "bottom right corners": bottom_right.amax(1)}


class CornerHeads(nn.Module):
    """Corner pooling, and of each corner a heatmap, an embedding and an offset (section 3.4, figure 7)."""

    def __init__(self, channels: int, width: int, categories: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList([CornerPooling(channels, "top_left"), CornerPooling(channels, "bottom_right")])
        self.heatmaps = nn.ModuleList(parts.point_head(channels, width, categories, is_heatmap=True) for _ in range(2))
        self.tags = nn.ModuleList(parts.point_head(channels, width, 1) for _ in range(2))
        self.offsets = nn.ModuleList(parts.point_head(channels, width, 2) for _ in range(2))

    def forward(self, features_BCHW: Tensor) -> dict[str, Tensor]:
        pooled = [pool(features_BCHW) for pool in self.pools]
        kinds = {"heatmaps": self.heatmaps, "tags": self.tags, "offsets": self.offsets}
        return {
            name: torch.cat([head(maps) for head, maps in zip(heads, pooled, strict=True)], dim=1)
            for name, heads in kinds.items()
        }
