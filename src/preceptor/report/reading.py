"""What the report reads of a run folder; a stage that is not there is simply absent."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from preceptor.errors import DataError
from preceptor.report.schema import validate_results

STAGES = ("pretrain", "sft", "reward", "ppo_start", "ppo", "ppo_ptx")
LOGS_AS = {"ppo_start": "sft", "ppo_ptx": "ppo"}  # stages that share the names of their metrics
Json = dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """Everything that the page shows, as it stands in the files."""

    name: str
    recipe: str
    planned: frozenset[str] = frozenset(STAGES)  # the stages that the recipe names
    only_pretrains: bool = False  # the recipe has no demonstrations
    rounds: int = 1  # of collection
    simulated_labelers: bool = False  # the recipe names no rankings made by people
    metrics: dict[str, list[Json]] = field(default_factory=dict)
    summaries: dict[str, Json] = field(default_factory=dict)  # of finished stages only
    samples: dict[str, list[Json]] = field(default_factory=dict)
    results: Json | None = None
    answers: dict[str, list[Json]] = field(default_factory=dict)
    rankings: list[Json] = field(default_factory=list)  # one prompt, every labeler's
    demonstrations: list[Json] = field(default_factory=list)
    documents: list[Json] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    alarms: list[Json] = field(default_factory=list)

    def series(self, stage: str, key: str) -> tuple[list[float], list[float]]:
        """Steps and values of one metric, where it was logged."""
        name = f"{LOGS_AS.get(stage, stage)}/{key}"
        rows = [row for row in self.metrics.get(stage, []) if row.get(name) is not None]
        return [row["step"] for row in rows], [row[name] for row in rows]


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        DataError: it is none, or a file in it is broken.
    """
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        raise DataError(
            f"{folder}: not a run folder, recipe.yaml is missing. Name the folder of a run."
        )
    text = recipe.read_text(encoding="utf-8")
    keys = _keys(text)
    rounds = keys.get("rounds", 1)
    numbers = range(1, rounds) if isinstance(rounds, int) else ()
    earlier = [f"rounds/{n}/{stage}" for n in numbers for stage in ("reward", "ppo", "ppo_ptx")]
    done = {stage: _json(folder / stage / "done.json") for stage in (*STAGES, *earlier)}
    results = _json(folder / "evaluation" / "results.json") or None
    if results is not None:
        results = _with_later_figures(results)
        validate_results(results)
    models = results["models"] if results else []
    timing = _json(folder / "timing.json")
    finished = {stage: float(d["seconds"]) for stage, d in done.items() if "seconds" in d}
    alarms = [row for stage in done for row in _lines(folder / stage / "alarms.jsonl")]
    only_pretrains = "demonstrations" in keys and keys["demonstrations"] is None
    return RunFiles(
        name=folder.resolve().name,
        recipe=text,
        planned=frozenset(
            # Every recipe names all stages but this one, which older ones do not know.
            stage
            for stage in (("pretrain",) if only_pretrains else STAGES)
            if keys.get(stage, None if stage == "ppo_start" else {}) is not None
        ),
        only_pretrains=only_pretrains,
        rounds=len(numbers) + 1,
        simulated_labelers="rankings" in keys
        and keys["rankings"] is None
        and keys.get("labels") != "people",
        metrics={stage: _lines(folder / stage / "metrics.jsonl") for stage in STAGES},
        summaries={stage: d.get("summary", {}) for stage, d in done.items() if d},
        samples={s: _lines(folder / s / "samples.jsonl") for s in ("pretrain", "ppo", "ppo_ptx")},
        results=results,
        answers={m: _lines(folder / "evaluation" / f"responses-{m}.jsonl") for m in models},
        rankings=_example(_lines(folder / "data" / "rankings-valid.jsonl", most=400)),
        demonstrations=_lines(folder / "data" / "demonstrations-train.jsonl", most=3),
        documents=_various(_lines(folder / "data" / "corpus-train.jsonl", most=100))[:4],
        seconds=_of_rounds(
            timing.get("seconds") or (results or {}).get("timing") or finished, numbers
        ),
        peak_memory_bytes=(results or timing).get("peak_memory_bytes"),
        alarms=results["alarms"] if results else alarms,
    )


def _of_rounds(seconds: dict[str, float], numbers: Sequence[int]) -> dict[str, float]:
    """Without the steps of rounds that an earlier recipe left in this folder."""
    return {
        step: value
        for step, value in seconds.items()
        if "/" not in step or int(step.split("/")[1]) in numbers
    }


def _with_later_figures(results: Json) -> Json:
    """Results of a version that did not know some figure, with that figure marked as missing."""
    nothing = {"mean": None, "low": None, "high": None, "n": 0, "reason": "of an earlier version"}
    compared = results.get("win_rate")
    known = results.get("reward_model")
    if not isinstance(compared, dict) or not isinstance(known, dict):
        return results  # the schema says what is wrong with them
    for one in compared.values():
        if isinstance(one, dict):
            one.setdefault("length_controlled", nothing)
    known.setdefault("probes", {})
    for groups in ("by_labeler", "by_use_case", "by_source"):
        known.setdefault(groups, None)
    return results


def _keys(recipe: str) -> Json:
    """The keys of a recipe; it is shown as it stands even when it cannot be read."""
    try:
        found = yaml.safe_load(recipe)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _various(documents: list[Json]) -> list[Json]:
    """The first document of each source, then the second of each."""
    seen: Counter[str] = Counter()
    turns = []
    for place, document in enumerate(documents):
        source = str(document.get("source"))
        turns.append((seen[source], place))
        seen[source] += 1
    return [documents[place] for _, place in sorted(turns)]


def _example(rankings: list[Json]) -> list[Json]:
    """The first prompt that several labelers ranked, not all alike; else the first ranked one."""
    owners: dict[str, list[Json]] = {}
    for row in rankings:
        owners.setdefault(json.dumps([row["prompt"], row["responses"]]), []).append(row)
    telling = [rows for rows in owners.values() if len(set(rows[0]["ranks"])) > 2]
    shared = (rows for rows in telling if len(rows) > 1 and len(rows[0]["responses"]) <= 6)
    return next(shared, telling[0] if telling else [])[:4]


def _json(path: Path) -> Json:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}). Run its stage again.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no JSON object. Run its stage again.")
    return found


def _lines(path: Path, most: int | None = None) -> list[Json]:
    return list(_read_lines(path, most)) if path.is_file() else []


def _read_lines(path: Path, most: int | None) -> Iterator[Json]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number == most or not line.endswith("\n"):
                return  # a last line without its end is being written just now
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number + 1}: not JSON. Run its stage again.") from error
