"""Losses of embeddings that group the points of an object (associative embedding)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PullPush(NamedTuple):
    """One number per image; 0 for images without objects."""

    pull_B: Tensor
    push_B: Tensor


def pull_push(
    top_left_tags_BN: Tensor,
    bottom_right_tags_BN: Tensor,
    present_BN: Tensor,
    margin: float = 1.0,
    published: bool = False,
) -> PullPush:
    """Pull the two corners of an object together, and push objects apart (CornerNet, Law and Deng, ECCV 2018, eq. 4, 5).

    With e the mean of an object's two embeddings and n objects in the image, pull is the mean over the objects of the
    squared distances of both to e, and push the mean over the n (n - 1) ordered pairs of what the distance of their e
    lacks to the margin; it is 0 with one object.

    The papers do not say how images are put together. Their mean learns the same with any number of processes; the
    published program sums over the images of a process.

    Args:
        top_left_tags_BN, bottom_right_tags_BN: Embeddings in the cells of the corners; computed with in float32.
        present_BN: bool; other rows do not matter, whatever they hold.
        margin: Distance from which on objects are apart.
        published: As the published program does: it divides by n + 1e-4 and n (n - 1) + 1e-4, and takes the pairs of an
            object with itself off as 1 / (n + 1e-4) per pair (right for margin 1 only), which leaves a constant of
            about 1 for an image with exactly one object.
    """
    zero = top_left_tags_BN.new_zeros((), dtype=torch.float32)
    first = torch.where(present_BN, top_left_tags_BN.float(), zero)
    second = torch.where(present_BN, bottom_right_tags_BN.float(), zero)
    mean = (first + second) / 2
    count_B = present_BN.sum(1).float()
    small = 1e-4 if published else 0.0
    objects_B = count_B + small if published else count_B.clamp(min=1)
    pull_B = ((first - mean).square() + (second - mean).square()).sum(1) / objects_B
    pairs_B = count_B * (count_B - 1)
    pairs_B = pairs_B + small if published else pairs_B.clamp(min=1)
    push_B = _lacking(mean, present_BN, margin, 1 / objects_B if published else None) / pairs_B
    return PullPush(pull_B, push_B)


def _lacking(mean_BN: Tensor, present_BN: Tensor, margin: float, itself_B: Tensor | None) -> Tensor:
    """What the distances of all ordered pairs lack to the margin, summed over each image.

    Args:
        itself_B: What every pair, also of an object with itself, is lowered by; None: no object is paired with itself.
    """
    lacking = (margin - (mean_BN[:, :, None] - mean_BN[:, None]).abs()).clamp(min=0)
    pairs = present_BN[:, :, None] & present_BN[:, None]
    if itself_B is None:
        pairs = pairs & ~torch.eye(present_BN.shape[1], dtype=torch.bool, device=present_BN.device)
    else:
        lacking = lacking - itself_B[:, None, None]
    return torch.where(pairs, lacking, 0).sum((1, 2))
