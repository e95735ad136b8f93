"""Weighted Hausdorff distance, forward and backward: this package against the formula written down plainly.

    python benchmarks/hausdorff.py

Batch 8, 256x256 maps, 10 to 100 points. The plain form goes through the images one by one, makes the whole matrix of
distances between pixels and points and lets autograd do the rest. Time: both in one process, alternating, medians,
with one thread and with two; on a machine that is busy with other work the numbers for two say above all how often
threads wait for each other.
Memory: each in a process of its own, how far the peak resident size rises above that before the loss, with as many
threads as the last of the times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from kpmodels.losses.hausdorff import weighted_hausdorff

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(probabilities_BHW: Tensor, points_BN2: Tensor, present_BN: Tensor, alpha: float = -1.0) -> Tensor:
    """Equations 5 and 6 of Ribera et al., CVPR 2019, image by image."""
    H, W = probabilities_BHW.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2).to(probabilities_BHW.dtype)
    furthest = (H**2 + W**2) ** 0.5
    terms = []
    for probability, points, present in zip(probabilities_BHW, points_BN2, present_BN, strict=True):
        p = probability.reshape(-1)
        distance = torch.cdist(pixels, points[present], compute_mode="donot_use_mm_for_euclid_dist")
        false_alarm = (p * distance.min(1).values).sum() / (p.sum() + 1e-6)
        weighted = (1 - p)[:, None] * furthest + p[:, None] * distance
        mean = ((weighted + 1e-6) ** alpha).mean(0) ** (1 / alpha)
        terms.append(false_alarm + mean.mean())
    return torch.stack(terms).mean()


def ours(probabilities_BHW: Tensor, points_BN2: Tensor, present_BN: Tensor, alpha: float = -1.0) -> Tensor:
    return weighted_hausdorff(probabilities_BHW, points_BN2, present_BN, alpha=alpha)[0]


FORMS: dict[str, Loss] = {"plain": plain, "ours": ours}


def case(batch: int, side: int, points: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random maps and points, their numbers spread evenly over the range."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.linspace(*points, batch).round().long()
    present = torch.arange(points[1]) < counts[:, None]
    xy = torch.rand((batch, points[1], 2), generator=generator) * (side - 1)
    return torch.rand((batch, side, side), generator=generator), xy, present


def step(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[float, Tensor]:
    probabilities = inputs[0].detach().requires_grad_()
    value = loss(probabilities, *inputs[1:])
    value.backward()
    assert probabilities.grad is not None
    return value.item(), probabilities.grad


def seconds(inputs: tuple[Tensor, Tensor, Tensor], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(repeats + 1):
        for name, loss in FORMS.items():
            start = time.perf_counter()
            step(loss, inputs)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def peak_rise(name: str, options: argparse.Namespace) -> float:
    """MiB by which the peak resident size of a fresh process rises while it computes the loss once."""
    command = [sys.executable, __file__, "--memory-of", name]
    command += ["--batch", str(options.batch), "--side", str(options.side), "--points", *map(str, options.points)]
    command += ["--threads", str(options.threads[-1])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(name: str, options: argparse.Namespace) -> float:
    step(FORMS[name], case(2, 16, (1, 2)))  # what libraries allocate at first use is not the loss's
    inputs = case(options.batch, options.side, tuple(options.points))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = peak_resident()
    step(FORMS[name], inputs)
    return (peak_resident() - before) / 1024


def peak_resident() -> int:
    """KiB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--points", type=int, nargs=2, default=(10, 100), metavar=("LEAST", "MOST"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2), help="thread counts to measure with")
    parser.add_argument("--memory-of", choices=sorted(FORMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads[0])
    if options.memory_of:
        print(measure_memory(options.memory_of, options))
        return
    inputs = case(options.batch, options.side, tuple(options.points))
    expected, gradient = step(plain, inputs)
    value, own = step(ours, inputs)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(own, gradient, rtol=1e-4, atol=1e-7)
    memory = {name: peak_rise(name, options) for name in FORMS}
    result: dict[str, object] = {
        "peak_mib": {name: round(value, 1) for name, value in memory.items()},
        "times_leaner": round(memory["plain"] / max(memory["ours"], 1e-9), 2),
    }
    for threads in options.threads:
        torch.set_num_threads(threads)
        times = seconds(inputs, options.repeats)
        result[f"threads_{threads}"] = {
            "milliseconds": {name: round(1000 * value, 1) for name, value in times.items()},
            "times_faster": round(times["plain"] / times["ours"], 2),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
