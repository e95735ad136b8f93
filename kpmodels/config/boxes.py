"""Options of the detectors that make boxes of corners."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kpmodels.config.backbone import BackboneOptions
from kpmodels.config.base import Options


class CornerOptions(Options):
    """What the three systems of corners share."""

    backbone: BackboneOptions = Field(
        BackboneOptions(), description="Backbone and neck ('hourglass-104' or 'hourglass-52' for the papers' own)."
    )
    input_size: int = Field(
        256,
        ge=64,
        le=1024,
        multiple_of=32,
        description="Side of the square network input, in pixels. The papers' is 511; an hourglass takes multiples of 128.",
    )
    head_channels: int | None = Field(
        None, ge=8, le=1024, description="Channels of the heads; empty: as many as the feature map has (the papers)."
    )
    gaussian_overlap: float = Field(
        0.3,
        gt=0,
        lt=1,
        description="Corners this far from the true ones still make a box of this overlap: the radius of the Gaussians.",
    )
    focal_weight: float = Field(1.0, ge=0, description="Weight of the focal loss of the heatmaps.")
    offset_weight: float = Field(1.0, ge=0, description="Weight of the smooth L1 loss of the offsets within a cell.")
    top_points: int = Field(100, ge=1, le=1000, description="Corners (and centers) of each kind that are looked at.")
    max_boxes: int = Field(100, ge=1, le=1000, description="Boxes of an image that are kept.")
    suppression: Literal["gaussian", "linear", "hard"] = Field(
        "gaussian", description="Non-maximum suppression of boxes: soft (Gaussian or linear) or hard."
    )
    suppression_sigma: float = Field(0.5, gt=0, le=10, description="Width of suppression: gaussian.")
    suppression_overlap: float = Field(
        0.5, gt=0, le=1, description="Overlap from which suppression: linear and hard act."
    )
    flip_test: bool = Field(True, description="Detect in the mirrored image too.")
    test_scales: tuple[float, ...] = Field(
        (1.0,),
        min_length=1,
        description="Sizes at which an image is looked at, as factors on input_size; the papers' multi-scale test has "
        "0.5, 0.75, 1, 1.25, 1.5.",
    )


class CornerNetOptions(CornerOptions):
    """Boxes as pairs of corners with equal embeddings (CornerNet: Law and Deng, ECCV 2018)."""

    kind: Literal["cornernet"] = Field("cornernet", description="The detector.")
    pull_weight: float = Field(0.1, ge=0, description="Weight of the loss that pulls a box's two embeddings together.")
    push_weight: float = Field(0.1, ge=0, description="Weight of the loss that pushes embeddings of boxes apart.")
    tag_distance: float = Field(0.5, gt=0, description="Corners whose embeddings differ by more are no pair.")


class CenterNetOptions(CornerOptions):
    """Pairs of corners checked by a center keypoint (CenterNet: Duan et al., ICCV 2019)."""

    kind: Literal["centernet-triplets"] = Field("centernet-triplets", description="The detector.")
    gaussian_overlap: float = Field(
        0.7,
        gt=0,
        lt=1,
        description="Corners this far from the true ones still make a box of this overlap: the radius of the Gaussians.",
    )
    top_points: int = Field(70, ge=1, le=1000, description="Corners and centers of each kind that are looked at.")
    pull_weight: float = Field(0.1, ge=0, description="Weight of the loss that pulls a box's two embeddings together.")
    push_weight: float = Field(0.1, ge=0, description="Weight of the loss that pushes embeddings of boxes apart.")
    tag_distance: float = Field(0.5, gt=0, description="Corners whose embeddings differ by more are no pair.")
    small_side: float = Field(
        150.0, gt=0, description="Boxes of at most the area of this square (original pixels) are small."
    )
    parts_small: float = Field(3.0, ge=1, description="The central region of a small box is 1 / this as wide and high.")
    parts_large: float = Field(5.0, ge=1, description="The same of all other boxes.")


class CentripetalNetOptions(CornerOptions):
    """Corners that point to the middle of their box (CentripetalNet: Dong et al., CVPR 2020)."""

    kind: Literal["centripetalnet"] = Field("centripetalnet", description="The detector.")
    guiding_weight: float = Field(0.05, ge=0, description="Weight of the loss of the guiding shifts.")
    centripetal_weight: float = Field(1.0, ge=0, description="Weight of the loss of the centripetal shifts.")
    small_area: float = Field(3500.0, gt=0, description="Boxes of at most this area (input pixels) are small.")
    parts_small: float = Field(2.1, ge=1, description="The central region of a small box is 1 / this as wide and high.")
    parts_large: float = Field(2.4, ge=1, description="The same of all other boxes.")
    region_weight: bool = Field(
        True, description="Weigh a pair by how near its two middles are (the paper; the published program does not)."
    )
    suppression_sigma: float = Field(0.7, gt=0, le=10, description="Width of suppression: gaussian.")
