"""What runs in each training process: find its place, make the parts, run the loop, tell the driver of failures.

A failure that would come again (a mistake in the data or the options, a bug) is noted in the run's folder, so that the
workers that Ray starts anew do not repeat it; the death of a process or of a connection is not, and they go on.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kpmodels.config import Experiment, parse_experiment
from kpmodels.errors import UserError
from kpmodels.training.loop import Parts, run
from kpmodels.training.place import Place
from kpmodels.training.progress import ProgressLog
from kpmodels.training.state import RunState

FAILURE = "failure.json"
MODEL = "model"  # folder of the exported model, within the run's


@dataclass(frozen=True)
class Job:
    """A run as it travels to the workers.

    Attributes:
        experiment: Plain values.
        data: Folder of the data set, absolute.
        folder: Of the run, absolute and shared by all workers.
        attempt: Unique to each call of the driver.
        fingerprint: Of the data set's content.
    """

    experiment: dict[str, Any]
    data: str
    folder: str
    attempt: str
    fingerprint: str

    def options(self) -> Experiment:
        return parse_experiment(self.experiment, self.folder)


Build = Callable[[Job, Place], Parts]


def work(job: Job, build: Build, place: Place, report: Callable[[dict[str, float]], None] | None = None) -> RunState:
    """Run a job at a place; for what it raises see ``loop.run``."""
    folder = Path(job.folder)
    try:
        parts = build(job, place)
        return run(parts, job.options().train, place, folder, ProgressLog(folder), report)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the device has not enough memory: {str(error).splitlines()[0]}",
            "raise train.accumulate, or lower train.batch_size or detector.input_size",
        ) from error


def work_in_ray(config: dict[str, Any]) -> None:
    """The training function that Ray Train calls in each worker, with a ``Job`` as dictionary and a ``Build``."""
    import ray.train
    from ray.train import torch as ray_torch

    job = Job(**config["job"])
    if read_failure(job) is not None:
        return
    context = ray.train.get_context()
    place = Place(
        context.get_world_rank(), context.get_world_size(), context.get_local_world_size(), ray_torch.get_device()
    )
    try:
        work(job, config["build"], place, ray.train.report)
    except (RuntimeError, OSError):
        raise
    except Exception as error:
        _note_failure(job, error)
        raise


def _note_failure(job: Job, error: Exception) -> None:
    user = isinstance(error, UserError)
    content = {
        "attempt": job.attempt,
        "message": error.message if isinstance(error, UserError) else f"{type(error).__name__}: {error}",
        "remedy": error.remedy if isinstance(error, UserError) else "",
        "traceback": "" if user else traceback.format_exc(),
    }
    path = Path(job.folder) / FAILURE
    try:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content))
        temporary.replace(path)
    except OSError:
        return  # a full disk: the driver gets the exception itself from Ray


def read_failure(job: Job) -> Exception | None:
    """The failure that a worker of this attempt noted."""
    try:
        content = json.loads((Path(job.folder) / FAILURE).read_text())
    except (OSError, ValueError):
        return None
    if content["attempt"] != job.attempt:
        return None
    if content["traceback"]:
        return RuntimeError(f"{content['message']}\nin a worker:\n{content['traceback']}")
    return UserError(content["message"], content["remedy"])


def as_dict(job: Job) -> dict[str, Any]:
    return asdict(job)
