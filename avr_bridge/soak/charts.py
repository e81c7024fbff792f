"""Draws the report's charts as inline SVG: lines over time, and a histogram.

Numbers to markup, nothing else. Colours are the page's: classes ``s0`` to ``s2``, ``bar``,
``grid`` and ``label``, so that light and dark are its business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import attrs

__all__ = ["Line", "histogram", "line_chart"]

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 28
MOST_POINTS = 600
"""More than there are pixels for; a longer run shows the highest of each stretch."""
BARS = 40


@attrs.frozen
class Line:
    """A named line; `points` are (seconds, value)."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(title: str, unit: str, lines: Sequence[Line]) -> str:
    """Lines over the run's time."""
    lines = [line for line in lines if line.points]
    if not lines:
        return _empty(title)
    end_s = max(at_s for line in lines for at_s, _ in line.points) or 1.0
    top = _round_up(max(value for line in lines for _, value in line.points))
    parts = [_axes(top, unit, end_s, " s")]
    for number, line in enumerate(lines):
        points = " ".join(
            f"{_x(at_s / end_s):.1f},{_y(value / top):.1f}" for at_s, value in _thinned(line.points)
        )
        parts.append(f'<polyline class="s{number}" points="{points}"/>')
    key = "".join(
        f'<span class="key k{number}">{escape(line.name)}</span>'
        for number, line in enumerate(lines)
    )
    return _figure(title, "".join(parts), key)


def histogram(title: str, unit: str, values: Sequence[float]) -> str:
    """How many values lie where; the last bar holds all beyond the 99.5th of 100."""
    if not values:
        return _empty(title)
    ordered = sorted(values)
    end = _round_up(ordered[min(len(ordered) - 1, math.ceil(len(ordered) * 0.995))])
    counts = [0] * BARS
    for value in ordered:
        counts[min(BARS - 1, int(value / end * BARS))] += 1
    top = _round_up(max(counts))
    width = (WIDTH - LEFT - RIGHT) / BARS
    bars = "".join(
        f'<rect class="bar" x="{_x(number / BARS):.1f}" y="{_y(count / top):.1f}" '
        f'width="{width - 1:.1f}" height="{_y(0) - _y(count / top):.1f}">'
        f"<title>{number * end / BARS:.1f} to {(number + 1) * end / BARS:.1f}{unit}: {count}"
        "</title></rect>"
        for number, count in enumerate(counts)
    )
    return _figure(title, _axes(top, "", end, unit) + bars, "")


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    step = math.ceil(len(points) / MOST_POINTS)
    stretches = (points[begin : begin + step] for begin in range(0, len(points), step))
    return [max(stretch, key=lambda point: point[1]) for stretch in stretches]


def _axes(top: float, unit: str, end: float, end_unit: str) -> str:
    parts = []
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(part)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="label" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">'
            f"{top * part:g}{unit}</text>"
            f'<text class="label" text-anchor="{"end" if part == 1 else "middle"}" '
            f'x="{_x(part):.1f}" y="{HEIGHT - 8}">{end * part:.4g}{end_unit}</text>'
        )
    return "".join(parts)


def _figure(title: str, body: str, key: str) -> str:
    return (
        f"<figure><figcaption>{escape(title)} {key}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
        "</figure>"
    )


def _empty(title: str) -> str:
    return f"<figure><figcaption>{escape(title)}: nothing was measured</figcaption></figure>"


def _x(part: float) -> float:
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _y(part: float) -> float:
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4 or 8 times a power of ten: quarters of it are short numbers."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 4, 8, 10) if power * factor >= value)
