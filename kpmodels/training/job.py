"""A run as it travels from the driver to the workers, and its failure as it travels back. Imports neither torch nor Ray."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpmodels.config import Experiment, parse_experiment
from kpmodels.errors import UserError

if TYPE_CHECKING:
    from kpmodels.training.loop import Parts
    from kpmodels.training.place import Place

FAILURE = "failure.json"
MODEL = "model"  # folder of the exported model, within the run's


@dataclass(frozen=True)
class Job:
    """
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


Build = Callable[[Job, "Place"], "Parts"]


def real_parts(job: Job, place: Place) -> Parts:
    """The parts of the experiment; imports what they need where it is called."""
    from kpmodels.training.parts import build_parts

    return build_parts(job, place)


def note_failure(job: Job, error: Exception) -> None:
    """Write down a failure that would come again, so that workers started anew do not repeat it."""
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
    """The failure that a worker of this attempt wrote down."""
    try:
        content = json.loads((Path(job.folder) / FAILURE).read_text())
    except (OSError, ValueError):
        return None
    if content["attempt"] != job.attempt:
        return None
    if content["traceback"]:
        return RuntimeError(f"{content['message']}\nin a worker:\n{content['traceback']}")
    return UserError(content["message"], content["remedy"])
