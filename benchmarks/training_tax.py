"""The training tax: images per second of a Ray Train run with one worker, against a plain PyTorch loop.

    python benchmarks/training_tax.py

Same detector (``heatmap``, pretrained EfficientNet-Lite0, 128x128), same loader, same optimizer, same number of
threads. The two are processes of their own that take turns, an epoch each, so that both see the same machine; while
one works the other sleeps. An epoch of the Ray run counts until the worker asks for the next one: averaging of
weights, checks, checkpoint, history and report to Ray are in it. The plain loop is forward, loss, backward, clipping
and step. The first turn of each is not counted. Ratios are of the medians; 1 is no tax, at least 0.95 is the aim.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from kpmodels.config import Experiment, parse_experiment

IMAGES, BATCH = 96, 16


class Turns:
    """Whose turn it is, in a file; and what each turn took."""

    def __init__(self, folder: Path, name: str, other: str) -> None:
        self.folder, self.name, self.other = folder, name, other
        self.start = 0.0

    def wait(self) -> None:
        while (self.folder / "turn").read_text() not in (self.name, "all"):
            time.sleep(0.005)
        self.start = time.perf_counter()

    def end(self, images: int) -> None:
        seconds = time.perf_counter() - self.start
        with (self.folder / f"{self.name}.jsonl").open("a") as file:
            file.write(json.dumps({"images": images, "seconds": seconds}) + "\n")
        self._give("turn", self.other)

    def leave(self) -> None:
        self._give("turn", "all")

    def _give(self, name: str, content: str) -> None:
        temporary = self.folder / f"{name}.{self.name}"
        temporary.write_text(content)
        temporary.replace(self.folder / name)


class TurnLoader:
    """The real loader, in turns; a turn ends when the next epoch is asked for, or by ``finish``."""

    def __init__(self, loader: Any, turns: Turns) -> None:
        self.loader, self.turns, self.images = loader, turns, 0

    def set_epoch(self, epoch: int) -> None:
        self.finish()
        self.loader.set_epoch(epoch)
        self.turns.wait()

    def finish(self) -> None:
        if self.images:
            self.turns.end(self.images)
        self.images = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            self.images += len(batch)
            yield batch


def build(job: Any, place: Any) -> Any:
    """The real parts, without validation, in turns."""
    from kpmodels.training.parts import build_parts

    parts = build_parts(job, place)
    turns = Turns(Path(job.folder).parent.parent, "ray", "plain")
    loader = TurnLoader(parts.loader, turns)

    def export(detector: Any, state: Any) -> None:
        loader.finish()
        turns.leave()
        parts.export(detector, state)

    return replace(parts, loader=loader, validate=None, export=export)


def plain(experiment: Experiment, data: Path, folder: Path) -> None:
    """The loop as one would write it down."""
    import torch

    from kpmodels.data.loading import make_loader
    from kpmodels.data.rows import RowPlan
    from kpmodels.data.store import open_dataset
    from kpmodels.detectors.build import build_detector

    options = experiment.train
    torch.set_num_threads(options.threads)
    store = open_dataset(data)
    detector = build_detector(experiment, store.info).to(memory_format=torch.channels_last)
    plan = RowPlan(**detector.row_plan(True))
    loader = make_loader(store, "train", plan, experiment.augment, batch_size=options.batch_size, seed=options.seed)
    optimizer = torch.optim.AdamW(detector.parameters(), options.learning_rate, fused=True)
    turns = Turns(folder, "plain", "ray")
    for epoch in range(options.epochs):
        turns.wait()
        images = 0
        loader.set_epoch(epoch)
        detector.train()
        for batch in loader:
            outputs = detector(batch.images_B3HW.contiguous(memory_format=torch.channels_last))
            loss = sum(detector.loss(outputs, batch).values())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(detector.parameters(), options.clip)
            optimizer.step()
            images += len(batch)
        turns.end(images)
    turns.leave()


def make_data(folder: Path) -> Path:
    from kpmodels.data.ingest import build_version
    from kpmodels.data.synthetic import make_shapes

    make_shapes(folder / "drop", IMAGES * 5 // 4, 0, "pose")
    build_version(folder / "drop", folder / "data", "shapes")
    return folder / "data"


def speeds(path: Path) -> list[float]:
    """Images per second of each turn but the first."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [record["images"] / record["seconds"] for record in records[1:]]


def watch(spent: dict[int, tuple[float, float]]) -> None:
    """Note the processor time of Ray's processes, but for its workers, when first seen in the run and last."""
    me = psutil.Process()
    while True:
        for process in me.children(recursive=True):
            try:
                if "plain" not in (line := " ".join(process.cmdline())) and "RayTrainWorker" not in line:
                    now = sum(process.cpu_times()[:2])
                    spent[process.pid] = (spent.get(process.pid, (now, now))[0], now)
            except psutil.Error:
                continue
        time.sleep(2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8, help="turns of each")
    parser.add_argument("--plain", nargs=2, metavar=("DATA", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    experiment = parse_experiment(
        {
            "name": "tax",
            "detector": {"kind": "heatmap", "input_size": 128},
            "train": {"epochs": arguments.epochs, "batch_size": BATCH, "workers": 1, "threads": threads},
        }
    )
    if arguments.plain:
        plain(experiment, Path(arguments.plain[0]), Path(arguments.plain[1]))
        return 0
    from kpmodels.training.cluster import WORKER_ENVIRONMENT
    from kpmodels.training.launch import train

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_data(folder)
        (folder / "turn").write_text("plain")
        command = [sys.executable, __file__, "--epochs", str(arguments.epochs), "--plain", str(data), name]
        with subprocess.Popen(command, env={**os.environ, **WORKER_ENVIRONMENT}) as other:
            threading.Thread(target=watch, args=(spent := {},), daemon=True).start()
            try:
                train(experiment, data, folder / "out", folder / "storage", build=build)
            except Exception:
                other.kill()
                raise
        found = {name: statistics.median(speeds(folder / f"{name}.jsonl")) for name in ("plain", "ray")}
    ratio = found["ray"] / found["plain"]
    print(f"plain loop {found['plain']:.1f} images/s, Ray Train {found['ray']:.1f} images/s, {threads} threads")
    begun = time.monotonic() - start
    others = sum(last - first for first, last in spent.values())
    print(f"Ray's other processes took {others / begun:.1%} of one processor, starting and stopping included")
    print(f"training tax: ratio {ratio:.3f} (aim: at least 0.95)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
