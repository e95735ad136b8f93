"""Progress of long work, on stderr: a bar on a terminal, a line now and then in a log. Stdout is for the result alone."""

from __future__ import annotations

import sys
from collections.abc import Callable


def progress_printer(unit: str) -> Callable[[int, int], None]:
    """A callback ``(done, total)``; it draws a bar on a terminal and prints a line each tenth of the way elsewhere."""
    terminal = sys.stderr.isatty()
    last = -1

    def show(done: int, total: int) -> None:
        nonlocal last
        step = 200 if terminal else 10
        now = step * done // max(total, 1)
        if now == last:
            return
        last = now
        if terminal:
            filled = 30 * done // max(total, 1)
            end = "\n" if done >= total else ""
            print(
                f"\r[{'#' * filled}{'.' * (30 - filled)}] {done}/{total} {unit}", end=end, file=sys.stderr, flush=True
            )
        else:
            print(f"{done}/{total} {unit}", file=sys.stderr, flush=True)

    return show
