"""Options of each detector, with the papers' values as defaults where a small machine can bear them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kpmodels.config.backbone import BackboneOptions
from kpmodels.config.base import Options
from kpmodels.config.boxes import CenterNetOptions, CentripetalNetOptions, CornerNetOptions


class HeatmapOptions(Options):
    """Top-down heatmaps: one map per keypoint of a region (Simple Baselines, with DARK/UDP coordinates)."""

    kind: Literal["heatmap"] = Field("heatmap", description="The detector.")
    backbone: BackboneOptions = Field(BackboneOptions(), description="Backbone and neck.")
    input_size: int = Field(
        256, ge=64, le=1024, multiple_of=32, description="Side of the square network input, in pixels."
    )
    region: Literal["auto", "box", "image", "image+box"] = Field(
        "auto",
        description="What a row shows: the instance's box; the whole image; or the whole image first and then, refined, the box "
        "found by that. auto: image+box where no image holds more than one instance, else box.",
    )
    padding: float = Field(1.25, ge=1, le=3, description="The region is the box enlarged by this factor.")
    sigma: float = Field(2.0, gt=0, le=16, description="Standard deviation of the target Gaussians, in map cells.")
    codec: Literal["udp", "dark", "msra"] = Field(
        "udp", description="Coordinate system and sub-pixel decoding: UDP (unbiased), DARK, or quarter-pixel shift."
    )
    loss: Literal["mse", "ohkm", "focal"] = Field("mse", description="Loss of the heatmaps.")
    ohkm_keypoints: int = Field(8, ge=1, description="Hard keypoints that count per row, with loss: ohkm.")
    loss_weight: float = Field(1.0, ge=0, description="Weight of the heatmap loss.")
    flip_test: bool = Field(True, description="Average with the prediction on the mirrored image.")


class LocatorOptions(Options):
    """Points to find and count: Weighted Hausdorff distance on a full map and a count head (Ribera et al., CVPR 2019)."""

    kind: Literal["locator"] = Field("locator", description="The detector.")
    backbone: BackboneOptions = Field(
        BackboneOptions(out_stride=2), description="Backbone and neck ('unet' for the paper's own)."
    )
    input_size: int = Field(
        256, ge=64, le=1024, multiple_of=32, description="Side of the square network input, in pixels."
    )
    tiling: Literal["auto", "resize", "tile"] = Field(
        "auto",
        description="resize: the image is scaled to the input (the paper); tile: the input slides over the image at tile_scale; "
        "auto: tile where the images are much larger than the input.",
    )
    tile_scale: float = Field(1.0, gt=0, le=8, description="Input pixels per image pixel with tiling: tile.")
    false_alarm_weight: float = Field(1.0, ge=0, description="Weight of the Hausdorff term that punishes false alarms.")
    miss_weight: float = Field(1.0, ge=0, description="Weight of the Hausdorff term that punishes misses.")
    alpha: float = Field(-1.0, lt=0, ge=-16, description="Exponent of the generalized mean.")
    empty_penalty: float = Field(1.0, ge=0, description="Weight of the penalty of images without points.")
    count_weight: float = Field(1.0, ge=0, description="Weight of the smooth L1 loss of the count.")
    heatmap_weight: float = Field(
        0.0, ge=0, description="Weight of an added focal loss on Gaussian targets; 0 is the paper's form."
    )
    sigma: float = Field(2.0, gt=0, le=16, description="Standard deviation of those Gaussians, in map cells.")
    threshold: Literal["otsu", "beta", "fixed"] = Field(
        "otsu", description="How the map is thresholded (beta: beta mixture)."
    )
    threshold_value: float = Field(
        0.5, ge=0, le=1, description="The threshold with threshold: fixed, and the least one with all."
    )
    points: Literal["mixture", "peaks"] = Field(
        "mixture",
        description="mixture: Gaussian mixture of round(count) parts on the mask (the paper); peaks: local maxima.",
    )
    count_from: Literal["head", "peaks"] = Field("head", description="How many points: the count head, or all peaks.")
    min_distance: float = Field(3.0, ge=0, description="Peaks nearer than this are one, in input pixels.")


DetectorOptions = Annotated[
    HeatmapOptions | LocatorOptions | CornerNetOptions | CenterNetOptions | CentripetalNetOptions,
    Field(discriminator="kind"),
]

DETECTOR_OPTIONS: dict[str, type[DetectorOptions]] = {
    "heatmap": HeatmapOptions,
    "locator": LocatorOptions,
    "cornernet": CornerNetOptions,
    "centernet-triplets": CenterNetOptions,
    "centripetalnet": CentripetalNetOptions,
}
