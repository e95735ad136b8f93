"""The course of the learning rate."""

from __future__ import annotations

import math

from kpmodels.config import TrainOptions


def rate_factor(options: TrainOptions, step: int, steps: int) -> float:
    """The factor on the peak learning rate at a step (from 0) of a run of so many steps.

    It rises linearly over the warm-up, then follows half a cosine to 0 (Loshchilov and Hutter 2017, eq. 5, one cycle),
    falls to a tenth at each milestone, or stays.
    """
    warmup = math.ceil(options.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if options.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
    if options.schedule == "step":
        return 0.1 ** sum(step >= part * steps for part in options.milestones)
    return 1.0
