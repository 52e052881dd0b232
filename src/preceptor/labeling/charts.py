"""Charts as SVG that the server draws: classes instead of styles, every text escaped.

A chart is a picture of the table that stands beside it, and its <title> says what it shows. All
colors are those of lead.css, so a chart is light or dark as the page is. What has numbers at its
side is drawn twice, the second time for a small screen; lead.css shows one of the two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from preceptor.labeling.showing import visible
from preceptor.statistics.estimate import Estimate

WIDTH = 720.0
NARROW = 340.0
"""Of a small screen's charts: as wide as what such a screen shows, so that nothing is scrolled."""
LONGEST = 14
"""Characters of a name below a chart."""
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
    return Markup("").join(
        _intervals(title, rows, low, high, marks, percent, sheet) for sheet in SHEETS
    )


def _intervals(
    title: str,
    rows: Sequence[tuple[str, Estimate]],
    low: float,
    high: float,
    marks: Sequence[Mark],
    percent: bool,
    sheet: "Sheet",
) -> Markup:
    left, right, step, top = sheet.left, sheet.right, sheet.step, 30.0 if marks else 12.0
    bottom = top + step * len(rows)
    width = sheet.width - left - right

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
        y = sheet.line(top, i)
        parts.append(sheet.name(y, name))
        if estimate.mean is None:
            parts.append(sheet.value(y, "none", "none"))
            continue
        if estimate.low is not None and estimate.high is not None:
            parts.append(_line(x(estimate.low), y, x(estimate.high), y, "reach"))
        parts.append(
            Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(
                x(estimate.mean), y
            )
        )
        parts.append(sheet.value(y, _number(estimate.mean, percent, fine=True), "value"))
    return _svg(title, sheet.width, bottom + 28, parts, kind=sheet.kind)


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
    return Markup("").join(_over_time(title, rows, low, high, marks, sheet) for sheet in SHEETS)


def _over_time(
    title: str,
    rows: Sequence[tuple[str, Estimate]],
    low: float,
    high: float,
    marks: Sequence[Mark],
    sheet: "Sheet",
) -> Markup:
    left, right, top, height = 54.0, 16.0, 18.0, 200.0
    width, bottom = sheet.width - left - right, top + height
    step = width / max(1, len(rows))

    def y(value: float) -> float:
        return bottom - height * (min(max(value, low), high) - low) / (high - low)

    parts = []
    for value in _ticks(low, high):
        parts.append(_line(left, y(value), sheet.width - right, y(value), "grid"))
        parts.append(_text(left - 8, y(value) + 4.5, _number(value, True), "tick", "end"))
    for mark in marks:
        end = sheet.width - right
        parts.append(_line(left, y(mark.value), end, y(mark.value), "mark"))
        parts.append(_text(end, y(mark.value) - 6, mark.words, "mark-words", "end"))
    points = []
    every = _every([name for name, _ in rows], step)
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
    return _svg(title, sheet.width, bottom + 28, parts, kind=sheet.kind)


def columns(
    title: str,
    names: Sequence[str],
    series: Sequence[tuple[str, Sequence[float]]],
    *,
    expected: Sequence[float] | None = None,
) -> Markup:
    """Columns of one height for each name, the series one upon another; `expected` as a dash."""
    return Markup("").join(_columns(title, names, series, expected, sheet) for sheet in SHEETS)


def _columns(
    title: str,
    names: Sequence[str],
    series: Sequence[tuple[str, Sequence[float]]],
    expected: Sequence[float] | None,
    sheet: "Sheet",
) -> Markup:
    left, right, top, height = 54.0, 16.0, 14.0, 190.0
    width, bottom = sheet.width - left - right, top + height
    totals = [sum(values[i] for _, values in series) for i in range(len(names))]
    most = _round_up(max([*totals, *(expected or []), 1e-9]))
    step = width / max(1, len(names))
    thick = min(46.0, step * 0.72)
    parts = []
    for i in range(5):
        value, y = most * i / 4, bottom - height * i / 4
        parts.append(_line(left, y, sheet.width - right, y, "grid"))
        parts.append(_text(left - 8, y + 4.5, _count(value), "tick", "end"))
    every = _every(names, step)
    for i, name in enumerate(names):
        x, base = left + step * (i + 0.5), bottom
        for number, (label, values) in enumerate(series):
            tall = height * values[i] / most
            if tall > 0:
                base -= tall
                words = f"{name}, {label}: {_count(values[i])}"
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
            parts.append(_text(x, bottom + 18, _cut(name, LONGEST), "tick", "middle"))
    return _svg(title, sheet.width, bottom + 28, parts, kind=sheet.kind)


def bars(title: str, rows: Sequence[tuple[str, float]]) -> Markup:
    """A bar a name from the left, with its number: counts of a mixture."""
    return Markup("").join(_bars(title, rows, sheet) for sheet in SHEETS)


def _bars(title: str, rows: Sequence[tuple[str, float]], sheet: "Sheet") -> Markup:
    top, thick = 6.0, 18.0
    width = sheet.width - sheet.left - sheet.right
    most = max([value for _, value in rows] or [1.0]) or 1.0
    parts = []
    for i, (name, value) in enumerate(rows):
        y, long = sheet.line(top, i), width * value / most
        parts.append(sheet.name(y, name))
        parts.append(
            Markup(
                '<rect class="column s0" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            ).format(sheet.left, y - thick / 2, max(1.0, long), thick)
        )
        parts.append(sheet.value(y, _count(value), "value", after=sheet.left + long))
    return _svg(title, sheet.width, top + sheet.step * len(rows) + 6, parts, kind=sheet.kind)


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


@dataclass(frozen=True)
class Sheet:
    """What a chart is drawn on: names and numbers at the sides of their rows, or above them."""

    kind: str
    width: float
    left: float
    right: float
    step: float

    @property
    def is_narrow(self) -> bool:
        return self.width < WIDTH

    def line(self, top: float, row: int) -> float:
        """Where a row's bar or interval lies."""
        return top + self.step * (row + (0.72 if self.is_narrow else 0.5))

    def name(self, y: float, name: str) -> Markup:
        if self.is_narrow:
            return _text(self.left, y - 15, _cut(name, 32), "name")
        return _text(self.left - 12, y + 4.5, _cut(name, 24), "name", "end")

    def value(self, y: float, words: str, kind: str, *, after: float | None = None) -> Markup:
        """At the row's end, or after its bar."""
        if self.is_narrow:
            return _text(self.width - self.right, y - 15, words, kind, "end")
        end = self.width - self.right + 4 if after is None else after
        return _text(end + 8, y + 4.5, words, kind)


SHEETS = (
    Sheet("chart", WIDTH, left=190.0, right=92.0, step=30.0),
    Sheet("chart narrow", NARROW, left=20.0, right=20.0, step=46.0),
)


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


def _every(names: Sequence[str], step: float) -> int:
    """The how manieth name is written below a chart, so that none runs into the next."""
    longest = min(LONGEST, max(map(len, names), default=0))
    return max(1, math.ceil((7 * longest + 8) / step))


def _count(value: float) -> str:
    """A count; between whole numbers, where a small scale has its lines, with what is needed."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.4g}"


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
