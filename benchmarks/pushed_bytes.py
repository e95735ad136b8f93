"""How many bytes reach the DVC remote when a data set grows by 1 %, and when one image is relabelled.

Both are stated beside the bytes of the new images: the aim is at most 1.1, and no image bytes for labels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from kpmodels.config.ingest import IngestOptions
from kpmodels.data.ingest import build_version

IMAGES = 1000


def write_drop(folder: Path, first: int, count: int, shift: float = 0.0) -> int:
    """Images ``first`` to ``first + count`` with one labelled point each; returns the bytes of the images."""
    (folder / "images").mkdir(parents=True)
    rows, total = ["image,x,y"], 0
    for number in range(first, first + count):
        generator = np.random.default_rng(number)
        image = cv2.resize(generator.integers(0, 255, (60, 80, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
        path = folder / "images" / f"{number:05d}.jpg"
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        total += path.stat().st_size
        x, y = generator.uniform(10, 400, 2)
        rows.append(f"{path.name},{x + shift:.2f},{y:.2f}")
    (folder / "points.csv").write_text("\n".join(rows) + "\n")
    return total


def dvc(repository: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=repository, check=True, capture_output=True)


def grow(repository: Path, drop: Path) -> int:
    """Ingest a drop, put it under DVC, push; returns by how many bytes the remote grew."""
    before = size_of(repository / "remote")
    build_version(drop, repository / "datasets" / "many", "many", options=IngestOptions(format="points"))
    dvc(repository, "add", "datasets")
    dvc(repository, "push")
    return size_of(repository / "remote") - before


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        repository = root / "repository"
        repository.mkdir()
        subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
        dvc(repository, "init")
        dvc(repository, "remote", "add", "--default", "storage", str(repository / "remote"))
        first = write_drop(root / "first", 0, IMAGES)
        new = write_drop(root / "new", IMAGES, IMAGES // 100)
        image = write_drop(root / "relabelled", 7, 1, shift=5.0)
        pushed = [grow(repository, root / drop) for drop in ("first", "new", "relabelled")]
    result = {
        "images": IMAGES,
        "first_ratio": round(pushed[0] / first, 3),
        "one_percent_more_ratio": round(pushed[1] / new, 3),
        "relabel_pushed_bytes": pushed[2],
        "relabelled_image_bytes": image,
    }
    print(f"first push: {result['first_ratio']} bytes per byte of images")
    print(f"1 % more images: {result['one_percent_more_ratio']} bytes per byte of the new images (aim: 1.1)")
    print(f"one image relabelled: {pushed[2]} bytes of labels and pointers (the image has {image})")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
