"""How far a reward model can be trusted: on whose labels, on whose responses, and beside length."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preceptor.data.dataset import Judge
from preceptor.data.records import Prompt, Ranking, ranking_key, text_of
from preceptor.evaluation.results import estimate
from preceptor.statistics.agreement import pairwise_agreement, ranking_accuracy
from preceptor.statistics.calibration import calibration_bins

Json = dict[str, Any]
MODELS = ("gpt", "sft", "ppo", "ppo_ptx")
"""In the order of the pipeline; what else wrote responses comes after them, by name."""


@dataclass(frozen=True)
class LabeledPair:
    """Two responses that one labeler put in order, one of them called the first.

    source           the model that wrote both, or both names; None where the ranking does not tell
    first_preferred  what the labeler said
    score_gap        the reward model's score of the first minus that of the second
    length_gap       characters of the first minus those of the second
    """

    prompt: str
    labeler: str
    use_case: str
    source: str | None
    first_preferred: bool
    score_gap: float
    length_gap: float


def reward_model_results(
    rankings: Sequence[Ranking],
    scores: Sequence[Sequence[float]],
    judge: Judge | None,
    reward_summary: Mapping[str, Any],
) -> Json:
    """How well the reward model predicts held-out labels, beside what labelers can agree on.

    `scores` belongs to `rankings`, response by response; `reward_summary` is what the reward
    stage's done.json says. Rankings without the task that the gold judge needs (a user's own file)
    have no gold accuracy.
    """
    pairs = labeled_pairs(rankings, scores)
    # One prompt may have been ranked with different responses; only the same can be agreed on.
    agreement = pairwise_agreement([(ranking_key(r), r.labeler, r.ranks) for r in rankings])
    return {
        **agreement_with_labels(pairs),
        "accuracy_on_gold": estimate([])
        if judge is None
        else accuracy_on_gold(rankings, scores, judge),
        "labeler_agreement": agreement.as_dict(),
        "by_labeler": by_group(pairs, lambda pair: pair.labeler or "none"),
        "by_use_case": by_group(pairs, lambda pair: pair.use_case or "none"),
        "by_source": by_group(pairs, lambda pair: pair.source),
        "num_comparisons": int(reward_summary["num_comparisons"]),
        "demonstration_mean": float(reward_summary["demonstration_mean"]),
        "calibration": calibration(pairs),
        "probes": dict(reward_summary["probes"]),
    }


def labeled_pairs(
    rankings: Sequence[Ranking], scores: Sequence[Sequence[float]]
) -> list[LabeledPair]:
    """Every strictly ordered pair of every ranking; ties make none."""
    found = []
    for ranking, own in zip(rankings, scores, strict=True):
        sources = sources_of(ranking)
        for i in range(len(own)):
            for j in range(i):
                if ranking.ranks[i] == ranking.ranks[j]:
                    continue
                found.append(
                    LabeledPair(
                        prompt=text_of(ranking.prompt),
                        labeler=ranking.labeler,
                        use_case=ranking.use_case,
                        source=None if sources is None else source_name(sources[i], sources[j]),
                        first_preferred=ranking.ranks[i] < ranking.ranks[j],
                        score_gap=own[i] - own[j],
                        length_gap=float(len(ranking.responses[i]) - len(ranking.responses[j])),
                    )
                )
    return found


def sources_of(ranking: Ranking) -> list[str] | None:
    """The model that wrote each response, where the ranking names one for each."""
    found = ranking.meta.get("sources")
    if not isinstance(found, list) or len(found) != len(ranking.responses):
        return None  # a user's own file may mean something else by it
    return found if all(isinstance(name, str) for name in found) else None


def source_name(one: str, other: str) -> str:
    """Where a pair counts: "sft" when both are the SFT model's, "sft / ppo_ptx" when mixed."""
    place = {name: number for number, name in enumerate(MODELS)}
    ordered = sorted({one, other}, key=lambda name: (place.get(name, len(MODELS)), name))
    return " / ".join(ordered)


def by_group(pairs: Sequence[LabeledPair], key: Callable[[LabeledPair], str | None]) -> Json | None:
    """Agreement with the labels in each group of pairs; null where no pair has a group."""
    groups: dict[str, list[LabeledPair]] = {}
    for pair in pairs:
        name = key(pair)
        if name is not None:
            groups.setdefault(name, []).append(pair)
    return {name: agreement_with_labels(groups[name]) for name in sorted(groups)} or None


def agreement_with_labels(pairs: Sequence[LabeledPair]) -> Json:
    """Share of pairs ordered as the label says by the reward model, and by length alone."""
    prompts = [pair.prompt for pair in pairs]
    return {
        "accuracy_on_labels": estimate([agrees(p.score_gap, p) for p in pairs], prompts),
        "longer_wins": estimate([agrees(p.length_gap, p) for p in pairs], prompts),
    }


def agrees(gap: float, pair: LabeledPair) -> float:
    """1 where a gap above 0 stands with the first one preferred; without any gap one half."""
    return 0.5 if gap == 0 else float((gap > 0) == pair.first_preferred)


def accuracy_on_gold(
    rankings: Sequence[Ranking], scores: Sequence[Sequence[float]], judge: Judge
) -> Json:
    """Share of pairs in the judge's order; responses that several labelers ranked count once."""
    once = {ranking_key(r): (r, own) for r, own in zip(rankings, scores, strict=True)}
    hits, prompts = [], []
    for ranking, own in once.values():
        prompt = Prompt(ranking.prompt, ranking.user, ranking.use_case, ranking.meta)
        judged = [judge(prompt, response).score for response in ranking.responses]
        for i in range(len(own)):
            for j in range(i):
                correct, total = ranking_accuracy([own[i], own[j]], [-judged[i], -judged[j]])
                if total:
                    hits.append(correct)
                    prompts.append(text_of(ranking.prompt))
    return estimate(hits, prompts)


def calibration(pairs: Sequence[LabeledPair]) -> list[dict[str, float]]:
    """The chance that a difference of two scores promises, beside the share of labels."""
    gaps = np.clip([pair.score_gap for pair in pairs], -30, 30)
    return calibration_bins(
        1 / (1 + np.exp(-gaps)), [float(pair.first_preferred) for pair in pairs]
    )
