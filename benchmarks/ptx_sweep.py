"""What ptx_coef and kl_coef do to PPO-ptx: `python benchmarks/ptx_sweep.py RUN [RUN ..] --out DIR`.

Each RUN is a finished run of a recipe with `ppo_ptx`, one for each seed. PPO-ptx is trained again
from its SFT and reward model with one key changed at a time, and measured on the run's test prompts
(the judge) and held-out text (nats a token). A setting's seeds come one after another, and what is
done is skipped, so it can be stopped at any time; `--draw FILE.svg` draws the curves so far.
"""

import argparse
import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from preceptor.config import Recipe
from preceptor.data.batching import open_sequences
from preceptor.data.records import Prompt, read_records
from preceptor.evaluation.answers import answer
from preceptor.evaluation.judges import judge_of
from preceptor.evaluation.run import open_model, text_length
from preceptor.evaluation.tax import pretraining_loss
from preceptor.models.tokenizers import encode_prompt
from preceptor.recipes import load_recipe
from preceptor.report.plots import STYLE, plt
from preceptor.steps import train
from preceptor.training.folder import StageFolder, read_json, read_lines, write_json


@dataclass(frozen=True)
class Setting:
    """One point: the weight of the text, that of the KL, and sequences of text an episode."""

    ptx_coef: float
    kl_coef: float = 0.1
    ptx_ratio: float = 0.5

    @property
    def name(self) -> str:
        return f"ptx{self.ptx_coef:g}-kl{self.kl_coef:g}-ratio{self.ptx_ratio:g}"


SETTINGS = [
    *(Setting(coef) for coef in (0.0, 0.5, 27.8, 4.0, 1.5)),
    *(Setting(0.0, kl) for kl in (1.0, 0.3)),
    *(Setting(0.5, kl) for kl in (1.0, 0.02, 0.3)),
    *(Setting(coef) for coef in (12.0, 0.1)),
    *(Setting(coef, ptx_ratio=8.0) for coef in (27.8, 3.1)),
]
"""The most telling first."""

Point = dict[str, Any]


def main() -> None:
    """Train what is missing, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--draw", type=Path, metavar="FILE.svg")
    parser.add_argument("--train", nargs="*", metavar="NAME", help="Only these; none: nothing.")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # as in a run
    args.out.mkdir(parents=True, exist_ok=True)
    starts = {run: start_of(run, args.out) for run in args.runs}
    points: list[Point] = []
    for setting in SETTINGS:
        for run in args.runs:
            place = args.out / run.resolve().name / setting.name
            if not (place / "point.json").is_file():
                if args.train is not None and setting.name not in args.train:
                    continue
                trained(run, setting, place)
            points.append(read_json(place / "point.json"))
    print_table(points, starts)
    if args.draw:
        draw(points, starts, args.draw)


def start_of(run: Path, out: Path) -> Point:
    """Judge and text loss of the run's SFT model and its base: 0 and 1 of what is kept."""
    place = out / run.resolve().name / "start.json"
    if not place.is_file():
        recipe = load_recipe(str(run / "recipe.yaml"))
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, {"sft": measured(recipe, run, run / "sft" / "model")})
    return read_json(place)


def trained(run: Path, setting: Setting, place: Path) -> None:
    """One PPO-ptx run, and what it is worth."""
    overrides = [
        f"ppo_ptx.ptx_coef={setting.ptx_coef}",
        f"ppo_ptx.kl_coef={setting.kl_coef}",
        f"ppo_ptx.ptx_ratio={setting.ptx_ratio}",
    ]
    recipe = load_recipe(str(run / "recipe.yaml"), overrides)
    digest = hashlib.sha256(json.dumps(overrides).encode()).hexdigest()
    train.ppo(recipe, run, StageFolder(place, "ppo_ptx", digest), "ppo_ptx")
    rows = read_lines(place / "metrics.jsonl")
    point: Point = {
        "run": run.resolve().name,
        "ptx_coef": setting.ptx_coef,
        "kl_coef": setting.kl_coef,
        "ptx_ratio": setting.ptx_ratio,
        "ref_kl": statistics.mean(row["ppo/ref_kl"] for row in rows[-5:]),
        "score": statistics.mean(row["ppo/score_mean"] for row in rows[-5:]),
        "length": statistics.mean(row["ppo/length_mean"] for row in rows),
        # returns less values are the advantages before they are whitened
        "advantage_std": statistics.mean((2 * row["ppo/value_loss"]) ** 0.5 for row in rows),
        "grad_norm": statistics.mean(row["ppo/grad_norm"] for row in rows),
        "first_grad_norm": rows[0]["ppo/grad_norm"],
        "seconds": read_json(place / "done.json")["summary"]["seconds"],
    }
    point |= measured(recipe, run, place / "model")
    write_json(place / "point.json", point)


def measured(recipe: Recipe, run: Path, model_folder: Path) -> Point:
    """Mean judgement on the test prompts, and nats a token of held-out text."""
    prompts = read_records(run / "data" / "prompts-test.jsonl", Prompt)
    prompts = prompts[: recipe.evaluate.num_prompts]
    model, tokenizer = open_model(model_folder, recipe.sft.precision)
    found = answer(
        model,
        tokenizer,
        [encode_prompt(tokenizer, prompt.prompt) for prompt in prompts],
        max_response_tokens=recipe.max_response_tokens,
        temperature=recipe.evaluate.temperature,
        continues_text=False,
        dtype=recipe.sft.precision,
        seed=recipe.seed,
    )
    judge = judge_of(recipe)
    judged = [judge(prompt, text).score for prompt, text in zip(prompts, found.texts, strict=True)]
    text = open_sequences(run / "data" / "tokens-valid.npy", text_length(recipe))
    looked = text[: recipe.evaluate.num_tax_sequences]
    return {
        "judge": statistics.mean(judged),
        "text_loss": pretraining_loss(model, looked, recipe.sft.precision).mean,
    }


def kept(points: Sequence[Point], starts: dict[Path, Point]) -> list[Point]:
    """Each point with the share it keeps of plain PPO's gain, and its text loss above sft's, nats.

    Plain PPO is the same run's point of the first setting.
    """
    sft = {run.resolve().name: start["sft"] for run, start in starts.items()}
    first = (SETTINGS[0].ptx_coef, SETTINGS[0].kl_coef)
    plain = {p["run"]: p for p in points if (p["ptx_coef"], p["kl_coef"]) == first}
    found = []
    for point in points:
        if point["run"] not in plain:
            continue
        base, zero = plain[point["run"]], sft[point["run"]]
        gain = (point["judge"] - zero["judge"]) / (base["judge"] - zero["judge"])
        rise = point["text_loss"] - zero["text_loss"]
        found.append(point | {"gain": gain, "rise": rise})
    return found


def groups(points: Sequence[Point]) -> dict[tuple[float, float, float], list[Point]]:
    """Points of the same setting, in the order of ptx_ratio, kl_coef and ptx_coef."""
    found: dict[tuple[float, float, float], list[Point]] = {}
    for point in points:
        key = (point["ptx_ratio"], point["kl_coef"], point["ptx_coef"])
        found.setdefault(key, []).append(point)
    return dict(sorted(found.items()))


def print_table(points: Sequence[Point], starts: dict[Path, Point]) -> None:
    """A row for each setting: means over the runs, and each run's judge.

    T is the mean length, A the advantages before they are whitened, |g| the gradient norm before
    clipping, of all iterations and of the first, s the seconds of training.
    """
    for run, start in starts.items():
        print(f"{run.resolve().name} sft: {start['sft']}")
    print(
        f"{'ratio':>6}{'kl_coef':>8}{'ptx_coef':>9}{'judge':>7}{'gain':>6}{'text':>7}{'rise':>7}"
        f"{'KL':>6}{'T':>5}{'std A':>6}{'|g|':>5}{'1st':>5}{'s':>5}   judge of each"
    )
    for (ratio, kl, ptx), same in groups(kept(points, starts)).items():
        judge, gain, text, rise, ref_kl, length, spread, norm, first, seconds = (
            statistics.mean(point[name] for point in same)
            for name in (
                "judge",
                "gain",
                "text_loss",
                "rise",
                "ref_kl",
                "length",
                "advantage_std",
                "grad_norm",
                "first_grad_norm",
                "seconds",
            )
        )
        each = " ".join(f"{point['judge']:.3f}" for point in same)
        print(
            f"{ratio:6g}{kl:8g}{ptx:9g}{judge:7.3f}{gain:6.2f}{text:7.3f}{rise:+7.3f}{ref_kl:6.1f}"
            f"{length:5.0f}{spread:6.2f}{norm:5.1f}{first:5.1f}{seconds:5.0f}   {each}"
        )


def draw(points: Sequence[Point], starts: dict[Path, Point], path: Path) -> None:
    """What is kept of the gain, above, and of the text, below: over ptx_coef and over kl_coef."""
    ratio, base = SETTINGS[0].ptx_ratio, SETTINGS[0].kl_coef
    shown = [p for p in kept(points, starts) if p["ptx_ratio"] == ratio]
    over_ptx = [p for p in shown if p["kl_coef"] == base]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, 2, figsize=(8.4, 5.2), sharey="row", sharex="col", layout="constrained"
        )
        for row, (name, color) in enumerate((("gain", "#1f6fa8"), ("rise", "#d0591f"))):
            left, right = axes[row]
            curve(left, over_ptx, "ptx_coef", name, color, "-")
            curve(right, [p for p in shown if p["ptx_coef"] == 0.5], "kl_coef", name, color, "-")
            curve(right, [p for p in shown if p["ptx_coef"] == 0.0], "kl_coef", name, color, ":")
            for axis in (left, right):
                axis.axhline(0, color="#8d949c", linewidth=1, linestyle="--")
        axes[0, 0].set_title(f"over ptx_coef, kl_coef {base:g}")
        axes[0, 1].set_title("over kl_coef, ptx_coef 0.5 (line) and 0 (dotted)")
        axes[0, 0].set_ylabel("judge's gain over sft,\nshare of plain PPO's")
        axes[1, 0].set_ylabel("loss on held-out text,\nnats a token above sft's")
        for axis, key in zip(axes[1], ("ptx_coef", "kl_coef"), strict=True):
            axis.set_xlabel(key)
        for axis, line, ticks in (
            (axes[1, 0], 0.1, (0, 0.1, 0.5, 1.5, 4, 12, 27.8)),
            (axes[1, 1], 0.01, (0.02, 0.1, 0.3, 1.0)),
        ):
            axis.set_xscale("symlog", linthresh=line, linscale=0.5)
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
        axes[1, 0].set_xlim(-0.03, 36)
        axes[1, 1].set_xlim(0.015, 1.3)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def curve(axis: Any, points: Sequence[Point], over: str, name: str, color: str, line: str) -> None:
    """Each run a dot, their mean a line."""
    xs = sorted({point[over] for point in points})
    means = [statistics.mean(p[name] for p in points if p[over] == x) for x in xs]
    axis.plot(xs, means, line, color=color)
    ys = [point[name] for point in points]
    axis.plot([p[over] for p in points], ys, "o", color=color, markersize=3, alpha=0.6)


if __name__ == "__main__":
    main()
