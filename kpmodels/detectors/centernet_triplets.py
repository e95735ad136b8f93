"""Boxes as triplets of keypoints: a pair of corners, checked by the center.

Duan et al., "CenterNet: Keypoint Triplets for Object Detection", ICCV 2019. CornerNet's pairs are often wrong, since
corners do not see inside of the box; a pair stays when a center keypoint of its category lies in its central region
(section 3.2). Center pooling and cascade corner pooling let each keypoint see what it needs of the object (section 3.3).

Suffixes: B rows, N objects (padded), L categories, H and W of the map, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kpmodels.config import CenterNetOptions, LossOptions
from kpmodels.decoding.corner_pairs import Boxes
from kpmodels.decoding.triplets import verify_with_centers
from kpmodels.detectors import corner_parts as parts
from kpmodels.detectors.base import Detector
from kpmodels.detectors.extra_losses import ExtraLosses
from kpmodels.detectors.tagged_corners import tagged_pairs, tagged_terms
from kpmodels.necks.corner_modules import CascadeCornerPooling, CenterPooling
from kpmodels.structures import Batch, DatasetInfo, Instances
from kpmodels.targets.corners import center_targets, corner_targets


class CenterNetDetector(Detector):
    """Trunk, and for each of its stages (the stacks of an hourglass) the heads of corners and centers."""

    kind = "centernet-triplets"
    finds_boxes = True

    def __init__(self, options: CenterNetOptions, losses: LossOptions, info: DatasetInfo, batch_size: int = 16) -> None:
        super().__init__(options, losses, info)
        categories = len(info.categories)
        self.net = parts.StagedNet(options, lambda channels, width: TripletHeads(channels, width, categories))
        self.stride = self.net.trunk.out_stride
        self.extra = ExtraLosses(losses, self.net.trunk.out_channels, 3 * categories, self.stride, batch_size)
        self.many = parts.ManyObjects(options)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        return self.net.trunk.pretrained_parameters()

    def row_plan(self, training: bool) -> dict[str, Any]:
        return {"input_size": self.options.input_size, "region": "image"}

    def test_sizes(self) -> list[int]:
        return parts.test_sizes(self.options, self.net.trunk)

    # ------------------------------------------------------------------------------------------------ network

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """``heatmaps`` ``[B, 3 L, H, W]`` (logits of top left corners, bottom right ones, centers), ``tags``
        ``[B, 2, H, W]`` of the corners, ``offsets`` ``[B, 6, H, W]``; in training those of earlier stages too;
        ``embeddings`` for the contrastive loss."""
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
        """``heatmap``, ``offset``, ``pull`` and ``push`` (equation 2), means over the stages, and what ``losses`` adds."""
        options, categories = self.options, len(self.info.categories)
        self.many.look(batch.present_BN.shape[1])
        size = outputs["heatmaps"].shape[2], outputs["heatmaps"].shape[3]
        boxes, valid = parts.boxes_in_map(batch, self.stride)
        labels, overlap = batch.labels_BN, options.gaussian_overlap
        corners = corner_targets(boxes, labels, valid, size, categories, overlap)
        centers = center_targets(boxes, labels, valid, size, categories, overlap)
        targets, present = (corners.top_left, corners.bottom_right, centers), corners.present_BN
        stages = [tagged_terms(options, stage, targets, present, boxes, batch) for stage in parts.split_stages(outputs)]
        points = parts.points_of_boxes(boxes, with_center=True)
        keypoints = parts.keypoints_by_category(points - 0.5, labels, present, categories)
        return parts.mean_over_stages(stages) | parts.added_terms(self.extra, outputs, keypoints, self.stride)

    # ------------------------------------------------------------------------------------------------ prediction

    def decode(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        """The best boxes of each row, from the maps of ``infer``: those of both views, after soft-NMS (section 4.2)."""
        boxes = parts.suppress(self._boxes(outputs, batch), self.options)
        return parts.boxes_as_instances(boxes, batch, self.stride, self.info.num_keypoints)

    def candidates(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        boxes = self._boxes(outputs, batch)
        return parts.boxes_as_instances(boxes, batch, self.stride, self.info.num_keypoints)

    def _boxes(self, outputs: dict[str, Tensor], batch: Batch) -> Boxes:
        """The boxes of all views that a center of any view confirms, in map cells, before the suppression."""
        width, options = outputs["heatmaps"].shape[3], self.options
        views = parts.views_of(outputs)
        pairs = parts.joined_views([tagged_pairs(options, view, 3) for view in views], width)
        return verify_with_centers(
            pairs,
            *self._centers(views, width),
            scale_B=self.stride * torch.linalg.det(batch.to_original_B23[:, :, :2]).abs().sqrt(),
            small_side=options.small_side,
            n_small=options.parts_small,
            n_large=options.parts_large,
        )

    def _centers(self, views: list[dict[str, Tensor]], width: int) -> tuple[Tensor, Tensor, Tensor]:
        """The centers of all views: x, y in map cells, scores and categories."""
        found = []
        for number, maps in enumerate(views):
            heatmaps, offsets = maps["heatmaps"].chunk(3, dim=1)[2], maps["offsets"].chunk(3, dim=1)[2]
            points, xy = parts.read_points(heatmaps, offsets, self.options.top_points)
            if number:
                xy = torch.stack([width - xy[..., 0], xy[..., 1]], dim=-1)
            found.append((xy, points.scores_BK, points.labels_BK))
        xy, scores, labels = (torch.cat(values, dim=1) for values in zip(*found, strict=True))
        return xy, scores, labels

    def suppress(self, found: Instances) -> Instances:
        return parts.suppress_instances(found, self.options)

    def pictures(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        top_left, bottom_right, centers = (maps.amax(1) for maps in outputs["heatmaps"].chunk(3, dim=1))
        return {"top left corners": top_left, "bottom right corners": bottom_right, "centers": centers}


class TripletHeads(nn.Module):
    """Cascade corner pooling and center pooling, and of each kind of keypoint its heads (section 3.3, figure 3)."""

    def __init__(self, channels: int, width: int, categories: int) -> None:
        super().__init__()
        corners = [CascadeCornerPooling(channels, "top_left"), CascadeCornerPooling(channels, "bottom_right")]
        self.pools = nn.ModuleList([*corners, CenterPooling(channels)])
        self.heatmaps = nn.ModuleList(parts.point_head(channels, width, categories, is_heatmap=True) for _ in range(3))
        self.tags = nn.ModuleList(parts.point_head(channels, width, 1) for _ in range(2))
        self.offsets = nn.ModuleList(parts.point_head(channels, width, 2) for _ in range(3))

    def forward(self, features_BCHW: Tensor) -> dict[str, Tensor]:
        pooled = [pool(features_BCHW) for pool in self.pools]
        kinds = {"heatmaps": self.heatmaps, "tags": self.tags, "offsets": self.offsets}
        return {
            name: torch.cat([head(maps) for head, maps in zip(heads, pooled, strict=False)], dim=1)
            for name, heads in kinds.items()
        }
