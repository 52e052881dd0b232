"""Mean and spread of all numbers seen so far, batch by batch."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared distances from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
        """Population standard deviation; 0 before the first number."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


def add_to_moments(moments: Moments, values: Float[Tensor, " B"]) -> Moments:
    """The moments with a batch added, as if all numbers had been seen at once.

        mean += gap * n / N,  squares += own squares + gap^2 * (N - n) * n / N

    for n new numbers of N in all and gap = their mean - the mean before.

    Chan, Golub and LeVeque (1979), in float64: the sum of squares of all numbers less the square of
    their sum would lose its digits where the spread is small beside the mean.

    Raises:
        ValueError: a number is not finite; it would stay in the moments for ever.
    """
    if not bool(values.isfinite().all()):
        raise ValueError("a number that is not finite cannot be added to running moments.")
    own = values.detach().to(torch.float64)
    if own.numel() == 0:
        return moments
    count = moments.count + own.numel()
    mean = float(own.mean())
    gap = mean - moments.mean
    return Moments(
        count,
        moments.mean + gap * own.numel() / count,
        moments.squares
        + float(((own - mean) ** 2).sum())
        + gap**2 * moments.count * own.numel() / count,
    )
