"""The base of all option models: unknown keys are refused, values are frozen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """A group of options. Every field has a description, since the groups are also the forms of the Prefect UI."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        model_title_generator=lambda model: model.__name__.removesuffix("Options"),
    )
