"""Options of making a data version out of a drop of images and labels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from kpmodels.config.base import Options
from kpmodels.config.problems import describe
from kpmodels.errors import UserError

FORMATS = ("auto", "coco", "sleap", "dlc", "labelstudio", "ultralytics", "points", "masks")


def _as_tuple(value: Any) -> Any:
    """A list may come as one text with commas, or as a single number: that is how command lines and forms send it."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return (value,) if isinstance(value, int | float) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]


class IngestOptions(Options):
    """How a drop is read. What the source itself says needs no option."""

    format: Literal["auto", "coco", "sleap", "dlc", "labelstudio", "ultralytics", "points", "masks"] = Field(
        "auto", description="Form of the labels; auto recognizes it."
    )
    task: Literal["", "pose", "points", "boxes"] = Field(
        "",
        description="pose, points or boxes; empty: points where an instance has one keypoint, boxes where it has none.",
    )
    category: str = Field("", description="Take only this category of the source, and leave the others out.")
    keypoints: Texts = Field((), description="Names of the keypoints in order, where the source does not give them.")
    limbs: Texts = Field((), description="Limbs, as first:second by keypoint names; replaces those of the source.")
    flip_pairs: Texts = Field(
        (),
        description="Pairs that swap in a mirrored image, as left:right by names; auto: by left and right in the names "
        "even where the source has pairs; none: no pairs. Empty: the source's pairs, else by the names.",
    )
    sigmas: Numbers = Field((), description="OKS sigma per keypoint in order, or one for all; replaces the source's.")
    group_by: str = Field(
        "",
        description="Images of one group stay in one split. folder: the folder (or video) they lie in; else a regular "
        "expression on the file name whose first bracket is the group. Empty: each image by itself.",
    )
    split: Numbers = Field(
        (),
        description="Fractions of train, val and test, as 0.8,0.1,0.1. Only for a new data set: later images follow.",
    )
    unlabelled: Literal["error", "empty"] = Field(
        "error",
        description="Images that the labels do not mention: error refuses them, empty takes them as images without objects.",
    )
    verify: Literal["auto", "quick", "decode"] = Field(
        "auto",
        description="How images are proved whole. decode: every pixel; quick: the structure and checksums of JPEG and PNG, "
        "about five times faster; auto: decode for up to 64 MiB of new images, quick beyond.",
    )
    source: str = Field("", description="Where the data comes from, for people; empty: the source's own words.")
    licence: str = Field("", description="What may be done with the data.")

    @field_validator("limbs")
    @classmethod
    def _limbs_are_pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _pairs(value)

    @field_validator("flip_pairs")
    @classmethod
    def _flips_are_pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return value if value in (("auto",), ("none",)) else _pairs(value)

    @field_validator("split")
    @classmethod
    def _split_adds_up(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value and (len(value) != 3 or min(value) < 0 or value[0] == 0 or abs(sum(value) - 1) > 1e-6):
            raise ValueError("three fractions that add up to 1 are needed, the first above 0")
        return value

    @field_validator("sigmas")
    @classmethod
    def _sigmas_are_positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < sigma < 10 for sigma in value):
            raise ValueError("a sigma is a number above 0, of the order of 0.05")
        return value


def _pairs(value: tuple[str, ...]) -> tuple[str, ...]:
    for pair in value:
        if len([part for part in pair.split(":") if part.strip()]) != 2:
            raise ValueError(f"{pair!r} is not a pair of keypoint names such as left_eye:right_eye")
    return value


def parse_ingest(content: dict[str, Any]) -> IngestOptions:
    """Ingest options from a mapping.

    Raises:
        UserError: For an unknown key or value; the message names the nearest valid one.
    """
    try:
        return IngestOptions.model_validate(content)
    except ValidationError as error:
        raise UserError(f"ingest options: {describe(error, IngestOptions)}") from None
