"""Whether outcomes given probability p happen in a share p of cases."""

import numpy as np

from preceptor.statistics.bootstrap import Values


def calibration_bins(
    probabilities: Values, outcomes: Values, num_bins: int = 10
) -> list[dict[str, float]]:
    """Bins of about equal mass, by rising probability: mean predicted, share observed, n.

    Equal probabilities are never parted, so ties can leave fewer bins than asked for, and the
    order of rows changes nothing.
    """
    if len(probabilities) != len(outcomes):
        raise ValueError(
            f"there are {len(probabilities)} probabilities and {len(outcomes)} outcomes; pair them."
        )
    predicted = np.asarray(probabilities, dtype=np.float64)
    observed = np.asarray(outcomes, dtype=np.float64)
    for name, values in (("probability", predicted), ("outcome", observed)):
        wrong = values[~((values >= 0) & (values <= 1))]
        if len(wrong):
            raise ValueError(f"a {name} is {wrong[0]}; it must lie in 0 to 1.")
    if not len(predicted):
        return []
    _, group, sizes = np.unique(predicted, return_inverse=True, return_counts=True)
    middles = sizes.cumsum() - sizes / 2
    bin_of_row = np.floor(middles / len(predicted) * num_bins).astype(int)[group]
    return [
        {
            "predicted": float(predicted[bin_of_row == b].mean()),
            "observed": float(observed[bin_of_row == b].mean()),
            "n": int((bin_of_row == b).sum()),
        }
        for b in np.unique(bin_of_row)
    ]


def expected_calibration_error(
    probabilities: Values, outcomes: Values, num_bins: int = 10
) -> float | None:
    """The distance between predicted and observed, averaged over cases; None without any."""
    bins = calibration_bins(probabilities, outcomes, num_bins)
    if not bins:
        return None
    distances = sum(b["n"] * abs(b["predicted"] - b["observed"]) for b in bins)
    return distances / len(probabilities)
