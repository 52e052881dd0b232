"""What a run asks of labelers through the store, and its answers as the records of its own rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from preceptor.config import Recipe
from preceptor.data.records import (
    Demonstration,
    Prompt,
    Ranking,
    file_hash,
    read_records,
    text_of,
    write_records,
)
from preceptor.evaluation.judges import judge_of, labelers_of
from preceptor.evaluation.labelers import texts_of
from preceptor.recipes.rounds import home_of
from preceptor.simulation.answers import Knowledge
from preceptor.simulation.shift import knowledge_of
from preceptor.steps.collect import Work, collect
from preceptor.steps.labels import PARTS, labels_wanted, team, turns
from preceptor.store.asking import Question, read_question
from preceptor.store.names import sha256_of
from preceptor.training.progress import say

Part = Literal["train", "valid"]


def rank_in_store(recipe: Recipe, out: Path, step: str = "rank") -> list[Path]:
    """Have a round's responses ranked; writes the file that the labelers in process would.

    Raises:
        LabelsMissing: people are asked, and labels are missing still.
    """
    folder = home_of(out, step) / "data"
    works = [_rankings_wanted(recipe, folder, step, part) for part in PARTS]
    exported = collect(recipe, out, works, knowledge_of(recipe, out), folder / "labels")
    written = []
    for work, path in zip(works, exported, strict=True):
        rows = read_records(folder / f"responses-{work.part}.jsonl", Prompt)
        rankings = rankings_of_rows(rows, read_records(path, Ranking))
        written.append(folder / f"rankings-{work.part}.jsonl")
        write_records(written[-1], rankings)
    return written


def _rankings_wanted(recipe: Recipe, folder: Path, step: str, part: Part) -> Work:
    path = folder / f"responses-{part}.jsonl"
    rows = read_records(path, Prompt)
    kept = [i for i, row in enumerate(rows) if len(texts_of(row.meta["responses"])) > 1]
    if left_out := len(rows) - len(kept):
        say(f"{step} {part}: {left_out} of {len(rows):,} prompts left out, all responses equal")
    chosen = list(turns(recipe, step, part, len(rows)))
    return Work(
        title=f"{step} {part}",
        part=part,
        task_type="ranking",
        questions=[read_question(rows[i], f"{path}:{i + 1}") for i in kept],
        digest=file_hash(path),
        overlap=labels_wanted(recipe, part),
        team=team(recipe, part),
        turns=[place for i in kept for place in chosen[i]],
    )


def rankings_of_rows(rows: Sequence[Prompt], exported: Sequence[Ranking]) -> list[Ranking]:
    """Exported labels as rankings of the run's own rows: its order of rows and of responses.

    Labels of a row come in the order in which their tasks were taken.
    """
    numbers: dict[str, int] = {}
    for number, row in enumerate(rows):
        numbers.setdefault(_key(row.prompt, row.meta["responses"]), number)
    found = []
    for label in exported:
        number = numbers[_key(label.prompt, label.responses)]
        row, meta = rows[number], dict(rows[number].meta)
        responses = meta.pop("responses")
        rank_of = dict(zip(label.responses, label.ranks, strict=True))  # equal texts are tied
        ranks = [rank_of[text] for text in responses]
        ranking = Ranking(row.prompt, responses, ranks, label.labeler, row.user, row.use_case, meta)
        found.append((number, str(label.meta["started_at"]), label.labeler, ranking))
    return [ranking for *_, ranking in sorted(found, key=lambda entry: entry[:3])]


def demonstrations_from_store(
    recipe: Recipe, out: Path, records: Mapping[Part, Sequence[Demonstration]]
) -> dict[Part, Sequence[Demonstration]]:
    """Have the prompts answered by people, or by simulated labelers with what the source has.

    Raises:
        LabelsMissing: people are asked, and demonstrations are missing still.
    """
    book = {text_of(d.prompt): d.response for part in records.values() for d in part}
    known = Knowledge(judge_of(recipe), recipe.seed, {}, book)
    parts: list[Part] = [part for part in PARTS if records[part]]
    works = [_demonstrations_wanted(recipe, part, records[part]) for part in parts]
    exported = collect(recipe, out, works, known, out / "data" / "labels")
    found = dict(records)
    for part, path in zip(parts, exported, strict=True):
        written = {_key(d.prompt, []): d.response for d in read_records(path, Demonstration)}
        found[part] = [
            replace(d, response=written[_key(d.prompt, [])])
            for d in records[part]
            if _key(d.prompt, []) in written
        ]
    return found


def _demonstrations_wanted(recipe: Recipe, part: Part, records: Sequence[Demonstration]) -> Work:
    # A prompt that comes twice is asked about once.
    once = {_key(d.prompt, []): d for d in records}
    prompts = [Prompt(d.prompt, d.user, d.use_case, d.meta) for d in once.values()]
    members = labelers_of(recipe, recipe.rank.num_labelers, "training")
    return Work(
        title=f"demonstrations {part}",
        part=part,
        task_type="demonstration",
        questions=[Question(prompt) for prompt in prompts],
        digest=sha256_of([[p.prompt, p.user] for p in prompts]),
        overlap=1,
        team=members,
        turns=[i % len(members) for i in range(len(prompts))],
    )


def _key(prompt: object, responses: Sequence[str]) -> str:
    return json.dumps([prompt, sorted(responses)], sort_keys=True)
