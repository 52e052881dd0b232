"""Which numbers of a run go into which plot; a plot without numbers is left out."""

from collections.abc import Sequence
from typing import Any

from preceptor.report import plots
from preceptor.report.plots import Row, Series
from preceptor.report.reading import Json, RunFiles

NAMES = {
    "base": "Base model",
    "gpt": "GPT",
    "gpt_prompted": "GPT (prompted)",
    "sft": "SFT",
    "ppo": "PPO",
    "ppo_ptx": "PPO-ptx",
}
# Okabe and Ito's colors, muted: told apart with any color vision, and in gray by their lightness.
COLORS = {
    "base": "#8d949c",
    "gpt": "#8d949c",
    "gpt_prompted": "#dba52f",
    "sft": "#1f6fa8",
    "ppo": "#d0591f",
    "ppo_ptx": "#0b8a6a",
}
MARKERS = {"ppo": "o", "ppo_ptx": "s"}
TRAINING, HELD_OUT, GOLD, BASELINE = "#b4bcc6", "#30363d", "#8e5ea2", "#8d949c"
RATES = {
    "task": "does the task",
    "constraint": "obeys the constraint",
    "hallucination": "says something untrue",
    "hallucination_of_claims": "untrue, of claims",
    "polite": "fit for an assistant",
    "ending": "ends properly",
}
PROBES = {
    "repeated": "said twice",
    "flattery": "praise before it",
    "boilerplate": "courtesies around it",
    "filler": "filler after it",
    "shuffled": "words shuffled",
    "cut": "second half left out",
    "empty": "no answer at all",
}
RL_PANELS = (
    ("Reward model's score (proxy)", "score", "score_mean", None),
    ("Judge, held-out prompts", "score, 0 to 1", "valid_judge_score", None),
    ("KL to the model PPO started from", "nats a response", "ref_kl", 0.0),
    ("Length of responses", "tokens", "length_mean", 0.0),
    ("Entropy", "nats a token", "entropy", 0.0),
    ("Loss on held-out text", "nats a token", "valid_pretraining_loss", None),
    ("Clip fraction", "share of tokens", "clip_fraction", 0.0),
    ("Value loss", "score squared", "value_loss", 0.0),
    ("Responses without an end", "share", "truncated_fraction", 0.0),
)


def draw(run: RunFiles) -> dict[str, list[str]]:
    """Every plot that the run's files allow, by section."""
    found = {
        "pretrain": losses(run, "pretrain", "nats a token"),
        "sft": losses(run, "sft", "nats a token"),
        "ppo_start": losses(run, "ppo_start", "nats a token"),
        "reward": [*losses(run, "reward", "nats a pair"), *reward_accuracy(run)],
        "rl": reinforcement(run),
        "overoptimization": overoptimization(run),
    }
    if run.results:
        found |= draw_results(run.results)
    return {section: svgs for section, svgs in found.items() if svgs}


def losses(run: RunFiles, stage: str, unit: str) -> list[str]:
    """Training and held-out loss of one stage."""
    training = run.series(stage, "loss")
    held_out = run.series(stage, "valid_loss")
    chosen = run.summaries.get(stage, {}).get("chosen_step")
    if not training[0] and not held_out[0]:
        return []
    series = [
        Series(TRAINING, *training, kind="faint"),
        Series(HELD_OUT, *held_out, kind="points", mark=chosen),
    ]
    shown = [one for one in series if one.xs]
    wide = stage != "reward"
    return [plots.lines("Loss", shown, x_label=f"{stage} step", y_label=unit, wide=wide)]


def reward_accuracy(run: RunFiles) -> list[str]:
    """Share of held-out pairs in the right order, while the reward model learns."""
    series = Series(HELD_OUT, *run.series("reward", "valid_accuracy"), kind="points")
    if not series.xs:
        return []
    title = "Accuracy on held-out pairs"
    return [plots.lines(title, [series], x_label="reward step", y_label="share in the right order")]


def reinforcement(run: RunFiles) -> list[str]:
    """The curves that tell a healthy run from one that games its reward."""
    found = []
    for title, unit, key, bottom in RL_PANELS:
        series = [
            Series(
                COLORS[stage],
                *with_start(run, stage, key),
                kind="points" if key.startswith("valid_") else "line",
                mark=run.summaries.get(stage, {}).get("chosen_step"),
                marker=MARKERS[stage],
            )
            for stage in ("ppo", "ppo_ptx")
            if run.series(stage, key)[0]
        ]
        if series:
            found.append(
                plots.lines(title, series, x_label="iteration", y_label=unit, bottom=bottom)
            )
    return found


def overoptimization(run: RunFiles) -> list[str]:
    """Proxy and judge against the square root of the KL, as Gao et al. (2022) draw them."""
    found = []
    for title, unit, key in (
        ("Reward model's score (proxy)", "score, held-out", "valid_score"),
        ("Judge", "score, 0 to 1", "valid_judge_score"),
    ):
        series = []
        for stage in ("ppo", "ppo_ptx"):
            kl = dict(zip(*run.series(stage, "ref_kl"), strict=True)) | {0: 0.0}
            steps, values = with_start(run, stage, key)
            known = [(kl[s], v) for s, v in zip(steps, values, strict=True) if s in kl]
            if len(known) > 1:
                roots = [max(k, 0.0) ** 0.5 for k, _ in known]
                series.append(
                    Series(COLORS[stage], roots, [v for _, v in known], "points",
                           marker=MARKERS[stage])
                )  # fmt: skip
        if series:
            found.append(plots.lines(title, series, x_label="√KL, √nats", y_label=unit))
    return found


def with_start(run: RunFiles, stage: str, key: str) -> tuple[list[float], list[float]]:
    """A metric with its value before the first step, which stands in the stage's summary."""
    steps, values = run.series(stage, key)
    looks = run.summaries.get(stage, {}).get("looks") or [{}]
    start = looks[0].get(f"ppo/{key}")
    if start is None or looks[0].get("ppo/look") != 0 or (steps and steps[0] == 0):
        return steps, values
    return [0, *steps], [start, *values]


def draw_results(results: Json) -> dict[str, list[str]]:
    """The pictures of evaluation."""
    models = [name for name in NAMES if name in results["models"]]
    wins = {m: results["win_rate"].get(f"{m}_vs_sft") for m in models}
    if "sft" in models:  # by definition, and so without an interval
        wins["sft"] = {"mean": 0.5, "low": None, "high": None, "reason": "by definition"}
    compared = sum(estimate is not None for estimate in wins.values()) > 1
    tax = results["alignment_tax"]["pretraining_loss"]
    found = {
        "wins": [
            plots.dots(
                "Preferred to SFT",
                rows(wins),
                x_label="win rate",
                reference=0.5,
                limits=(0, 1),
            )
        ]
        if compared
        else [],
        "gold": [plots.dots("Judge's score", rows(results["gold_score"]), x_label="mean score",
                            limits=(0, 1), style="number")],
        "rates": [
            plots.bars(label, rows({m: results["rates"][m][key] for m in models}))
            for key, label in RATES.items()
            if any(results["rates"][m][key] for m in models)
        ],
        "reward_facts": [reward_facts(results["reward_model"])],
        "tax": [plots.dots("Loss on held-out text", rows(tax), x_label="nats a token",
                           reference=start_of(tax), style="number")] if tax else [],
        "tasks": [
            plots.bars(name.replace("_", " "), rows(group))
            for name, group in results["alignment_tax"]["tasks"].items()
        ],
    }  # fmt: skip
    bins = results["reward_model"]["calibration"]
    if bins:
        found["calibration"] = [plots.calibration("Calibration", bins, HELD_OUT)]
    if results["reward_model"]["probes"]:
        found["probes"] = [probes(results["reward_model"]["probes"])]
    return found


def reward_facts(found: Json) -> str:
    """The reward model's accuracy beside what it can be held against."""
    facts = [
        Row("reward model, on labels", HELD_OUT, found["accuracy_on_labels"]),
        Row("labelers, on each other", COLORS["sft"], found["labeler_agreement"]),
        Row("“the longer wins”, on labels", BASELINE, found["longer_wins"]),
        Row("reward model, on the judge", GOLD, found["accuracy_on_gold"]),
    ]
    return plots.dots(
        "Right order of two responses",
        facts,
        x_label="share of held-out pairs",
        reference=0.5,
        limits=(0.4, 1),
    )


def probes(found: Json) -> str:
    """How often a tampered response scores higher than what it was made from."""
    return plots.dots(
        "Scores higher when tampered with",
        [Row(PROBES[name], HELD_OUT, one["scores_higher"]) for name, one in found.items()],
        x_label="share of held-out demonstrations",
        reference=0.5,
        limits=(0, 1),
    )


def rows(estimates: dict[str, Any]) -> Sequence[Row]:
    """One row a model, in the order of the pipeline; what was not measured is left out."""
    return [Row(NAMES[m], COLORS[m], estimates[m]) for m in NAMES if estimates.get(m) is not None]


def start_of(losses_by_model: dict[str, Any]) -> float | None:
    """The loss of the model that everything started from."""
    for name in ("gpt", "base"):
        if name in losses_by_model:
            mean: float | None = losses_by_model[name]["mean"]
            return mean
    return None
