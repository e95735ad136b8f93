"""Corner pooling, forward and backward: this package against the plain row loop and against ``torch.cummax``.

    python benchmarks/corner_pooling.py

Float32 maps of 4x128x128x128, two threads. The row loop takes the maximum of each row (or column) and the running one and
stacks them; ``torch.cummax`` needs a flip before and after where the scan runs upwards or leftwards. Both leave the
gradient to autograd. Time: all in one process, alternating, medians; ``all`` is the sum over the four directions, of which
each network uses all alike. On a machine that is busy with other work threads wait for each other, and the numbers say
little. Much of the time goes to fresh memory for results: with MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and
MALLOC_TOP_PAD_ at some hundred million (glibc), memory is used again and all forms are faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from kpmodels.necks.corner_pool import bottom_pool, left_pool, right_pool, top_pool

Pool = Callable[[Tensor], Tensor]
DIRECTIONS = {"top": (2, True), "bottom": (2, False), "left": (3, True), "right": (3, False)}
OURS: dict[str, Pool] = {"top": top_pool, "bottom": bottom_pool, "left": left_pool, "right": right_pool}


def row_loop(x_BCHW: Tensor, dim: int, reverse: bool) -> Tensor:
    rows = list(x_BCHW.unbind(dim))
    order = range(len(rows))[:: -1 if reverse else 1]
    for before, i in pairwise(order):
        rows[i] = torch.maximum(rows[before], rows[i])
    return torch.stack(rows, dim)


def cummax(x_BCHW: Tensor, dim: int, reverse: bool) -> Tensor:
    if reverse:
        return x_BCHW.flip(dim).cummax(dim).values.flip(dim)
    return x_BCHW.cummax(dim).values


def forms(direction: str) -> dict[str, Pool]:
    dim, reverse = DIRECTIONS[direction]
    return {
        "row_loop": lambda x: row_loop(x, dim, reverse),
        "cummax": lambda x: cummax(x, dim, reverse),
        "ours": OURS[direction],
    }


def step(pool: Pool, x_BCHW: Tensor, grad_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    x = x_BCHW.detach().requires_grad_()
    y = pool(x)
    y.backward(grad_BCHW)
    assert x.grad is not None
    return y, x.grad


def check(direction: str, x: Tensor, grad: Tensor) -> None:
    """All forms agree; the inputs have next to no ties."""
    value, gradient = step(OURS[direction], x, grad)
    for form in forms(direction).values():
        other_value, other_gradient = step(form, x, grad)
        assert torch.equal(value, other_value)
        difference = (gradient - other_gradient).abs() > 1e-3
        assert difference.float().mean() < 1e-4


def seconds(direction: str, x: Tensor, grad: Tensor, repeats: int) -> dict[str, float]:
    pools = forms(direction)
    times: dict[str, list[float]] = {name: [] for name in pools}
    for _ in range(repeats + 1):
        for name, pool in pools.items():
            start = time.perf_counter()
            step(pool, x, grad)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def report(times: dict[str, float]) -> dict[str, object]:
    return {
        "milliseconds": {name: round(1000 * value, 1) for name, value in times.items()},
        "times_faster_than": {n: round(times[n] / times["ours"], 2) for n in ("row_loop", "cummax")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=4, default=(4, 128, 128, 128), metavar=("B", "C", "H", "W"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true", help="maps in that memory format")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    memory_format = torch.channels_last if options.channels_last else torch.contiguous_format
    x, grad = (torch.randn(options.shape, generator=generator).contiguous(memory_format=memory_format) for _ in "xg")
    result: dict[str, object] = {"shape": list(options.shape), "threads": options.threads}
    total: dict[str, float] = {}
    for direction in DIRECTIONS:
        check(direction, x, grad)
        times = seconds(direction, x, grad, options.repeats)
        result[direction] = report(times)
        total = {name: total.get(name, 0.0) + value for name, value in times.items()}
    result["all"] = report(total)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
