"""Plots as SVG text: data in, a string out; the same data give the same bytes."""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, SOFT, LINE = "#24292f", "#5f6670", "#e8ebee"
STYLE: Any = {
    "svg.fonttype": "none",
    "path.simplify_threshold": 0.3,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": "#aeb4bb",
    "axes.labelcolor": SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
}
MOST_POINTS = 400
STEPS = [1, 2, 2.5, 5, 10]  # of axis numbers; the default also takes 1.5 and 3
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """One line of a chart; `points` were measured now and then, `faint` lines are background."""

    color: str
    xs: Sequence[float]
    ys: Sequence[float]
    kind: Literal["line", "points", "faint"] = "line"
    mark: float | None = None  # an upright at the chosen step
    marker: str = "o"


@dataclass(frozen=True)
class Row:
    """One labeled estimate: mean, low, high, n."""

    label: str
    color: str
    estimate: Json


def lines(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    bottom: float | None = None,
    wide: bool = False,
) -> str:
    """One small line chart; a wide one fills half a page instead of a third."""
    with _figure(4.4 if wide else 3.45, 2.3) as (figure, axes):
        for place, one in enumerate(series):
            _draw(axes, one)
            if one.mark is not None:  # dashes of two marks at one step lie between each other
                axes.axvline(one.mark, color=one.color, lw=1, ls=(3 * place, (3, 3)))
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.margins(x=0.02)
        whole = all(float(x).is_integer() for one in series for x in one.xs)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS, integer=whole))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        if bottom is not None:
            axes.set_ylim(bottom=bottom)
    return _svg(figure, f"{title}; {y_label} against {x_label}")


def dots(
    title: str,
    rows: Sequence[Row],
    *,
    x_label: str,
    reference: float | None = None,
    limits: tuple[float, float] | None = None,
    style: Literal["percent", "number"] = "percent",
) -> str:
    """A dot with its interval for each row, as InstructGPT's Figure 1; numbers stand at the right.

    A row without a mean keeps its place and says so.
    """
    with _figure(4.4, 0.95 + 0.29 * len(rows)) as (figure, axes):
        if reference is not None:
            axes.axvline(reference, color="#8b929a", ls=(0, (4, 3)), lw=1)
        for place, row in enumerate(rows):
            y = len(rows) - 1 - place
            _whisker(axes, row, y)
            axes.annotate(
                _written(row.estimate, style),
                (1.03, y),
                xycoords=("axes fraction", "data"),
                va="center",
                color=INK,
            )
        labels = [row.label for row in reversed(rows)]
        axes.set_yticks(range(len(rows)), labels, color=INK)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        if limits is not None:
            axes.set_xlim(*limits)
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.grid(axis="y", visible=False)
    return _svg(figure, title)


def bars(title: str, rows: Sequence[Row], *, top: float = 1.0) -> str:
    """A small panel of bars with intervals, one for each row, as in the paper's Figure 4."""
    with _figure(2.0, 2.0) as (figure, axes):
        for x, row in enumerate(rows):
            mean = row.estimate["mean"]
            if mean is None:
                axes.annotate("–", (x, 0), xytext=(0, 3), textcoords="offset points", ha="center")
                continue
            axes.bar(x, mean, 0.72, color=row.color)
            low, high = _bounds(row.estimate)
            axes.plot([x, x], [low, high], color=INK, lw=1)
            axes.annotate(
                f"{100 * mean:.0f}",
                (x, high),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                color=INK,
            )
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.set_ylim(0, 1.12 * top)
        axes.set_yticks([0, top / 2, top], [f"{100 * v:.0f} %" for v in (0, top / 2, top)])
        axes.grid(axis="x", visible=False)
    return _svg(figure, title)


def calibration(title: str, bins: Sequence[Json], color: str) -> str:
    """Predicted against observed preference; a dot's area grows with its number of pairs."""
    with _figure(3.45, 2.3) as (figure, axes):
        most = max(one["n"] for one in bins)
        axes.plot([0, 1], [0, 1], color="#8b929a", ls=(0, (4, 3)), lw=1)
        xs, ys = [one["predicted"] for one in bins], [one["observed"] for one in bins]
        axes.plot(xs, ys, color=color, lw=1.2)
        for one in bins:
            size = 2.5 + 4 * math.sqrt(one["n"] / most)
            axes.plot([one["predicted"]], [one["observed"]], "o", ms=size, color=color)
        axes.set_title(title)
        axes.set_xlabel("predicted chance of being preferred")
        axes.set_ylabel("share preferred")
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.25, 0.5, 0.75, 1), yticks=(0, 0.5, 1))
        axes.set_yticklabels(("0", "0.5", "1"))
        axes.set_xticklabels(("0", "0.25", "0.5", "0.75", "1"))
    return _svg(figure, title)


def thin(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS means over neighbors, so that a long run does not make a heavy page."""
    width = -(-len(xs) // MOST_POINTS) if xs else 1
    starts = range(0, len(xs), width)
    return (
        [sum(xs[i : i + width]) / len(xs[i : i + width]) for i in starts],
        [sum(ys[i : i + width]) / len(ys[i : i + width]) for i in starts],
    )


def running_mean(ys: Sequence[float], width: int) -> list[float]:
    """Mean over a centered window, cut at both ends."""
    half = width // 2
    windows = [ys[max(0, i - half) : i + half + 1] for i in range(len(ys))]
    return [sum(window) / len(window) for window in windows]


def _draw(axes: Axes, one: Series) -> None:
    xs, ys = thin(one.xs, one.ys)
    if one.kind == "points" or len(xs) == 1:
        axes.plot(xs, ys, color=one.color, marker=one.marker, ms=3.6)
    elif one.kind == "faint":
        axes.plot(xs, ys, color=one.color, lw=0.9)
    elif len(xs) > 30:
        axes.plot(xs, ys, color=one.color, lw=0.7, alpha=0.35)
        axes.plot(xs, running_mean(ys, max(3, len(ys) // 20)), color=one.color)
    else:
        axes.plot(xs, ys, color=one.color)


def _whisker(axes: Axes, row: Row, y: float) -> None:
    if row.estimate["mean"] is None:
        return
    axes.plot(_bounds(row.estimate), [y, y], "|-", color=row.color, lw=1.5, ms=8, mew=1.5)
    axes.plot([row.estimate["mean"]], [y], "o", ms=5.5, color=row.color)


def _bounds(estimate: Json) -> tuple[float, float]:
    mean = estimate["mean"]
    return (
        mean if estimate["low"] is None else estimate["low"],
        mean if estimate["high"] is None else estimate["high"],
    )


def _written(estimate: Json, style: str) -> str:
    if estimate["mean"] is None:
        return "not measured"
    factor, form = (100, ".0f") if style == "percent" else (1, ".2f")
    text = f"{factor * estimate['mean']:{form}}" + (" %" if style == "percent" else "")
    if estimate["low"] is None or estimate["high"] is None:
        return f"{text}  ({estimate['reason']})" if estimate.get("reason") else text
    return f"{text}  ({factor * estimate['low']:{form}}–{factor * estimate['high']:{form}})"


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure of so many inches, in our style."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
        yield figure, axes


def _svg(figure: Figure, label: str) -> str:
    """The figure's text; ids in it depend on the label, so two on a page do not collide."""
    buffer = io.StringIO()
    with plt.rc_context(STYLE | {"svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    plt.close(figure)
    return _light(buffer.getvalue(), label)


def _light(text: str, label: str) -> str:
    """Without what a page does not need: prolog, metadata, unused ids, name spaces, indents."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    used = set(re.findall(r"#([\w.-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", text)
    text = re.sub(r">\s+<", "><", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    quoted = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{quoted}" ', 1)
