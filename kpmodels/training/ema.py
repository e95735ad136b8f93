"""The exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """Keeps ``average = decay * average + (1 - decay) * weights``; buffers (running statistics, banks) are copied.

    Early on the decay is smaller, ``(1 + n) / (10 + n)`` after n updates, so that the first weights are soon forgotten.

    Args:
        model: Copied once; the copy, ``average``, is in evaluation mode and needs no gradients.
        decay: In [0, 1); at 0 the average is always equal to the weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = dict(model.named_parameters())
        own = dict(self.average.named_parameters())
        floating = [name for name in own if own[name].is_floating_point()]
        torch._foreach_lerp_([own[n] for n in floating], [weights[n].detach() for n in floating], 1 - decay)
        buffers = dict(model.named_buffers())
        for name, buffer in self.average.named_buffers():
            buffer.copy_(buffers[name])
