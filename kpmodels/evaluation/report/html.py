"""Small pieces of HTML. Every text that comes from outside goes through ``escape``."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from kpmodels.evaluation.report.style import STYLE

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def escape(text: object) -> str:
    """Text that cannot become markup, in an element or in a quoted attribute."""
    return html.escape(str(text), quote=True)


def page(title: str, body: str) -> str:
    """A whole page, with everything in it: it asks the network for nothing, and forbids itself to."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def opening(kind: str, title: str, facts: Sequence[tuple[str, str]] = ()) -> str:
    """What a page begins with: its kind, its title, and facts as terms with texts."""
    shown = "".join(f"<span>{escape(term)} <b>{escape(text)}</b></span>" for term, text in facts)
    below = f'<div class="facts">{shown}</div>' if facts else ""
    return f'<div class="eyebrow">{escape(kind)}</div><h1>{escape(title)}</h1>{below}'


def number(value: float | None, unit: str = "", signed: bool = False) -> str:
    """A number as people read it: three decimals for parts of 1, fewer for pixels and percent.

    >>> number(0.81234), number(3.14159, "px"), number(0.02, signed=True)
    ('0.812', '3.14', '+0.020')
    """
    if value is None or not math.isfinite(value):
        return DASH
    decimals = 1 if unit == "%" or abs(value) >= 100 else 2 if unit == "px" or abs(value) >= 10 else 3
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    if float(text) == 0:
        text = f"{0:.{decimals}f}"
    return text.replace("-", MINUS)


def interval(low: float | None, high: float | None, unit: str = "", signed: bool = False) -> str:
    """``low to high``, or a dash."""
    if low is None or high is None:
        return DASH
    return f"{number(low, unit, signed)} to {number(high, unit, signed)}"


def verdict_mark(verdict: str, otherwise: str = "") -> str:
    """``better`` or ``worse`` in its colour; any other verdict as it is, or as ``otherwise``."""
    return f'<span class="{verdict}">{verdict}</span>' if verdict in ("better", "worse") else otherwise or verdict


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (), main: int | None = None
) -> str:
    """A table of cells that are HTML already; columns are aligned right except the first and ``words``."""

    def line(cells: Sequence[str], tag: str) -> str:
        marks = [' class="word"' if place in words else "" for place in range(len(cells))]
        return "".join(f"<{tag}{mark}>{cell}</{tag}>" for mark, cell in zip(marks, cells, strict=True))

    marked = ' class="main"'
    body = "".join(f"<tr{marked if place == main else ''}>{line(row, 'td')}</tr>\n" for place, row in enumerate(rows))
    return (
        f'<div class="scroll"><table><thead><tr>{line(head, "th")}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'
    )


def card(content: str, title: str = "", note: str = "") -> str:
    """A box with a heading and a line below it."""
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    below = f'<p class="soft small">{escape(note)}</p>' if note else ""
    return f'<div class="card">{heading}{below}{content}</div>'


def section(title: str, *parts: str) -> str:
    """A heading with what follows; nothing where all parts are empty."""
    content = "\n".join(part for part in parts if part)
    return f"<h2>{escape(title)}</h2>\n{content}\n" if content else ""


def details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>\n"


def definitions(pairs: Sequence[tuple[str, str]]) -> str:
    """Terms with what they mean; both plain text."""
    return "<dl>" + "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in pairs) + "</dl>"
