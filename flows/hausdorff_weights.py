"""Experiments over weights of the two terms of the Hausdorff loss: false alarms, and misses."""

from __future__ import annotations

from kpmodels.config import Experiment
from kpmodels.errors import UserError

Weights = tuple[float, float]
PLAIN: Weights = (1.0, 1.0)
GRID: list[Weights] = [(4.0, 1.0), (2.0, 1.0), PLAIN, (1.0, 2.0), (1.0, 4.0)]


def read_weights(text: str) -> Weights:
    """A false-alarm weight and a miss weight.

    >>> read_weights("4,1")
    (4.0, 1.0)
    """
    try:
        false_alarm, miss = map(float, text.split(","))
    except ValueError:
        raise UserError(f"--weights {text}: not two numbers", "false-alarm weight and miss weight, as 4,1") from None
    return false_alarm, miss


def title_of(weights: Weights) -> str:
    """
    >>> title_of((4.0, 1.0))
    'false alarms 4, misses 1'
    """
    return f"false alarms {weights[0]:g}, misses {weights[1]:g}"


def with_weights(experiment: Experiment, weights: Weights) -> Experiment:
    """The experiment with other weights of the two terms of its Hausdorff loss.

    Raises:
        UserError: it has no Hausdorff loss.
    """
    terms = dict(zip(("false_alarm_weight", "miss_weight"), weights, strict=True))
    content = experiment.model_dump(mode="json")
    if experiment.detector.kind == "locator":
        content["detector"] |= terms
    elif experiment.losses.hausdorff.weight > 0:
        content["losses"]["hausdorff"] |= terms
    else:
        raise UserError(
            f"experiment {experiment.name}: its detector {experiment.detector.kind} has no Hausdorff loss",
            "switch it on: --set losses.hausdorff.weight=0.1",
        )
    return Experiment.model_validate(content)
