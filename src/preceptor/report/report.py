"""One self-contained page that tells what a run did, to somebody who reads nothing else."""

from pathlib import Path
from typing import Any

import jinja2

from preceptor.report import plots
from preceptor.report.reading import Json, RunFiles, read_run

HERE = Path(__file__).parent
RATES = {
    "task": "does the task",
    "constraint": "obeys the constraint",
    "polite": "fit for an assistant",
    "ending": "ends properly",
    "hallucination": "hallucinates",
}
SHOWN_PROMPTS = 9


def write_report(folder: Path) -> Path:
    """Write FOLDER/report.html from the files of the run; the same files give the same bytes.

    Raises:
        DataError: the folder is not one of a run.
    """
    run = read_run(folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["zip"] = zip
    environment.filters["percent"] = percent
    environment.filters["minutes"] = minutes
    page = environment.get_template("template.html.j2").render(
        run=run,
        results=run.results,
        names=plots.NAMES,
        colors=plots.COLORS,
        css=(HERE / "style.css").read_text(encoding="utf-8"),
        plots=draw(run),
        headline=headline(run),
        side_by_side=side_by_side(run),
        rates=RATES,
    )
    path = folder / "report.html"
    partial = path.with_name("report.html.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def draw(run: RunFiles) -> dict[str, str]:
    """Every plot that the run's files allow, by name."""
    found: dict[str, str] = {}
    pretrain = {
        "training": run.series("pretrain", "pretrain/loss"),
        "held-out": run.series("pretrain", "pretrain/valid_loss"),
    }
    sft = {
        "training": run.series("sft", "sft/loss"),
        "held-out": run.series("sft", "sft/valid_loss"),
    }
    if run.metrics["pretrain"]:
        found["pretrain"] = plots.lines([("loss", "nats a token", pretrain)], x_label="step")
    if run.metrics["sft"]:
        found["sft"] = plots.lines([("loss", "nats a token", sft)], x_label="step")
    if run.metrics["reward"]:
        reward = {
            "training": run.series("reward", "reward/loss"),
            "held-out": run.series("reward", "reward/valid_loss"),
        }
        accuracy = {"labels": run.series("reward", "reward/valid_accuracy")}
        found["reward"] = plots.lines(
            [("loss", "nats a pair", reward), ("accuracy on held-out labels", "share", accuracy)],
            x_label="step",
            columns=2,
        )
    if run.metrics["ppo"] or run.metrics["ppo_ptx"]:
        found["ppo"] = draw_ppo(run)
        found["overoptimization"] = draw_overoptimization(run)
    if run.results:
        found |= draw_results(run.results)
    return found


def draw_ppo(run: RunFiles) -> str:
    """The curves that tell a healthy run from one that games its reward."""
    stages = [s for s in ("ppo", "ppo_ptx") if run.metrics[s]]
    chosen = {
        s: float(run.summaries[s]["chosen_step"])
        for s in stages
        if "chosen_step" in run.summaries.get(s, {})
    }
    shown = (
        ("reward model's score", "score", "score_mean"),
        ("held-out judge", "score, 0 to 1", "valid_judge_score"),
        ("KL to the SFT model", "nats a response", "ref_kl"),
        ("length", "tokens", "length_mean"),
        ("entropy", "nats a token", "entropy"),
        ("held-out text", "nats a token", "valid_pretraining_loss"),
        ("clip fraction", "share of tokens", "clip_fraction"),
        ("value loss", "score squared", "value_loss"),
        ("without an end", "share", "truncated_fraction"),
    )
    panels = [
        (
            title,
            unit,
            {s: run.series(s, f"ppo/{key}") for s in stages if run.series(s, f"ppo/{key}")[0]},
        )
        for title, unit, key in shown
    ]
    return plots.lines([p for p in panels if p[2]], x_label="iteration", marks=chosen)


def draw_overoptimization(run: RunFiles) -> str:
    """Proxy and judge against the square root of the KL, as Gao et al. draw them."""
    panels = []
    for title, unit, key in (
        ("reward model (proxy)", "score", "ppo/valid_score"),
        ("held-out judge", "score, 0 to 1", "ppo/valid_judge_score"),
    ):
        series = {}
        for stage in ("ppo", "ppo_ptx"):
            rows = [r for r in run.metrics[stage] if key in r]
            if rows:
                roots = [max(r["ppo/ref_kl"], 0.0) ** 0.5 for r in rows]
                series[stage] = (roots, [r[key] for r in rows])
        if series:
            panels.append((title, unit, series))
    return plots.lines(panels, x_label="sqrt(KL), nats", columns=2) if panels else ""


def draw_results(results: Json) -> dict[str, str]:
    """The pictures of evaluation."""
    models = results["models"]
    wins = {m: results["win_rate"][f"{m}_vs_sft"] for m in models if m != "sft"}
    wins["sft"] = {"mean": 0.5, "low": None, "high": None, "n": 0}
    found = {
        "wins": plots.intervals(wins, label="win rate against SFT, 95 % interval", reference=0.5),
        "gold": plots.intervals(results["gold_score"], label="judge's score, 95 % interval"),
        "rates": plots.grouped(
            {label: {m: results["rates"][m][key] for m in models} for key, label in RATES.items()},
            label="share or mean part",
        ),
        "calibration": plots.calibration(results["reward_model"]["calibration"]),
    }
    tasks = results["alignment_tax"]["tasks"]
    if tasks:
        found["tasks"] = plots.grouped(
            {name.replace("_", " "): group for name, group in tasks.items()}, label="accuracy"
        )
    return found


def headline(run: RunFiles) -> dict[str, Any] | None:
    """The result in one sentence: the last model against SFT."""
    if not run.results:
        return None
    models = run.results["models"]
    best = next((m for m in ("ppo_ptx", "ppo") if m in models), None)
    if best is None:
        return None
    found: dict[str, Any] = run.results["win_rate"][f"{best}_vs_sft"]
    return {"model": best, "name": plots.NAMES[best]} | found


def side_by_side(run: RunFiles) -> list[dict[str, Any]]:
    """The same prompts answered by every model: the first of each use case, then the next ones."""
    if not run.answers or not all(run.answers.values()):
        return []
    first = next(iter(run.answers.values()))
    seen: dict[str, int] = {}
    order = []
    for row in first:
        turn = seen.get(row["use_case"], 0)
        seen[row["use_case"]] = turn + 1
        order.append((turn, row["index"]))
    shown = sorted(sorted(order)[:SHOWN_PROMPTS], key=lambda pair: pair[1])
    return [
        {
            "prompt": prompt_text(first[i]["prompt"]),
            "use_case": first[i]["use_case"],
            "answers": {m: rows[i] for m, rows in run.answers.items()},
        }
        for _, i in shown
    ]


def prompt_text(prompt: str | list[dict[str, str]]) -> str:
    """A prompt as people read it."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def percent(estimate: Json | None) -> str:
    """A share with its interval: 74 % (70 to 78)."""
    if estimate is None or estimate["mean"] is None:
        return "–"
    text = f"{100 * estimate['mean']:.0f} %"
    if estimate["low"] is None:
        return text
    return f"{text} ({100 * estimate['low']:.0f} to {100 * estimate['high']:.0f})"


def minutes(seconds: float) -> str:
    """A time for people."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{seconds:.1f} s"
