"""Options of the data that a run reads, and of its augmentation."""

from __future__ import annotations

from pydantic import Field

from kpmodels.config.base import Options

DATA_NAME = r"^[a-z0-9][a-z0-9-]*$"


class DataOptions(Options):
    """Which data set a run reads."""

    name: str = Field("shapes", description="Name of the data set, a folder of datasets/.", pattern=DATA_NAME)
    version: str = Field("", description="Version to use, as v3; empty for the newest.", pattern=r"^(v[0-9]+)?$")


class AugmentOptions(Options):
    """Random changes of the training images. Each is drawn from (seed, epoch, sample) alone."""

    flip: float = Field(0.5, ge=0, le=1, description="Probability of mirroring left to right (swaps the flip pairs).")
    flip_vertical: float = Field(0.0, ge=0, le=1, description="Probability of mirroring top to bottom.")
    rotation: float | None = Field(
        None,
        ge=0,
        le=180,
        description="Largest rotation to either side, in degrees. Empty: 30, and 0 for boxes, which do not fit their objects "
        "any more when they are turned.",
    )
    scale: float = Field(
        0.3, ge=0, lt=1, description="Largest relative change of size: factors from 1-scale to 1+scale."
    )
    translation: float = Field(0.1, ge=0, le=0.5, description="Largest shift, as a part of the region's size.")
    brightness: float = Field(0.25, ge=0, le=1, description="Largest relative change of brightness.")
    contrast: float = Field(0.25, ge=0, le=1, description="Largest relative change of contrast.")
    noise: float = Field(
        0.0, ge=0, le=50, description="Largest standard deviation of added noise, in grey levels of 255."
    )
    blur: float = Field(0.1, ge=0, le=1, description="Probability of a light Gaussian blur.")
    erase: float = Field(0.0, ge=0, le=1, description="Probability of erasing one rectangle (simulated occlusion).")

    def for_task(self, task: str) -> AugmentOptions:
        """The options with what is empty decided for the task of a data set."""
        if self.rotation is not None:
            return self
        return self.model_copy(update={"rotation": 0.0 if task == "boxes" else 30.0})
