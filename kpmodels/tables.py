"""Metrics as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

NAMES = {
    "oks_ap": "OKS AP",
    "oks_ap_assumed_sigmas": "OKS AP (assumed sigmas)",
    "pixel_error_mean": "pixel error, mean",
    "pixel_error_median": "pixel error, median",
    "pixel_error_p95": "pixel error, 95th percentile",
    "nme": "NME",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_hausdorff": "average Hausdorff distance",
    "count_mae": "count MAE",
    "count_mape": "count MAPE",
    "false_alarms_per_image": "false alarms per image",
    "miss_rate": "miss rate",
    "box_ap": "box AP",
    "box_ap50": "box AP50",
    "box_ap75": "box AP75",
}


def headline(metrics: Mapping[str, object]) -> dict[str, float]:
    """The few metrics that a person looks at first, under the names they are known by."""
    return {label: value for key, label in NAMES.items() if isinstance(value := metrics.get(key), int | float)}


def print_metrics(columns: Mapping[str, Mapping[str, object]]) -> None:
    """Print one column per model and one row per metric that any of them has."""
    table = Table()
    table.add_column("metric")
    for title in columns:
        table.add_column(title, justify="right", overflow="fold")
    tops = [headline(metrics) for metrics in columns.values()]
    for label in NAMES.values():
        if any(label in top for top in tops):
            table.add_row(label, *(f"{top[label]:.4g}" if label in top else "-" for top in tops))
    Console().print(table)
