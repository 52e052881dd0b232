"""The mathematics of the four stages: tensors in, tensors out, nothing else known.

Masks are True where a token counts, masked places of a result hold 0, and what stands under a mask
reaches neither a value nor a gradient, be it NaN. Arithmetic is float32, or float64 where an
argument is float64.
"""

from preceptor.functional.advantages import gae
from preceptor.functional.kl import adapt_kl_coef, kl_k1, kl_k2, kl_k3
from preceptor.functional.logprobs import entropy, next_token_loss, token_logprobs
from preceptor.functional.losses import policy_loss, ranking_loss, value_loss
from preceptor.functional.masked import masked_mean, whiten
from preceptor.functional.moments import Moments, add_to_moments
from preceptor.functional.rewards import scale_scores, shape_rewards

__all__ = [
    "Moments",
    "adapt_kl_coef",
    "add_to_moments",
    "entropy",
    "gae",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "masked_mean",
    "next_token_loss",
    "policy_loss",
    "ranking_loss",
    "scale_scores",
    "shape_rewards",
    "token_logprobs",
    "value_loss",
    "whiten",
]
