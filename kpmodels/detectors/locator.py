"""Points to find and count, without boxes or Gaussians: the weighted Hausdorff distance on a probability map.

Ribera, Guera, Chen & Delp, "Locating Objects Without Bounding Boxes", CVPR 2019. The network gives a map of how likely
each cell holds a point, and a count (section 4.1); the loss is the weighted Hausdorff distance between map and points and
a smooth L1 loss of the count (equation 7); points are the means of a Gaussian mixture of as many parts as the count says,
fitted to the thresholded map (section 4.2).

Suffixes: B rows, N instances (padded), L categories (one map and one count each), H and W of the map, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kpmodels.config import LocatorOptions, LossOptions
from kpmodels.detectors.base import Detector, Normalize, to_original
from kpmodels.detectors.count_head import CellCount, PaperCount
from kpmodels.detectors.extra_losses import ExtraLosses
from kpmodels.detectors.points import points_of_maps
from kpmodels.errors import UserError
from kpmodels.losses.hausdorff import hausdorff_of_heatmaps
from kpmodels.losses.heatmap import heatmap_focal
from kpmodels.necks.trunk import UNetTrunk, build_trunk
from kpmodels.structures import Batch, DatasetInfo, Instances
from kpmodels.targets.gaussians import gaussian_heatmaps

MUCH_LARGER = 1.5  # tiling: auto tiles images whose longer side is more than this many inputs


class LocatorDetector(Detector):
    """Trunk, a 1x1 convolution to one map per category, and a count head.

    With the backbone ``unet`` and ``out_stride: 1`` this is the paper's network with the paper's count head; other
    backbones get a lighter head, which counts per cell (:class:`CellCount`).

    A cell covers ``stride`` input pixels; its centre lies at ``stride * cell + (stride - 1) / 2``.
    """

    kind = "locator"

    def __init__(self, options: LocatorOptions, losses: LossOptions, info: DatasetInfo, batch_size: int = 16) -> None:
        if info.num_keypoints != 1:
            raise UserError(
                f"data set {info.name}: its instances have {info.num_keypoints} keypoints; the locator finds one point "
                "per instance",
                "choose detector.kind: heatmap, or a data set of points",
            )
        resolved = options.model_copy(update={"tiling": _tiling(options, info)})
        super().__init__(resolved, losses, info)
        categories, size = len(info.categories), options.input_size
        self.trunk = build_trunk(options.backbone, size)
        self.normalize = Normalize(self.trunk.mean, self.trunk.std)
        self.head = nn.Conv2d(self.trunk.out_channels, categories, 1)
        side = size // self.trunk.bottleneck_stride
        channels = self.trunk.bottleneck_channels
        if isinstance(self.trunk, UNetTrunk):
            self.count: nn.Module = PaperCount(channels, side, size // self.trunk.out_stride, categories)
        else:
            self.count = CellCount(channels, categories, side * side)
        self.extra = ExtraLosses(losses, self.trunk.out_channels, categories, self.trunk.out_stride, batch_size)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        return self.trunk.pretrained_parameters()

    def row_plan(self, training: bool) -> dict[str, Any]:
        region = "tile" if self.options.tiling == "tile" else "image"
        return {
            "input_size": self.options.input_size,
            "region": region,
            "tile_scale": self.options.tile_scale,
        }

    # ------------------------------------------------------------------------------------------------ network

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """``logits`` ``[B, L, H, W]``, ``count`` ``[B, L]``, and ``embeddings`` for the contrastive loss."""
        features, bottleneck, _ = self.trunk(self.normalize(images_B3HW))
        logits = self.head(features)
        count = self.count(bottleneck, logits.sigmoid())
        return {"logits": logits, "count": count} | self.extra.embed(features)

    def maps(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """``heatmaps`` ``[B, L, H, W]``, probabilities, with CoKe's similarity mixed in where asked; and ``count``."""
        outputs = self(images_B3HW)
        probabilities = outputs["logits"].float().sigmoid()
        return {"heatmaps": self.extra.mix_in(probabilities, outputs), "count": outputs["count"].float()}

    def infer(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        return self.maps(images_B3HW)

    # ------------------------------------------------------------------------------------------------ training

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """``false_alarm`` and ``miss`` (in input pixels), ``count``, and what else has a weight."""
        options = self.options
        probabilities = outputs["logits"].float().sigmoid()
        points_BNL3 = self._points_in_map(batch)
        stride = float(self.trunk.out_stride)
        _, false_alarm, miss = hausdorff_of_heatmaps(
            probabilities,
            points_BNL3,
            ignore_empty=False,
            alpha=options.alpha,
            empty_penalty=options.empty_penalty,
            scale_B2=probabilities.new_full((probabilities.shape[0] * probabilities.shape[1], 2), stride),
        )
        true_count_BL = (points_BNL3[..., 2] > 0).sum(1).float()
        terms = {
            "false_alarm": options.false_alarm_weight * false_alarm,
            "miss": options.miss_weight * miss,
            "count": options.count_weight * F.smooth_l1_loss(outputs["count"].float(), true_count_BL),
        }
        if options.heatmap_weight > 0:
            size = (probabilities.shape[2], probabilities.shape[3])
            targets, _ = gaussian_heatmaps(points_BNL3, size, options.sigma)
            terms["heatmap"] = options.heatmap_weight * heatmap_focal(outputs["logits"], targets)
        input_xy = batch.keypoints_BNK3[:, :, :1, :2].expand(-1, -1, probabilities.shape[1], -1)
        return terms | self.extra.terms(outputs, probabilities, points_BNL3, input_xy)

    def _points_in_map(self, batch: Batch) -> Tensor:
        """Points ``[B, N, L, 3]`` in map cells; each is visible in the map of its category alone."""
        stride, categories = self.trunk.out_stride, len(self.info.categories)
        xy = (batch.keypoints_BNK3[:, :, :1, :2] + 0.5) / stride - 0.5
        counts_BN = batch.present_BN & ~batch.crowd_BN & (batch.keypoints_BNK3[:, :, 0, 2] > 0)
        own_BNL = F.one_hot(batch.labels_BN, categories) * counts_BN[..., None]
        return torch.cat([xy.expand(-1, -1, categories, -1), own_BNL[..., None].to(xy.dtype)], dim=-1)

    # ------------------------------------------------------------------------------------------------ prediction

    def decode(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        """The points of each row, from the maps of ``infer``; a point's score is the map's value at its cell.

        ``Instances.count`` is what the count head says, or with ``count_from: peaks`` the number of points.
        """
        options, stride = self.options, self.trunk.out_stride
        B, L, H, W = outputs["heatmaps"].shape
        from_head = options.count_from == "head"
        found = points_of_maps(
            outputs["heatmaps"].reshape(B * L, H, W),
            outputs["count"].reshape(B * L) if from_head else None,
            threshold=options.threshold,
            threshold_value=options.threshold_value,
            form=options.points,
            min_distance=options.min_distance / stride,
        )
        counts = outputs["count"].sum(1).tolist() if from_head else [None] * B
        return [
            self._instances(found[row * L : (row + 1) * L], batch.to_original_B23[row], counts[row]) for row in range(B)
        ]

    def _instances(self, points_L: list[Tensor], to_original_23: Tensor, count: float | None) -> Instances:
        """One row's points ``[N, 3]`` (x, y in cells, score) per category as instances in original pixels."""
        stride = self.trunk.out_stride
        points = torch.cat(points_L).to(to_original_23)
        xy = to_original((stride * points[None, :, :2] + (stride - 1) / 2), to_original_23[None])[0]
        keypoints = torch.cat([xy, points[:, 2:]], dim=1).cpu().numpy()[:, None]
        labels = np.repeat(np.arange(len(points_L)), [len(own) for own in points_L])
        number = float(len(keypoints)) if count is None else float(count)
        return Instances.make(keypoints, labels=labels, scores=keypoints[:, 0, 2], count=number)


def _tiling(options: LocatorOptions, info: DatasetInfo) -> str:
    if options.tiling != "auto":
        return options.tiling
    longer = max(info.typical_size) if info.typical_size else 0
    return "tile" if longer * options.tile_scale > MUCH_LARGER * options.input_size else "resize"
