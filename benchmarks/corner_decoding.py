"""From the maps of corners to 100 boxes per image: this package against a plain form, image by image.

    python benchmarks/corner_decoding.py

Batch 8, 128x128 maps, 80 categories, the 100 best corners of each kind, 1000 pairs, 100 boxes. The plain form does what
the papers say in their order: the sigmoid of the maps, a maximum over 3x3 cells, the best corners, all pairs of them;
then Gaussian soft-NMS of each category in NumPy, one box after another. Both in one process, alternating, medians of
processor time, one thread; equal scores are asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kpmodels.decoding.corner_pairs import Boxes, pair_corners
from kpmodels.decoding.keypoint_peaks import gather_at, positions, top_points
from kpmodels.decoding.soft_nms import soft_nms
from kpmodels.targets.corners import corner_targets

CORNERS, PAIRS, BOXES, TAG_DISTANCE = 100, 1000, 100, 0.5


class Maps(NamedTuple):
    """What the network gives for one kind of corner."""

    logits_BLHW: Tensor
    tags_B1HW: Tensor
    offsets_B2HW: Tensor


def plain_corners(maps: Maps, image: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, categories, places and embeddings of the best corners of an image."""
    heat = maps.logits_BLHW[image].sigmoid()
    H, W = heat.shape[1:]
    heat = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat)
    scores, index = heat.flatten().topk(CORNERS)
    label, cell = index // (H * W), index % (H * W)
    offset = maps.offsets_B2HW[image].flatten(1)[:, cell].T
    xy = torch.stack([cell % W, cell // W], dim=1) + offset
    return scores, label, xy, maps.tags_B1HW[image, 0].flatten()[cell]


def plain_pairs(first: Maps, second: Maps, image: int) -> Tensor:
    """Rows x1, y1, x2, y2, score, category of the pairs of an image."""
    scores_a, label_a, xy_a, tag_a = plain_corners(first, image)
    scores_b, label_b, xy_b, tag_b = plain_corners(second, image)
    scores = (scores_a[:, None] + scores_b[None]) / 2
    wrong = (label_a[:, None] != label_b[None]) | ((tag_a[:, None] - tag_b[None]).abs() > TAG_DISTANCE)
    wrong |= (xy_b[None] < xy_a[:, None]).any(-1)
    scores[wrong] = -1
    best, index = scores.flatten().topk(PAIRS)
    a, b = index // CORNERS, index % CORNERS
    rows = torch.cat([xy_a[a], xy_b[b], best[:, None], label_a[a, None].float()], dim=1)
    return rows[best > -1]


def plain_suppression(rows: np.ndarray, sigma: float = 0.5, threshold: float = 0.001) -> np.ndarray:
    """The 100 best boxes of an image after soft-NMS of each category."""
    kept = []
    for label in np.unique(rows[:, 5]):
        own = rows[rows[:, 5] == label].copy()
        while len(own):
            best = own[own[:, 4].argmax()].copy()
            kept.append(best)
            own = own[np.arange(len(own)) != own[:, 4].argmax()]
            low, high = np.maximum(own[:, :2], best[:2]), np.minimum(own[:, 2:4], best[2:4])
            shared = np.clip(high - low, 0, None).prod(1)
            sizes = (own[:, 2:4] - own[:, :2]).prod(1) + (best[2:4] - best[:2]).prod()
            own[:, 4] *= np.exp(-((shared / np.maximum(sizes - shared, 1e-12)) ** 2) / sigma)
            own = own[own[:, 4] >= threshold]
    found = np.array(kept).reshape(-1, 6)
    return found[np.argsort(-found[:, 4])][:BOXES]


def plain_all_pairs(first: Maps, second: Maps) -> list[Tensor]:
    return [plain_pairs(first, second, image) for image in range(len(first.logits_BLHW))]


def plain_all_suppressed(pairs: list[Tensor]) -> list[np.ndarray]:
    return [plain_suppression(rows.numpy()) for rows in pairs]


def our_pairs(first: Maps, second: Maps) -> Boxes:
    points = [top_points(maps.logits_BLHW, CORNERS, logits=True) for maps in (first, second)]
    both = list(zip(points, (first, second), strict=True))
    places = [positions(own.cells_BK, maps.offsets_B2HW) for own, maps in both]
    tags = [gather_at(maps.tags_B1HW, own.cells_BK)[..., 0] for own, maps in both]
    return pair_corners(*points, *places, *tags, TAG_DISTANCE, PAIRS)


def case(batch: int, side: int, categories: int, objects: int) -> tuple[Maps, Maps]:
    """Maps of random boxes as a trained network might give them, with noise that makes wrong corners."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    extent = 4 + 40 * torch.rand((batch, objects, 2), generator=generator)
    low = torch.rand((batch, objects, 2), generator=generator) * (side - extent)
    labels = torch.randint(0, categories, (batch, objects), generator=generator)
    present = torch.ones_like(labels, dtype=torch.bool)
    targets = corner_targets(torch.cat([low, low + extent], -1), labels, present, (side, side), categories)
    own_tags = noise(batch, 1, objects)
    maps = []
    for where in (targets.top_left, targets.bottom_right):
        shape = (batch, categories, side, side)
        logits = 8 * where.heatmaps_BLHW - 6 + noise(*shape)
        tags = noise(batch, 1, side * side).scatter(2, where.cells_BN[:, None], own_tags).view(batch, 1, side, side)
        maps.append(Maps(logits, tags, torch.rand((batch, 2, side, side), generator=generator)))
    return maps[0], maps[1]


def alternating(forms: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(repeats + 1):
        for name, form in forms.items():
            start = time.process_time()
            form()
            times[name].append(time.process_time() - start)
    return {name: 1000 * statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--categories", type=int, default=80)
    parser.add_argument("--objects", type=int, default=20, help="per image")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    maps = case(options.batch, options.side, options.categories, options.objects)
    boxes, pairs = our_pairs(*maps), plain_all_pairs(*maps)
    for scores, rows in zip(soft_nms(boxes, BOXES).scores_BD, plain_all_suppressed(pairs), strict=True):
        expected = torch.from_numpy(rows[:, 4]).float()
        torch.testing.assert_close(scores[scores >= 0], expected, rtol=1e-4, atol=1e-5)
    times = alternating(
        {
            "pairs_plain": lambda: plain_all_pairs(*maps),
            "pairs_ours": lambda: our_pairs(*maps),
            "suppression_plain": lambda: plain_all_suppressed(pairs),
            "suppression_ours": lambda: soft_nms(boxes, BOXES),
        },
        options.repeats,
    )
    plain, ours = (times[f"pairs_{name}"] + times[f"suppression_{name}"] for name in ("plain", "ours"))
    result = {
        "pairs_per_image": round(sum(map(len, pairs)) / len(pairs)),
        "milliseconds": {name: round(value, 1) for name, value in times.items()},
        "times_faster": {
            "pairs": round(times["pairs_plain"] / times["pairs_ours"], 2),
            "suppression": round(times["suppression_plain"] / times["suppression_ours"], 2),
            "both": round(plain / ours, 2),
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
