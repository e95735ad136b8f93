"""What each training process does: make its parts, and run the loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from kpmodels.errors import UserError
from kpmodels.training.job import Build, Job
from kpmodels.training.loop import run
from kpmodels.training.place import Place
from kpmodels.training.progress import ProgressLog
from kpmodels.training.state import RunState


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
