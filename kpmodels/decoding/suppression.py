"""Greedy suppression without a loop over the candidates."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_keep(conflicts_BNN: Tensor) -> Tensor:
    """Which of N candidates, best first, stay when each one that stays removes the later ones it conflicts with.

    The answer is the only fixed point of "a candidate stays if no earlier one that stays conflicts with it"; it is
    reached in as many rounds as the longest chain of removals, which is short.

    Args:
        conflicts_BNN: bool, symmetric; candidates sorted from best to worst.

    Returns:
        keep_BN, bool.
    """
    N = conflicts_BNN.shape[-1]
    earlier = conflicts_BNN & torch.ones((N, N), dtype=torch.bool, device=conflicts_BNN.device).tril(-1)
    keep = torch.ones(conflicts_BNN.shape[:-1], dtype=torch.bool, device=conflicts_BNN.device)
    for _ in range(N):
        updated = ~(earlier & keep[..., None, :]).any(-1)
        if torch.equal(updated, keep):
            break
        keep = updated
    return keep
