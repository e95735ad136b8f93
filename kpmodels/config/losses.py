"""Options of the two loss families that any heatmap detector can carry."""

from __future__ import annotations

from pydantic import Field

from kpmodels.config.base import Options


class HausdorffOptions(Options):
    """Weighted Hausdorff distance (Ribera et al., CVPR 2019), with the choice between false alarms and misses."""

    weight: float = Field(0.0, ge=0, description="Weight of the whole term beside the detector's own loss; 0 is off.")
    false_alarm_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the first term: activation far from every true point. Raise it against false alarms.",
    )
    miss_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the second term: true points without activation near them. Raise it against misses.",
    )
    alpha: float = Field(
        -1.0, lt=0, ge=-16, description="Exponent of the generalized mean: towards -16 nearer to the minimum."
    )
    empty_penalty: float = Field(
        1.0,
        ge=0,
        description="Penalty of an image without points: its mean activation times the map's diagonal times this.",
    )


class ContrastiveOptions(Options):
    """Contrastive keypoint features (CoKe: Bai et al., WACV 2023): a feature bank per keypoint and a clutter bank."""

    weight: float = Field(0.0, ge=0, description="Weight of the whole term beside the detector's own loss; 0 is off.")
    dim: int = Field(128, ge=4, le=1024, description="Length of the feature vectors.")
    temperature: float = Field(0.07, gt=0, description="Divides the similarities before the softmax.")
    momentum: float = Field(0.9, ge=0, lt=1, description="How much of a prototype stays at each update.")
    clutter_points: int = Field(5, ge=0, le=256, description="Clutter features taken from each image.")
    clutter_groups: int = Field(512, ge=1, description="Batches of clutter that the bank holds.")
    clutter_weight: float = Field(0.005, gt=0, le=1, description="Weight of each clutter term in the softmax.")
    exclusion_radius: float = Field(
        48.0, ge=0, description="Other keypoints of the image nearer than this (input pixels) are not pushed apart."
    )
    clutter_regularizer: float = Field(0.1, ge=0, description="Weight of the similarity of clutter to the prototypes.")
    inference: bool = Field(
        False, description="Add the feature-to-prototype similarity map to the heatmap when decoding."
    )
    inference_weight: float = Field(0.5, ge=0, le=1, description="Part of the similarity map in that sum.")


class LossOptions(Options):
    """The loss families that any heatmap detector can carry beside its own losses."""

    hausdorff: HausdorffOptions = Field(HausdorffOptions(), description="Weighted Hausdorff distance.")
    contrastive: ContrastiveOptions = Field(ContrastiveOptions(), description="Contrastive keypoint features (CoKe).")
