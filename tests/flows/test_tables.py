"""Tables of the registry: nothing is cut, however narrow the terminal."""

from __future__ import annotations

import sys

import pytest

from flows.tables import as_text

HEADING = ("model", "made", "what")
ROWS = [("a@v1", "2026-11-26", "heatmap on shapes@v1: oks_ap 0, pixel_error_median 21.2"), ("long-name@v2", "", "")]


def test_for_a_pipe_a_row_is_a_line() -> None:
    assert as_text(HEADING, ROWS, sys.maxsize).splitlines() == [
        "model          made         what",
        "a@v1           2026-11-26   heatmap on shapes@v1: oks_ap 0, pixel_error_median 21.2",
        "long-name@v2",
    ]


def test_a_text_is_wrapped_in_its_column() -> None:
    assert as_text(HEADING, ROWS, 70).splitlines()[1:3] == [
        "a@v1           2026-11-26   heatmap on shapes@v1: oks_ap 0,",
        "                            pixel_error_median 21.2",
    ]


def test_or_below_its_row_where_that_is_too_narrow() -> None:
    assert as_text(HEADING, ROWS, 60).splitlines() == [
        "model          made",
        "   what",
        "a@v1           2026-11-26",
        "   heatmap on shapes@v1: oks_ap 0, pixel_error_median 21.2",
        "long-name@v2",
    ]


@pytest.mark.parametrize("width", [20, 41, 68, 200, sys.maxsize])
def test_nothing_is_lost(width: int) -> None:
    letters = "".join(as_text(HEADING, ROWS, width).split())
    assert letters == "".join("".join(row) for row in (HEADING, *ROWS)).replace(" ", "")
