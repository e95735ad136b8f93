"""One self-contained HTML page about a model, beside the champion if there is one."""

from kpmodels.evaluation.report.build import build_report, write_comparison

__all__ = ["build_report", "write_comparison"]
