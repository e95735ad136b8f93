"""The one error that users are meant to see: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user gave us, or in the world around us; never a bug of ours.

    Command lines print it without a traceback and exit with status 2.

    Args:
        message: What is wrong, with the file and the id concerned.
        remedy: What to do about it, as an imperative sentence; printed on a line of its own.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message if not remedy else f"{message}\n  -> {remedy}")
        self.message = message
        self.remedy = remedy


def nearest(name: str, valid: Iterable[str]) -> str:
    """A phrase that names the closest valid name, or all of them when none is close.

    >>> nearest("heatmpa", ["heatmap", "locator"])
    "did you mean 'heatmap'?"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names)}"
