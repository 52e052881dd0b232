"""Simulated labelers: they see a judge's view through their own taste, with noise and slips.

Works with any judge. With the noise of the recipe `miniature` two labelers agree on about 73 % of
the pairs that both call different, as InstructGPT's did (arXiv:2203.02155, section 3.4).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from preceptor.data.dataset import Judge, Judgement
from preceptor.data.records import Prompt

Group = Literal["training", "heldout"]


@dataclass(frozen=True)
class Labeler:
    """Somebody who ranks responses.

    `taste` holds a factor for each part of a judgement: 1 weighs it as the judge does, 2 takes its
    faults twice as seriously. `length_taste` is what ten words more are worth. `temperature`
    scales the noise of each look, `error_rate` is the chance that a response is not read at all,
    and neighbors closer than `tie_margin` are ranked equal.
    """

    name: str
    temperature: float
    taste: Mapping[str, float] = field(default_factory=dict)
    length_taste: float = 0.0
    error_rate: float = 0.0
    tie_margin: float = 0.0
    group: Group = "training"


PARTS = ("task", "constraint", "truth", "polite", "ending")


def make_labelers(
    num: int,
    *,
    seed: int,
    temperature: float,
    error_rate: float,
    tie_margin: float,
    taste_spread: float,
    group: Group = "training",
    parts: Sequence[str] = PARTS,
) -> list[Labeler]:
    """Labelers of one group, each with a taste of their own, log-normal around the judge's."""
    rng = np.random.default_rng([seed, 0 if group == "training" else 1])
    return [
        Labeler(
            name=f"{group}-{index}",
            temperature=temperature,
            taste={part: float(np.exp(taste_spread * rng.standard_normal())) for part in parts},
            length_taste=float(0.1 * taste_spread * rng.standard_normal()),
            error_rate=error_rate,
            tie_margin=tie_margin,
            group=group,
        )
        for index in range(num)
    ]


def rank_responses(
    labeler: Labeler,
    prompt: Prompt,
    responses: Sequence[str],
    judge: Judge,
    rng: np.random.Generator,
) -> list[int]:
    """Competition ranks, 1 the best: [1, 2, 2, 4] has a tie for the second place.

    A response that was not read is put anywhere among the others, however good or bad it is.
    """
    texts = list(dict.fromkeys(responses))  # equal texts are equal
    slips = [rng.random() < labeler.error_rate for _ in texts]
    seen = {
        text: noisy_utility(labeler, prompt, text, judge, rng)
        for text, slip in zip(texts, slips, strict=True)
        if not slip
    }
    read = sorted(seen.values()) or [0.0]
    edges = [read[0] - 1, *read, read[-1] + 1]
    for text in itertools.compress(texts, slips):
        place = int(rng.integers(len(edges) - 1))
        seen[text] = float(rng.uniform(edges[place], edges[place + 1]))
    utilities = [seen[text] for text in responses]
    order = sorted(range(len(responses)), key=lambda i: -utilities[i])
    ranks, previous = [0] * len(responses), float("inf")
    for place, i in enumerate(order):
        tie = place > 0 and previous - utilities[i] <= labeler.tie_margin
        ranks[i] = ranks[order[place - 1]] if tie else place + 1
        previous = utilities[i]
    return ranks


def noisy_utility(
    labeler: Labeler, prompt: Prompt, response: str, judge: Judge, rng: np.random.Generator
) -> float:
    """What the response seems worth to this labeler in this moment, about 0 to 1."""
    noise = float(labeler.temperature * rng.standard_normal())
    return utility(labeler, judge(prompt, response), response) + noise


def utility(labeler: Labeler, judgement: Judgement, response: str) -> float:
    """The judge's score, with this labeler's own view of each fault and of length."""
    faults = {part: 1 - value for part, value in judgement.parts.items() if value is not None}
    extra = sum((labeler.taste.get(part, 1.0) - 1) * fault for part, fault in faults.items())
    length = labeler.length_taste * len(response.split()) / 10
    return judgement.score - extra / max(1, len(judgement.parts)) + length
