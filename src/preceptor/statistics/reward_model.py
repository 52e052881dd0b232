"""A reward model beside the people whose labels it learned, and people whose labels it never saw.

InstructGPT, section 4.1 and appendix E.2: five folds over labelers, 72.4 +- 0.4 % on the labelers
that a model was trained on, 69.6 +- 0.9 % on those held out.
"""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from preceptor.statistics.bootstrap import Values, cluster_bootstrap
from preceptor.statistics.calibration import expected_calibration_error
from preceptor.statistics.estimate import Estimate
from preceptor.statistics.quality import student_mean


@dataclass(frozen=True)
class ScoredLabels:
    """How scores meet labels.

    accuracy   of the strictly ordered pairs, those in the order of the scores; equal scores 1/2
    tied_gap   mean |score difference| of pairs that the labeler tied
    ordered_gap  and of those that the labeler ordered
    calibration_error  of sigmoid(score difference), 10 bins of equal mass
    """

    accuracy: Estimate
    tied_gap: Estimate
    ordered_gap: Estimate
    calibration_error: float | None


def scored_labels(
    rankings: Sequence[tuple[Hashable, Values, Values]], *, seed: int = 0
) -> ScoredLabels:
    """From (prompt, scores, ranks) of each ranking; clustered by prompt."""
    hits: list[float] = []
    prompts: list[Hashable] = []
    ordered: list[float] = []
    tied: list[float] = []
    tied_prompts: list[Hashable] = []
    for prompt, scores, ranks in rankings:
        if len(scores) != len(ranks):
            raise ValueError(f"there are {len(scores)} scores and {len(ranks)} ranks; pair them.")
        for i, j in itertools.combinations(range(len(ranks)), 2):
            gap = float(scores[i] - scores[j])
            if ranks[i] == ranks[j]:
                tied.append(abs(gap))
                tied_prompts.append(prompt)
                continue
            gap = gap if ranks[i] < ranks[j] else -gap  # the preferred one's lead
            hits.append(0.5 if gap == 0 else float(gap > 0))
            ordered.append(gap)
            prompts.append(prompt)
    # Each pair both ways round: which of the two stands first means nothing.
    chances = 1 / (1 + np.exp(-np.clip([*ordered, *(-gap for gap in ordered)], -30, 30)))
    return ScoredLabels(
        accuracy=cluster_bootstrap(hits, prompts, seed=seed),
        tied_gap=cluster_bootstrap(tied, tied_prompts, seed=seed),
        ordered_gap=cluster_bootstrap([abs(gap) for gap in ordered], prompts, seed=seed),
        calibration_error=expected_calibration_error(
            chances, [1.0] * len(ordered) + [0.0] * len(ordered)
        ),
    )


def labeler_folds(
    labelers: Sequence[Hashable], *, num_folds: int = 5, seed: int = 0
) -> dict[Hashable, int]:
    """Each labeler's fold, of sizes that differ by one at most, whatever the order of rows.

    Raises:
        ValueError: there are fewer labelers than folds.
    """
    names = sorted(set(labelers), key=repr)
    if len(names) < num_folds:
        raise ValueError(
            f"{len(names)} labelers make no {num_folds} folds; take at most {len(names)}."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    return {names[int(i)]: place % num_folds for place, i in enumerate(order)}


def mean_over_folds(values: Values) -> Estimate:
    """Mean of one figure a fold, with Student's interval; the paper's +- is the standard error.

    The folds share most of their training labels, so the interval is somewhat too narrow.
    """
    return student_mean(values)
