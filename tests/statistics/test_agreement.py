"""Agreement, held against published examples and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from preceptor.statistics import (
    cohen_kappa,
    fleiss_kappa,
    kendall_tau_b,
    krippendorff_alpha,
    pairwise_agreement,
    pairwise_agreement_with_ties,
    ranking_accuracy,
)

NO = None
KRIPPENDORFF = [  # four observers, twelve units
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NO, NO, NO],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NO, 3],
    [NO, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NO],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NO],
]
UNITS = [list(unit) for unit in zip(*KRIPPENDORFF, strict=True)]
FLEISS = [  # ten units, fourteen raters, five labels
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
rankings_of_five = st.lists(st.integers(1, 4), min_size=5, max_size=5)


@pytest.mark.parametrize(
    ("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_the_published_example(level, expected):
    estimate = krippendorff_alpha(UNITS, level)
    assert estimate.mean == pytest.approx(expected, abs=5e-4)
    assert estimate.low < estimate.mean < estimate.high
    assert (estimate.n, estimate.clusters) == (40, 11)  # the last unit has one label


def test_alpha_is_one_for_full_agreement_and_undefined_without_variation():
    assert krippendorff_alpha([[1, 1], [2, 2], [3, 3, 3]], "ordinal").mean == 1
    unanimous = krippendorff_alpha([[1, 1], [1, 1]])
    assert unanimous.mean is None
    assert "same label" in unanimous.reason
    assert "two labels" in krippendorff_alpha([[1], [None, 2], []]).reason
    assert krippendorff_alpha([]).mean is None


def test_ordinal_alpha_needs_only_the_order_of_labels():
    stretched = [[None if x is None else x**3 for x in unit] for unit in UNITS]
    assert krippendorff_alpha(stretched, "ordinal").mean == pytest.approx(
        krippendorff_alpha(UNITS, "ordinal").mean
    )
    assert krippendorff_alpha(stretched, "interval").mean != pytest.approx(
        krippendorff_alpha(UNITS, "interval").mean
    )


def test_nominal_alpha_takes_any_label():
    words = [[None if x is None else "abcde"[x - 1] for x in unit] for unit in UNITS]
    assert krippendorff_alpha(words).mean == pytest.approx(0.743, abs=5e-4)


def test_chance_labels_have_alpha_near_zero():
    units = np.random.default_rng(0).integers(0, 3, size=(2000, 3)).tolist()
    estimate = krippendorff_alpha(units, num_resamples=200)
    assert estimate.low < 0 < estimate.high


def test_unknown_level_is_refused():
    with pytest.raises(ValueError, match="nominal, ordinal or interval"):
        krippendorff_alpha(UNITS, "ratio")


def test_fleiss_kappa_of_the_published_example():
    estimate = fleiss_kappa(FLEISS)
    assert estimate.mean == pytest.approx(0.210, abs=5e-4)
    assert estimate.low < estimate.mean < estimate.high


def test_fleiss_kappa_needs_equally_many_labels():
    with pytest.raises(ValueError, match=r"\[2, 3\] labels"):
        fleiss_kappa([[2, 0], [2, 1]])
    assert fleiss_kappa([]).mean is None
    assert "same label" in fleiss_kappa([[3, 0], [3, 0]]).reason


def test_cohen_kappa_of_a_known_table():
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    estimate = cohen_kappa(first, second)
    assert estimate.mean == pytest.approx(0.40)
    assert 0.1 < estimate.low < 0.4 < estimate.high < 0.7


def test_cohen_kappa_of_labelers_with_different_habits():
    """[[20, 5], [10, 65]]: observed 0.85, by chance 0.25 * 0.30 + 0.75 * 0.70 = 0.60."""
    first = ["yes"] * 25 + ["no"] * 75
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 65
    assert cohen_kappa(first, second).mean == pytest.approx(0.25 / 0.40)


def test_cohen_kappa_of_one_labeler_with_themself():
    assert cohen_kappa([1, 2, 3, 1], [1, 2, 3, 1]).mean == 1
    assert "same label" in cohen_kappa([1, 1], [1, 1]).reason
    assert cohen_kappa([], []).mean is None


@settings(max_examples=200, deadline=None)
@given(rankings_of_five, rankings_of_five)
def test_tau_b_is_scipys(a, b):
    reference = kendalltau(a, b).statistic
    ours = kendall_tau_b(a, b)
    if np.isnan(reference):
        assert ours is None
    else:
        assert ours == pytest.approx(reference)


def test_tau_b_worked_out():
    assert kendall_tau_b([1, 2, 2, 4], [1, 1, 3, 4]) == pytest.approx(0.80)
    assert kendall_tau_b([1], [1]) is None


def test_two_labelers_with_ties():
    rankings = [("task", "ann", [1, 2, 2, 4]), ("task", "bob", [1, 1, 3, 4])]
    strict, loose = pairwise_agreement(rankings), pairwise_agreement_with_ties(rankings)
    assert (strict.mean, strict.n) == (1.0, 4)
    assert (loose.mean, loose.n) == (pytest.approx(4 / 6), 6)


@settings(max_examples=30, deadline=None)
@given(st.lists(rankings_of_five, min_size=1, max_size=4))
def test_twins_agree_always_and_opposites_never(ranked):
    twins = [(i, name, ranks) for i, ranks in enumerate(ranked) for name in ("ann", "bob")]
    opposites = [
        (i, name, [sign * rank for rank in ranks])
        for i, ranks in enumerate(ranked)
        for name, sign in (("ann", 1), ("bob", -1))
    ]
    assert pairwise_agreement_with_ties(twins).mean == 1
    assert pairwise_agreement(twins).mean in (1, None)
    assert pairwise_agreement(opposites).mean in (0, None)


def test_only_common_items_of_different_labelers_count():
    rankings = [
        ("one", "ann", [1, 2]),
        ("two", "bob", [2, 1]),
        ("one", "ann", [2, 1]),
    ]
    assert pairwise_agreement(rankings).reason == (
        "no two labelers judged the same pair of responses"
    )


def test_noisy_labelers_agree_as_often_as_their_errors_say():
    """Two labelers who each turn a pair round with probability e agree in 1 - 2e(1 - e)."""
    generator = np.random.default_rng(0)
    rankings = [
        (item, name, [1, 2] if generator.random() > 0.16 else [2, 1])
        for item in range(3000)
        for name in ("ann", "bob")
    ]
    estimate = pairwise_agreement(rankings)
    expected = 1 - 2 * 0.16 * 0.84  # 0.731: the paper's labelers, near enough
    assert estimate.low < expected < estimate.high
    assert estimate.high - estimate.low < 0.04


def test_rankings_of_different_length_are_refused():
    with pytest.raises(ValueError, match="item 'x': 'ann' ranked 2 responses and 'bob' 3"):
        pairwise_agreement([("x", "ann", [1, 2]), ("x", "bob", [1, 2, 3])])
    with pytest.raises(ValueError, match="2 ranks and the other 3"):
        kendall_tau_b([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="2 scores and 3 ranks"):
        ranking_accuracy([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="1 labels and the other 2"):
        cohen_kappa([1], [1, 2])


@pytest.mark.parametrize(
    ("scores", "ranks", "expected"),
    [
        ([3, 2, 1], [1, 2, 3], (3, 3)),
        ([1, 2, 3], [1, 2, 3], (0, 3)),
        ([2, 2, 1], [1, 2, 3], (2.5, 3)),
        ([3, 2, 1], [1, 1, 2], (2, 2)),
        ([3, 2, 1], [1, 1, 1], (0, 0)),
        ([5], [1], (0, 0)),
    ],
)
def test_accuracy_of_scores_on_a_ranking(scores, ranks, expected):
    assert ranking_accuracy(scores, ranks) == expected
