"""Attention for short sequences on a CPU by plain products, for single queries by kernels of ours.

PyTorch's fused kernel for CPUs takes longer than the products it replaces at the lengths that small
recipes have, most of all backwards (docs/log.md). It spares memory instead, so it stays in charge
of long sequences and of other devices. Where there are no kernels of ours (kernels.py), single
queries are answered by plain products too.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from preceptor.models.fused import WIDTHS, masked_softmax, single_query, takes
from preceptor.models.kernels import available
from preceptor.models.packing import Packing, as_batch, as_row, current_packing

LONGEST = 256
"""Keys [positions] up to which the plain products were measured to be faster for many queries."""
FEW = 2048
"""Keys of all rows and groups, for each head of a group, up to which the fused kernel answers a
single query sooner than the products, where no kernel of ours does.

The products' own overhead is 0.2 ms a layer then, several times the work (docs/log.md).
"""
NAME = "preceptor_plain"


def prefer_plain_attention(model: PreTrainedModel) -> None:
    """Let the model choose between plain products and the fused kernel at every call.

    Neither bounds attention's scores; of a model that does, transformers' eager attention is used.
    """
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        model.set_attn_implementation("eager")
    elif model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def plain_or_fused(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' interface of an attention function.

    Args:
        query: [B, H, T, d].
        key, value: [B, G, S, d], G key-value heads for the H heads.
        attention_mask: [B or 1, 1, T, S], True (or 0.0) where attended; None is causal.

    Returns:
        [B, T, H, d] and None for the weights.
    """
    own = set(kwargs) & {"position_bias", "cache", "sliding_window", "softcap", "s_aux"}
    if (packing := current_packing()) is not None:
        if dropout or any(kwargs[name] is not None for name in own):
            raise ValueError(f"packed rows know no dropout and no {', '.join(sorted(own))}")
        return packed_attention(query, key, value, packing, scaling), None
    short = query.shape[2] == 1 or key.shape[2] <= LONGEST
    plain = short and query.device.type == "cpu" and dropout == 0.0
    if not plain or any(kwargs[name] is not None for name in own):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if attention_mask is None and not causal:
        attention_mask = torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool)
    mixed = plain_attention(query, key, value, attention_mask, scaling)
    return mixed.transpose(1, 2).contiguous(), None


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None
) -> Tensor:
    """Causal attention within each sequence of one packed row: [1, H, M, d] to [1, M, H, d].

    `key` and `value` are [1, G, M, d]. Responses packed beside their prompt see it and themselves.
    """
    shapes = packing.batches.shapes
    sizes = [rows * length for rows, length in shapes]
    queries, keys, values = (
        [
            part.view(*shape, x.shape[1], x.shape[3]).transpose(1, 2)
            for part, shape in zip(
                as_batch(x[0].transpose(0, 1).flatten(1), packing).split(sizes), shapes, strict=True
            )
        ]
        for x in (query, key, value)
    )
    mixed = batch_attention(queries, keys, values, packing, scaling)
    flat = torch.cat([part.transpose(1, 2).flatten(0, 1) for part in mixed])
    return as_row(flat.flatten(1), packing).view(1, -1, *flat.shape[1:])


def batch_attention(
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    packing: Packing,
    scaling: float | None,
) -> list[Tensor]:
    """Causal attention in the batches of a packed row, each [B, H, L, d] or [B, G, L, d].

    Of prompts with their responses the first batch is that of the prompts, which the second sees.
    """
    mixed = [short_or_long(queries[0], keys[0], values[0], None, scaling)]
    if len(packing.shape) == 4:
        count, longest, k_own, longest_own = packing.shape
        key, value = (
            torch.cat([prompts.repeat_interleave(k_own, 0), own], 2)
            for prompts, own in (keys, values)
        )
        seen = packing.index[: count * longest].view(count, 1, longest) < packing.count
        causal = _causal(longest_own, longest_own)[0].expand(count, -1, -1)
        mask = torch.cat([seen.expand(-1, longest_own, -1), causal], 2)
        mask = mask.repeat_interleave(k_own, 0)[:, None]
        mixed.append(short_or_long(queries[1], key, value, mask, scaling))
    return mixed


def short_or_long(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    """[B, H, T, d] by the plain products, or by the fused kernel where keys are many.

    Without a mask it is causal: the last query sees all keys.
    """
    length, keys = query.shape[2], key.shape[2]
    if query.device.type == "cpu" and (length == 1 or keys <= LONGEST):
        return plain_attention(query, key, value, mask, scaling)
    if mask is None and length != keys:
        mask = _causal(length, keys)
    return nn.functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=mask is None, scale=scaling, enable_gqa=True
    )


def can_pack(model: PreTrainedModel) -> bool:
    """Whether this model's attention is ours in every layer, and plainly causal.

    Not while activations are computed again in the backward pass, where no packing is known.
    """
    config = model.config
    if getattr(model, "is_gradient_checkpointing", False):
        return False
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return False
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        plain = getattr(config, "sliding_window", None) is None
    else:
        plain = set(kinds) == {"full_attention"}
    return plain and config._attn_implementation == NAME


def cached_mask(model: PreTrainedModel, attended: Tensor, queries: int, keys: int) -> Tensor:
    """What the last `queries` positions of left-padded rows may see, for a pass with a cache.

    `attended` [B, S] has 1 where there is a token, and the cache holds `keys`, of which those from
    S on are empty. Attention of ours takes the mask [B, 1, T, keys] itself, made once for all
    layers; for others transformers makes one, in some twenty operations a token.
    """
    if not can_pack(model):
        return attended
    mask = _causal(queries, attended.shape[1]) & (attended > 0)[:, None, None, :]
    mask = nn.functional.pad(mask, (0, keys - attended.shape[1]))
    if available():
        return mask
    bf16 = torch.is_autocast_enabled("cpu")
    return _additive(mask, torch.get_autocast_dtype("cpu") if bf16 else torch.float32)


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    """softmax(query key^T * scaling + mask) value: [B, H, T, d]; shapes as in `plain_or_fused`.

    Without a mask it is causal: the last query sees all keys.
    """
    batch, heads, length, width = query.shape
    groups, keys = key.shape[1:3]
    scaling = width**-0.5 if scaling is None else scaling
    query = query if scaling == 1.0 else query * scaling
    boolean = mask is None or mask.dtype == torch.bool
    if length == 1 and boolean and not _learns(query, key, value):
        query, key = query.to(value.dtype), key.to(value.dtype)
        if takes(query, key, value) and width in WIDTHS and value.shape[3] == width:
            return single_query(query, key, value, mask)
    # The heads that share a key-value head stand in one row, so nothing is copied for them.
    query = query.reshape(batch, groups, heads // groups * length, width)
    if length == 1 and batch * groups * keys <= FEW * (heads // groups):
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=1.0)
        return mixed.view(batch, heads, 1, value.shape[3])
    scores = query @ key.transpose(2, 3)
    if boolean and takes(scores):
        weights = masked_softmax(scores, mask, length)
    else:
        if mask is None and length > 1:
            mask = _causal(length, keys)
        scores = scores.view(batch, heads, length, keys)
        if mask is not None:
            scores = scores + _additive(mask, scores.dtype)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
    weights = weights.to(value.dtype).view(batch, groups, heads // groups * length, keys)
    return (weights @ value).view(batch, heads, length, value.shape[3])


def _learns(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _causal(length: int, keys: int) -> Tensor:
    """The last of `length` queries sees all keys, each one before it one key less."""
    return torch.ones(length, keys, dtype=torch.bool).tril(keys - length)[None, None]


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A large negative number where masked; not infinity, or a row of padding would be NaN."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    blocked = torch.full((), torch.finfo(dtype).min / 2, dtype=dtype)
    return torch.where(mask, torch.zeros((), dtype=dtype), blocked)


AttentionInterface.register(NAME, plain_or_fused)
AttentionMaskInterface.register(NAME, sdpa_mask)
