"""What the database tells of simulated labelers is what they are, within its own intervals.

They do their work over HTTP; the truth is computed from what they are made of: exactly for pairs,
by drawing them again many times for rankings.
"""

import itertools
import uuid
from collections.abc import Sequence

import numpy as np
import pytest
from truth import Label, ask_for, known, labels_in, question, worth_judge

from preceptor.evaluation.labelers import Labeler, davidson_of, rank_responses
from preceptor.simulation.answers import Worker
from preceptor.simulation.work import work_in_turns
from preceptor.statistics import (
    fit_davidson,
    krippendorff_alpha,
    pairwise_agreement,
    pairwise_agreement_with_ties,
    win_rate,
)
from preceptor.store.asking import Question
from preceptor.store.database import Store

WORTH = {"gpt": 0.35, "sft": 0.5, "ppo": 0.58, "ppo_ptx": 0.62}
"""What each model's responses are worth to everybody."""
NOISE, MARGIN = 0.15, 0.05


def team(num: int) -> list[Labeler]:
    return [Labeler(f"l{i}", NOISE, tie_margin=MARGIN, noise="gumbel") for i in range(num)]


def labels_of(
    store: Store, enter, questions: Sequence[Question], *, num: int, overlap: int
) -> list[Label]:
    """All labels of a project that `num` labelers did, taking turns."""
    project = ask_for(store, questions, overlap)
    people = enter([Worker(labeler, undo_rate=0.05) for labeler in team(num)])
    turns = [i % num for i in range(len(questions) * overlap)]
    outcomes = work_in_turns(people, str(project), turns, known())
    assert outcomes == {"counted": len(turns)}
    return labels_in(store, project)


def outcome(ranking: Label, model: str, other: str) -> float:
    ranks = dict(zip(ranking.sources, ranking.ranks, strict=True))
    return 0.5 if ranks[model] == ranks[other] else float(ranks[model] < ranks[other])


def test_strengths_and_win_rates_of_models_are_recovered(store: Store, enter):
    pairs = list(itertools.combinations(WORTH, 2))
    questions = [
        question(number, [WORTH[name] for name in pair], pair)
        for number, pair in enumerate(pairs * 18)
    ]
    found = labels_of(store, enter, questions, num=6, overlap=2)
    assert len(found) == 2 * len(questions)
    labeler = team(1)[0]
    # 1. Each pair of models' win rate, ties one half: the truth is Davidson's formula.
    missed = 0
    for a, b in pairs:
        own = [r for r in found if set(r.sources) == {a, b}]
        measured = win_rate([outcome(r, a, b) for r in own], [r.task_id for r in own])
        win, tie, _ = davidson_of(labeler, WORTH[a], WORTH[b])
        assert measured.low is not None and measured.high is not None
        missed += not measured.low <= win + tie / 2 <= measured.high
    assert missed <= 1, "of six intervals of 95 % at most one may miss"
    # 2. Strengths, in units of the noise, with the tasks drawn again for their intervals.
    comparisons = [(*r.sources, outcome(r, *r.sources)) for r in found]
    by_task: dict[uuid.UUID, list[int]] = {}
    for place, r in enumerate(found):
        by_task.setdefault(r.task_id, []).append(place)
    rng, tasks, drawn = np.random.default_rng(0), list(by_task.values()), []
    for _ in range(200):
        chosen = [i for t in rng.integers(len(tasks), size=len(tasks)) for i in tasks[t]]
        drawn.append(fit_davidson([comparisons[i] for i in chosen], ridge=0.001))
    mean = np.mean(list(WORTH.values()))
    for name, worth in WORTH.items():
        low, high = np.percentile([fit.strengths[name] for fit in drawn], [0.5, 99.5])
        assert low <= (worth - mean) / NOISE <= high, name
    low, high = np.percentile([fit.tie for fit in drawn], [0.5, 99.5])
    assert low <= np.expm1(MARGIN / NOISE) <= high


@pytest.fixture(scope="module")
def worths() -> list[list[float]]:
    """Four responses to each of sixty prompts, good and bad ones."""
    rng = np.random.default_rng(5)
    return [[round(float(x), 3) for x in rng.random(4)] for _ in range(60)]


def test_agreement_and_alpha_are_those_of_the_labelers(store: Store, enter, worths):
    questions = [question(number, row) for number, row in enumerate(worths)]
    found = labels_of(store, enter, questions, num=5, overlap=3)
    measured = measures([(r.task_id, r.labeler, r.ranks) for r in found])
    # The same labelers, drawn again and again.
    labeler, rng, drawn = team(1)[0], np.random.default_rng(1), []
    for _ in range(40):
        rankings = [
            (number, name, rank_responses(labeler, q.prompt, q.responses, worth_judge, rng))
            for number, q in enumerate(questions)
            for name in "abc"
        ]
        drawn.append([estimate.mean for estimate in measures(rankings)])
    for estimate, truth in zip(measured, np.mean(drawn, axis=0), strict=True):
        assert estimate.low is not None and estimate.high is not None
        assert estimate.low <= truth <= estimate.high
        assert estimate.high - estimate.low < 0.2


def measures(rankings):
    """Agreement without and with ties, and alpha of ranks with the response as its unit."""
    by_item: dict = {}
    for item, _, ranks in rankings:
        by_item.setdefault(item, []).append(ranks)
    units = [list(unit) for ranked in by_item.values() for unit in zip(*ranked, strict=True)]
    return (
        pairwise_agreement(rankings),
        pairwise_agreement_with_ties(rankings),
        krippendorff_alpha(units, "ordinal", num_resamples=300),
    )
