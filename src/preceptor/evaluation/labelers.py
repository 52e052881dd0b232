"""Simulated labelers: they see a judge's view through their own taste, with noise and slips.

Works with any judge. With the noise of the recipe `miniature` two labelers agree on about 73 % of
the pairs that both call different, as InstructGPT's did (arXiv:2203.02155, section 3.4).

What a labeler makes of some responses depends on the texts alone, not on the order that they stand
in, nor on who else was asked: so it is the same in a file and on a page that shuffles them.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from preceptor.data.dataset import Judge, Judgement
from preceptor.data.records import Prompt
from preceptor.randomness import numpy_generator
from preceptor.statistics.bradley_terry import DavidsonFit

Group = Literal["training", "heldout"]
Noise = Literal["normal", "gumbel"]


@dataclass(frozen=True)
class Labeler:
    """Somebody who ranks responses.

    `taste` holds a factor for each part of a judgement: 1 weighs it as the judge does, 2 takes its
    faults twice as seriously. `length_taste` is what ten words more are worth. `temperature`
    scales the noise of each look, `error_rate` is the chance that a response is not read at all,
    and neighbors closer than `tie_margin` are ranked equal.

    With normal noise this is Thurstone's model. With gumbel noise orders are those of Plackett and
    Luce, and of two responses those of Davidson, with as many ties between equals.
    """

    name: str
    temperature: float
    taste: Mapping[str, float] = field(default_factory=dict)
    length_taste: float = 0.0
    error_rate: float = 0.0
    tie_margin: float = 0.0
    group: Group = "training"
    noise: Noise = "normal"


@dataclass(frozen=True)
class Look:
    """What one response is to a labeler: its worth by their taste, about 0 to 1, and as it seemed.

    One that was not read has no judgement, and seems to be worth anything.
    """

    seems: float
    worth: float = 0.0
    judgement: Judgement | None = None


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
    noise: Noise = "normal",
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
            noise=noise,
        )
        for index in range(num)
    ]


def stream_of_look(
    seed: int, name: str, prompt: Prompt, responses: Sequence[str]
) -> np.random.Generator:
    """The labeler's random stream for these responses, in whatever order they are shown."""
    key = json.dumps([name, prompt.prompt, texts_of(responses)], sort_keys=True).encode()
    index = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
    return numpy_generator(seed, "look", index)


def texts_of(responses: Sequence[str]) -> list[str]:
    """Each text once, as labelers see it: without white space around it."""
    return sorted({response.strip() for response in responses})


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
    looks = look(labeler, prompt, responses, judge, rng)
    return ranks_of_looks(labeler, looks, responses, rng)


def look(
    labeler: Labeler,
    prompt: Prompt,
    responses: Sequence[str],
    judge: Judge,
    rng: np.random.Generator,
) -> dict[str, Look]:
    """What each text is to the labeler in this moment."""
    texts = texts_of(responses)
    slips = [rng.random() < labeler.error_rate for _ in texts]
    looks = {}
    for text, slip in zip(texts, slips, strict=True):
        if not slip:
            judgement = judge(prompt, text)
            worth = utility(labeler, judgement, text)
            looks[text] = Look(worth + _noise(labeler, rng), worth, judgement)
    read = sorted(seen.seems for seen in looks.values()) or [0.0]
    edges = [read[0] - 1, *read, read[-1] + 1]
    for text in texts:
        if text not in looks:
            place = int(rng.integers(len(edges) - 1))
            looks[text] = Look(float(rng.uniform(edges[place], edges[place + 1])))
    return looks


def ranks_of_looks(
    labeler: Labeler,
    looks: Mapping[str, Look],
    responses: Sequence[str],
    rng: np.random.Generator,
) -> list[int]:
    """Competition ranks of the responses, by what they seemed to be worth."""
    seen = [looks[response.strip()] for response in responses]
    if labeler.noise == "gumbel" and labeler.temperature and len(looks) == 2:
        first, second = (looks[text] for text in sorted(looks))
        if first.judgement and second.judgement:
            best = _davidson_draw(labeler, first, second, rng)
            better = sum(one is best for one in seen)
            return [1 if best is None or one is best else 1 + better for one in seen]
    order = sorted(range(len(seen)), key=lambda i: -seen[i].seems)
    ranks, previous = [0] * len(seen), float("inf")
    for place, i in enumerate(order):
        tie = place > 0 and previous - seen[i].seems <= labeler.tie_margin
        ranks[i] = ranks[order[place - 1]] if tie else place + 1
        previous = seen[i].seems
    return ranks


def davidson_of(labeler: Labeler, first: float, second: float) -> tuple[float, float, float]:
    """How likely the first of two responses of these worths wins, ties and loses.

    Two equals tie as often as they would by the margin: nu = exp(tie_margin / temperature) - 1.
    """
    noise, tie = labeler.temperature, math.expm1(labeler.tie_margin / labeler.temperature)
    fit = DavidsonFit({0: first / noise, 1: second / noise}, tie, {0: 0, 1: 0}, converged=True)
    found = fit.probabilities(0, 1)
    assert found is not None
    return found


def utility(labeler: Labeler, judgement: Judgement, response: str) -> float:
    """The judge's score, with this labeler's own view of each fault and of length."""
    faults = {part: 1 - value for part, value in judgement.parts.items() if value is not None}
    extra = sum((labeler.taste.get(part, 1.0) - 1) * fault for part, fault in faults.items())
    length = labeler.length_taste * len(response.split()) / 10
    return judgement.score - extra / max(1, len(judgement.parts)) + length


def _noise(labeler: Labeler, rng: np.random.Generator) -> float:
    draw = rng.standard_normal() if labeler.noise == "normal" else rng.gumbel()
    return float(labeler.temperature * draw)


def _davidson_draw(
    labeler: Labeler, first: Look, second: Look, rng: np.random.Generator
) -> Look | None:
    """The better of two; None for a tie."""
    win, tie, _ = davidson_of(labeler, first.worth, second.worth)
    draw = rng.random()
    return first if draw < win else None if draw < win + tie else second
