"""What every function here does to its arguments first: one shape, one precision, 0 under the mask.

Axes: B responses, T response positions, P prompts, K responses per prompt, V vocabulary.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def require_same_shape(**tensors: Tensor) -> None:
    """Refuse tensors of different shape, by name: broadcasting would turn them into a wrong number.

    Args:
        tensors: the arguments under their parameter names; all are held to the first.

    Raises:
        ValueError: names the two arguments that differ, and both shapes.
    """
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != first.shape:
            raise ValueError(
                f"{first_name} has shape {tuple(first.shape)} and {name} has shape "
                f"{tuple(tensor.shape)}; they must be equal, nothing is broadcast."
            )


def require_denominator(denominator: int | float | None) -> None:
    """Refuse a denominator that is not a positive number.

    Raises:
        ValueError: zero, negative or NaN. A batch without a single counted token has no mean.
    """
    if denominator is not None and not denominator > 0:
        raise ValueError(
            f"denominator is {denominator}; it must be above 0. Leave it out to divide by the "
            "mask's own count, which gives 0 for an empty mask."
        )


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """The precision of the arithmetic: float64 if an argument is float64, float32 for all others.

    bf16 and fp16 have too few digits for log-probabilities, ratios and sums over tokens;
    float64 is kept so that gradients can be checked by finite differences.
    """
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32


def zero_masked(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dtype: torch.dtype
) -> Float[Tensor, "*shape"]:
    """`x` in `dtype`, with 0 wherever `mask` is False.

    `where`, not a product: NaN * 0 is NaN. And before any arithmetic, not after it: the
    backward pass would multiply the zero gradient by a NaN derivative.
    """
    return torch.where(mask, x.to(dtype), 0.0)
