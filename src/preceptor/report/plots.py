"""Plots as SVG text: data in, a string out; the same data give the same bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

COLORS = {
    "gpt": "#8a8f98",
    "gpt_prompted": "#b58a3c",
    "sft": "#3b7a9e",
    "ppo": "#c4553b",
    "ppo_ptx": "#2f7d4f",
}
NAMES = {
    "gpt": "GPT",
    "gpt_prompted": "GPT (prompted)",
    "sft": "SFT",
    "ppo": "PPO",
    "ppo_ptx": "PPO-ptx",
}
STYLE: Any = {
    "svg.hashsalt": "preceptor",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a6",
    "axes.labelcolor": "#3c4043",
    "axes.grid": True,
    "grid.color": "#eceff1",
    "xtick.color": "#5f6368",
    "ytick.color": "#5f6368",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
Points = tuple[Sequence[float], Sequence[float]]
Json = Mapping[str, Any]


def lines(
    panels: Sequence[tuple[str, str, Mapping[str, Points]]],
    *,
    x_label: str,
    marks: Mapping[str, float] | None = None,
    columns: int = 3,
) -> str:
    """Small line charts side by side, each (title, key of its color by series, series).

    `marks` draws a dot-dashed upright at one x for each series that has one.
    """
    with plt.rc_context(STYLE):
        rows = -(-len(panels) // columns)
        figure, grid = plt.subplots(
            rows, min(columns, len(panels)), figsize=(9.2, 2.35 * rows), squeeze=False
        )
        flat = [axes for row in grid for axes in row]
        for axes in flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (title, unit, series) in zip(flat, panels, strict=False):
            for name, (xs, ys) in series.items():
                label = NAMES.get(name, name)
                style = "-" if len(xs) > 12 else "o-"
                axes.plot(xs, ys, style, ms=3, color=_color(name), label=label)
                if marks and name in marks:
                    axes.axvline(marks[name], color=_color(name), lw=0.9, ls="-.", alpha=0.7)
            axes.set_title(title, loc="left", fontsize=9.5, color="#202124")
            axes.set_xlabel(x_label)
            axes.set_ylabel(unit)
            if len(series) > 1:
                axes.legend(fontsize=8)
        return _svg(figure)


def intervals(estimates: Mapping[str, Json], *, label: str, reference: float | None = None) -> str:
    """A dot with its 95 % interval for each model, as InstructGPT's Figure 1."""
    with plt.rc_context(STYLE):
        names = [name for name in NAMES if name in estimates]
        figure, axes = plt.subplots(figsize=(6.4, 0.46 * len(names) + 0.85))
        if reference is not None:
            axes.axvline(reference, color="#9aa0a6", ls="--", lw=1)
        for y, name in enumerate(reversed(names)):
            _whisker(axes, estimates[name], y, name)
        axes.set_yticks(range(len(names)), [NAMES[name] for name in reversed(names)])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlim(0, 1.02)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
        return _svg(figure)


def grouped(groups: Mapping[str, Mapping[str, Json | None]], *, label: str) -> str:
    """Bars with intervals: one group a rate, one bar a model, as the paper's Figure 4."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9.2, 2.9))
        models = [name for name in NAMES if any(name in group for group in groups.values())]
        width = 0.8 / max(1, len(models))
        for place, model in enumerate(models):
            for x, group in enumerate(groups.values()):
                found = group.get(model)
                if not found or found["mean"] is None:
                    continue
                low, high = found["low"] or found["mean"], found["high"] or found["mean"]
                spread = [[found["mean"] - low], [high - found["mean"]]]
                axes.bar(
                    x - 0.4 + (place + 0.5) * width,
                    found["mean"],
                    width * 0.9,
                    color=_color(model),
                    yerr=spread,
                    error_kw={"lw": 0.9, "ecolor": "#3c4043"},
                    label=NAMES[model] if x == 0 else None,
                )
        axes.set_xticks(range(len(groups)), list(groups))
        axes.set_ylabel(label)
        axes.grid(axis="x", visible=False)
        handles = [Patch(color=_color(model)) for model in models]
        axes.legend(
            handles,
            [NAMES[model] for model in models],
            ncol=len(models),
            fontsize=8,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
        )
        return _svg(figure)


def calibration(bins: Sequence[Json]) -> str:
    """Predicted against observed preference; on the diagonal a score means what it says."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(3.3, 2.9))
        axes.plot([0, 1], [0, 1], "--", color="#9aa0a6", lw=1)
        axes.plot(
            [b["predicted"] for b in bins],
            [b["observed"] for b in bins],
            "o-",
            ms=4,
            color="#5b4b8a",
        )
        axes.set_xlabel("predicted by the reward model")
        axes.set_ylabel("share of labels that agree")
        return _svg(figure)


def _whisker(axes: Axes, found: Json, y: float, name: str) -> None:
    if found["mean"] is None:
        return
    if found["low"] is not None:
        axes.plot([found["low"], found["high"]], [y, y], color=_color(name), lw=2.2, alpha=0.55)
    axes.plot([found["mean"]], [y], "o", ms=7, color=_color(name))
    axes.annotate(
        f"{found['mean']:.2f}",
        (found["mean"], y),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
        color="#202124",
    )


def _color(name: str) -> str:
    extra = {"training": "#3b7a9e", "held-out": "#c4553b", "labels": "#5b4b8a"}
    return COLORS.get(name) or extra.get(name, "#5f6368")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.tight_layout()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
