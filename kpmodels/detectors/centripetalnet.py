"""Boxes as pairs of corners that point to the same middle.

Dong et al., "CentripetalNet: Pursuing High-Quality Keypoint Pairs for Object Detection", CVPR 2020. Each corner predicts
the shift to the middle of its box, and corners whose middles agree are a pair (section 3.1). A cross-star deformable
convolution, steered by a coarse guiding shift, gathers what a corner has to know of its object (section 3.3).

The instance mask head of section 3.4 is no part of this system: data sets here hold boxes.

Suffixes: B rows, N objects (padded), L categories, H and W of the map, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kpmodels.config import CentripetalNetOptions, LossOptions
from kpmodels.decoding.centripetal import centers_of_corners, pair_by_centripetal_shift
from kpmodels.decoding.corner_pairs import Boxes
from kpmodels.decoding.keypoint_peaks import gather_at
from kpmodels.detectors import corner_parts as parts
from kpmodels.detectors.base import Detector
from kpmodels.detectors.extra_losses import ExtraLosses
from kpmodels.necks.corner_modules import CornerPooling
from kpmodels.necks.cross_star import CrossStar
from kpmodels.structures import Batch, DatasetInfo, Instances
from kpmodels.targets.centripetal import CentripetalTargets, centripetal_targets
from kpmodels.targets.corners import CornerTargets, corner_targets


class CentripetalNetDetector(Detector):
    """Trunk, and for each of its stages (the stacks of an hourglass) the heads of both corners."""

    kind = "centripetalnet"
    finds_boxes = True

    def __init__(
        self, options: CentripetalNetOptions, losses: LossOptions, info: DatasetInfo, batch_size: int = 16
    ) -> None:
        super().__init__(options, losses, info)
        categories = len(info.categories)
        self.net = parts.StagedNet(options, lambda channels, width: CentripetalHeads(channels, width, categories))
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
        """``heatmaps`` ``[B, 2 L, H, W]`` (logits, top left corners first); ``offsets``, ``guiding`` and ``centripetal``
        ``[B, 4, H, W]`` (x, y of either corner); in training those of earlier stages too; ``embeddings`` for the
        contrastive loss."""
        outputs, features = self.net(images_B3HW)
        return outputs | self.extra.embed(features)

    def maps(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        outputs = self(images_B3HW)
        heatmaps = self.extra.mix_in(outputs["heatmaps"].float().sigmoid(), outputs)
        return {"heatmaps": heatmaps} | {name: outputs[name].float() for name in ("offsets", "centripetal")}

    def infer(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        return parts.two_views(self.maps, images_B3HW, self.options.flip_test)

    # ------------------------------------------------------------------------------------------------ training

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """``heatmap``, ``offset``, ``guiding`` and ``centripetal`` (equation 8), means over both corners and the stages,
        and what ``losses`` adds."""
        options, categories = self.options, len(self.info.categories)
        self.many.look(batch.present_BN.shape[1])
        size = outputs["heatmaps"].shape[2], outputs["heatmaps"].shape[3]
        boxes, valid = parts.boxes_in_map(batch, self.stride)
        corners = corner_targets(boxes, batch.labels_BN, valid, size, categories, options.gaussian_overlap)
        shifts = centripetal_targets(boxes, valid, size)
        stages = [self._terms(stage, corners, shifts, boxes, batch) for stage in parts.split_stages(outputs)]
        points = parts.points_of_boxes(boxes)
        keypoints = parts.keypoints_by_category(points - 0.5, batch.labels_BN, corners.present_BN, categories)
        return parts.mean_over_stages(stages) | parts.added_terms(self.extra, outputs, keypoints, self.stride)

    def _terms(
        self,
        outputs: dict[str, Tensor],
        corners: CornerTargets,
        shifts: CentripetalTargets,
        boxes_BN4: Tensor,
        batch: Batch,
    ) -> dict[str, Tensor]:
        options, both, present = self.options, (corners.top_left, corners.bottom_right), corners.present_BN
        offsets = (both[0].offsets_BN2, both[1].offsets_BN2)
        guiding = (shifts.guiding_top_left_BN2, shifts.guiding_bottom_right_BN2)
        centripetal = (shifts.centripetal_top_left_BN2, shifts.centripetal_bottom_right_BN2)
        sums = {
            "heatmap": options.focal_weight * parts.focal_losses(outputs["heatmaps"], both, boxes_BN4, batch),
            "offset": options.offset_weight * parts.vector_losses(outputs["offsets"], both, offsets, present),
            "guiding": options.guiding_weight * parts.vector_losses(outputs["guiding"], both, guiding, present),
            "centripetal": options.centripetal_weight
            * parts.vector_losses(outputs["centripetal"], both, centripetal, present),
        }
        return {name: term / 2 for name, term in sums.items()}

    # ------------------------------------------------------------------------------------------------ prediction

    def decode(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        """The best boxes of each row, from the maps of ``infer``: those of both views, after soft-NMS (section 4.1)."""
        boxes = parts.suppress(self._boxes(outputs), self.options)
        return parts.boxes_as_instances(boxes, batch, self.stride, self.info.num_keypoints)

    def candidates(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        return parts.boxes_as_instances(self._boxes(outputs), batch, self.stride, self.info.num_keypoints)

    def _boxes(self, outputs: dict[str, Tensor]) -> Boxes:
        """The boxes of all views in map cells, before the suppression."""
        return parts.joined_views([self._pairs(view) for view in parts.views_of(outputs)], outputs["heatmaps"].shape[3])

    def _pairs(self, maps: dict[str, Tensor]) -> Boxes:
        """The pairs of corners of one view, in map cells."""
        options, shifts = self.options, maps["centripetal"].chunk(2, dim=1)
        (top_left, top_left_xy), (bottom_right, bottom_right_xy) = parts.read_corners(maps, 2, options.top_points)
        return pair_by_centripetal_shift(
            top_left,
            bottom_right,
            top_left_xy,
            bottom_right_xy,
            centers_of_corners(top_left_xy, gather_at(shifts[0], top_left.cells_BK), "top_left"),
            centers_of_corners(bottom_right_xy, gather_at(shifts[1], bottom_right.cells_BK), "bottom_right"),
            scale_B=float(self.stride),
            small_area=options.small_area,
            n_small=options.parts_small,
            n_large=options.parts_large,
            region_weight=options.region_weight,
            number=parts.CANDIDATES,
        )

    def suppress(self, found: Instances) -> Instances:
        return parts.suppress_instances(found, self.options)

    def pictures(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        top_left, bottom_right = outputs["heatmaps"].chunk(2, dim=1)
        return {"top left corners": top_left.amax(1), "bottom right corners": bottom_right.amax(1)}


class CentripetalHeads(nn.Module):
    """Corner pooling, a heatmap, an offset and a guiding shift of each corner, and its centripetal shift from features
    that the cross-star deformable convolution gathered along the guiding shift (section 3.3, figure 4)."""

    def __init__(self, channels: int, width: int, categories: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList([CornerPooling(channels, "top_left"), CornerPooling(channels, "bottom_right")])
        self.heatmaps = nn.ModuleList(parts.point_head(channels, width, categories, is_heatmap=True) for _ in range(2))
        self.offsets = nn.ModuleList(parts.point_head(channels, width, 2) for _ in range(2))
        self.guiding = nn.ModuleList(parts.point_head(channels, width, 2) for _ in range(2))
        self.cross_stars = nn.ModuleList(CrossStar(channels) for _ in range(2))
        self.centripetal = nn.ModuleList(parts.point_head(channels, width, 2) for _ in range(2))

    def forward(self, features_BCHW: Tensor) -> dict[str, Tensor]:
        pooled = [pool(features_BCHW) for pool in self.pools]
        guiding = [head(maps) for head, maps in zip(self.guiding, pooled, strict=True)]
        gathered = [star(maps, shift) for star, maps, shift in zip(self.cross_stars, pooled, guiding, strict=True)]
        outputs = {
            "heatmaps": [head(maps) for head, maps in zip(self.heatmaps, pooled, strict=True)],
            "offsets": [head(maps) for head, maps in zip(self.offsets, pooled, strict=True)],
            "guiding": guiding,
            "centripetal": [head(maps) for head, maps in zip(self.centripetal, gathered, strict=True)],
        }
        return {name: torch.cat(both, dim=1) for name, both in outputs.items()}
