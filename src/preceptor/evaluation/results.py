"""results.json: every figure of the report, each a mean with its interval."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from preceptor.evaluation.measures import distinct_words, repetition
from preceptor.statistics.bootstrap import cluster_bootstrap
from preceptor.statistics.winrate import (
    count_outcomes,
    outcomes_from_scores,
    win_rate,
    win_rate_at_equal_length,
)

Rows = Sequence[Mapping[str, Any]]
Json = dict[str, Any]

RATES = {
    "hallucination": ("truth", "true"),
    "constraint": ("constraint",),
    "polite": ("polite", "no_boilerplate"),
    "task": ("task", "on_topic"),
    "ending": ("ending", "complete"),
}
"""Each rate of the report and the judge's parts, in order of preference, that it is read from."""


def gold_scores(rows: Rows) -> Json:
    """Mean judgement of one model's responses."""
    return estimate([row["judgement"]["score"] for row in rows])


def compare(rows: Rows, baseline: Rows) -> Json:
    """Win rate over the baseline on the same prompts, and at equal length; a tie counts half.

    Lengths are tokens, the end token included, so that no response has length 0.
    """
    outcomes = outcomes_from_scores(
        [row["judgement"]["score"] for row in rows],
        [row["judgement"]["score"] for row in baseline],
    )
    found = win_rate(outcomes, list(range(len(outcomes)))).as_dict()
    controlled = win_rate_at_equal_length(
        outcomes, [row["num_tokens"] for row in rows], [row["num_tokens"] for row in baseline]
    )
    return found | count_outcomes(outcomes) | {"length_controlled": controlled.as_dict()}


def rates(rows: Rows) -> Json:
    """The shares of the paper's Figure 4; a rate that nothing was judged for is null.

    Hallucination is the share of all responses that state something untrue, so that a model is not
    blamed for claiming less that happens to be true; `hallucination_of_claims` is the share of
    those that claim anything. The others are mean parts of the judgement.
    """
    found: Json = {}
    for name, parts in RATES.items():
        values = [_part(row, parts) for row in rows]
        known = [value for value in values if value is not None]
        if name == "hallucination":
            untrue = [float(value < 1.0) for value in known]
            found["hallucination_of_claims"] = estimate(untrue) if untrue else None
            if known:
                known = [0.0 if value is None else float(value < 1.0) for value in values]
        found[name] = estimate(known) if known else None
    return found


def measures(rows: Rows, losses: Sequence[float] | None) -> Json:
    """Beside the judgement: length, repetition, variety, perplexity (docs/metrics.md)."""
    return {
        "length_tokens": estimate([float(row["num_tokens"]) for row in rows]),
        "repetition": estimate([repetition(row["response"]) for row in rows]),
        "distinct_words": estimate([distinct_words(row["response"]) for row in rows]),
        "reference_perplexity": None
        if losses is None
        else estimate([float(np.exp(min(loss, 20.0))) for loss in losses]),
    }


def by_group(answers: Mapping[str, Rows], key: Callable[[Mapping[str, Any]], str]) -> Json:
    """Mean judgement of every model in each group of prompts."""
    first = next(iter(answers.values()))
    groups = sorted({key(row) for row in first})
    return {
        group: {
            model: estimate([r["judgement"]["score"] for r in rows if key(r) == group])
            for model, rows in answers.items()
        }
        for group in groups
    }


def held_out_group(row: Mapping[str, Any]) -> str:
    """Which novelty a test prompt has."""
    if row["heldout_entity"]:
        return "entities"
    return "phrasings" if row["heldout_phrasing"] else "neither"


def estimate(values: Sequence[float], clusters: Sequence[Any] | None = None) -> Json:
    """A mean with its 95 % interval, by bootstrap over prompts."""
    return cluster_bootstrap(list(values), list(clusters or range(len(values)))).as_dict()


def _part(row: Mapping[str, Any], names: Sequence[str]) -> float | None:
    parts = row["judgement"]["parts"]
    for name in names:
        if name in parts:
            value = parts[name]
            return None if value is None else float(value)
    return None
