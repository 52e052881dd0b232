"""What labelers say of each model, from the labels that an export would hold.

Not on the lead's pages: whoever labels there is to learn nothing of models. Labels of one prompt,
and labels of one labeler, are not independent: both are drawn again for the intervals.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.labeling.identity import names_a_model
from preceptor.statistics.bootstrap import cluster_bootstrap
from preceptor.statistics.clusters import two_way_bootstrap
from preceptor.statistics.estimate import Estimate
from preceptor.store.export import TASK_TYPES, Filter, label_records
from preceptor.store.projects import project_named

WORDS = {
    "input_toxicity": "toxicity of the prompt, 0 to 2",
    "toxicity": "toxicity, 0 to 2",
    "relative_toxicity": "beside the prompt, -1 to 1",
    "continuity": "continuity, 1 to 7",
    "likert": "quality, 1 to 7",
    "preferred": "preferred to others' responses",
    "named": "names a model or its maker",
    "preferred_unnamed": "preferred, where none does",
}
NOBODY = "no model"
"""Whose responses come from none that is known."""


@dataclass(frozen=True)
class Figure:
    """One measure of one model, over all labels of its responses."""

    model: str
    measure: str
    estimate: Estimate


@dataclass(frozen=True)
class Results:
    """Of a project: figures by model and measure, and why labels were left out."""

    figures: tuple[Figure, ...]
    num_labels: int
    num_prompts: int
    num_labelers: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class Said:
    """A number that a labeler gave to a response, or that its place makes."""

    value: float
    prompt: str
    labeler: str


def read_results(session: Session, project: str, split: str, *, now: datetime) -> Results:
    """The figures of each model of a project.

    `preferred` is the share of the other models' responses to the same prompt that one was ranked
    above, a tie being half. Where responses name a model or its maker, which may have told labelers
    whose they are, it is there once more without these (`named` is the share of them).

    Raises:
        StoreError: there is no such project, nothing is compared in it, or no label counts yet.
    """
    task_type = project_named(session, project).task_type
    kind = next((kind for kind, types in TASK_TYPES.items() if task_type in types), "")
    if kind in ("", "demonstrations"):
        raise StoreError(f"{project}: a {task_type} project, in which no models are compared.")
    left_out: Counter[str] = Counter()
    records = list(label_records(session, Filter(kind, split, project), left_out, now))
    if not records:
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        raise StoreError(
            f"{project}: no label counts in split {split} yet. "
            + (f"Left out: {reasons}." if reasons else "--split names another.")
        )
    return Results(
        figures=figures_of(records),
        num_labels=len(records),
        num_prompts=len({record["meta"]["prompt_id"] for record in records}),
        num_labelers=len({record["labeler"] for record in records}),
        left_out=dict(left_out),
    )


def figures_of(records: Sequence[dict[str, Any]]) -> tuple[Figure, ...]:
    """By model, and in the order of `WORDS`; `records` are as an export has them."""
    said: dict[tuple[str, str], list[Said]] = defaultdict(list)
    told = any(names_a_model(text) for record in records for text in record["responses"])
    names = names_of([slot["policy"] for r in records for slot in r["meta"]["slots"].values()])
    for record in records:
        meta, ranks = record["meta"], record["ranks"]
        models = [names[key_of(slot["policy"])] for slot in meta["slots"].values()]
        named = [names_a_model(text) for text in record["responses"]]
        for i, (slot, model) in enumerate(zip(meta["slots"], models, strict=True)):
            rating = meta["ratings"].get(slot, {})
            found = {name: rating[name] for name in WORDS if name in rating}
            if "input_toxicity" in meta:
                found["input_toxicity"] = meta["input_toxicity"]
            others = [j for j, other in enumerate(models) if other != model]
            unnamed = [j for j in others if not (named[i] or named[j])]
            if others:
                found["preferred"] = share_won(ranks, i, others)
            if told:
                found["named"] = float(named[i])
            if told and unnamed:
                found["preferred_unnamed"] = share_won(ranks, i, unnamed)
            for name, value in found.items():
                place = Said(float(value), meta["prompt_id"], record["labeler"])
                said[model, name].append(place)
    order = {name: i for i, name in enumerate(WORDS)}
    keys = sorted(said, key=lambda key: (key[0], order[key[1]]))
    return tuple(Figure(*key, estimate_of(said[key])) for key in keys)


def share_won(ranks: Sequence[int], one: int, others: Sequence[int]) -> float:
    """Of these others, the share that it is ranked above; a tie is half."""
    won = sum((ranks[one] < ranks[j]) + 0.5 * (ranks[one] == ranks[j]) for j in others)
    return won / len(others)


def estimate_of(said: Sequence[Said]) -> Estimate:
    """The mean, for other prompts and other labelers than these; of one labeler, for prompts."""
    values = [one.value for one in said]
    if min(values) == max(values):
        reason = "every label says the same, so there is no spread to judge by"
        return Estimate(values[0], None, None, len(values), reason=reason)
    prompts, labelers = [one.prompt for one in said], [one.labeler for one in said]
    if len(set(labelers)) > 1:
        return two_way_bootstrap(values, prompts, labelers)
    return cluster_bootstrap(values, prompts)


def names_of(policies: Sequence[dict[str, str] | None]) -> dict[tuple[str, str], str]:
    """What each model is called: by its run as well where two runs have one of that name."""
    keys = {key_of(policy) for policy in policies}
    times = Counter(name for name, _ in keys)
    return {key: key[0] if times[key[0]] == 1 else f"{key[0]} of {key[1]}" for key in keys}


def key_of(policy: dict[str, str] | None) -> tuple[str, str]:
    return (policy["name"], policy["run"]) if policy else (NOBODY, "")
