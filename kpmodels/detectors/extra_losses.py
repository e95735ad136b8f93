"""The two loss families that any heatmap can carry, by configuration alone: ``losses.hausdorff`` and ``losses.contrastive``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kpmodels.config import LossOptions
from kpmodels.losses.hausdorff import hausdorff_of_heatmaps


class ExtraLosses(nn.Module):
    """The added terms of a detector's loss, and what they add to its prediction."""

    def __init__(self, options: LossOptions, channels: int, num_keypoints: int, stride: int) -> None:
        """``channels`` and ``stride`` (input pixels per cell) of the feature map that the heatmaps come from."""
        super().__init__()
        self.options, self.stride = options, stride

    def terms(
        self, features_BCHW: Tensor, probabilities_BKHW: Tensor, keypoints_BNK3: Tensor, image_ids: list[str]
    ) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if self.options.hausdorff.weight > 0:
            terms |= self._hausdorff(probabilities_BKHW, keypoints_BNK3)
        return terms

    def _hausdorff(self, probabilities_BKHW: Tensor, keypoints_BNK3: Tensor) -> dict[str, Tensor]:
        """Both terms of the weighted Hausdorff distance of each map to the points of its keypoint, in map diagonals."""
        options = self.options.hausdorff
        _, false_alarm, miss = hausdorff_of_heatmaps(
            probabilities_BKHW,
            keypoints_BNK3,
            alpha=options.alpha,
            empty_penalty=options.empty_penalty,
        )
        weight = options.weight / math.hypot(*probabilities_BKHW.shape[-2:])
        return {
            "hausdorff_false_alarm": weight * options.false_alarm_weight * false_alarm,
            "hausdorff_miss": weight * options.miss_weight * miss,
        }

    def mix_in(self, probabilities_BKHW: Tensor, features_BCHW: Tensor) -> Tensor:
        return probabilities_BKHW
