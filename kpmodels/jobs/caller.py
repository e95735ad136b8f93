"""On whose behalf a training is submitted: a flow, which may be gone when this process is told to end."""

from __future__ import annotations

import os

import psutil  # type: ignore[import-untyped]

VARIABLE = "KP_CALLER"  # environment variable: the process id of the flow


def lives() -> bool:
    """Whether the flow that this process works for is still there; True where it works for none."""
    number = os.environ.get(VARIABLE, "")
    if not number.isdecimal():
        return True
    try:
        return bool(psutil.Process(int(number)).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
