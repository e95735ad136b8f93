from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from flows.parallel import run_parallel
from flows.process import ProcessError, run


def test_results_come_in_order_with_errors_in_their_places() -> None:
    def fail() -> int:
        raise ValueError("no")

    for parallel in (1, 3):
        first, second, third = run_parallel([lambda: 1, fail, lambda: 3], parallel)
        assert (first, third) == (1, 3)
        assert isinstance(second, ValueError)


def test_at_most_so_many_at_a_time() -> None:
    at_work: list[int] = []
    most: list[int] = []

    def work() -> None:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.1)
        at_work.pop()

    run_parallel([work] * 6, 2)
    assert max(most) == 2


def test_a_cancellation_ends_the_commands_of_all_and_starts_no_more(tmp_path: Path) -> None:
    """A SIGTERM comes to the main thread, which only waits; the commands run in others."""

    def command(name: str) -> None:
        words = f"import os, pathlib, time; pathlib.Path('{name}').write_text(str(os.getpid())); time.sleep(120)"
        run([sys.executable, "-c", words], tmp_path)

    def cancel() -> None:
        while not all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in "ab"):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    def stopped(*_: object) -> None:
        raise SystemExit(143)

    previous = signal.signal(signal.SIGTERM, stopped)
    start = time.monotonic()
    try:
        threading.Thread(target=cancel, daemon=True).start()
        with pytest.raises(SystemExit):
            run_parallel([partial(command, name) for name in "abc"], 2)
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert time.monotonic() - start < 60
    assert not (tmp_path / "c").exists()
    for name in "ab":
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), 0)


def test_a_command_that_failed_is_an_error_in_its_place(tmp_path: Path) -> None:
    found = run_parallel([partial(run, [sys.executable, "-c", "import sys; sys.exit(3)"], tmp_path)], 2)
    assert isinstance(found[0], ProcessError)
