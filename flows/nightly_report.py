"""What a night came to: in a few words, and as the page that a person reads in a minute."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from flows.artifacts import report_link
from flows.dvc import environment
from flows.process import run
from flows.retrain import RetrainResult


class Outcome(BaseModel):
    """What became of one source of data, or of one experiment.

    Attributes:
        version: The newest version now; empty where there is none.
        changed: Whether it is new.
        champion: Whether that version of the model is champion now.
        error: Why it failed; empty where it did not.
        figures: What the gate measured (see ``kpmodels.evaluation.gate``).
        link: The model's own report.
    """

    name: str
    kind: Literal["data", "model"]
    version: str = ""
    changed: bool = False
    champion: bool = False
    reason: str = ""
    error: str = ""
    data: str = ""
    figures: dict[str, Any] = {}
    metrics: dict[str, float | str] = {}
    link: str = ""

    @classmethod
    def of(cls, done: RetrainResult) -> Outcome:
        """The outcome of a retrain run."""
        return cls(
            name=done.model, kind="model", version=done.version, changed=not done.unchanged, champion=done.champion,
            reason=done.reason, data=done.data, figures=done.figures, metrics=done.metrics, link=report_link(done.report),
        )  # fmt: skip

    @property
    def word(self) -> str:
        """The outcome in a word."""
        if self.error:
            return "failed"
        if self.kind == "data":
            return "new data" if self.changed else "nothing new"
        if not self.changed:
            return "unchanged"
        return "promoted" if self.champion else "kept the champion"


def in_words(outcomes: Sequence[Outcome]) -> str:
    """One line: how many of each outcome, the names of what matters."""
    if not any(one.changed or one.error for one in outcomes):
        return "nothing new: no new data, and no experiment changed since its last version"
    groups: dict[str, list[str]] = {}
    for one in outcomes:
        groups.setdefault(one.word, []).append(f"{one.name}@{one.version}" if one.version else one.name)
    order = ("failed", "promoted", "kept the champion", "new data", "unchanged", "nothing new")
    return "; ".join(f"{word}: {', '.join(groups[word])}" for word in order if word in groups)


def write_page(repository: Path, outcomes: Sequence[Outcome], start: datetime) -> Path:
    """The night's page, under `.runs/reports`; a second night of one day has a page of its own."""
    folder = repository / ".runs" / "reports" / f"nightly-{start:%Y-%m-%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [one.model_dump(mode="json") | {"word": one.word} for one in outcomes]
    spec = {"title": f"Night of {start:%A, %d %B %Y}", "summary": in_words(outcomes), "outcomes": rows}
    (folder / "spec.json").write_text(json.dumps(spec, indent=1))
    page = folder / "report.html"
    command: list[str | Path] = [sys.executable, "-m", "kpmodels", "night", folder / "spec.json", "--out", page]
    run(command, repository, env=environment())
    return page
