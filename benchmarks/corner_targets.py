"""Targets of corners (heatmaps, cells, offsets) of a batch: this package against a loop over the objects.

    python benchmarks/corner_targets.py

Batch 8, 128x128 maps, 80 categories; several numbers of objects per image. The loop is what the published programs do in
NumPy: for each object the radius, a Gaussian window for each corner, and the maximum of it and its place in the map. Both
in one process, alternating, medians of processor time, one thread; equal results are asserted.

Both get the zeroed memory of the maps (84 MB) from the system, which with few objects costs more than all the rest:
"memory" is the time of a form that only writes one number into each large page. "times_faster_without_memory" compares
what is left of the two when that is taken off.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from kpmodels.targets.corners import corner_targets

Result = list[Tensor]


def radius_of(height: int, width: int, t: float) -> float:
    """The smallest solution of the three cases of CornerNet's section 3.2, by the schoolbook."""
    around, area = height + width, height * width
    shifted = (around - math.sqrt(around**2 - 4 * area * (1 - t) / (1 + t))) / 2
    shrunk = (2 * around - math.sqrt(4 * around**2 - 16 * area * (1 - t))) / 8
    grown = (-2 * t * around + math.sqrt(4 * t**2 * around**2 + 16 * t * area * (1 - t))) / (8 * t)
    return min(shifted, shrunk, grown)


def draw(heatmap: np.ndarray, x: int, y: int, radius: int) -> None:
    """Put a Gaussian window into the map by maximum."""
    steps = np.arange(-radius, radius + 1, dtype=np.float64)
    sigma = (2 * radius + 1) / 6
    window = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * sigma**2))
    height, width = heatmap.shape
    left, right, top, bottom = min(x, radius), min(width - x, radius + 1), min(y, radius), min(height - y, radius + 1)
    part = heatmap[y - top : y + bottom, x - left : x + right]
    np.maximum(part, window[radius - top : radius + bottom, radius - left : radius + right], out=part, casting="unsafe")


def loop(boxes: Tensor, labels: Tensor, size: tuple[int, int], categories: int) -> Result:
    """Heatmaps, cells and offsets of the top left corners, then of the bottom right ones."""
    B, N, _ = boxes.shape
    H, W = size
    heatmaps = [np.zeros((B, categories, H, W), np.float32) for _ in range(2)]
    cells = [np.zeros((B, N), np.int64) for _ in range(2)]
    offsets = [np.zeros((B, N, 2), np.float32) for _ in range(2)]
    for b, (own, names) in enumerate(zip(boxes.tolist(), labels.tolist(), strict=True)):
        for n, ((x1, y1, x2, y2), label) in enumerate(zip(own, names, strict=True)):
            radius = max(0, int(radius_of(math.ceil(y2 - y1), math.ceil(x2 - x1), 0.3)))
            for kind, (x, y) in enumerate(((x1, y1), (x2, y2))):
                column, row = int(x), int(y)
                draw(heatmaps[kind][b, label], column, row, radius)
                cells[kind][b, n] = row * W + column
                offsets[kind][b, n] = x - column, y - row
    parts = zip(heatmaps, cells, offsets, strict=True)
    return [torch.from_numpy(values) for kind in parts for values in kind]


def ours(boxes: Tensor, labels: Tensor, size: tuple[int, int], categories: int) -> Result:
    valid = torch.ones_like(labels, dtype=torch.bool)
    targets = corner_targets(boxes, labels, valid, size, categories)
    return [*targets.top_left, *targets.bottom_right]


def memory(boxes: Tensor, labels: Tensor, size: tuple[int, int], categories: int) -> Result:
    """Only the memory of the heatmaps."""
    heatmaps = np.zeros(2 * len(boxes) * categories * size[0] * size[1], np.float32)
    heatmaps[:: LARGE_PAGE // heatmaps.itemsize] = 1
    return [torch.from_numpy(heatmaps)]


LARGE_PAGE = 1 << 21
FORMS: dict[str, Callable[..., Result]] = {"loop": loop, "ours": ours, "memory": memory}


def case(batch: int, objects: int, size: tuple[int, int], categories: int) -> tuple[Tensor, Tensor]:
    """Random boxes with sides of 2 to 64 cells, evenly in their logarithm, and categories."""
    generator = torch.Generator().manual_seed(0)
    limits = torch.tensor([size[1], size[0]], dtype=torch.float64)
    extent = 2 * 32 ** torch.rand((batch, objects, 2), generator=generator, dtype=torch.float64)
    low = torch.rand((batch, objects, 2), generator=generator, dtype=torch.float64) * (limits - extent - 0.01)
    return torch.cat([low, low + extent], -1), torch.randint(0, categories, (batch, objects), generator=generator)


def milliseconds(arguments: tuple[object, ...], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(repeats + 1):
        for name, form in FORMS.items():
            start = time.process_time()
            form(*arguments)
            times[name].append(time.process_time() - start)
    return {name: round(1000 * statistics.median(values[1:]), 2) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--categories", type=int, default=80)
    parser.add_argument("--objects", type=int, nargs="+", default=(10, 50, 200, 500), help="per image")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = (options.side, options.side)
    result = {}
    for objects in options.objects:
        arguments = (*case(options.batch, objects, size, options.categories), size, options.categories)
        for own, expected in zip(ours(*arguments), loop(*arguments), strict=True):
            torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)
        times = milliseconds(arguments, options.repeats)
        result[f"{objects}_objects"] = {
            "milliseconds": times,
            "times_faster": round(times["loop"] / times["ours"], 2),
            "times_faster_without_memory": round(
                (times["loop"] - times["memory"]) / max(times["ours"] - times["memory"], 0.01), 2
            ),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
