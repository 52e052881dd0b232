"""Words and numbers of the page: the headline, what is missing, formats, chosen examples."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from preceptor.report.pictures import NAMES
from preceptor.report.reading import STAGES, Json, RunFiles

STAGE_NAMES = {
    "data": "Data",
    "pretrain": "Pretraining",
    "sft": "Supervised fine-tuning",
    "sample": "Sampling responses",
    "rank": "Ranking",
    "reward": "Reward model",
    "ppo_start": "Start of PPO",
    "ppo": "PPO",
    "ppo_ptx": "PPO-ptx",
    "evaluate": "Evaluation",
}
SHOWN_PROMPTS = 8
SHOWN_LABELERS = 12
NOTHING = "–"


class Figures:
    """Numbers of results.json in reading form, each marked with the place it comes from."""

    def __init__(self, results: Json | None) -> None:
        """Hold the results; without them every number is a dash."""
        self.results = results

    def share(self, *place: str, interval: bool = True) -> Markup:
        """A share in percent with its interval: 74 % 70–78."""
        return self._written(place, interval, factor=100, digits=0, unit=" %")

    def number(self, *place: str, digits: int = 2, interval: bool = False) -> Markup:
        """A mean with so many digits."""
        return self._written(place, interval, factor=1, digits=digits, unit="")

    def tax(self, model: str) -> str:
        """What a model lost of its start's held-out loss, in nats a token."""
        losses = self.results["alignment_tax"]["pretraining_loss"] if self.results else {}
        start = losses.get("gpt") or losses.get("base")
        own = losses.get(model)
        if not start or not own or start["mean"] is None or own["mean"] is None:
            return NOTHING
        return signed(own["mean"] - start["mean"], 3)

    def _written(
        self, place: Sequence[str], interval: bool, *, factor: int, digits: int, unit: str
    ) -> Markup:
        found = look_up(self.results, place)
        if found is None or found["mean"] is None:
            reason = (found or {}).get("reason", "not measured")
            return Markup('<span title="{}">–</span>').format(reason)
        text = f"{factor * found['mean']:.{digits}f}{unit}"
        shown = Markup('<data value="{}" data-of="{}">{}</data>').format(
            repr(found["mean"]), "/".join(key.replace("/", "~1") for key in place), text
        )
        if not interval or found["low"] is None or found["high"] is None:
            return shown
        low, high = (f"{factor * found[end]:.{digits}f}" for end in ("low", "high"))
        return shown + Markup(' <span class="ci">{}–{}</span>').format(low, high)


def look_up(results: Json | None, place: Sequence[str]) -> Json | None:
    """The estimate at a place, or nothing."""
    found: Any = results
    for key in place:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return dict(found) if isinstance(found, Mapping) else None


def headline(run: RunFiles) -> Json | None:
    """The result in one sentence: the furthest model against SFT, or SFT against prompting."""
    if not run.results:
        return None
    for winner, loser in (("ppo_ptx", "sft"), ("ppo", "sft"), ("sft", "gpt_prompted")):
        found = run.results["win_rate"].get(f"{winner}_vs_{loser}")
        if found is None or found["mean"] is None:
            continue
        verdict = "unclear"
        if found["low"] is not None and found["low"] > 0.5:
            verdict = "better"
        elif found["high"] is not None and found["high"] < 0.5:
            verdict = "worse"
        names = {"winner": NAMES[winner], "loser": NAMES[loser]}
        return dict(found) | names | {"key": f"{winner}_vs_{loser}", "verdict": verdict}
    return None


def progress(run: RunFiles) -> list[Json]:
    """One line for each stage: done with its key figure, unfinished, not run, not in the recipe."""
    key_figures = {
        "pretrain": ("valid_loss", "held-out loss", 2),
        "sft": ("valid_loss", "held-out loss", 2),
        "reward": ("valid_accuracy", "accuracy on labels", 2),
        "ppo_start": ("valid_loss", "held-out loss", 2),
        "ppo": ("valid_judge_score", "judge, validation", 2),
        "ppo_ptx": ("valid_judge_score", "judge, validation", 2),
    }
    found = []
    for stage in STAGES:
        rows, summary = run.metrics.get(stage, []), run.summaries.get(stage)
        if stage not in run.planned and (stage == "ppo_start" or run.only_pretrains):
            continue  # nobody misses it
        figure = ""
        if summary is not None:
            state = "done"
            key, label, digits = key_figures[stage]
            if isinstance(summary.get(key), int | float):
                figure = f"{label} {summary[key]:.{digits}f}"
        elif rows:
            state = f"unfinished, step {rows[-1]['step']}"
        else:
            state = "not run yet" if stage in run.planned else "not in the recipe"
        found.append({"stage": stage, "name": STAGE_NAMES[stage], "state": state,
                      "figure": figure, "seconds": run.seconds.get(stage)})  # fmt: skip
    return found


def grouped_alarms(alarms: Sequence[Json]) -> list[Json]:
    """Alarms of one cause in one stage as one: when it began, how often, the latest values."""
    groups: dict[tuple[str, str], list[Json]] = {}
    for alarm in alarms:
        groups.setdefault((alarm["stage"], alarm["cause"]), []).append(alarm)
    return [
        dict(rows[-1])
        | {
            "first": rows[0]["step"],
            "last": rows[-1]["step"],
            "count": len({row["step"] for row in rows}),
            "values": {row["name"]: row["value"] for row in rows},
        }
        for rows in groups.values()
    ]


def side_by_side(run: RunFiles) -> list[Json]:
    """The same prompts answered by every model: the first of each use case, then the next ones."""
    by_index = {m: {row["index"]: row for row in rows} for m, rows in run.answers.items() if rows}
    if not by_index:
        return []
    first = next(iter(by_index.values()))
    seen: dict[str, int] = {}
    order = []
    for index, row in first.items():
        if all(index in rows for rows in by_index.values()):
            turn = seen.get(row["use_case"], 0)
            seen[row["use_case"]] = turn + 1
            order.append((turn, index))
    return [
        {
            "prompt": prompt_text(first[index]["prompt"]),
            "use_case": readable(first[index]["use_case"] or "none"),
            "answers": {m: by_index[m][index] for m in NAMES if m in by_index},
        }
        for _, index in sorted(order)[:SHOWN_PROMPTS]
    ]


def samples_shown(run: RunFiles, stage: str) -> list[Json]:
    """Best and worst at the start, at the kept step and at the end."""
    rows = run.samples.get(stage, [])
    steps = sorted({row["step"] for row in rows})
    if not steps:
        return []
    chosen = run.summaries.get(stage, {}).get("chosen_step", steps[-1])
    kept = max((s for s in steps if s <= chosen), default=steps[0])
    return [row for row in rows if row["step"] in {steps[0], kept, steps[-1]}]


def tables(results: Json | None) -> list[tuple[str, list[tuple[str, Json]]]]:
    """Groups of prompts, each with every model's estimate: by use case, then by what was new."""
    if results is None:
        return []
    order = ("neither", "entities", "phrasings")
    held_out = sorted(results["held_out"].items(), key=lambda pair: order.index(pair[0]))
    return [("by_use_case", list(results["by_use_case"].items())), ("held_out", held_out)]


def pair_groups(results: Json | None) -> list[Json]:
    """Labeled pairs by use case, source and labeler; of many labelers those with most pairs."""
    if results is None:
        return []
    titles = {"by_use_case": "Use case", "by_source": "Written by", "by_labeler": "Labeler"}
    found = []
    for part, title in titles.items():
        groups = results["reward_model"][part] or {}
        shown = list(groups)
        if part == "by_labeler":
            most = sorted(groups, key=lambda name: -groups[name]["accuracy_on_labels"]["n"])
            shown = sorted(most[:SHOWN_LABELERS])
        if set(groups) - {"none"}:
            rows = [(name, pair_label(part, name), groups[name]) for name in shown]
            left_out = len(groups) - len(shown)
            found.append({"part": part, "title": title, "rows": rows, "left_out": left_out})
    return found


def pair_label(part: str, name: str) -> str:
    """A group of pairs in words; labelers, and sources that are none of our models, as they are."""
    if part == "by_source":
        return source_title(name)
    return readable(name) if part == "by_use_case" else name


def source_title(source: str) -> str:
    """Who wrote a pair of responses; the policy of an earlier round bears its number."""
    titles = []
    for one in source.split(" / "):
        model, comma, rest = one.partition(", ")
        titles.append(NAMES.get(model, model) + comma + rest)
    return " / ".join(titles)


def step_title(step: str) -> str:
    """A step in words; those of an earlier round bear its number."""
    *before, kind = step.split("/")
    title = STAGE_NAMES.get(kind, kind)
    return f"Round {before[-1]}: {title}" if before else title


def readable(group: str) -> str:
    """A group of prompts in words."""
    new = {"entities": "new entity", "phrasings": "new phrasing", "neither": "neither new"}
    return new.get(group, group.replace("_", " ").replace(" qa", " QA"))


def chips(judgement: Json) -> list[Json]:
    """The parts of a judgement that apply, each good, partly good or bad."""
    return [
        {
            "name": name.replace("_", " "),
            "kind": "good" if value >= 0.999 else "bad" if value <= 0.001 else "part",
            "sign": "✓" if value >= 0.999 else "✗" if value <= 0.001 else f"{value:.2f}",
        }
        for name, value in judgement.get("parts", {}).items()
        if value is not None
    ]


def prompt_text(prompt: str | list[dict[str, str]]) -> str:
    """A prompt as people read it."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def minutes(seconds: float) -> str:
    """A time for people."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{seconds:.1f} s"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, the minus as typesetters write it."""
    if round(value, digits) == 0:
        return f"{0:.{digits}f}"
    return f"{value:+.{digits}f}".replace("-", "−")
