"""Charts as SVG that the server draws: classes instead of styles, every text escaped.

A chart is a picture of the table that stands beside it, and its <title> says what it shows. All
colors are those of lead.css, so a chart is light or dark as the page is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from preceptor.labeling.showing import visible
from preceptor.statistics.estimate import Estimate

WIDTH = 720.0
TICK = 0.2  # 20 %: round numbers wherever a scale begins


@dataclass(frozen=True)
class Mark:
    """A line across a chart, with what it stands for."""

    value: float
    words: str


def intervals(
    title: str,
    rows: Sequence[tuple[str, Estimate]],
    *,
    low: float = 0.0,
    high: float = 1.0,
    marks: Sequence[Mark] = (),
    percent: bool = True,
) -> Markup:
    """A row a name: a point with its interval, and the number; undefined ones say "none".

    The scale begins at `low`, or lower if a row does; where no row is defined there is no chart.
    """
    if all(estimate.mean is None for _, estimate in rows):
        return Markup("")
    low = _lowest(low, rows)
    left, right, step, top = 190.0, 92.0, 30.0, 30.0 if marks else 12.0
    bottom = top + step * len(rows)
    width = WIDTH - left - right

    def x(value: float) -> float:
        return left + width * (min(max(value, low), high) - low) / (high - low)

    parts = []
    for value in _ticks(low, high):
        parts.append(_line(x(value), top, x(value), bottom, "grid"))
        parts.append(_text(x(value), bottom + 18, _number(value, percent), "tick", "middle"))
    for mark in marks:
        parts.append(_line(x(mark.value), top - 6, x(mark.value), bottom, "mark"))
        parts.append(_text(x(mark.value), top - 12, mark.words, "mark-words", "middle"))
    for i, (name, estimate) in enumerate(rows):
        y = top + step * (i + 0.5)
        parts.append(_text(left - 12, y + 4.5, _cut(name, 24), "name", "end"))
        if estimate.mean is None:
            parts.append(_text(WIDTH - right + 12, y + 4.5, "none", "none", "start"))
            continue
        if estimate.low is not None and estimate.high is not None:
            parts.append(_line(x(estimate.low), y, x(estimate.high), y, "reach"))
        parts.append(
            Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(
                x(estimate.mean), y
            )
        )
        number = _number(estimate.mean, percent, fine=True)
        parts.append(_text(WIDTH - right + 12, y + 4.5, number, "value", "start"))
    return _svg(title, WIDTH, bottom + 28, parts)


def over_time(
    title: str,
    rows: Sequence[tuple[str, Estimate]],
    *,
    marks: Sequence[Mark] = (),
    low: float = 0.0,
    high: float = 1.0,
) -> Markup:
    """Points with intervals from left to right, joined by a line; names stand below.

    The scale begins at `low`, or lower if a row does; where no row is defined there is no chart.
    """
    if all(estimate.mean is None for _, estimate in rows):
        return Markup("")
    low = _lowest(low, rows)
    left, right, top, height = 54.0, 16.0, 18.0, 200.0
    width, bottom = WIDTH - left - right, top + height
    step = width / max(1, len(rows))

    def y(value: float) -> float:
        return bottom - height * (min(max(value, low), high) - low) / (high - low)

    parts = []
    for value in _ticks(low, high):
        parts.append(_line(left, y(value), WIDTH - right, y(value), "grid"))
        parts.append(_text(left - 8, y(value) + 4.5, _number(value, True), "tick", "end"))
    for mark in marks:
        parts.append(_line(left, y(mark.value), WIDTH - right, y(mark.value), "mark"))
        parts.append(_text(WIDTH - right, y(mark.value) - 6, mark.words, "mark-words", "end"))
    points = []
    every = max(1, -(-len(rows) // 8))
    for i, (name, estimate) in enumerate(rows):
        x = left + step * (i + 0.5)
        if i % every == 0:
            parts.append(_text(x, bottom + 18, name, "tick", "middle"))
        if estimate.mean is None:
            continue
        if estimate.low is not None and estimate.high is not None:
            parts.append(_line(x, y(estimate.low), x, y(estimate.high), "reach"))
        points.append((x, y(estimate.mean)))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(Markup('<polyline class="path" points="{}"/>').format(path))
    parts += [
        Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(x, y)
        for x, y in points
    ]
    return _svg(title, WIDTH, bottom + 28, parts)


def columns(
    title: str,
    names: Sequence[str],
    series: Sequence[tuple[str, Sequence[float]]],
    *,
    expected: Sequence[float] | None = None,
) -> Markup:
    """Columns of one height for each name, the series one upon another; `expected` as a dash."""
    left, right, top, height = 54.0, 16.0, 14.0, 190.0
    width, bottom = WIDTH - left - right, top + height
    totals = [sum(values[i] for _, values in series) for i in range(len(names))]
    most = _round_up(max([*totals, *(expected or []), 1e-9]))
    step = width / max(1, len(names))
    thick = min(46.0, step * 0.72)
    parts = []
    for i in range(5):
        value, y = most * i / 4, bottom - height * i / 4
        parts.append(_line(left, y, WIDTH - right, y, "grid"))
        parts.append(_text(left - 8, y + 4.5, f"{value:,.4g}", "tick", "end"))
    every = max(1, -(-len(names) // 10))
    for i, name in enumerate(names):
        x, base = left + step * (i + 0.5), bottom
        for number, (label, values) in enumerate(series):
            tall = height * values[i] / most
            if tall > 0:
                base -= tall
                words = f"{name}, {label}: {values[i]:,.4g}"
                parts.append(
                    Markup(
                        '<rect class="column s{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" '
                        'height="{:.1f}"><title>{}</title></rect>'
                    ).format(number % 6, x - thick / 2, base, thick, tall, visible(words))
                )
        if expected is not None:
            y = bottom - height * expected[i] / most
            parts.append(_line(x - thick / 2 - 5, y, x + thick / 2 + 5, y, "expected"))
        if i % every == 0:
            parts.append(_text(x, bottom + 18, _cut(name, 14), "tick", "middle"))
    return _svg(title, WIDTH, bottom + 28, parts)


def bars(title: str, rows: Sequence[tuple[str, float]], *, unit: str = "") -> Markup:
    """A bar a name from the left, with its number: counts of a mixture."""
    left, right, step, top = 190.0, 92.0, 28.0, 6.0
    width, bottom = WIDTH - left - right, top + step * len(rows)
    most = max([value for _, value in rows] or [1.0]) or 1.0
    parts = []
    for i, (name, value) in enumerate(rows):
        y = top + step * i
        parts.append(_text(left - 12, y + step / 2 + 4.5, _cut(name, 24), "name", "end"))
        parts.append(
            Markup(
                '<rect class="column s0" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            ).format(left, y + 5, max(1.0, width * value / most), step - 10)
        )
        words = f"{value:,.4g}{unit}" if value < 1e6 else f"{value:,.0f}{unit}"
        parts.append(_text(left + width * value / most + 8, y + step / 2 + 4.5, words, "value"))
    return _svg(title, WIDTH, bottom + 6, parts)


def share_bar(title: str, share: float) -> Markup:
    """How much of a whole is done."""
    parts = [
        Markup('<rect class="whole" x="0" y="0" width="160" height="10" rx="5"/>'),
        Markup('<rect class="done" x="0" y="0" width="{:.1f}" height="10" rx="5"/>').format(
            160 * min(max(share, 0.0), 1.0)
        ),
    ]
    return _svg(title, 160, 10, parts, kind="share")


def matrix(
    title: str, names: Sequence[str], cells: dict[tuple[str, str], Estimate], *, low: float
) -> Markup:
    """Everybody with everybody: a square's shade is the share from `low` (pale) to 1 (full)."""
    left, top = 190.0, 12.0
    side = min(44.0, (WIDTH - left - 16) / max(1, len(names)))
    parts = []
    for i, name in enumerate(names):
        y = top + side * i
        parts.append(_text(left - 12, y + side / 2 + 4.5, _cut(name, 24), "name", "end"))
        for j, other in enumerate(names[:i]):
            x = left + side * j
            found = cells.get((other, name)) or cells.get((name, other))
            if found is None or found.mean is None:
                parts.append(_square(x, y, side, "empty", f"{name} and {other}: nothing in common"))
                continue
            shade = round(9 * (min(max(found.mean, low), 1.0) - low) / (1 - low))
            words = f"{name} and {other}: {found.mean:.0%} of {found.n} pairs"
            parts.append(_square(x, y, side, f"shade{shade}", words))
            if side >= 30:
                tone = "on-dark" if shade >= 5 else "on-light"
                parts.append(
                    _text(x + side / 2, y + side / 2 + 4, f"{100 * found.mean:.0f}", tone, "middle")
                )
    return _svg(title, WIDTH, top + side * len(names) + 8, parts)


def _lowest(low: float, rows: Sequence[tuple[str, Estimate]]) -> float:
    """Where a scale begins that shows every interval whole: `low`, or whole ticks below it."""
    bounds = [bound for _, e in rows for bound in (e.mean, e.low) if bound is not None]
    return min([low, *(math.floor(bound / TICK + 1e-9) * TICK for bound in bounds)])


def _ticks(low: float, high: float) -> list[float]:
    """The round numbers from `low` to `high`: every multiple of a tick."""
    first, last = math.ceil(low / TICK - 1e-9), math.floor(high / TICK + 1e-9)
    return [i * TICK for i in range(first, last + 1)]


def _square(x: float, y: float, side: float, name: str, words: str) -> Markup:
    return Markup(
        '<rect class="cell {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
        "<title>{}</title></rect>"
    ).format(name, x + 1, y + 1, side - 2, side - 2, visible(words))


def _svg(
    title: str, width: float, height: float, parts: Sequence[Markup], *, kind: str = "chart"
) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(kind, width, height, visible(title), Markup("").join(parts))


def _line(x1: float, y1: float, x2: float, y2: float, name: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        name, x1, y1, x2, y2
    )


def _text(x: float, y: float, words: str, name: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        name, x, y, anchor, visible(words)
    )


def _number(value: float, percent: bool, *, fine: bool = False) -> str:
    if percent:
        return f"{value:.1%}" if fine else f"{100 * value:.4g}%"
    return f"{value:.2f}" if fine else f"{value:.3g}"


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _round_up(value: float) -> float:
    """A number that four steps divide well: 4, 8, 20, 40, 80, .."""
    size = 1.0
    while size * 10 <= value:
        size *= 10
    while size > value * 10:
        size /= 10
    return next(size * step for step in (1, 2, 4, 8, 10, 20) if size * step >= value)
