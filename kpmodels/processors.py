"""How many processors there are: what threads are counted by where the options do not say."""

from __future__ import annotations

import os


def processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
