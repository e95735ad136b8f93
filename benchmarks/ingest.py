"""Ingest: images per second of a drop into a new data set, against copying the files and hashing them (sha256).

    python benchmarks/ingest.py

640x480 photographs (noise with the spectrum of a photograph) with COCO labels of one 17-keypoint person each. Each
measurement is a fresh process after an ingest of one image (imports); both sides read from the operating system's
file cache and write to the same disk, turn by turn. The copy is the plain script in one process and one thread: read a
file, hash it, write it. Ingest is one process too, and uses its threads: one per core (at most 8) reads, hashes and
proves the images whole, the main one checks labels and writes, another one waits for the disk. It reads labels, writes
shards, annotations and description, and has them on the disk (fsync) before it ends; all of that is in its time.
``quick`` is what a drop above 64 MiB gets, ``decode`` decodes every image. The seconds of CPU of all threads tell what
one core would need. Memory is the peak of the process above what it has after its imports, for N and for 10 N images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT, KEYPOINTS = 640, 480, 17


def photo(rng: np.random.Generator, suffix: str) -> bytes:
    """An image whose amplitudes fall as one over the frequency."""
    noise = np.fft.rfft2(rng.standard_normal((3, HEIGHT, WIDTH)))
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    pixels = np.fft.irfft2(noise / np.maximum(frequency, 1 / WIDTH), (HEIGHT, WIDTH))
    mixed = 0.8 * pixels[:1] + 0.2 * pixels
    image = (127 + 50 * mixed / mixed.std()).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    return bytes(cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, 90] if suffix == ".jpg" else [])[1])


def make_drop(folder: Path, count: int, suffix: str) -> int:
    """Write ``count`` different images with labels; returns their bytes. A few photographs are made, the others differ
    from them in a comment after the end, so that each has its own content but making them takes no time."""
    rng = np.random.default_rng(0)
    photos = [photo(rng, suffix) for _ in range(min(count, 24))]
    (folder / "images").mkdir(parents=True)
    images, annotations, total = [], [], 0
    for number in range(count):
        data = photos[number % len(photos)] + b"%08d" % number
        name = f"{number:06d}{suffix}"
        (folder / "images" / name).write_bytes(data)
        total += len(data)
        points = np.column_stack([rng.uniform(0, (WIDTH, HEIGHT), (KEYPOINTS, 2)), np.full(KEYPOINTS, 2)])
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        box = [0, 0, WIDTH, HEIGHT]
        one = {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 1e5, "iscrowd": 0}
        annotations.append({**one, "keypoints": points.round(2).ravel().tolist()})
    category = {"id": 1, "name": "person", "keypoints": [f"k{i}" for i in range(KEYPOINTS)], "skeleton": []}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return total


def copy_and_hash(drop: Path, out: Path) -> None:
    out.mkdir()
    for path in sorted((drop / "images").iterdir()):
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        (out / path.name).write_bytes(data)


def measure(kind: str, drop: Path, out: Path) -> dict[str, float]:
    """Seconds and peak MiB of one side; runs in a process of its own."""
    from kpmodels.config.ingest import IngestOptions
    from kpmodels.data.ingest import build_version

    with tempfile.TemporaryDirectory() as warm:  # imports that happen at the first use are no part of either side
        make_drop(Path(warm) / "drop", 1, ".jpg")
        build_version(Path(warm) / "drop", Path(warm) / "out", "warm")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    if kind == "copy":
        copy_and_hash(drop, out)
    else:
        build_version(drop, out, "bench", options=IngestOptions(verify=kind))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "cpu": cpu, "mib": (after - before) / 1024}


def in_process(kind: str, drop: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", kind, str(drop), str(out)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def compare(folder: Path, count: int, suffix: str, turns: int) -> None:
    drop = folder / f"drop-{count}{suffix}"
    total = make_drop(drop, count, suffix)
    threads = min(8, os.cpu_count() or 1)
    print(f"\n{count} images {suffix}, {total / 2**20:.0f} MiB; copy: 1 thread, ingest: {threads} + 2 threads")
    best: dict[str, dict[str, float]] = {}
    for turn in range(turns):
        for kind in ("copy", "quick", "decode"):
            out = folder / f"out-{kind}-{turn}"
            result = in_process(kind, drop, out)
            if kind not in best or result["seconds"] < best[kind]["seconds"]:
                best[kind] = result
            subprocess.run(["rm", "-rf", str(out)], check=True)
    for kind, result in best.items():
        ratio = best["copy"]["seconds"] / result["seconds"]
        print(
            f"  {kind:7} {count / result['seconds']:8.0f} images/s  {result['cpu']:6.2f} s cpu  "
            f"peak {result['mib']:6.0f} MiB  speed against copying {ratio:.2f}"
        )
    subprocess.run(["rm", "-rf", str(drop)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="N; 10 N are measured too")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("KIND", "DROP", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, drop, out = options.measure
        print(json.dumps(measure(kind, Path(drop), Path(out))))
        return
    with tempfile.TemporaryDirectory(prefix="kp-bench-") as folder:
        for suffix in (".jpg", ".png"):
            compare(Path(folder), options.count, suffix, options.turns)
        compare(Path(folder), 10 * options.count, ".jpg", options.turns)


if __name__ == "__main__":
    main()
