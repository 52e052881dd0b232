"""From logits to log-probabilities, their entropy, and the loss of predicting the next token.

Axes: B responses (or sequences), T positions, V vocabulary.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from preceptor.functional.arguments import require_same_shape, working_dtype
from preceptor.functional.masked import masked_mean

NO_TOKEN = -(2**63)


def token_logprobs(
    logits: Float[Tensor, "B T V"], tokens: Int[Tensor, "B T"], temperature: float = 1.0
) -> Float[Tensor, "B T"]:
    """The log-probability of each given token under the distribution its position predicts.

        logits_t[token_t] / temperature - log sum_v exp(logits_t[v] / temperature)

    log pi(y | x) of InstructGPT eq. 2 (arXiv:2203.02155), token by token; Ziegler et al.
    (arXiv:1909.08593) divide by the sampling temperature in rollout, reference and update alike.

    Args:
        logits: no unit; `logits[:, t]` predicts `tokens[:, t]`, so the caller has already shifted
            one against the other. Minus infinity is an impossible token.
        tokens: indices into V. There is no mask: give padding any valid index, not -100.
        temperature: that of the sampling, above 0.

    Returns:
        Nats, never above 0 but for rounding; float64 for float64 logits, float32 otherwise.

    Raises:
        ValueError: logits and tokens disagree on [B, T], or temperature is not above 0.
    """
    scaled = _scaled_logits(logits, temperature)
    if logits.shape[:-1] != tokens.shape:
        raise ValueError(
            f"logits has shape {tuple(logits.shape)} and tokens has shape {tuple(tokens.shape)}; "
            "tokens must have the shape of logits without its last axis."
        )
    # The fused kernel: twice as fast, forward and backward, as gather minus logsumexp, and it holds
    # no more. Its ignore_index would turn a stray -100 into a log-probability of 0.
    surprise = F.cross_entropy(
        scaled.flatten(0, 1), tokens.flatten().long(), reduction="none", ignore_index=NO_TOKEN
    )
    return -surprise.view(tokens.shape)


def entropy(logits: Float[Tensor, "B T V"], temperature: float = 1.0) -> Float[Tensor, "B T"]:
    """How undecided each position's distribution is.

        -sum_v p_v log p_v,  p = softmax(logits / temperature)

    A metric: InstructGPT has no entropy bonus (arXiv:2203.02155, section 3.5), so nothing should
    be trained on this, and its gradient is not finite where a probability is 0.

    Args:
        logits: no unit. Minus infinity is an impossible token and adds nothing.
        temperature: that of the sampling, above 0.

    Returns:
        Nats, between 0 and log V; float64 for float64 logits, float32 otherwise.

    Raises:
        ValueError: temperature is not above 0.
    """
    probabilities = _scaled_logits(logits, temperature).softmax(dim=-1)
    surprise: Tensor = torch.special.entr(probabilities)
    return surprise.sum(dim=-1)


def next_token_loss(
    logits: Float[Tensor, "B T V"],
    tokens: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    denominator: int | float | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the tokens that count: the loss of pretraining, of SFT, and of PPO-ptx.

        -masked_mean(token_logprobs(logits, tokens), mask)

    The second term of InstructGPT eq. 2 (arXiv:2203.02155) without its weight `ptx_coef` and with
    the sign of a loss; GPT-3's objective (arXiv:2005.14165, section 2).

    Args:
        logits: no unit; `logits[:, t]` predicts `tokens[:, t]`, already shifted.
        tokens: indices into V. Where mask is False anything may stand, -100 too.
        mask: True on tokens to learn from: in SFT the response's, its end token included.
        denominator: divide the sum by this instead of by sum(mask). With the token count of
            the whole batch here, microbatch losses, and their gradients, add up to the batch's.

    Returns:
        Nats per token, a scalar; 0, connected to the graph, if the mask is empty. float64 for
        float64 logits, float32 otherwise.

    Raises:
        ValueError: shapes disagree, or `denominator` is not above 0.
    """
    require_same_shape(tokens=tokens, mask=mask)
    if logits.shape[:-1] != tokens.shape:
        raise ValueError(
            f"logits has shape {tuple(logits.shape)} and tokens has shape {tuple(tokens.shape)}; "
            "tokens must have the shape of logits without its last axis."
        )
    if not mask.all():
        # Only the rows that count: NaN logits elsewhere would reach the gradient through
        # logsumexp (0 * NaN), and a row that is not there costs no memory.
        logits, tokens, mask = logits[mask][None], tokens[mask][None], mask[mask][None]
    return masked_mean(-token_logprobs(logits, tokens), mask, denominator=denominator)


def _scaled_logits(logits: Float[Tensor, "B T V"], temperature: float) -> Float[Tensor, "B T V"]:
    if not temperature > 0:
        raise ValueError(
            f"temperature is {temperature}; it must be above 0. Greedy choice has no "
            "log-probabilities."
        )
    logits = logits.to(working_dtype(logits))
    return logits if temperature == 1.0 else logits / temperature
