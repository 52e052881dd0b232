"""Scores beside labels, and folds over labelers."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from preceptor.statistics import labeler_folds, mean_over_folds, ranking_accuracy, scored_labels


def test_worked_out_by_hand():
    found = scored_labels([("p", [3.0, 1.0, 1.0], [1, 2, 2]), ("q", [0.0, 0.0], [1, 2])])
    # Of p two pairs are ordered and right; of q one, with equal scores.
    assert (found.accuracy.mean, found.accuracy.n) == (pytest.approx(2.5 / 3), 3)
    assert (found.accuracy.clusters, found.tied_gap.n) == (2, 1)
    assert found.tied_gap.mean == 0.0
    assert found.ordered_gap.mean == pytest.approx(4 / 3)


def test_accuracy_is_that_of_a_loop_over_rankings():
    draws = np.random.default_rng(0)
    rows = [(i, draws.normal(size=4).round(1), draws.integers(1, 4, size=4)) for i in range(80)]
    correct, total = np.sum([ranking_accuracy(scores, ranks) for _, scores, ranks in rows], axis=0)
    assert scored_labels(rows).accuracy.mean == pytest.approx(correct / total)


def test_labels_drawn_by_the_scores_are_calibrated_and_others_not():
    draws = np.random.default_rng(1)
    rows = []
    for prompt in range(2500):
        scores = draws.normal(size=2) * 1.5
        first = draws.random() < 1 / (1 + np.exp(scores[1] - scores[0]))
        rows.append((prompt, scores, [1, 2] if first else [2, 1]))
    assert scored_labels(rows).calibration_error < 0.03
    louder = [(p, 4 * scores, ranks) for p, scores, ranks in rows]
    assert scored_labels(louder).calibration_error > 0.08


def test_nothing_and_unpaired():
    assert scored_labels([]).accuracy.mean is None
    assert scored_labels([]).calibration_error is None
    with pytest.raises(ValueError, match="2 scores and 1 ranks"):
        scored_labels([("p", [1.0, 2.0], [1])])


def test_folds_are_even_stable_and_of_people_not_of_rows():
    labelers = [f"lab_{i}" for i in range(23)] * 7
    folds = labeler_folds(labelers, seed=3)
    sizes = np.bincount(list(folds.values()))
    assert len(sizes) == 5 and sizes.max() - sizes.min() <= 1 and sum(sizes) == 23
    assert labeler_folds(reversed(labelers), seed=3) == folds
    assert labeler_folds(labelers, seed=4) != folds
    with pytest.raises(ValueError, match="3 labelers make no 5 folds; take at most 3"):
        labeler_folds(["a", "b", "c"])


def test_interval_over_folds_is_students():
    values = [0.71, 0.73, 0.724, 0.72, 0.735]
    found = mean_over_folds(values)
    reference = ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert mean_over_folds([0.7]).low is None
    assert mean_over_folds([]).mean is None
