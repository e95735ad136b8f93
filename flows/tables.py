"""The registry as tables on the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from flows import data_versions, registry

GAP = "   "
NARROW = 40  # letters that the text at the end of a row needs beside it; with less, it stands below


def print_models(repository: Path) -> None:
    """One row per registered version, with its stages and the first line of its message."""
    rows = [
        (str(row), ", ".join(row.stages), row.created[:16], row.commit[:8], row.message.partition("\n")[0])
        for row in registry.list_models(repository)
    ]
    heading = ("model", "stages", "made", "commit", "what")
    _print(heading, rows, "no model is registered yet: kp retrain makes the first version")


def print_history(repository: Path, name: str) -> None:
    """Every promotion of a model, oldest first."""
    registry.find(repository, name)
    rows = []
    for entry in registry.history(repository, name):
        why = entry.message.partition("\n")[0] + (" (rollback)" if entry.action == "rollback" else "")
        rows.append((entry.created[:19], entry.by, entry.version or "none", entry.stage, why))
    _print(("when", "by", "version", "stage", "why"), rows, f"{name} was never promoted")


def print_data_versions(repository: Path) -> None:
    """One row per data version."""
    rows = [
        (str(row), row.created[:16], row.commit[:8], row.message.partition("\n")[0])
        for row in data_versions.versions(repository)
    ]
    _print(("data set", "made", "commit", "what"), rows, "no data version yet: kp data ingest makes the first")


def _print(heading: Sequence[str], rows: Sequence[Sequence[str]], when_empty: str) -> None:
    """One line per row for a pipe; a terminal's lines are wrapped, and nothing is cut."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    print(as_text(heading, rows, width) if rows else when_empty)


def as_text(heading: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Columns of a table whose last holds a text of any length.

    Args:
        width: Letters in a line; the text is wrapped in its column, or below the row where that leaves too little room.
    """
    *widths, _ = (max(map(len, column)) for column in zip(heading, *rows, strict=True))
    start = " " * (sum(widths) + len(GAP) * len(widths))
    blocks = []
    for *cells, text in (heading, *rows):
        first = "".join(cell.ljust(size) + GAP for cell, size in zip(cells, widths, strict=True))
        if width - len(start) >= NARROW:
            block = textwrap.fill(text, width, initial_indent=first, subsequent_indent=start) or first
        else:
            block = f"{first.rstrip()}\n{textwrap.fill(text, width, initial_indent=GAP, subsequent_indent=GAP)}"
        blocks.append(block.rstrip())
    return "\n".join(blocks)
