from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest

from kpmodels.evaluation.report.charts import Series, bar_chart, line_chart, ticks


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.003), (-7, 12), (0, 98765), (3, 3.0001)])
def test_ticks_are_few_round_and_inside(low, high):
    found = ticks(low, high)
    assert 3 <= len(found) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


def test_lines_are_well_formed_and_escaped():
    svg = line_chart([Series("<new>", [0, 1], [0, 1]), Series("old & gone", [0], [0.5])], "x & y", "part")
    names = [element.text for element in ElementTree.fromstring(svg).iter("text")]
    assert "<new>" in names
    assert "x & y" in names


def test_values_that_are_not_finite_are_left_out():
    svg = line_chart([Series("a", [0, 1, 2], [0, math.nan, 1])], "x", "y")
    assert "nan" not in svg
    assert line_chart([Series("a", [0], [math.nan])], "x", "y") == ""
    assert line_chart([], "x", "y") == ""


def test_bars_name_what_was_not_measured():
    svg = bar_chart(["nose", "<tail>"], [1.5, math.nan], [4.0, math.nan], "px")
    texts = [element.text for element in ElementTree.fromstring(svg).iter("text")]
    assert "not measured" in texts
    assert "<tail>" in texts
    assert "1.5 / 4.0" in texts
    assert bar_chart([], [], [], "px") == ""


def test_constant_and_zero_values_are_drawn():
    ElementTree.fromstring(line_chart([Series("a", [1, 1], [0, 0])], "x", "y"))
    ElementTree.fromstring(bar_chart(["a"], [0.0], [0.0], "px"))
