"""Experiments over weights of the two terms of the Hausdorff loss: false alarms, and misses."""

from __future__ import annotations

from pydantic import Field

from kpmodels.config import Experiment
from kpmodels.config.base import Options
from kpmodels.errors import UserError


class Weights(Options):
    """What the two terms of the Hausdorff loss weigh."""

    false_alarm: float = Field(1.0, ge=0, le=1000, description="Raise it against false alarms.")
    miss: float = Field(1.0, ge=0, le=1000, description="Raise it against misses.")

    @property
    def title(self) -> str:
        """
        >>> Weights(false_alarm=4).title
        'false alarms 4, misses 1'
        """
        return f"false alarms {self.false_alarm:g}, misses {self.miss:g}"


PLAIN = Weights()
GRID = [Weights(false_alarm=a, miss=m) for a, m in ((4, 1), (2, 1), (1, 1), (1, 2), (1, 4))]


def read_weights(text: str) -> Weights:
    """A false-alarm weight and a miss weight.

    >>> read_weights("4,1")
    Weights(false_alarm=4.0, miss=1.0)
    """
    try:
        false_alarm, miss = map(float, text.split(","))
        return Weights(false_alarm=false_alarm, miss=miss)
    except ValueError:
        raise UserError(
            f"--weights {text}: not two numbers from 0 to 1000", "false-alarm weight and miss weight, as 4,1"
        ) from None


def with_weights(experiment: Experiment, weights: Weights) -> Experiment:
    """The experiment with other weights of the two terms of its Hausdorff loss.

    Raises:
        UserError: it has no Hausdorff loss.
    """
    terms = {"false_alarm_weight": weights.false_alarm, "miss_weight": weights.miss}
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
