from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest

from kpmodels.evaluation.report.charts import HEIGHT, LEGEND_LINE, LETTER, WIDTH, Series, bar_chart, line_chart, ticks


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


def test_constant_and_zero_values_are_drawn_inside():
    drawing = ElementTree.fromstring(line_chart([Series("a", [1, 1], [0, 0])], "x", "y"))
    (line,) = drawing.iter("polyline")
    corners = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(corners) == 2
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in corners)
    bars = ElementTree.fromstring(bar_chart(["a"], [0.0], [0.0], "px"))
    assert "0.0 / 0.0" in [element.text for element in bars.iter("text")]
    assert [float(bar.attrib["width"]) for bar in bars.iter("rect")] == [1.0], "a bar that can be seen"


def test_a_long_legend_goes_on_in_a_new_line_and_nothing_is_outside():
    names = ["heatmap, Hausdorff, false alarms cost most", "heatmap, Hausdorff, misses cost most", "n" * 200]
    drawing = ElementTree.fromstring(line_chart([Series(name, [0, 1], [0, 1]) for name in names], "x", "y"))
    legend = drawing.findall("text")
    assert [element.text for element in legend[:2]] == names[:2]
    assert len({element.attrib["y"] for element in legend}) == 3
    assert all(float(one.attrib["x"]) + LETTER * len(one.text or "") <= WIDTH for one in legend)
    (plot,) = drawing.findall("g")
    lower = 2 * LEGEND_LINE
    assert plot.attrib["transform"] == f"translate(0 {lower})"
    assert drawing.attrib["viewBox"] == f"0 0 {WIDTH} {HEIGHT + lower}"
