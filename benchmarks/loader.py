"""Loader: images per second of one process on one core, from a stored data set to augmented batches with labels.

    python benchmarks/loader.py

640x480 JPEG, 17 keypoints, crops of 256x256 with flip, rotation, scale, shift, brightness, contrast and blur. Reading,
decoding, warping, colours and labels are all counted; nothing is remembered between epochs but the file cache of the
operating system, and no thread works ahead. All cases run in turns in one process pinned to one core; each keeps the
best of its turns. The plain loader reads the same images as files, with Pillow and torchvision, and moves its
keypoints one image at a time, as most training scripts do.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from kpmodels.config.data import AugmentOptions
from kpmodels.data.cache import ParquetImages, open_images
from kpmodels.data.loading import Loader
from kpmodels.data.rows import RowPlan
from kpmodels.data.samples import ImageReader, TrainRows
from kpmodels.data.sampling import Schedule
from kpmodels.data.schema import ANNOTATIONS, FORMAT, IMAGES, image_id
from kpmodels.data.splits import SplitRule
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.structures import DatasetInfo, Skeleton

WIDTH, HEIGHT, SIZE, KEYPOINTS, BATCH = 640, 480, 256, 17, 16
PAIRS = tuple((left, left + 1) for left in range(1, KEYPOINTS, 2))
ROW_GROUP = 64


def photo(rng: np.random.Generator) -> bytes:
    """A JPEG with the spectrum of a photograph: amplitudes fall as one over the frequency."""
    noise = np.fft.rfft2(rng.standard_normal((3, HEIGHT, WIDTH)))
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    pixels = np.fft.irfft2(noise / np.maximum(frequency, 1 / WIDTH), (HEIGHT, WIDTH))
    pixels = 127 + 50 * pixels / pixels.std()
    mixed = 0.8 * pixels[:1] + 0.2 * pixels
    image = np.ascontiguousarray(mixed.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    return simplejpeg.encode_jpeg(image, quality=90, colorsubsampling="420")


def make_data(folder: Path, count: int) -> DatasetStore:
    """A data set of ``count`` photographs with one instance each, of about 200 pixels; also as loose files."""
    rng = np.random.default_rng(0)
    rows, labels = [], []
    (folder / "files").mkdir(parents=True)
    for data in (photo(rng) for _ in range(count)):
        one = image_id(data)
        (folder / "files" / f"{one}.jpg").write_bytes(data)
        rows.append({"image_id": one, "bytes": data, "width": WIDTH, "height": HEIGHT, "file_name": f"{one}.jpg"})
        corner = rng.uniform((0, 0), (WIDTH - 205, HEIGHT - 205))
        points = np.column_stack([rng.uniform(corner, corner + 205, (KEYPOINTS, 2)), np.full(KEYPOINTS, 2)])
        box = [*corner, *(corner + 205)]
        label = {"image_id": one, "annotation_id": one, "label": 0, "keypoints": points.ravel().tolist()}
        labels.append({**label, "box": box, "area": 205.0**2, "crowd": False})
    rows.sort(key=lambda row: row["image_id"])
    table = pa.Table.from_pylist([{**row, "group": "", "source": ""} for row in rows], IMAGES)
    pq.write_table(table, folder / "images-0.parquet", compression="none", row_group_size=ROW_GROUP)
    labels.sort(key=lambda row: row["image_id"])
    pq.write_table(pa.Table.from_pylist(labels, ANNOTATIONS), folder / "annotations.parquet")
    skeleton = Skeleton(tuple(f"k{i}" for i in range(KEYPOINTS)), flip_pairs=PAIRS)
    info = DatasetInfo("bench", "pose", ("thing",), skeleton, single_instance=True)
    description = {"format": FORMAT, "info": info.to_dict(), "splits": SplitRule(1, 0, 0).to_dict()}
    (folder / "dataset.json").write_text(json.dumps(description))
    return open_dataset(folder)


def ours(store: DatasetStore, region: str, shuffle: bool, parquet: bool = False) -> Callable[[int], int]:
    """An epoch of this package's loader; returns how many images it made."""
    reader = ImageReader(store, store.split("train"), store.folder / "cache", decoded_bytes=0)
    if parquet:
        reader._encoded = ParquetImages(store)
    rows = TrainRows(reader, RowPlan(SIZE, region), AugmentOptions(), seed=0)  # type: ignore[arg-type]
    loader = Loader(rows, Schedule(len(rows), BATCH, shuffle=shuffle), prefetch=0)

    def epoch(number: int) -> int:
        loader.set_epoch(number)
        return sum(len(batch) for batch in loader)

    return epoch


class PlainSet(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What a training script does: Pillow, torchvision's transforms, keypoints moved for each image."""

    def __init__(self, store: DatasetStore) -> None:
        self.files = [store.folder / "files" / f"{one}.jpg" for one in store.image_ids]
        self.truths = [store.instances(one) for one in store.image_ids]
        self.flip_index = store.info.skeleton.flip_index
        self.options = AugmentOptions(rotation=30.0)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        options, rng = self.options, np.random.default_rng()
        image = Image.open(io.BytesIO(self.files[index].read_bytes())).convert("RGB")
        points = self.truths[index].keypoints[0].copy()
        x1, y1, x2, y2 = self.truths[index].boxes[0]
        side = float(max(x2 - x1, y2 - y1)) * 1.25
        left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
        image = tv.resized_crop(image, int(top), int(left), int(side), int(side), [SIZE, SIZE])
        points[:, :2] = (points[:, :2] - (int(left), int(top))) * SIZE / int(side)
        if rng.random() < options.flip:
            image = tv.horizontal_flip(image)
            points[:, 0] = SIZE - 1 - points[:, 0]
            points = points[self.flip_index]
        angle, scale = rng.uniform(-1, 1) * options.rotation, 1 + rng.uniform(-1, 1) * options.scale
        shift = rng.uniform(-1, 1, 2) * options.translation * SIZE
        image = tv.affine(image, angle, shift.tolist(), scale, [0.0, 0.0], tv.InterpolationMode.BILINEAR)
        cos, sin = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
        centred = points[:, :2] - SIZE / 2
        points[:, :2] = centred @ np.array([[cos, sin], [-sin, cos]]) + SIZE / 2 + shift
        image = tv.adjust_brightness(image, 1 + rng.uniform(-1, 1) * options.brightness)
        image = tv.adjust_contrast(image, 1 + rng.uniform(-1, 1) * options.contrast)
        if rng.random() < options.blur:
            image = tv.gaussian_blur(image, [5, 5], [0.8, 0.8])
        points[((points[:, :2] < 0) | (points[:, :2] >= SIZE)).any(1), 2] = 0
        return tv.pil_to_tensor(image), torch.from_numpy(points)


def plain(store: DatasetStore) -> Callable[[int], int]:
    loader = torch.utils.data.DataLoader(PlainSet(store), BATCH, shuffle=True)
    return lambda _: sum(len(images) for images, _ in loader)


def rates(cases: dict[str, Callable[[int], int]], turns: int) -> Iterator[tuple[str, float]]:
    """Images per second of each case, the best of its turns; the turns of all cases alternate."""
    best = dict.fromkeys(cases, 0.0)
    for turn in range(turns + 1):
        for name, epoch in cases.items():
            start = time.perf_counter()
            count = epoch(turn)
            if turn:  # the first warms up
                best[name] = max(best[name], count / (time.perf_counter() - start))
    return iter(best.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        store = make_data(Path(folder) / "bench", options.images)
        size = sum(path.stat().st_size for path in (store.folder / "files").iterdir()) / options.images
        open_images(store, store.folder / "cache")
        cases = {
            "box crops, random order": ours(store, "box", shuffle=True),
            "box crops, in order": ours(store, "box", shuffle=False),
            "box crops, random, without the mapped copy": ours(store, "box", shuffle=True, parquet=True),
            "whole images, random order": ours(store, "image", shuffle=True),
            "plain: Pillow, torchvision (box crops, files)": plain(store),
        }
        found = dict(rates(cases, options.turns))
    print(f"{options.images} JPEG of {WIDTH}x{HEIGHT}, {size / 1000:.0f} kB each -> {SIZE}x{SIZE}, one core")
    for name, rate in found.items():
        print(f"  {name:48s}{rate:8.1f} images/s")
    random, order, _, whole, slow = found.values()
    result = {"images_per_second": round(random, 1), "whole_images_per_second": round(whole, 1)}
    ratios = {"random_over_sequential": round(random / order, 3), "over_plain": round(random / slow, 2)}
    print(json.dumps({"benchmark": "loader", **result, **ratios}))


if __name__ == "__main__":
    main()
