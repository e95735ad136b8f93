"""The registry as tables on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows import data_versions, registry


def print_models(repository: Path) -> None:
    """One row per registered version, with its stages and the first line of its message."""
    table = Table("model", "version", "stages", "made", "commit", "what")
    for row in registry.list_models(repository):
        stages = ", ".join(row.stages)
        table.add_row(row.name, row.version, stages, row.created, row.commit[:8], row.message.partition("\n")[0])
    Console().print(table)


def print_history(repository: Path, name: str) -> None:
    """Every promotion of a model, oldest first."""
    table = Table("when", "version", "stage", "why")
    for entry in registry.history(repository, name):
        table.add_row(entry.created, entry.version, entry.stage, entry.message)
    Console().print(table)


def print_data_versions(repository: Path) -> None:
    """One row per data version."""
    table = Table("data set", "version", "commit", "what")
    for row in data_versions.versions(repository):
        table.add_row(row.name, row.version, row.commit[:8], row.message.partition("\n")[0])
    Console().print(table)
