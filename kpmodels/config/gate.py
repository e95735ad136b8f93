"""Options of the gate between a champion and a challenger."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kpmodels.config.base import Options

Policy = Literal["accuracy", "early-warning", "guidance", "better", "always", "never"]


class GateOptions(Options):
    """When a new version becomes champion."""

    policy: Policy = Field(
        "accuracy",
        description="accuracy: clearly better by the metric; early-warning: clearly cheaper where misses cost more; guidance: "
        "clearly cheaper where false alarms cost more; better: better by the metric, by luck or not; always; never. Clearly: "
        "the whole 95 % interval of the difference (paired bootstrap) lies on the better side.",
    )
    metric: str = Field(
        "", description="Metric of accuracy and better; empty: OKS AP for pose, F1 for points, box AP for boxes."
    )
    min_difference: float = Field(
        0.0, description="How much better the challenger must be, in the metric or in the cost per image."
    )
    miss_cost: float = Field(
        5.0, ge=1, le=1000, description="early-warning: cost of a miss, where a false alarm costs 1."
    )
    false_alarm_cost: float = Field(
        5.0, ge=1, le=1000, description="guidance: cost of a false alarm, where a miss costs 1."
    )
    slices: bool = Field(
        True, description="Refuse a challenger that is clearly worse on a keypoint, on small instances or on a source."
    )
    slice_tolerance: float = Field(0.02, ge=0, description="A slice may be worse by this much.")
    slice_images: int = Field(10, ge=2, description="A slice with fewer images is not judged.")
