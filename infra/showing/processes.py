"""Waiting for what processes do, and ending them with all that they started."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable

import psutil  # type: ignore[import-untyped]


def clean_up_on_sigterm() -> None:
    """SIGTERM ends this program as an exception does, so that it leaves nothing running."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return when the condition holds; end the program with a message when it does not within that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not seen within {seconds:g} s: {what}")
        time.sleep(0.5)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it; empty when it is gone."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def title(process: psutil.Process) -> str:
    """The command line; empty when the process is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def name(process: psutil.Process) -> str:
    """Of the program; empty when the process is gone."""
    try:
        return process.name()
    except psutil.Error:
        return ""


def end_tree(pid: int) -> None:
    """Kill a process and all that descend from it."""
    processes = tree(pid)
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)
