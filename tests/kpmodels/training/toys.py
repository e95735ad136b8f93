"""A small real detector on pictures in memory, and ways to end the process that trains it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

import kpmodels
from kpmodels.config import TrainOptions, parse_experiment
from kpmodels.data.sampling import Schedule
from kpmodels.data.schema import ANNOTATIONS, FORMAT, IMAGES, image_id
from kpmodels.data.splits import SplitRule
from kpmodels.distributed import is_distributed, world_mean
from kpmodels.errors import UserError
from kpmodels.structures import Batch, DatasetInfo, Skeleton
from kpmodels.training.job import Job
from kpmodels.training.loop import Parts
from kpmodels.training.place import Place, seed_all
from kpmodels.training.state import RunState
from kpmodels.weights import sha256_of, write_weights

SIZE = 16


class ToyDetector(nn.Module):
    """Two convolutions with a batch norm; a mean over rows and a mean over present points as losses."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Conv2d(8, 1, 3, padding=1)
        self.poison = ""

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        hidden = self.norm(self.first(images_B3HW.float() / 255 - 0.5))
        return {"map": self.last(self.drop(F.relu(hidden)))}

    def loss(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        map_BHW = outputs["map"][:, 0]
        target_BHW = batch.images_B3HW[:, 0].float().flip(-1) / 255
        xy = batch.keypoints_BNK3[:, :, 0, :2].long().clamp(0, SIZE - 1)
        rows = torch.arange(len(batch), device=xy.device)[:, None].expand(xy.shape[:2])
        at_points_BN = map_BHW[rows, xy[..., 1], xy[..., 0]]
        missed = ((1 - at_points_BN) ** 2 * batch.present_BN).sum()
        row_loss = ((map_BHW - target_BHW) ** 2).mean()
        if self.poison and self.poison in batch.image_ids:
            row_loss = row_loss * float("nan")
        return {"rows": row_loss, "points": 0.1 * world_mean(missed, batch.present_BN.sum())}


def toy_batch(samples: np.ndarray, epoch: int = 0) -> Batch:
    """Row i is a function of its sample (and the epoch, as augmentation would have it) alone; every third is empty."""
    images, keypoints, present = [], [], []
    for sample in samples:
        random = np.random.default_rng([int(sample), epoch])
        images.append(random.integers(0, 256, (3, SIZE, SIZE), np.uint8))
        keypoints.append(random.uniform(0, SIZE - 1, (4, 1, 3)))
        present.append(np.arange(4) < (sample % 3) * 2)
    n = len(samples)
    return Batch(
        images_B3HW=torch.from_numpy(np.stack(images)),
        keypoints_BNK3=torch.from_numpy(np.stack(keypoints)).float(),
        boxes_BN4=torch.zeros(n, 4, 4),
        labels_BN=torch.zeros(n, 4, dtype=torch.long),
        areas_BN=torch.zeros(n, 4),
        crowd_BN=torch.zeros(n, 4, dtype=torch.bool),
        present_BN=torch.from_numpy(np.stack(present)),
        to_original_B23=torch.eye(2, 3).expand(n, 2, 3),
        image_ids=[f"image-{sample}" for sample in samples],
        instance_ids=[""] * n,
        sizes=[(SIZE, SIZE)] * n,
    )


class ToyLoader:
    """Batches in memory in the order of the real loader; ``before`` is called ahead of each micro-batch."""

    def __init__(
        self,
        options: TrainOptions,
        place: Place,
        samples: int = 24,
        before: Callable[[int, int, int], None] | None = None,
    ) -> None:
        self.schedule = Schedule(samples, options.batch_size, options.seed, place.rank, place.world, options.accumulate)
        self.before, self.rank, self.epoch = before, place.rank, 0
        self.seen: list[str] = []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.schedule.steps * self.schedule.accumulate

    def __iter__(self) -> Iterator[Batch]:
        for index, samples in enumerate(self.schedule.micro_batches(self.epoch)):
            if self.before is not None:
                self.before(self.epoch, index, self.rank)
            batch = toy_batch(samples, self.epoch)
            self.seen += batch.image_ids
            yield batch


def toy_validation(place: Place) -> Callable[[nn.Module], dict[str, float]]:
    """Minus the error on 7 fixed rows, which the processes share."""

    def validate(detector: nn.Module) -> dict[str, float]:
        errors = {}
        with torch.no_grad():
            for sample in range(1000, 1007)[place.rank :: place.world]:
                batch = toy_batch(np.array([sample]))
                target_BHW = batch.images_B3HW[:, 0].float().flip(-1) / 255
                errors[sample] = float(((detector(batch.images_B3HW)["map"][:, 0] - target_BHW) ** 2).mean())
        parts: list[dict[int, float]] = [errors]
        if is_distributed():
            parts = [{} for _ in range(place.world)]
            dist.all_gather_object(parts, errors)
        found = {sample: error for part in parts for sample, error in part.items()}
        assert len(found) == 7
        return {"score": -sum(found[s] for s in sorted(found)) / 7}

    return validate


def export_to(folder: Path) -> Callable[[nn.Module, RunState], None]:
    def export(detector: nn.Module, state: RunState) -> None:
        target = folder / "model"
        target.mkdir(parents=True, exist_ok=True)
        write_weights(detector.state_dict(), target / "weights.safetensors")
        content = {"format": 1, "experiment": {"detector": {}}, "info": {}, "best_epoch": state.best_epoch}
        content["weights_sha256"] = sha256_of(target / "weights.safetensors")
        (target / "model.json").write_text(json.dumps(content))

    return export


def toy_parts(
    options: TrainOptions,
    place: Place,
    folder: Path,
    samples: int = 24,
    before: Callable[[int, int, int], None] | None = None,
    poison: str = "",
    dropout: float = 0.2,
) -> Parts:
    seed_all(options.seed)
    detector = ToyDetector(dropout)
    detector.poison = poison
    return Parts(
        detector,
        ToyLoader(options, place, samples, before),
        toy_validation(place),
        export_to(folder),
    )


def write_dataset(folder: Path, count: int = 2) -> Path:
    """A data set on disk, as small as can be; the toys do not look at its images."""
    folder.mkdir(parents=True)
    images = [bytes([index]) * 4 for index in range(count)]
    facts = {"width": 1, "height": 1, "group": "", "source": "test"}
    rows = [{"image_id": image_id(b), "bytes": b, "file_name": f"{b[0]}.png", **facts} for b in images]
    rows.sort(key=lambda row: str(row["image_id"]))
    pq.write_table(pa.Table.from_pylist(rows, IMAGES), folder / "images-0000.parquet")
    pq.write_table(pa.Table.from_pylist([], ANNOTATIONS), folder / "annotations.parquet")
    info = DatasetInfo("toys", "points", ("thing",), Skeleton(("point",)))
    description: dict[str, Any] = {"format": FORMAT, "info": info.to_dict(), "splits": SplitRule(1, 0, 0).to_dict()}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def build_toys(job: Job, place: Place) -> Parts:
    """The parts of a run as ``plan.json`` beside the run's folder wants them.

    The plan's ``events``: ``[what, epoch, step, rank]`` with what among kill (this worker), kill-driver, user-error
    and bug; each happens once. Its ``poison``: an image with a loss that is not finite.
    """
    storage = Path(job.folder).parent
    try:
        plan = json.loads((storage / "plan.json").read_text())
    except FileNotFoundError:
        plan = {}
    (storage / f"code-{place.rank}").write_text(str(Path(kpmodels.__path__[0]).resolve()))
    (storage / "calls").open("a").write(f"{place.rank}\n")

    def before(epoch: int, step: int, rank: int) -> None:
        for number, (what, *moment) in enumerate(plan.get("events", [])):
            if moment != [epoch, step, rank] or not first_time(storage / f"{what}-{number}"):
                continue
            if what == "user-error":
                raise UserError("image abc is broken", "remove it")
            if what == "bug":
                raise TypeError("a bug")
            os.kill(int((storage / "driver").read_text()) if what == "kill-driver" else os.getpid(), signal.SIGKILL)
            time.sleep(60)

    return toy_parts(job.options().train, place, Path(job.folder), before=before, poison=plan.get("poison", ""))


def first_time(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":  # a driver in a process of its own: toys.py DATA OUT STORAGE OPTIONS
    from toys import build_toys as build

    from kpmodels.training.launch import train

    data, out, storage, options = sys.argv[1:]
    (Path(storage) / "driver").write_text(str(os.getpid()))
    print(json.dumps(train(parse_experiment(json.loads(options)), Path(data), Path(out), Path(storage), build=build)))
