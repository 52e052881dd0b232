"""Win rates, intervals, agreement, calibration, Bradley-Terry: numpy and scipy only, no torch.

What is undefined is None with a reason, never NaN; what is impossible is a ValueError.
"""

from preceptor.statistics.agreement import (
    cohen_kappa,
    fleiss_kappa,
    kendall_tau_b,
    krippendorff_alpha,
    pairwise_agreement,
    pairwise_agreement_with_ties,
    ranking_accuracy,
)
from preceptor.statistics.best_of_n import best_of_n_kl, best_of_n_mean
from preceptor.statistics.bootstrap import (
    bootstrap_statistic,
    cluster_bootstrap,
    paired_difference,
    wilson_interval,
)
from preceptor.statistics.bradley_terry import DavidsonFit, comparisons_of_ranking, fit_davidson
from preceptor.statistics.calibration import calibration_bins, expected_calibration_error
from preceptor.statistics.estimate import Estimate
from preceptor.statistics.winrate import (
    count_outcomes,
    length_controlled_win_rate,
    outcomes_from_scores,
    win_rate,
    win_rate_at_equal_length,
)

__all__ = [
    "DavidsonFit",
    "Estimate",
    "best_of_n_kl",
    "best_of_n_mean",
    "bootstrap_statistic",
    "calibration_bins",
    "cluster_bootstrap",
    "cohen_kappa",
    "comparisons_of_ranking",
    "count_outcomes",
    "expected_calibration_error",
    "fit_davidson",
    "fleiss_kappa",
    "kendall_tau_b",
    "krippendorff_alpha",
    "length_controlled_win_rate",
    "outcomes_from_scores",
    "paired_difference",
    "pairwise_agreement",
    "pairwise_agreement_with_ties",
    "ranking_accuracy",
    "wilson_interval",
    "win_rate",
    "win_rate_at_equal_length",
]
