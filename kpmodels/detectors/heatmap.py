"""Top-down heatmaps: one map per keypoint of a region.

Simple Baselines (Xiao, Wu & Wei, ECCV 2018) is the system; DARK (Zhang et al., CVPR 2020) and UDP (Huang et al., CVPR
2020) are its two better ways from a map to a coordinate; HRNet (Sun et al., CVPR 2019) differs in the backbone only.

Suffixes: B rows, N instances (padded), K keypoints, H and W rows and columns of the map, C channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from kpmodels.config import HeatmapOptions, LossOptions
from kpmodels.decoding.subpixel import argmax_xy, dark_refine, flip_average, quarter_shift, udp_refine
from kpmodels.detectors.base import Detector, Normalize, to_original
from kpmodels.detectors.extra_losses import ExtraLosses
from kpmodels.losses.heatmap import heatmap_focal, heatmap_mse, heatmap_ohkm
from kpmodels.necks.trunk import build_trunk
from kpmodels.structures import Batch, DatasetInfo, Instances, hull_boxes
from kpmodels.targets.gaussians import form_of, from_map, gaussian_heatmaps, to_map

CONFIDENT = 0.2  # keypoints above this make an instance's score (Simple Baselines' rescoring)


class HeatmapDetector(Detector):
    """Backbone, neck, and a 1x1 convolution to K maps.

    A row shows one instance (region ``box``) or a whole image that holds at most one (``image``). With ``image+box`` the
    whole image is looked at first, and then the box around what was found there.
    """

    kind = "heatmap"

    def __init__(self, options: HeatmapOptions, losses: LossOptions, info: DatasetInfo, batch_size: int = 16) -> None:
        region = options.region
        if region == "auto":
            region = "image+box" if info.single_instance else "box"
        super().__init__(options.model_copy(update={"region": region}), losses, info)
        self.trunk = build_trunk(options.backbone, options.input_size)
        self.normalize = Normalize(self.trunk.mean, self.trunk.std)
        self.head = nn.Conv2d(self.trunk.out_channels, info.num_keypoints, 1)
        nn.init.normal_(self.head.weight, std=0.001)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, -math.log(99) if options.loss == "focal" else 0.0)
        self.extra = ExtraLosses(losses, self.trunk.out_channels, info.num_keypoints, self.trunk.out_stride, batch_size)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        return self.trunk.pretrained_parameters()

    def row_plan(self, training: bool) -> dict[str, Any]:
        return {"input_size": self.options.input_size, "region": self.options.region, "padding": self.options.padding}

    # ------------------------------------------------------------------------------------------------ network

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """``heatmaps`` ``[B, K, H, W]`` (logits with the focal loss), and ``embeddings`` for the contrastive loss."""
        features = self.trunk(self.normalize(images_B3HW)).map
        return {"heatmaps": self.head(features)} | self.extra.embed(features)

    def infer(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """``heatmaps`` with peaks in [0, 1]; averaged with those of the mirrored image if ``flip_test`` is set."""
        heatmaps = self.maps(images_B3HW)["heatmaps"]
        if self.options.flip_test:
            mirrored = self.maps(images_B3HW.flip(-1))["heatmaps"]
            shift = self.options.codec != "udp"
            heatmaps = flip_average(heatmaps, mirrored, self.info.skeleton.flip_index, shift=shift)
        return {"heatmaps": heatmaps}

    def maps(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """``heatmaps``, with CoKe's similarity mixed in where ``losses.contrastive.inference`` asks it."""
        outputs = self(images_B3HW)
        return {"heatmaps": self.extra.mix_in(self.probabilities(outputs), outputs)}

    def probabilities(self, outputs: dict[str, Tensor]) -> Tensor:
        """The heatmaps as float32; the sigmoid of logits."""
        heatmaps = outputs["heatmaps"].float()
        return heatmaps.sigmoid() if self.options.loss == "focal" else heatmaps

    # ------------------------------------------------------------------------------------------------ training

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """``heatmap``, and the terms of ``losses`` that have a weight.

        The squared error is counted in units of a Gaussian's own energy (pi sigma^2 cells): a map that shows nothing of
        its keypoint costs 1/2, whatever the map's size. It is the papers' mean over all cells times a constant.
        """
        maps_BKHW = outputs["heatmaps"]
        size = (maps_BKHW.shape[2], maps_BKHW.shape[3])
        keypoints = self._keypoints_in_map(batch, size)
        sigma = self.options.sigma
        targets, weights_BNK = gaussian_heatmaps(keypoints, size, sigma, form_of(self.options.codec))
        weights_BK = weights_BNK.amax(1)
        empty_B = ~batch.present_BN.any(1)
        weights_BK = torch.where(empty_B[:, None], 1.0, weights_BK)  # nothing is there: all maps are to be zero
        if self.options.loss == "focal":
            term = heatmap_focal(maps_BKHW, targets, weights_BK)
        else:
            unit = size[0] * size[1] / (math.pi * sigma**2)
            if self.options.loss == "mse":
                term = unit * heatmap_mse(maps_BKHW, targets, weights_BK)
            else:
                term = unit * heatmap_ohkm(maps_BKHW, targets, weights_BK, self.options.ohkm_keypoints)
        terms = {"heatmap": self.options.loss_weight * term}
        probabilities = self.probabilities(outputs).clamp(0, 1)
        return terms | self.extra.terms(outputs, probabilities, keypoints, batch.keypoints_BNK3[..., :2])

    def _keypoints_in_map(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """Keypoints ``[B, N, K, 3]`` in map cells; those of padding and crowd rows are not visible."""
        input_size = (batch.images_B3HW.shape[2], batch.images_B3HW.shape[3])
        xy = to_map(batch.keypoints_BNK3[..., :2], input_size, size, self.options.codec)
        counts_BN = batch.present_BN & ~batch.crowd_BN
        visibility = batch.keypoints_BNK3[..., 2] * counts_BN[..., None]
        return torch.cat([xy, visibility[..., None]], dim=-1)

    # ------------------------------------------------------------------------------------------------ prediction

    def decode(self, outputs: dict[str, Tensor], batch: Batch) -> list[Instances]:
        """One instance per row, from the maps of ``infer``.

        A keypoint's score is its map's peak, clipped to [0, 1]. The instance's score is the mean of its keypoints' scores
        above 0.2 (Simple Baselines; times the box's score, which is 1 here). Its box is the hull of those keypoints.
        """
        maps = outputs["heatmaps"].float()
        cells_BK2, peaks_BK = argmax_xy(maps)
        refined = self._refine(maps, cells_BK2)
        input_size = (batch.images_B3HW.shape[2], batch.images_B3HW.shape[3])
        xy = from_map(refined, input_size, (maps.shape[2], maps.shape[3]), self.options.codec)
        xy = to_original(xy, batch.to_original_B23)
        keypoints = torch.cat([xy, peaks_BK.clamp(0, 1)[..., None]], dim=-1).cpu().numpy()
        return [_instance(row) for row in keypoints]

    def _refine(self, maps_BKHW: Tensor, cells_BK2: Tensor) -> Tensor:
        """Sub-pixel coordinates around the peaks; blur widths are those of the papers (11 cells at sigma 2)."""
        blur = 2 * round(2.5 * self.options.sigma) + 1
        if self.options.codec == "udp":
            return udp_refine(maps_BKHW, cells_BK2, blur)
        if self.options.codec == "dark":
            return dark_refine(maps_BKHW, cells_BK2, blur)
        return quarter_shift(maps_BKHW, cells_BK2)


def _instance(keypoints_K3: Any) -> Instances:
    scores_K = keypoints_K3[:, 2]
    confident_K = scores_K > CONFIDENT
    score = float(scores_K[confident_K].mean()) if confident_K.any() else 0.0
    shown = keypoints_K3[None].copy()
    if confident_K.any():
        shown[0, ~confident_K, 2] = 0
    return Instances.make(keypoints_K3[None], boxes=hull_boxes(shown), scores=[score])
