"""The compare flow: several detectors or settings on one data version, side by side in one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import BaseModel, Field

from flows import several
from flows.artifacts import show_metrics, show_report
from flows.bundled import resolve_or_adopt
from flows.data_versions import DataVersion
from flows.named_experiments import choose_entries
from flows.reconcile import note_process
from flows.repository import find_repository
from flows.several import Measured, measure_all, short_hash


class CompareResult(BaseModel):
    """What a comparison came to; ``summary`` is that of ``kpmodels.evaluation.report.side_by_side``."""

    data: str
    summary: dict[str, Any]
    report: Path


@flow(
    name="compare",
    flow_run_name="compare {entries}",
    persist_result=False,
    on_running=[note_process],
    validate_parameters=True,
)
def compare(
    entries: Annotated[list[str], Field(min_length=2)],
    data: str = "",
    changes: list[str] = [],  # noqa: B006
    parallel: Annotated[int, Field(ge=1, le=64)] = 1,
    snapshot: bool = True,
) -> CompareResult:
    """Train and measure several experiments on one data version, and put them side by side in one report.

    Nothing is registered: each run is a commit, and a later `retrain` of the same experiment uses it.

    Args:
        entries: Two or more named experiments of flows/experiments, each with key=value after it where wanted, as
            "openfield-heatmap losses.contrastive.weight=0.1". The first is what the others are compared with.
        data: Data set for all, NAME or NAME@vN; empty: that of the first.
        changes: key=value for all, as train.epochs=20.
        parallel: How many train at a time.
        snapshot: Take uncommitted changes of the checkout into the run's commit; else refuse to run with them.
    """
    repository = find_repository(Path.cwd())
    chosen = choose_entries(repository, entries, data, changes)
    version = resolve_or_adopt(repository, chosen[0][1].data.name, chosen[0][1].data.version)
    measured = measure_all(repository, chosen, version, snapshot, parallel)
    report, summary = write_page(repository, measured, version)
    show_metrics(report.parent.name, {row["title"]: row["metrics"] for row in summary["entries"]})
    show_report(report.parent.name, report, in_words(summary))
    return CompareResult(data=str(version), summary=summary, report=report)


def write_page(repository: Path, measured: list[Measured], data: DataVersion) -> tuple[Path, dict[str, Any]]:
    """The page about what was measured, and its summary."""
    title = " / ".join(one.title for one in measured)
    spec = {"title": title, "data": str(data), "entries": [one.entry() for one in measured]}
    name = f"compare-{short_hash([[one.run for one in measured], title])}"
    return several.write_page(repository, measured, name, spec, "side-by-side")


def in_words(summary: dict[str, Any]) -> str:
    """The outcome, a line for each entry."""
    main, (first, *others) = summary["main_metric"], summary["entries"]
    lines = [f"**{main}** on {summary['data']}", "", f"- {first['title']}: {first['metrics'][main]:.4g}"]
    for row in others:
        found = row["against_first"]
        bounds = f" [{found['low']:+.4g}, {found['high']:+.4g}]" if found["low"] is not None else ""
        lines.append(
            f"- {row['title']}: {row['metrics'][main]:.4g}, {found['difference']:+.4g}{bounds}: "
            f"{found['verdict'] or 'no interval'}"
        )
    return "\n".join(lines)
