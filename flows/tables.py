"""The registry as tables on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from flows import data_versions, registry


def print_models(repository: Path) -> None:
    """One row per registered version, with its stages and the first line of its message."""
    table = _table("model", "stages", "made", "commit", "what")
    for row in registry.list_models(repository):
        what = row.message.partition("\n")[0]
        table.add_row(str(row), ", ".join(row.stages), row.created[:16], row.commit[:8], what)
    _print(table, "no model is registered yet: kp retrain makes the first version")


def print_history(repository: Path, name: str) -> None:
    """Every promotion of a model, oldest first."""
    registry.find(repository, name)
    table = _table("when", "by", "version", "stage", "why")
    for entry in registry.history(repository, name):
        why = entry.message.partition("\n")[0] + (" (rollback)" if entry.action == "rollback" else "")
        table.add_row(entry.created[:19], entry.by, entry.version or "none", entry.stage, why)
    _print(table, f"{name} was never promoted")


def print_data_versions(repository: Path) -> None:
    """One row per data version."""
    table = _table("data set", "made", "commit", "what")
    for row in data_versions.versions(repository):
        table.add_row(str(row), row.created[:16], row.commit[:8], row.message.partition("\n")[0])
    _print(table, "no data version yet: kp data ingest makes the first")


def _table(*headings: str) -> Table:
    """A table whose last column may wrap, and no other."""
    table = Table(box=box.SIMPLE)
    for heading in headings:
        table.add_column(heading, no_wrap=heading != headings[-1])
    return table


def _print(table: Table, when_empty: str) -> None:
    if table.row_count:
        Console().print(table)
    else:
        print(when_empty)
