"""Files that reports are made of: pages, and pictures for pages that show a few of them."""

from __future__ import annotations

import os
from pathlib import Path

from kpmodels.data.store import open_dataset
from kpmodels.evaluation.report.entries import Entry
from kpmodels.evaluation.report.samples import best_and_worst
from kpmodels.evaluation.report.source import ReportSource


def write_text(path: Path, text: str) -> None:
    """Write a file complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_pictures(results: Path, model: Path, data: Path, folder: Path, each: int = 2) -> list[Path]:
    """Write the best and the worst predictions, ``each`` of both, as ``best-1.jpg`` ... and ``worst-1.jpg`` ...

    Args:
        results: Folder that ``evaluate`` wrote.
        model: The model's folder.
        data: Folder of the data set that was measured on.
        folder: Where the pictures go; pictures of an earlier call go away.
    """
    source = ReportSource(Entry("new", results, model), open_dataset(data))
    table = source.new.table
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("best-*.jpg"), *folder.glob("worst-*.jpg")):
        old.unlink()
    written = []
    for word, rows in zip(("best", "worst"), best_and_worst(table, each), strict=True):
        for number, row in enumerate(rows, 1):
            path = folder / f"{word}-{number}.jpg"
            path.write_bytes(source.picture(table.image_ids[row]))
            written.append(path)
    return written
