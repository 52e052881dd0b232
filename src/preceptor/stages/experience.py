"""The passes of a PPO iteration: what is read before the update, and the losses of the update."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from preceptor.config import PPOConfig
from preceptor.data.batching import split_by_tokens
from preceptor.functional import masked_mean, policy_loss, value_loss
from preceptor.models.forward import Rows, make_rows, response_logprobs_and_entropy, response_values
from preceptor.models.precision import precision
from preceptor.randomness import numpy_generator


@dataclass(frozen=True)
class Experience:
    """One batch of episodes, everything that the update needs; B episodes, T response tokens.

    prompts, responses  B lists of ids each
    mask                [B, T] True on response tokens, the end token included
    old_logprobs        [B, T] nats, before any weight moved
    old_values          [B, T] the value model's estimates, likewise
    advantages, returns [B, T] in the score's unit; advantages may be whitened, returns are not
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    mask: Tensor
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor


def minibatch_order(config: PPOConfig, seed: int, step: int, epoch: int) -> list[list[int]]:
    """The episodes of each minibatch of one pass: a fresh shuffle, cut in equal parts."""
    shuffled = numpy_generator(seed, "ppo/minibatch", step, epoch).permutation(config.batch_size)
    order: list[list[int]] = shuffled.reshape(config.num_minibatches, -1).tolist()
    return order


def forward_groups(
    prompts: list[list[int]], responses: list[list[int]], order: list[list[int]], budget: int
) -> list[list[int]]:
    """The microbatches of a whole pass, minibatch by minibatch."""
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    return [
        [rows[i] for i in group]
        for rows in order
        for group in split_by_tokens([lengths[row] for row in rows], budget)
    ]


def response_mask(responses: list[list[int]]) -> Tensor:
    """True on response tokens [B, T]."""
    lengths = torch.tensor([len(response) for response in responses])
    return torch.arange(int(lengths.max())) < lengths[:, None]


def token_table(values: list[list[float]], mask: Tensor) -> Tensor:
    """Numbers of the response tokens [B, T], 0 where masked."""
    table = torch.zeros(mask.shape)
    table[mask] = torch.tensor([number for row in values for number in row])
    return table


def forward_all(
    forward: Callable[..., Tensor],
    model: PreTrainedModel,
    prompts: list[list[int]],
    responses: list[list[int]],
    groups: list[list[int]],
    config: PPOConfig,
    temperature: float | None = None,
) -> Tensor:
    """A per-token quantity [B, T] over the whole batch, without gradients."""
    options = {} if temperature is None else {"temperature": temperature}
    found = torch.zeros(len(prompts), max(len(response) for response in responses))
    with torch.no_grad(), precision(config.precision):
        for group in groups:
            rows = make_rows([prompts[i] for i in group], [responses[i] for i in group])
            part = forward(model, rows, **options)
            found[group, : part.shape[1]] = part
    return found


def microbatches(
    experience: Experience, rows: list[int], budget: int
) -> Iterator[tuple[list[int], Rows, float]]:
    """A minibatch in groups that fit into memory: episodes, their rows, their share of tokens."""
    count = int(experience.mask[rows].sum())
    for group in forward_groups(experience.prompts, experience.responses, [rows], budget):
        batch = make_rows(
            [experience.prompts[i] for i in group], [experience.responses[i] for i in group]
        )
        yield group, batch, float(batch.response_mask.sum()) / count


def policy_losses(
    policy: PreTrainedModel,
    experience: Experience,
    rows: list[int],
    config: PPOConfig,
    stats: dict[str, float],
) -> Iterator[Tensor]:
    """Clipped policy losses of microbatches; they sum to the token mean over the minibatch."""
    count = float(experience.mask[rows].sum())
    for group, batch, share in microbatches(experience, rows, config.microbatch_tokens):
        width = batch.tokens.shape[1]
        with precision(config.precision):
            new_logprobs, entropy = response_logprobs_and_entropy(
                policy, batch, temperature=config.temperature
            )
        loss, found = policy_loss(
            new_logprobs,
            experience.old_logprobs[group, :width],
            experience.advantages[group, :width],
            batch.response_mask,
            clip_range=config.clip_range,
            denominator=count,
        )
        found["entropy"] = masked_mean(entropy, batch.response_mask)
        add_stats(stats, found, share)
        stats["policy_loss"] = stats.get("policy_loss", 0.0) + float(loss.detach())
        yield loss


def value_losses(
    value_model: PreTrainedModel,
    experience: Experience,
    rows: list[int],
    config: PPOConfig,
    stats: dict[str, float],
) -> Iterator[Tensor]:
    """Clipped value losses of microbatches; they sum to the token mean over the minibatch."""
    count = float(experience.mask[rows].sum())
    for group, batch, share in microbatches(experience, rows, config.microbatch_tokens):
        width = batch.tokens.shape[1]
        with precision(config.precision):
            values = response_values(value_model, batch)
        loss, found = value_loss(
            values,
            experience.old_values[group, :width],
            experience.returns[group, :width],
            batch.response_mask,
            clip_range=config.value_clip_range,
            denominator=count,
        )
        clipped = {"value_clip_fraction": found["value_clip_fraction"]}
        add_stats(stats, clipped, share)
        stats["value_loss"] = stats.get("value_loss", 0.0) + float(loss.detach())
        yield loss


def add_stats(stats: dict[str, float], found: dict[str, Tensor], share: float) -> None:
    """Join a microbatch's statistics: extremes as extremes, means by their share of tokens."""
    for key, value in found.items():
        number = float(value)
        if key == "ratio_max":
            stats[key] = max(stats.get(key, number), number)
        elif key == "ratio_min":
            stats[key] = min(stats.get(key, number), number)
        else:
            stats[key] = stats.get(key, 0.0) + share * number
