"""What the nightly does, as ``flows/nightly.yaml`` says it; these models are also its form in the Prefect UI."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from flows.named_experiments import experiment_names
from kpmodels.addresses import NO_PASSWORD
from kpmodels.config.base import Options
from kpmodels.config.data import DATA_NAME
from kpmodels.config.experiment import read_options
from kpmodels.config.ingest import IngestOptions
from kpmodels.config.problems import describe
from kpmodels.errors import UserError, nearest

FILE = Path("flows") / "nightly.yaml"


class NightlySource(Options):
    """A place that is looked into for new images and labels."""

    data: str = Field(description="Name of the data set that it feeds.", pattern=DATA_NAME)
    source: str = Field(
        description="Folder, archive or address of images and labels; ${KP_SECRET_NAME} in it is that environment variable.",
        json_schema_extra=NO_PASSWORD,
    )
    options: IngestOptions = Field(IngestOptions(), description="How it is read.")
    skip_bad: bool = Field(True, description="Leave out what is broken, and record it, instead of refusing all.")


class NightlySettings(Options):
    """The whole night."""

    schedule: str = Field("0 2 * * *", description="When, as cron; empty: only by hand.")
    timezone: str = Field("UTC", description="Time zone of the schedule, as Europe/Berlin.")
    sources: list[NightlySource] = Field([], description="Where new data may be.")
    experiments: list[str] = Field([], description="Named experiments of flows/experiments to train.")
    parallel: int = Field(1, ge=1, le=64, description="How many train at a time.")
    late_hours: float = Field(6.0, gt=0, description="A run that starts later than its time by more is cancelled.")


def read_settings(repository: Path) -> NightlySettings:
    """The settings of ``flows/nightly.yaml``; the defaults where there is no such file.

    Raises:
        UserError: a value that is not allowed, or an experiment that does not exist.
    """
    path = repository / FILE
    if not path.exists():
        return NightlySettings()
    try:
        settings = NightlySettings.model_validate(read_options(path))
    except ValidationError as error:
        raise UserError(f"{FILE}: {describe(error, NightlySettings)}", f"mend {path}") from None
    check_experiments(repository, settings.experiments)
    return settings


def check_experiments(repository: Path, names: list[str]) -> None:
    """Raise a UserError for a name that no file of flows/experiments has."""
    known = experiment_names(repository)
    for name in names:
        if name not in known:
            raise UserError(
                f"no experiment {name!r} in flows/experiments: {nearest(name, known)}", "mend flows/nightly.yaml"
            )
