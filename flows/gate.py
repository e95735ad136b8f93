"""The gate: whether a new version becomes champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kpmodels.config import GateOptions
from kpmodels.errors import UserError, nearest

DECIDING = ("oks_ap", "oks_ap_assumed_sigmas", "box_ap", "f1")  # all tasks have F1
LOWER_IS_BETTER = ("error", "nme", "mae", "rmse", "mape", "false_alarms", "miss_rate", "hausdorff")


@dataclass(frozen=True)
class Decision:
    """The gate's answer, with its figures in words."""

    promote: bool
    reason: str


def decide(options: GateOptions, new: Mapping[str, float], champion: Mapping[str, float] | None) -> Decision:
    """Compare a new version with the champion, both measured on the same images.

    Args:
        new: Metrics of the new version.
        champion: Metrics of the champion on the same data version; None where there is no champion yet.

    Raises:
        UserError: the options name a metric that was not measured.
    """
    if options.policy == "never":
        return Decision(False, "the gate's policy is: never")
    if options.policy == "always":
        return Decision(True, "the gate's policy is: always")
    metric = deciding_metric(options, new)
    if champion is None:
        return Decision(True, f"first version; {metric} {new[metric]:.4g}")
    if metric not in champion:
        return Decision(
            False, f"the champion has no {metric}, which decides: promote by hand if you want the new version"
        )
    lower = any(part in metric for part in LOWER_IS_BETTER)
    gain = champion[metric] - new[metric] if lower else new[metric] - champion[metric]
    figures = f"{metric} {new[metric]:.4g} against the champion's {champion[metric]:.4g}"
    if gain > options.min_difference:
        return Decision(True, f"better: {figures}")
    return Decision(False, f"not better by more than {options.min_difference:g}: {figures}")


def deciding_metric(options: GateOptions, metrics: Mapping[str, float]) -> str:
    """The metric that decides: the one of the options, else the usual one of the task."""
    if options.metric:
        if options.metric not in metrics:
            raise UserError(
                f"gate.metric: nothing is measured as {options.metric!r}: {nearest(options.metric, metrics)}"
            )
        return options.metric
    for name in DECIDING:
        if name in metrics:
            return name
    raise UserError(
        f"none of {', '.join(DECIDING)} was measured", "name the deciding metric with --set gate.metric=NAME"
    )
