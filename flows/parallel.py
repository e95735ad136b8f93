"""Several pieces of work at once, inside of one flow run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

from flows.process import end_running

T = TypeVar("T")


def run_parallel(work: Sequence[Callable[[], T]], parallel: int) -> list[T | Exception]:
    """The results in the order of ``work``, an exception where one failed; at most ``parallel`` run at a time.

    Each sees the flow run that called. What is no mere error (a cancellation) stops what has not begun, ends the commands
    of what has, and is raised.
    """
    stop = threading.Event()

    def one(action: Callable[[], T]) -> T | Exception:
        if stop.is_set():
            return RuntimeError("not started: the run was stopped")
        try:
            return action()
        except Exception as error:
            return error
        except BaseException:
            stop.set()
            raise

    if parallel == 1:  # in this thread, where a cancellation arrives
        return [one(action) for action in work]
    with ThreadPoolExecutor(parallel) as pool:
        futures = [pool.submit(copy_context().run, one, action) for action in work]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            while wait(futures, timeout=0.5).not_done:  # between two commands a thread may start another
                end_running()
            raise
