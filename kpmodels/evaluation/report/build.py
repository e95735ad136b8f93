"""The page, from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from kpmodels.data.store import DatasetStore, open_dataset
from kpmodels.evaluation.comparison import Comparison
from kpmodels.evaluation.report import tables
from kpmodels.evaluation.report.curves import error_charts, threshold_charts, training_charts
from kpmodels.evaluation.report.entries import Entry
from kpmodels.evaluation.report.files import write_text
from kpmodels.evaluation.report.html import definitions, details, escape, opening, page, section
from kpmodels.evaluation.report.samples import best_and_worst, gallery, legend, map_strips
from kpmodels.evaluation.report.source import ReportSource
from kpmodels.evaluation.report.words import meanings


def build_report(
    results: Path,
    model: Path,
    store: DatasetStore,
    out: Path,
    champion: Path | None = None,
    title: str = "",
    champion_title: str = "champion",
    samples: int | None = None,
) -> Comparison:
    """Write one HTML page that needs nothing but itself; equal inputs give equal bytes. Returns what it compared.

    Args:
        results: Folder that ``evaluate`` wrote.
        model: The model's folder.
        store: The data set that was measured on.
        out: The page to write.
        champion: Folder that ``evaluate`` wrote for the champion on the same data, or None.
        title, champion_title: What the two are called; an empty title is the model's name.
        samples: Best and worst predictions drawn, of each; None: as the results' options say.

    Raises:
        UserError: results that are missing, or were not made on the same images in the same way.
    """
    new = Entry(title, results, model)
    source = ReportSource(new, store, None if champion is None else Entry(champion_title, champion))
    number = new.options.samples if samples is None else samples
    name = title or str(new.about.get("model", "")) or model.name
    write_text(out, page(f"{name}: evaluation", _body(source, name, number)))
    return source.comparison


def _body(source: ReportSource, name: str, number: int) -> str:
    return "\n".join(
        [
            _header(source, name),
            tables.verdict(source),
            tables.tiles(source),
            section(
                "Metrics", tables.metrics_table(source), details("How these numbers are made", meanings(source.new))
            ),
            section("Errors", error_charts(source)),
            section("Score threshold", threshold_charts(source)),
            tables.slices(source.new.table),
            _predictions(source, number),
            section("Maps of the network", map_strips(source)),
            section("Training", training_charts(source.new)),
            _settings(source),
        ]
    )


def write_comparison(
    new: Path,
    champion: Path | None,
    model: Path,
    data: Path,
    out: Path,
    title: str = "",
    champion_title: str = "champion",
    verdict: Path | None = None,
) -> None:
    """Write the page about ``new`` beside ``champion``, and the comparison as JSON to ``verdict``.

    The JSON holds ``main_metric``, ``has_champion``, ``images`` and under ``metrics`` by key: ``title``, ``unit``,
    ``higher_is_better``, ``new``, ``champion``, ``difference``, ``low``, ``high`` (95 % interval of the difference),
    ``improvement`` (the difference, positive when the new model is better) and ``verdict``.

    Args:
        new, champion: Folders that ``evaluate`` wrote; None where there is no champion.
        model: The new model's folder.
        data: The data set's folder.
    """
    comparison = build_report(new, model, open_dataset(data), out, champion, title, champion_title)
    if verdict is not None:
        write_text(verdict, json.dumps(comparison.to_dict(), indent=1, allow_nan=False) + "\n")


def _header(source: ReportSource, name: str) -> str:
    new, about = source.new, source.new.about
    facts = [
        ("detector", _detector_words(new.experiment)),
        ("data", f"{about.get('data', source.store.info.name)} ({str(about.get('data_fingerprint', ''))[:8]})"),
        ("split", new.measured_on),
    ]
    if new.metrics.get("boxes") == "truth":
        facts.append(("boxes", "taken from the labels"))
    return opening("Evaluation", name, facts)


def _detector_words(experiment: dict[str, Any]) -> str:
    detector = experiment.get("detector", {})
    backbone = detector.get("backbone", {}).get("name", "")
    return f"{detector.get('kind', 'unknown')}" + (f" on {backbone}" if backbone else "")


def _predictions(source: ReportSource, number: int) -> str:
    best, worst = best_and_worst(source.new.table, number)
    pictures = [gallery(source, worst, "Worst"), gallery(source, best, "Best")]
    return section("Predictions", legend(source) if any(pictures) else "", *pictures)


def _settings(source: ReportSource) -> str:
    """The experiment and the environment, folded away."""
    about, experiment = source.new.about, source.new.experiment
    text = escape(yaml.safe_dump(experiment, sort_keys=False)) if experiment else ""
    environment = [(name, str(version)) for name, version in about.get("packages", {}).items()]
    identity = [
        ("weights (sha256)", str(about.get("weights_sha256", ""))),
        ("data (fingerprint)", str(about.get("data_fingerprint", ""))),
        ("data source", source.store.info.source or "not told"),
        ("data licence", source.store.info.licence or "not told"),
    ]
    extra = [(name, str(value)) for name, value in source.new.description.get("extra", {}).items()]
    return section(
        "How it was made",
        details("Experiment", f"<pre>{text}</pre>") if text else "",
        details("Identity", definitions([*identity, *extra])),
        details("Environment", definitions(environment)) if environment else "",
    )
