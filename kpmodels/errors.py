"""The one error that users are meant to see: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MISTAKE, REMEDY = "error: ", "  -> "  # what a command prints before the words of an error, and before its remedy


class UserError(Exception):
    """A mistake in what the user gave us, or in the world around us; never a bug of ours.

    Command lines print it without a traceback and exit with status 2.

    Args:
        message: What is wrong, with the file and the id concerned.
        remedy: What to do about it, as an imperative sentence; printed on a line of its own.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message if not remedy else f"{message}\n{REMEDY}{remedy}")
        self.message = message
        self.remedy = remedy


def mistake_in(lines: Sequence[str], ends: str = "") -> UserError | None:
    """The last error meant for the user that a command printed: its words, over as many lines as it took, and its remedy.

    Args:
        ends: A line that starts with this is no part of the error any more; empty: all lines may be.
    """
    starts = [number for number, line in enumerate(lines) if line.startswith(MISTAKE)]
    if not starts:
        return None
    words = [lines[starts[-1]].removeprefix(MISTAKE)]
    for line in lines[starts[-1] + 1 :]:
        if line.startswith(REMEDY):
            return UserError("\n".join(words), line.removeprefix(REMEDY))
        if ends and line.startswith(ends):
            break
        words.append(line)
    return UserError("\n".join(words).rstrip())


def nearest(name: str, valid: Iterable[str]) -> str:
    """A phrase that names the closest valid name, or all of them when none is close.

    >>> nearest("heatmpa", ["heatmap", "locator"])
    "did you mean 'heatmap'?"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(names)}"
