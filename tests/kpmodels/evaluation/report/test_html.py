from __future__ import annotations

import pytest

from kpmodels.evaluation.report.html import MINUS, escape, interval, number, page, section, table


@pytest.mark.parametrize(
    ("value", "unit", "signed", "text"),
    [
        (0.81234, "", False, "0.812"),
        (-0.0001, "", True, "0.000"),
        (3.14159, "px", False, "3.14"),
        (123.456, "px", False, "123.5"),
        (-4.94, "%", True, f"{MINUS}4.9"),
        (12.3456, "", False, "12.35"),
    ],
)
def test_numbers(value, unit, signed, text):
    assert number(value, unit, signed) == text


def test_what_is_undefined_is_a_dash():
    assert number(None) == number(float("nan")) == interval(None, 1.0)


def test_pages_forbid_themselves_the_network():
    text = page("<t>", "body")
    assert "default-src 'none'" in text
    assert "<title>&lt;t&gt;</title>" in text


def test_escape_also_quotes():
    assert escape("\"'<&") == "&quot;&#x27;&lt;&amp;"


def test_empty_sections_are_left_out():
    assert section("Nothing", "", "") == ""


def test_tables_mark_the_main_row():
    text = table(["a", "b"], [["1", "2"], ["3", "4"]], words=(1,), main=1)
    assert text.count('class="main"') == 1
    assert text.count('class="word"') == 3
