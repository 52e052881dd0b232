"""Both ends of a model where the vocabulary is: ids to vectors, and vectors to log-probabilities.

A table of the vocabulary is by far the largest matrix of a small model, and [tokens x vocabulary]
its largest tensor. So logits are made for a few tokens at a time and not kept (their derivative is,
in bf16, where a pass in bf16 has a gradient), and what the embedding learns is added in place to
what the head has learned of the same table.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from preceptor.models.fused import takes, word_numbers
from preceptor.models.products import product

IMPOSSIBLE = -1e4
"""A logit of probability 0 in fp32; minus infinity would make 0 times infinity in the entropy."""

CHUNK_BYTES = 2**25
"""Of fp32 logits at once: about what a processor's cache holds."""
PART_BYTES = 2**23
"""Of a table's rows in another precision at once: less than it takes, and inside that cache."""


@dataclass(frozen=True)
class Finish:
    """What an architecture does with the head's products p: cap tanh(scale p / cap), or scale p.

    scale       a factor of all logits, as Cohere and Granite have it
    cap         logits stay between -cap and cap, as Gemma 2 has it; None: no bound
    num_tokens  entries from here on pad the vocabulary, and are impossible; None: there are none
    """

    scale: float = 1.0
    cap: float | None = None
    num_tokens: int | None = None


def finish_of(model: PreTrainedModel) -> Finish:
    """By the keys of config.json; `load_policy` refuses a model whose logits are made otherwise."""
    config: Any = model.config.get_text_config()
    multiplied = [getattr(config, key, None) for key in ("logit_scale", "lm_head_multiplier")]
    scale = math.prod(factor for factor in multiplied if factor is not None)
    divided = getattr(config, "logits_scaling", None)
    return Finish(
        scale if divided is None else scale / divided,
        getattr(config, "final_logit_softcapping", None),
        getattr(model.config, "num_known_tokens", None),
    )


def tokens_at_once(model: PreTrainedModel) -> int:
    """Tokens of a pass without gradients: 128 MiB of fp32 logits were they whole, up to 8,192."""
    embedding = cast(nn.Embedding, model.get_input_embeddings())
    return max(1, min(8192, 2**25 // embedding.num_embeddings))


def embedded(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """Vectors [B, L, D] of ids [B, L]; of a table in bf16 too they are fp32, as all sums are."""
    module = cast(nn.Embedding, model.get_input_embeddings())
    weight = module.weight
    plain = type(module) is nn.Embedding and module.max_norm is None
    plain = plain and not module.scale_grad_by_freq
    if not plain or not (torch.is_grad_enabled() and weight.requires_grad):
        return cast(Tensor, module(input_ids)).float()
    source = torch.zeros((), requires_grad=True)  # the graph begins here instead of at the table
    apply: Any = _Embedded.apply
    return cast(Tensor, apply(source, [weight], input_ids, module.padding_idx))


class _Embedded(torch.autograd.Function):
    """A table's rows, whose gradient is added to `weight.grad` row by row.

    PyTorch's own makes a second table of zeros for it, in every backward pass, and adds the two: at
    49,152 words that took a sixth of an update (docs/log.md). The table is hidden in a list, or
    autograd would hold back what a tied head has learned until this is done. So only `backward()`
    reaches the table; `torch.autograd.grad` and hooks on it do not see this part.
    """

    @staticmethod
    def forward(
        ctx: Any, source: Tensor, table: list[Tensor], input_ids: Tensor, padding_idx: int | None
    ) -> Tensor:
        ctx.weight, ctx.padding_idx = table[0], padding_idx
        ctx.save_for_backward(input_ids)
        return nn.functional.embedding(input_ids, table[0])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (input_ids,) = ctx.saved_tensors
        weight: Tensor = ctx.weight
        rows, learned = input_ids.flatten(), grads[0].flatten(0, -2).to(weight.dtype)
        if ctx.padding_idx is not None:  # as in nn.Embedding: padding learns nothing
            learned = learned.masked_fill((rows == ctx.padding_idx)[:, None], 0.0)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, rows, learned)
        return None, None, None, None


def head_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Logits [..., V] of hidden states [..., D], in fp32 whatever the precision of the trunk.

    A logit of 10 in bf16 is off by up to 0.03, and so would the ratio be; this product is small.
    Entries after the last token (rows that pad the vocabulary to a round number) are impossible,
    for sampling and for training alike (rule 10); `load_policy` says where they begin.
    """
    head = model.get_output_embeddings()
    with torch.autocast(states.device.type, enabled=False):
        return _logits(states.float(), head.weight, head.bias, finish_of(model))


def head_logprobs(
    model: PreTrainedModel,
    states: Tensor,
    tokens: Tensor,
    temperature: float = 1.0,
    *,
    with_entropy: bool = False,
) -> tuple[Tensor, Tensor]:
    """`functional.token_logprobs` and `functional.entropy` of `head_logits`, a few rows at a time.

    Args:
        model: a causal language model.
        states: [N, D] hidden states, each at the position that predicts its token.
        tokens: [N] ids.
        temperature: divides the logits; above 0.
        with_entropy: a metric that takes another pass over the logits; zeros without it.

    Returns:
        [N] nats each: the tokens' log-probabilities, and the entropies, which have no gradient.

    Raises:
        ValueError: temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0.")
    head = model.get_output_embeddings()
    dtype = torch.float32
    if torch.is_autocast_enabled(states.device.type):
        dtype = torch.get_autocast_dtype(states.device.type)
    # Within the function gradients are always off, so it is told whether it will be asked for one.
    keep = torch.is_grad_enabled() and dtype != torch.float32
    with torch.autocast(states.device.type, enabled=False):
        apply: Any = _HeadLogprobs.apply
        logprobs, entropies = apply(
            states.float(),
            head.weight,
            head.bias,
            tokens,
            temperature,
            finish_of(model),
            dtype if keep else None,
            with_entropy,
        )
    return logprobs, entropies


class _HeadLogprobs(torch.autograd.Function):
    """Log-probabilities without a tensor [N, V] in fp32.

    The derivative by the logits is (1 at the token) - probabilities; where they are capped,
    1 - (logit / cap)^2 times that. Under autocast it is kept in the low precision in which every
    gradient is multiplied there; in fp32 it is computed anew.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        temperature: float,
        finish: Finish,
        dtype: torch.dtype | None,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.temperature, ctx.finish = temperature, finish
        count, size = tokens.shape[0], weight.shape[0]
        logprobs, entropies = states.new_zeros(count), states.new_zeros(count)
        keep = any(ctx.needs_input_grad) and dtype is not None
        kept = torch.empty(count, size, dtype=dtype) if keep else None
        for rows in _chunks(count, size):
            logits = _logits(states[rows], weight, bias, finish, temperature)
            slopes = None if kept is None else kept[rows]
            bend = None if kept is None else _bend(logits, finish, temperature)
            logprobs[rows], own = _numbers(logits, tokens[rows], slopes, bend, with_entropy)
            if own is not None:
                entropies[rows] = own
        ctx.save_for_backward(states, weight, bias, tokens, kept)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        states, weight, bias, tokens, kept = ctx.saved_tensors
        scale = (grads[0] * ctx.finish.scale / ctx.temperature)[:, None]
        of_states, of_weight = torch.empty_like(states), None
        of_bias = None if bias is None else torch.zeros_like(bias)
        for rows in [slice(None)] if kept is not None else _chunks(len(tokens), len(weight)):
            if kept is not None:
                slope = kept
            else:
                slope = _logits(states[rows], weight, bias, ctx.finish, ctx.temperature)
                bend = _bend(slope, ctx.finish, ctx.temperature)
                _numbers(slope, tokens[rows], slope, bend, with_entropy=False)
            if ctx.needs_input_grad[0]:
                of_states[rows] = (slope @ weight.to(slope.dtype)).float() * scale[rows]
            if ctx.needs_input_grad[1]:
                scaled = (states[rows] * scale[rows]).to(slope.dtype)
                first = of_weight is None
                of_weight = torch.empty_like(weight) if of_weight is None else of_weight
                for words in _parts(weight):
                    part = slope[:, words].T @ scaled
                    of_weight[words] = part if first else part.add(of_weight[words])
            if of_bias is not None:
                of_bias += (slope.float() * scale[rows]).sum(0)
        return of_states, of_weight, of_bias, None, None, None, None, None


def _logits(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    finish: Finish,
    temperature: float = 1.0,
) -> Tensor:
    logits = _finished(_fp32_product(states, weight, bias), finish)
    return logits if temperature == 1.0 else logits.div_(temperature)


def _fp32_product(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """states weight^T + bias in fp32; a table in bf16 is made fp32 some rows at a time."""
    if weight.dtype == torch.float32:
        return product(states, weight, bias)
    logits = states.new_empty(*states.shape[:-1], len(weight))
    for words in _parts(weight):
        own = None if bias is None else bias[words].float()
        logits[..., words] = product(states, weight[words].float(), own)
    return logits


def _parts(weight: Tensor) -> list[slice]:
    """Rows of a table in parts that take PART_BYTES in fp32."""
    length = max(1, PART_BYTES // (4 * weight.shape[1]))
    return [slice(start, start + length) for start in range(0, len(weight), length)]


def _finished(products: Tensor, finish: Finish) -> Tensor:
    """Logits of the head's products, which are written over."""
    logits = products if finish.scale == 1.0 else products.mul_(finish.scale)
    if finish.cap is not None:
        logits = logits.div_(finish.cap).tanh_() * finish.cap
    if finish.num_tokens is not None:
        logits[..., finish.num_tokens :] = IMPOSSIBLE
    return logits


def _bend(logits: Tensor, finish: Finish, temperature: float) -> Tensor | None:
    """Derivative of capped logits by what they were before; of impossible ones 0."""
    if finish.cap is None:
        return None
    return (1.0 - (logits * (temperature / finish.cap)).square_()).clamp_(min=0.0)


def _numbers(
    logits: Tensor,
    tokens: Tensor,
    slopes: Tensor | None,
    bend: Tensor | None,
    with_entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities and entropies as `fused.word_numbers` has them; logits are written over.

    To `slopes` goes (1 at the token) - probabilities; 1 - p of a sure token keeps its digits.
    """
    if takes(logits) and (slopes is None or takes(slopes)):
        logprobs, entropies = word_numbers(logits, tokens, slopes, with_entropy=with_entropy)
    else:
        nats = logits.sub_(logits.amax(-1, keepdim=True))  # first: beside thousands digits are lost
        nats = nats.sub_(nats.logsumexp(-1, keepdim=True))
        logprobs, entropies = nats.gather(-1, tokens[:, None])[:, 0], None
        if with_entropy or slopes is not None:
            probabilities = nats.exp() if with_entropy else nats.exp_()
            entropies = -torch.linalg.vecdot(probabilities, nats) if with_entropy else None
        if slopes is not None:
            sure = -torch.expm1(logprobs)[:, None]
            slopes.copy_(probabilities.neg_().scatter_(-1, tokens[:, None], sure))
    if slopes is not None and bend is not None:
        slopes.mul_(bend)
    return logprobs, entropies


def _chunks(count: int, size: int) -> list[slice]:
    """Rows in parts whose logits take CHUNK_BYTES."""
    length = max(1, CHUNK_BYTES // (4 * size))
    return [slice(start, start + length) for start in range(0, count, length)]
