"""Options of evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kpmodels.config.base import Options


class EvaluateOptions(Options):
    """How a model is measured."""

    split: Literal["test", "val", "train", "all"] = Field("test", description="Which part of the data is measured on.")
    radius: float = Field(5.0, gt=0, description="Points nearer than this to a true one are found, in original pixels.")
    score_threshold: float = Field(
        0.3, ge=0, le=1, description="Predictions below it count neither as found nor as false alarm."
    )
    pck_thresholds: tuple[float, ...] = Field(
        (0.05, 0.1, 0.2), description="PCK thresholds, as parts of the box's longer side."
    )
    samples: int = Field(8, ge=0, le=64, description="Best and worst predictions drawn in the report, of each.")
    batch_size: int = Field(16, ge=1, description="Rows per forward pass.")
