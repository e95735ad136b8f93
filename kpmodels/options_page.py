"""The options of an experiment as a table: what ``kp options`` prints."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich import box
from rich.console import Console
from rich.table import Table

from kpmodels.config import DETECTOR_OPTIONS, Experiment
from kpmodels.errors import UserError, nearest


def print_options(detector: str) -> None:
    """Print every key of ``params.yaml`` for one detector.

    Raises:
        UserError: there is no such detector.
    """
    if detector not in DETECTOR_OPTIONS:
        raise UserError(f"unknown detector {detector!r}: {nearest(detector, DETECTOR_OPTIONS)}")
    table = Table(box=box.SIMPLE)
    for heading, fixed in (("key", True), ("default", False), ("range", False), ("what it does", False)):
        table.add_column(heading, no_wrap=fixed)
    experiment = Experiment(detector=DETECTOR_OPTIONS[detector]())
    for key, value, field in _rows(experiment, ""):
        table.add_row(key, str(value), _range(field), field.description or "")
    Console().print(table)


def _rows(model: BaseModel, prefix: str) -> list[tuple[str, Any, FieldInfo]]:
    rows: list[tuple[str, Any, FieldInfo]] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            rows.extend(_rows(value, f"{prefix}{name}."))
        else:
            rows.append((f"{prefix}{name}", value, field))
    return rows


def _range(field: FieldInfo) -> str:
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str | int) for choice in choices):
        return " | ".join(str(choice) for choice in choices)
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
    bounds = [(sign, getattr(item, name, None)) for item in field.metadata for name, sign in signs.items()]
    return ", ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)
