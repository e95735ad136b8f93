"""Charts as inline SVG: coloured by the page's style sheet, so that they fit light and dark.

Drawn by own code and not by matplotlib: a tenth of the bytes, and the same bytes on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kpmodels.evaluation.report.html import escape

WIDTH, HEIGHT = 520, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 30, 44
LEGEND_LINE, LETTER = 18, 6.6  # the height of a line of the legend, and the width of a letter in it


@dataclass(frozen=True)
class Series:
    """A line: its name and its points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count`` of them.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = max(high - low, 1e-12)
    raw = span / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def line_chart(series: Sequence[Series], x_title: str, y_title: str, y_range: tuple[float, float] | None = None) -> str:
    """Lines over common axes, with a legend above in as many lines as it needs; empty where no line has a finite point."""
    series = [one for one in map(_finite, series) if one.x]
    if not series:
        return ""
    x_low, x_high = _span([x for one in series for x in one.x])
    y_low, y_high = y_range or _roomy([y for one in series for y in one.y])
    frame = _Frame(x_low, x_high, y_low, y_high)
    parts = [_grid(frame), _titles(x_title, y_title)]
    for place, one in enumerate(series):
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in zip(one.x, one.y, strict=True))
        colour = f"var(--c{place % 5 + 1})"
        dash = ' stroke-dasharray="5 4"' if one.dashed else ""
        if len(one.x) == 1:
            parts.append(f'<circle cx="{frame.x(one.x[0]):.1f}" cy="{frame.y(one.y[0]):.1f}" r="3" fill="{colour}"/>')
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"{dash}/>'
        )
    legend, lower = _legend(series)
    content = f'{legend}<g transform="translate(0 {lower})">{"".join(parts)}</g>'
    return _svg(content, HEIGHT + lower, f"{y_title} over {x_title}")


def bar_chart(names: Sequence[str], bars: Sequence[float], marks: Sequence[float], unit: str) -> str:
    """Horizontal bars with a mark further out on each (medians with 95th percentiles); numbers written beside."""
    if not names:
        return ""
    label = min(190, 14 + 7 * max(len(name) for name in names))
    row, top = 26, 6
    height = top + row * len(names) + 30
    largest = max([value for value in [*bars, *marks] if math.isfinite(value)], default=0) or 1.0
    scale = (WIDTH - label - 112) / largest
    parts = []
    for tick in ticks(0, largest, 4):
        x = label + tick * scale
        parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - 26}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
    for place, (name, bar, mark) in enumerate(zip(names, bars, marks, strict=True)):
        parts.append(_bar(name, bar, mark, label, top + row * place, scale))
    parts.append(f'<text x="{WIDTH - 4}" y="{height - 10}" text-anchor="end">{escape(unit)}</text>')
    return _svg("".join(parts), height, "errors by keypoint")


def _bar(name: str, bar: float, mark: float, left: float, y: float, scale: float) -> str:
    middle = y + 13
    parts = [
        f'<text class="name" x="{left - 10:.1f}" y="{middle + 4:.1f}" text-anchor="end">{escape(_shortened(name, 24))}</text>'
    ]
    if not (math.isfinite(bar) and math.isfinite(mark)):
        return parts[0] + f'<text x="{left + 4:.1f}" y="{middle + 4:.1f}">not measured</text>'
    end = left + mark * scale
    parts += [
        f'<line class="axis" x1="{left + bar * scale:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"/>',
        f'<line class="axis" x1="{end:.1f}" x2="{end:.1f}" y1="{middle - 5}" y2="{middle + 5}"/>',
        f'<rect x="{left:.1f}" y="{y + 6:.1f}" width="{max(bar * scale, 1):.1f}" height="14" rx="2" fill="var(--c1)"/>',
        f'<text x="{end + 8:.1f}" y="{middle + 4:.1f}">{bar:.1f} / {mark:.1f}</text>',
    ]
    return "".join(parts)


@dataclass(frozen=True)
class _Frame:
    """From values to places on the drawing."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)


def _grid(frame: _Frame) -> str:
    parts = []
    for tick in ticks(frame.y_low, frame.y_high, 4):
        y = frame.y(tick)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(frame.x_low, frame.x_high, 6):
        parts.append(f'<text x="{frame.x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    base = HEIGHT - BOTTOM
    return "".join(parts) + f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'


def _titles(x_title: str, y_title: str) -> str:
    return (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>'
        f'<text x="14" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})">{escape(y_title)}</text>'
    )


def _legend(series: Sequence[Series]) -> tuple[str, int]:
    """The names beside pieces of their lines, and how much lower the rest stands for the lines of text after the first."""
    if len(series) < 2:
        return "", 0
    parts, x, y = [], float(LEFT), 12
    for place, one in enumerate(series):
        name = _shortened(one.name, int((WIDTH - LEFT - 21) / LETTER))
        if x > LEFT and x + 21 + LETTER * len(name) > WIDTH:
            x, y = float(LEFT), y + LEGEND_LINE
        dash = ' stroke-dasharray="5 4"' if one.dashed else ""
        parts.append(
            f'<line x1="{x:.0f}" x2="{x + 16:.0f}" y1="{y}" y2="{y}" stroke="var(--c{place % 5 + 1})" stroke-width="2"{dash}/>'
            f'<text x="{x + 21:.0f}" y="{y + 4}">{escape(name)}</text>'
        )
        x += 40 + LETTER * len(name)
    return "".join(parts), y - 12


def _shortened(name: str, letters: int) -> str:
    return name if len(name) <= letters else name[: letters - 1] + "…"


def _svg(content: str, height: float, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'


def _finite(one: Series) -> Series:
    kept = [(x, y) for x, y in zip(one.x, one.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    return Series(one.name, [x for x, _ in kept], [y for _, y in kept], one.dashed)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _roomy(values: Sequence[float]) -> tuple[float, float]:
    """From 0 where all values are positive, with a little room above."""
    low, high = _span(values)
    room = 0.05 * (high - low)
    return (0.0, high + 0.05 * high) if low >= 0 else (low - room, high + room)
