"""Win rates, intervals, agreement, calibration, Bradley-Terry: numpy and scipy only, no torch.

What is undefined is None with a reason, never NaN; what is impossible is a ValueError.
"""

from preceptor.statistics.agreement import (
    cohen_kappa,
    fleiss_kappa,
    kendall_tau_b,
    pairwise_agreement,
    pairwise_agreement_with_ties,
    ranking_accuracy,
)
from preceptor.statistics.alpha import krippendorff_alpha
from preceptor.statistics.best_of_n import best_of_n_kl, best_of_n_mean
from preceptor.statistics.bootstrap import (
    bootstrap_statistic,
    cluster_bootstrap,
    paired_difference,
    wilson_interval,
)
from preceptor.statistics.bradley_terry import (
    DavidsonFit,
    comparisons_of_ranking,
    davidson_strengths,
    fit_davidson,
)
from preceptor.statistics.calibration import calibration_bins, expected_calibration_error
from preceptor.statistics.clusters import (
    detectable_difference,
    estimate_of_sums,
    mean_of_clusters,
    two_way_error,
    two_way_mean,
)
from preceptor.statistics.estimate import Estimate
from preceptor.statistics.flags import FlagAgreement, flag_agreement
from preceptor.statistics.position import PositionBias, left_win_rate, position_bias
from preceptor.statistics.quality import Pace, StraightLining, paces, proportion, straight_lining
from preceptor.statistics.rankings import consensus_agreement, mean_tau_b, midranks, rank_shares
from preceptor.statistics.reward_model import labeler_folds, mean_over_folds, scored_labels
from preceptor.statistics.winrate import (
    count_outcomes,
    length_controlled_win_rate,
    outcomes_from_scores,
    shares_against,
    win_rate,
    win_rate_at_equal_length,
)

__all__ = [
    "DavidsonFit",
    "Estimate",
    "FlagAgreement",
    "Pace",
    "PositionBias",
    "StraightLining",
    "best_of_n_kl",
    "best_of_n_mean",
    "bootstrap_statistic",
    "calibration_bins",
    "cluster_bootstrap",
    "cohen_kappa",
    "comparisons_of_ranking",
    "consensus_agreement",
    "count_outcomes",
    "davidson_strengths",
    "detectable_difference",
    "estimate_of_sums",
    "expected_calibration_error",
    "fit_davidson",
    "flag_agreement",
    "fleiss_kappa",
    "kendall_tau_b",
    "krippendorff_alpha",
    "labeler_folds",
    "left_win_rate",
    "length_controlled_win_rate",
    "mean_of_clusters",
    "mean_over_folds",
    "mean_tau_b",
    "midranks",
    "outcomes_from_scores",
    "paces",
    "paired_difference",
    "pairwise_agreement",
    "pairwise_agreement_with_ties",
    "position_bias",
    "proportion",
    "rank_shares",
    "ranking_accuracy",
    "scored_labels",
    "shares_against",
    "straight_lining",
    "two_way_error",
    "two_way_mean",
    "wilson_interval",
    "win_rate",
    "win_rate_at_equal_length",
]
