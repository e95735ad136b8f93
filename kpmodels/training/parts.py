"""The parts of a real run: the detector, the batches, the validation and the export of an experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from torch import distributed as dist
from torch import nn

from kpmodels.config import EvaluateOptions, Experiment
from kpmodels.data.loading import make_loader
from kpmodels.data.rows import RowPlan
from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.detectors.base import Detector
from kpmodels.detectors.build import build_detector
from kpmodels.distributed import is_distributed
from kpmodels.errors import UserError
from kpmodels.evaluation.validate import score_of, summarize, validate
from kpmodels.model import save_model
from kpmodels.structures import Instances
from kpmodels.training.job import MODEL, Job
from kpmodels.training.loop import Parts
from kpmodels.training.place import Place, seed_all
from kpmodels.training.state import RunState


def build_parts(job: Job, place: Place) -> Parts:
    """The parts of an experiment for one process.

    Raises:
        UserError: the data set is not the one that the run was made for, or has too little to learn from.
    """
    experiment, store = job.options(), open_dataset(job.data)
    if store.fingerprint != job.fingerprint:
        raise UserError(f"{job.data}: changed since the run began", "start the run again")
    seed_all(experiment.train.seed)
    detector = build_detector(experiment, store.info)
    loader = make_loader(
        store,
        "train",
        RowPlan(**detector.row_plan(True)),
        experiment.augment,
        batch_size=experiment.train.batch_size,
        seed=experiment.train.seed,
        rank=place.rank,
        world=place.world,
        accumulate=experiment.train.accumulate,
        processes=experiment.train.loader_processes,
    )
    return Parts(
        detector,
        loader,
        _validation(store, experiment.evaluate, place) if store.split("val") else None,
        _export(experiment, store, job),
    )


def _validation(store: DatasetStore, options: EvaluateOptions, place: Place) -> Callable[[nn.Module], dict[str, float]]:
    ids = store.split("val")

    def measure(detector: nn.Module) -> dict[str, float]:
        own = validate(cast(Detector, detector), store, "val", options, place.rank, place.world)
        predictions = gather_predictions(own, place)
        metrics: list[dict[str, float]] = [{}]
        if place.is_first:
            summary = summarize(predictions, store, ids, options)
            metrics = [{"score": score_of(summary, store.info.task), **summary}]
        if is_distributed():
            dist.broadcast_object_list(metrics, src=0)
        return metrics[0]

    return measure


def gather_predictions(own: dict[str, Instances], place: Place) -> dict[str, Instances]:
    """The predictions of all processes by image id; each image once."""
    if not is_distributed():
        return own
    gathered: list[dict[str, Instances]] = [{} for _ in range(place.world)]
    dist.all_gather_object(gathered, own)
    return {one: found for part in gathered for one, found in part.items()}


def _export(experiment: Experiment, store: DatasetStore, job: Job) -> Callable[[nn.Module, RunState], None]:
    folder = Path(job.folder)

    def export(detector: nn.Module, state: RunState) -> None:
        extra: dict[str, Any] = {
            "run": folder.name,
            "data": job.fingerprint,
            "epochs": state.epoch,
            "best_epoch": state.best_epoch,
            "best_score": state.best_score,
            "stopped": state.stopped,
        }
        save_model(folder / MODEL, cast(Detector, detector), experiment, store.info, extra)

    return export
