"""The three losses of InstructGPT that are not plain cross-entropy.

Axes: B responses, T response positions, P prompts, K responses per prompt.

Each takes a `denominator`. Left out, a loss is the mean over its own mask. Given, the sum is
divided by it instead, so that with the count of a whole batch the losses of its microbatches, and
their gradients, add up to those of the batch, however unequal the microbatches are. The stats do
not depend on it: they always describe the tokens of this call.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from preceptor.functional.arguments import (
    require_denominator,
    require_same_shape,
    working_dtype,
    zero_masked,
)
from preceptor.functional.kl import kl_k3
from preceptor.functional.masked import masked_mean

Stats = dict[str, Float[Tensor, ""]]


def policy_loss(
    new_logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_range: float,
    denominator: int | float | None = None,
) -> tuple[Float[Tensor, ""], Stats]:
    """PPO's clipped objective, with the sign of a loss.

        ratio_t = exp(new_logprobs_t - old_logprobs_t)
        loss    = masked_mean(max(-A_t * ratio_t, -A_t * clip(ratio_t, 1 - c, 1 + c)))

    Schulman et al. (arXiv:1707.06347), eq. 7, c = clip_range; it maximizes the first term of
    InstructGPT eq. 2 (arXiv:2203.02155). No third bound on negative advantages (dual clip).

    Args:
        new_logprobs: nats, of the sampled tokens, under the weights being trained.
        old_logprobs: nats, of the same tokens, as sampled. No gradient flows into it.
        advantages: any unit, usually whitened. No gradient flows into it.
        mask: True on response tokens, the end token included.
        clip_range: no unit; 0.2 in every published recipe.
        denominator: divide the sum by this instead of by sum(mask): the counted tokens of the
            whole minibatch, so that microbatch losses add up to the minibatch's loss.

    Returns:
        (loss, stats). The loss is a scalar, 0 and connected to the graph for an empty mask. The
        stats are scalars without gradient over this call's valid tokens, 0 when there is none:
        clip_fraction (share where the clipped branch is strictly the larger), ratio_mean,
        ratio_min, ratio_max, update_kl (k3 of KL(old || new), mean nats per token).
        float64 if a float argument is float64, float32 otherwise.

    Raises:
        ValueError: two inputs differ in shape, or `denominator` is not above 0.
    """
    require_same_shape(
        new_logprobs=new_logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask
    )
    dtype = working_dtype(new_logprobs, old_logprobs, advantages)
    new_logprobs = zero_masked(new_logprobs, mask, dtype)
    old_logprobs = zero_masked(old_logprobs.detach(), mask, dtype)
    advantages = zero_masked(advantages.detach(), mask, dtype)

    ratio = (new_logprobs - old_logprobs).exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    loss = masked_mean(torch.maximum(unclipped, clipped), mask, denominator=denominator)

    with torch.no_grad():
        valid_ratio = ratio[mask] if mask.any() else ratio.new_zeros(1)
        stats = {
            "clip_fraction": masked_mean((clipped > unclipped).to(dtype), mask),
            "ratio_mean": valid_ratio.mean(),
            "ratio_min": valid_ratio.min(),
            "ratio_max": valid_ratio.max(),
            "update_kl": masked_mean(kl_k3(old_logprobs, new_logprobs), mask),
        }
    return loss, stats


def value_loss(
    values: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    returns: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_range: float,
    denominator: int | float | None = None,
) -> tuple[Float[Tensor, ""], Stats]:
    """Half the squared error of the value model, the worse of moved freely and moved by clip_range.

        clipped_t = clip(V_t, old_V_t - c, old_V_t + c)
        loss      = 0.5 * masked_mean(max((V_t - R_t)^2, (clipped_t - R_t)^2))

    As Ziegler et al. do (arXiv:1909.08593); InstructGPT (arXiv:2203.02155, appendix C.4) has a
    value function, and does not print its loss.

    Args:
        values: what the value model expects now, in the score's unit.
        old_values: what it expected before the update. No gradient flows into it.
        returns: from `gae`, in the score's unit. No gradient flows into it.
        mask: True on response tokens, the end token included.
        clip_range: in the score's unit, so it means less where scores are large.
        denominator: divide the sum by this instead of by sum(mask): the counted tokens of the
            whole minibatch, so that microbatch losses add up to the minibatch's loss.

    Returns:
        (loss, stats). The loss is a scalar, 0 and connected to the graph for an empty mask. The
        stats are scalars without gradient over this call's valid tokens: value_clip_fraction
        (share where the clipped square is strictly the larger; 0 for an empty mask) and
        explained_variance, 1 - Var(R - V) / Var(R), at most 1, and 0 where the returns do not vary.
        float64 if a float argument is float64, float32 otherwise.

    Raises:
        ValueError: two inputs differ in shape, or `denominator` is not above 0.
    """
    require_same_shape(values=values, old_values=old_values, returns=returns, mask=mask)
    dtype = working_dtype(values, old_values, returns)
    values = zero_masked(values, mask, dtype)
    old_values = zero_masked(old_values.detach(), mask, dtype)
    returns = zero_masked(returns.detach(), mask, dtype)

    unclipped = (values - returns) ** 2
    moved = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    clipped = (moved - returns) ** 2
    loss = 0.5 * masked_mean(torch.maximum(unclipped, clipped), mask, denominator=denominator)

    with torch.no_grad():
        returns_variance = _variance(returns, mask)
        unexplained = _variance(returns - values, mask) / returns_variance
        stats = {
            "value_clip_fraction": masked_mean((clipped > unclipped).to(dtype), mask),
            "explained_variance": torch.where(returns_variance > 0, 1.0 - unexplained, 0.0),
        }
    return loss, stats


def ranking_loss(
    scores: Float[Tensor, "P K"],
    ranks: Int[Tensor, "P K"],
    mask: Bool[Tensor, "P K"],
    *,
    denominator: int | float | None = None,
) -> Float[Tensor, ""]:
    """How badly the scores order each prompt's responses, over all of its pairs at once.

        mean over prompts with a pair of: mean over pairs with rank_i < rank_j of
        -log sigmoid(score_i - score_j)

    InstructGPT eq. 1 (arXiv:2203.02155): one forward per response, all C(K, 2) pairs of a prompt in
    one batch element. Two places where eq. 1 leaves room: ties and absent responses make no pair,
    and we divide by the pairs that are there; every prompt weighs the same, however many pairs.

    Args:
        scores: of the reward model, no unit; only differences within a prompt matter.
        ranks: smaller is better, equal ranks are ties; only their order within a prompt matters.
        mask: True where there is a response; prompts may have fewer than K.
        denominator: divide the sum over prompts by this instead of by the number of prompts
            that have a pair: that number in the whole batch, so that microbatch losses add up.

    Returns:
        Nats per pair, a scalar; log 2 when all scores are equal. 0, connected to the graph, if no
        prompt has a pair. float64 for float64 scores, float32 otherwise.

    Raises:
        ValueError: two inputs differ in shape, or `denominator` is not above 0.
    """
    require_same_shape(scores=scores, ranks=ranks, mask=mask)
    require_denominator(denominator)
    scores = zero_masked(scores, mask, working_dtype(scores))

    # Element [p, i, j] is about response i being better than response j.
    is_pair = ranks.unsqueeze(2) < ranks.unsqueeze(1)
    is_pair &= mask.unsqueeze(2) & mask.unsqueeze(1)
    margin = scores.unsqueeze(2) - scores.unsqueeze(1)
    pair_loss = torch.where(is_pair, -F.logsigmoid(margin), 0.0)

    num_pairs = is_pair.sum(dim=(1, 2))
    prompt_loss = pair_loss.sum(dim=(1, 2)) / num_pairs.clamp(min=1)
    if denominator is None:
        return prompt_loss.sum() / (num_pairs > 0).sum().clamp(min=1)
    return prompt_loss.sum() / denominator


def _variance(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    return masked_mean((x - masked_mean(x, mask)) ** 2, mask)
