"""What the report reads of a run folder; a stage that is not there is simply absent."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preceptor.errors import DataError

STAGES = ("pretrain", "sft", "reward", "ppo", "ppo_ptx")
Json = dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """Everything that the page shows, as it stands in the files."""

    name: str
    recipe: str
    metrics: dict[str, list[Json]] = field(default_factory=dict)
    summaries: dict[str, Json] = field(default_factory=dict)
    samples: dict[str, list[Json]] = field(default_factory=dict)
    results: Json | None = None
    answers: dict[str, list[Json]] = field(default_factory=dict)
    ranking: Json | None = None
    demonstrations: list[Json] = field(default_factory=list)

    def series(self, stage: str, key: str) -> tuple[list[float], list[float]]:
        """Steps and values of one metric, where it was logged."""
        rows = [row for row in self.metrics.get(stage, []) if key in row]
        return [row["step"] for row in rows], [row[key] for row in rows]


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        DataError: it is none.
    """
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        raise DataError(f"{folder}: not a run folder, recipe.yaml is missing.")
    done = {s: _json(folder / s / "done.json") for s in STAGES}
    results = folder / "evaluation" / "results.json"
    found = _json(results) if results.is_file() else None
    models = found["models"] if found else []
    rankings = _lines(folder / "data" / "rankings-valid.jsonl", most=50)
    return RunFiles(
        name=folder.name,
        recipe=recipe.read_text(encoding="utf-8"),
        metrics={s: _lines(folder / s / "metrics.jsonl") for s in STAGES},
        summaries={s: d["summary"] for s, d in done.items() if d},
        samples={s: _lines(folder / s / "samples.jsonl") for s in ("ppo", "ppo_ptx")},
        results=found,
        answers={m: _lines(folder / "evaluation" / f"responses-{m}.jsonl") for m in models},
        ranking=next((r for r in rankings if len(set(r["ranks"])) > 2), None),
        demonstrations=_lines(folder / "data" / "demonstrations-train.jsonl", most=3),
    )


def _json(path: Path) -> Json:
    if not path.is_file():
        return {}
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def _lines(path: Path, most: int | None = None) -> list[Json]:
    if not path.is_file():
        return []
    rows: list[Json] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if most is not None and len(rows) >= most:
                break
            if line.strip():
                rows.append(json.loads(line))
    return rows
