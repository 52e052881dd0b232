"""Means over the tokens that count.

Axes: any shape; a mask is True where a token counts.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from preceptor.functional.arguments import (
    require_denominator,
    require_same_shape,
    working_dtype,
    zero_masked,
)

WHITEN_EPS = 1e-8


def masked_mean(
    x: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    *,
    denominator: int | float | None = None,
) -> Float[Tensor, ""]:
    """Average what the mask selects; every selected number weighs the same.

        sum(x * mask) / sum(mask)

    The token mean of InstructGPT's losses (arXiv:2203.02155, section 3.5), not the mean of each
    row's own mean: a token of a long response weighs as much as one of a short response.

    Args:
        x: any unit, any shape.
        mask: True where a number counts. What stands elsewhere, NaN included, has no effect on
            the mean, and its gradient is 0.
        denominator: divide by this instead of by sum(mask). With the count of the whole batch
            here, the results of its microbatches add up to the mean of the whole batch.

    Returns:
        A scalar in the unit of `x`, float64 for float64 input and float32 otherwise. An empty
        mask gives 0, still connected to the graph, so that a process without tokens can take part
        in a backward pass.

    Raises:
        ValueError: the two differ in shape, or `denominator` is not above 0.
    """
    require_same_shape(x=x, mask=mask)
    require_denominator(denominator)
    total = zero_masked(x, mask, working_dtype(x)).sum()
    return total / (mask.sum().clamp(min=1) if denominator is None else denominator)


def whiten(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Shift and scale what the mask selects to mean 0 and standard deviation 1.

        (x - mean) / sqrt(variance + 1e-8),  both over the selected numbers

    Used on advantages before the policy loss, as Ziegler et al. do (arXiv:1909.08593); InstructGPT
    does not mention it. The variance is the population's (divided by n, not n - 1), the mean is
    removed and not added back, and the statistics are those of all of `x`: whiten the batch before
    splitting it.

    Args:
        x: any unit, any shape.
        mask: True where a number counts.

    Returns:
        Numbers without unit, 0 where mask is False, float64 for float64 input and float32
        otherwise. Equal numbers, one number alone, or an empty mask give 0.

    Raises:
        ValueError: the two differ in shape.
    """
    require_same_shape(x=x, mask=mask)
    dtype = working_dtype(x)
    centered = zero_masked(x, mask, dtype)
    # Twice: what the first mean lost to rounding is far above sqrt(eps) when all numbers are, say,
    # 1000.1, and would be blown up to about 1 below.
    for _ in range(2):
        centered = zero_masked(centered - masked_mean(centered, mask), mask, dtype)
    variance = masked_mean(centered**2, mask)
    return centered * (variance + WHITEN_EPS).rsqrt()
