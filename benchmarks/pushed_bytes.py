"""How many bytes reach the DVC remote when a data set grows by 1 %, and when one image is relabelled.

Both are stated beside the bytes of the new images: the aim is at most 1.1, and no image bytes for labels.

What is pushed beyond the images does not depend on their size: annotations.parquet is one file and goes anew with each
version. So for small images, or many keypoints in each, the aim is missed; from which size on it is kept is told for one
instance an image of 1, 4 and 17 keypoints with two decimals, whose bits are random (real labels are easier).
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


def write_poses(folder: Path, first: int, count: int, keypoints: int) -> int:
    """COCO drop of tiny images of their own content, one instance each; returns the bytes of the images."""
    (folder / "images").mkdir(parents=True)
    jpeg = bytes(cv2.imencode(".jpg", np.zeros((480, 640), np.uint8))[1])
    images, annotations = [], []
    for number in range(first, first + count):
        generator = np.random.default_rng(number)
        (folder / "images" / f"{number:05d}.jpg").write_bytes(jpeg + b"%08d" % number)
        points = np.column_stack([generator.uniform(10, 400, (keypoints, 2)).round(2), np.full(keypoints, 2)])
        low, size = points[:, :2].min(0), np.ptp(points[:, :2], 0) + 10
        images.append({"id": number, "file_name": f"{number:05d}.jpg", "width": 640, "height": 480})
        one = {"id": number, "image_id": number, "category_id": 1, "area": round(float(size.prod()) / 2, 2)}
        box = [round(float(value), 2) for value in (*low, *size)]
        annotations.append({**one, "iscrowd": 0, "bbox": box, "keypoints": points.ravel().tolist()})
    category = {"id": 1, "name": "one", "keypoints": [f"k{i}" for i in range(keypoints)], "skeleton": []}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return count * (len(jpeg) + 8)


def beyond_images(folder: Path, keypoints: int) -> float:
    """Bytes of new or changed files that are not the images', per new image, when 1 % is added. DVC pushes whole files,
    and its list of them, which is counted too."""
    write_poses(folder / "first", 0, IMAGES, keypoints)
    new = write_poses(folder / "new", IMAGES, IMAGES // 100, keypoints)
    build_version(folder / "first", folder / "set", "many")
    before = {path.name: path.read_bytes() for path in (folder / "set").iterdir()}
    build_version(folder / "new", folder / "set", "many")
    files = list((folder / "set").iterdir())
    pushed = sum(path.stat().st_size for path in files if path.read_bytes() != before.get(path.name))
    listing = len(json.dumps([{"md5": 32 * "0", "relpath": f"many/{path.name}"} for path in files]))
    return (pushed + listing - new) / (IMAGES // 100)


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
    for keypoints in (1, 4, 17):
        with tempfile.TemporaryDirectory() as name:
            beyond = beyond_images(Path(name), keypoints)
        result[f"kept_from_bytes_{keypoints}_keypoints"] = round(beyond / 0.1)
        print(
            f"{keypoints} keypoints: {beyond:.0f} bytes beyond each new image, so 1.1 from {beyond / 100:.1f} kB an image on"
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
