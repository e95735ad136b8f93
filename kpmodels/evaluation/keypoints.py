"""Which predicted instance belongs to which true one, and how far their keypoints lie apart.

Nothing here needs OKS sigmas. Distances are normalized by the size of the true instance: the longer side of its box,
or the root of its area where that is larger (a box around one keypoint has no side), at least 1 pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kpmodels.evaluation.boxes import centres, inside_any
from kpmodels.structures import Instances

FARTHEST_PAIR = 0.5


@dataclass(frozen=True)
class Pairs:
    """P pairs: indices into the truth and into the predictions, and the mean normalized distance (each at most 1)."""

    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    distance: NDArray[np.float64]


def counted(truth: Instances) -> NDArray[np.bool_]:
    """Which true instances ``[N]`` are measured: no crowd, and with a labelled keypoint where keypoints exist."""
    if truth.keypoints.shape[1] == 0:
        return ~truth.crowd
    return ~truth.crowd & (truth.keypoints[..., 2] > 0).any(1)


def sizes(truth: Instances) -> NDArray[np.float64]:
    """Size ``[N]`` of instances in pixels, which distances are normalized by."""
    sides_N2 = truth.boxes[:, 2:].astype(np.float64) - truth.boxes[:, :2]
    return np.maximum.reduce([sides_N2.max(1, initial=0), np.sqrt(np.maximum(truth.areas, 0)), np.ones(len(truth))])


def keypoint_distances(truth: Instances, found: Instances) -> NDArray[np.float64]:
    """Distances ``[N, M, K]`` in pixels."""
    true_NK2 = truth.keypoints[..., :2].astype(np.float64)
    return np.linalg.norm(true_NK2[:, None] - found.keypoints[None, ..., :2], axis=-1)


def pair_instances(truth: Instances, found: Instances, single: bool = False) -> Pairs:
    """One-to-one pairs of the least total distance.

    The cost of a pair is the mean over the labelled keypoints of the normalized distance, each at most 1, so that one
    wild keypoint does not tear a pair apart. Pairs farther than 0.5 are none, except with ``single`` (no image holds
    more than one instance), where the one prediction means the one instance however wrong it is. Predictions that
    carry the true instance's id (top-down in given boxes) are paired by it.

    Args:
        truth: Instances that are measured; every one has a labelled keypoint.
        found: Predictions of the same image.
        single: Accept every pair.
    """
    labelled_NK = truth.keypoints[..., 2] > 0
    scaled_NMK = np.minimum(keypoint_distances(truth, found) / sizes(truth)[:, None, None], 1)
    cost_NM = (scaled_NMK * labelled_NK[:, None]).sum(-1) / np.maximum(labelled_NK.sum(-1), 1)[:, None]
    by_id = _pairs_by_id(truth, found)
    rows, columns = by_id if by_id is not None else linear_sum_assignment(cost_NM)
    cost_P = cost_NM[rows, columns]
    kept = np.full(len(rows), True) if single or by_id is not None else cost_P <= FARTHEST_PAIR
    return Pairs(rows[kept], columns[kept], cost_P[kept])


def _pairs_by_id(truth: Instances, found: Instances) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    place = {one: row for row, one in enumerate(truth.ids) if one}
    if not len(found) or not all(one in place for one in found.ids) or len(set(found.ids)) < len(found):
        return None
    return np.array([place[one] for one in found.ids], np.int64), np.arange(len(found))


def best_scored(truth: Instances, found: Instances) -> Instances:
    """The predictions that pixel errors are measured on: of those outside of crowds, as many as there are instances.

    So a detector gains nothing by offering many candidates, and errors do not depend on a score threshold.
    """
    crowds = truth.boxes[truth.crowd]
    outside = ~inside_any(centres(found.boxes), crowds)
    order = np.argsort(-found.scores, kind="stable")
    number = int((~truth.crowd).sum())
    kept = np.concatenate([order[outside[order]][:number], order[~outside[order]]])
    return found.select(np.sort(kept))


@dataclass(frozen=True)
class KeypointErrors:
    """Distances of the labelled keypoints of paired instances.

    Attributes:
        pixels: ``[E]`` distances in pixels of the original image.
        scaled: ``[E]`` the same divided by the size of the instance.
        keypoint: ``[E]`` which keypoint it is.
        labelled: ``[K]`` labelled keypoints of all measured instances, paired or not.
        pairs: The pairs, as indices into the measured truth and into the predictions given.
    """

    pixels: NDArray[np.float64]
    scaled: NDArray[np.float64]
    keypoint: NDArray[np.int64]
    labelled: NDArray[np.int64]
    pairs: Pairs


def keypoint_errors(truth: Instances, found: Instances, single: bool = False) -> KeypointErrors:
    """Errors on one image; ``truth`` holds the measured instances only."""
    pairs = pair_instances(truth, found, single)
    labelled_NK = truth.keypoints[..., 2] > 0
    distance_PK = keypoint_distances(truth, found)[pairs.truth, pairs.found]
    scaled_PK = distance_PK / sizes(truth)[pairs.truth, None]
    row, keypoint = np.nonzero(labelled_NK[pairs.truth])
    return KeypointErrors(distance_PK[row, keypoint], scaled_PK[row, keypoint], keypoint, labelled_NK.sum(0), pairs)


def found_instances(truth: Instances, found: Instances, within: float, single: bool = False) -> NDArray[np.int64]:
    """The predictions that found an instance: paired, with a mean normalized distance of at most ``within``."""
    pairs = pair_instances(truth, found, single)
    return pairs.found[pairs.distance <= within]
