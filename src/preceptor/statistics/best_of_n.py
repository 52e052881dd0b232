"""Best-of-n: draw n responses, keep the one that the reward model likes best.

It needs no training, spends a known KL, and so shows what a reward model is worth without PPO
(Stiennon et al., arXiv:2009.01325, section 4.3; Gao et al., arXiv:2210.10760).
"""

import math
from collections.abc import Sequence


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n from the model that it draws from, nats: log n - (n - 1) / n.

    Exact for scores without ties; the more ties, the less KL is spent.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"best of {n} is not defined; n is 1 or more.")
    return math.log(n) - (n - 1) / n


def best_of_n_mean(scores: Sequence[float], values: Sequence[float], n: int) -> float:
    """What the best of n by `scores` is worth on average in `values`, from N >= n drawn responses.

    The mean over all subsets of n: the i-th of N in rising order of score is the best of
    C(i-1, n-1) of the C(N, n) subsets. Unlike taking the best of the first n it wastes nothing
    (Nakano et al., arXiv:2112.09332, appendix I). Responses of equal score share their weight.

    Raises:
        ValueError: fewer responses than n, or not a value for each score.
    """
    total = len(scores)
    if len(values) != total or not 1 <= n <= total:
        raise ValueError(f"best of {n} from {total} scores and {len(values)} values.")
    order = sorted(range(total), key=lambda i: scores[i])
    weights = [math.comb(place, n - 1) / math.comb(total, n) for place in range(total)]
    found, start = 0.0, 0
    while start < total:
        stop = start
        while stop < total and scores[order[stop]] == scores[order[start]]:
            stop += 1
        tied = order[start:stop]
        found += sum(weights[start:stop]) * sum(values[i] for i in tied) / len(tied)
        start = stop
    return found
