"""How many: the two heads that turn features into a count."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN = 64


class PaperCount(nn.Module):
    """The count head of Ribera et al. (CVPR 2019, section 4.1): fully connected, so tied to one input size.

    Bottleneck and probability map each go to 64 units (ReLU, dropout 0.5), which go to the count. The paper ends in a ReLU,
    which gets no gradient any more once it is zero for all images; here it is a softplus, its smooth form.
    """

    def __init__(self, channels: int, bottleneck_side: int, map_side: int, categories: int) -> None:
        super().__init__()
        self.from_bottleneck = _unit(channels * bottleneck_side**2)
        self.from_map = _unit(categories * map_side**2)
        self.last = nn.Linear(2 * HIDDEN, categories)

    def forward(self, bottleneck_BCHW: Tensor, probabilities_BLHW: Tensor) -> Tensor:
        """Counts ``[B, L]``, not below 0."""
        parts = [self.from_bottleneck(bottleneck_BCHW.flatten(1)), self.from_map(probabilities_BLHW.flatten(1))]
        return F.softplus(self.last(torch.cat(parts, dim=1)).float())


class CellCount(nn.Module):
    """A count per cell of the bottleneck, summed: any input size, few weights, and counts that add up over an image.

    Each cell sees the bottleneck's features and the mean and the maximum of the probability map over its area.
    """

    def __init__(self, channels: int, categories: int, cells: int) -> None:
        """``cells``: of the bottleneck at the input size; the head starts at about one instance per image."""
        super().__init__()
        self.hidden = nn.Conv2d(channels + 2 * categories, HIDDEN, 1)
        self.last = nn.Conv2d(HIDDEN, categories, 1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, math.log(math.expm1(1 / cells)))

    def forward(self, bottleneck_BCHW: Tensor, probabilities_BLHW: Tensor) -> Tensor:
        """Counts ``[B, L]``, not below 0."""
        side = bottleneck_BCHW.shape[-2:]
        kernel = (probabilities_BLHW.shape[-2] // side[0], probabilities_BLHW.shape[-1] // side[1])
        seen = probabilities_BLHW.to(bottleneck_BCHW.dtype)
        pooled = [F.avg_pool2d(seen, kernel), F.max_pool2d(seen, kernel)]
        hidden = F.relu(self.hidden(torch.cat([bottleneck_BCHW, *pooled], dim=1)))
        return F.softplus(self.last(hidden).float()).sum((-2, -1))


def _unit(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Dropout(0.5))
