from __future__ import annotations

import sys

import pytest

from kpmodels.progress import progress_printer


def test_a_log_gets_a_line_each_tenth_and_stdout_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show = progress_printer("images")
    for done in range(101):
        show(done, 100)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [f"{done}/100 images" for done in range(0, 101, 10)]


def test_a_terminal_gets_one_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    show = progress_printer("images")
    for done in range(5):
        show(done, 4)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\r") == 5
    assert printed.err.endswith(f"[{'#' * 30}] 4/4 images\n")
