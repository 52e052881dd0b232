"""The layers of Llama and its kin with one walk over memory between two matrix products.

A layer of transformers computes the same with some thirty operations of PyTorch in their place,
forwards and backwards, which took more than half of a small model's time (docs/log.md). Linear
layers are still transformers' own, or what was put in their place: adapters, ordered weights.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer, MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RMSNorm

from preceptor.models.attention import NAME, batch_attention, short_or_long
from preceptor.models.fused import (
    add,
    add_rms_norm,
    from_heads,
    product_dtype,
    rms_norm,
    swiglu,
    takes,
    to_heads,
)
from preceptor.models.kernels import NUMBERS, available
from preceptor.models.packing import Batches, current_packing, rows_at, wanted_places

LAYERS = (LlamaDecoderLayer, MistralDecoderLayer, Qwen2DecoderLayer)
"""Those whose forward pass was read and is `layer_forward`, but for order of sums and rounding."""
NORMS = (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm)


def fuse_layers(model: PreTrainedModel) -> None:
    """Give layers that are known the forward pass of this module, where kernels can be compiled.

    They become of a class of ours: a method kept in the layer itself would keep the layer, and with
    it the model's weights, until the next collection. At each call what a layer is asked for
    decides whether it takes that pass, or transformers' own.
    """
    config: Any = model.config.get_text_config()
    if getattr(config, "hidden_act", None) != "silu" or not available():
        return
    for module in list[Any](model.modules()):
        if type(module) in NORMS or (type(module) in LAYERS and _sees_all(module.self_attn)):
            module.__class__ = _FUSED[type(module)]


def is_fused(layer: Any) -> bool:
    """Whether a layer was given the forward pass of this module, and may take it."""
    ours = getattr(type(layer), "forward", None) is layer_forward
    return ours and bool(layer.self_attn.config._attn_implementation == NAME)


def last_layer(trunk: nn.Module) -> Any:
    """The last layer that a pass goes through, if it is fused, and so can end with few places."""
    layers = running_layers(trunk)
    return layers[-1] if layers and is_fused(layers[-1]) else None


def running_layers(trunk: Any) -> list[Any]:
    """The layers of a trunk that its configuration counts; there may be more."""
    layers = getattr(trunk, "layers", [])
    return list(layers)[: trunk.config.get_text_config().num_hidden_layers] if len(layers) else []


def norm_forward(norm: Any, hidden_states: Tensor) -> Tensor:
    """A norm that stands alone: [.., D] in fp32."""
    if not takes(hidden_states) or hidden_states.dtype != torch.float32:
        return cast(Tensor, norm.plain_forward(hidden_states))
    return rms_norm(hidden_states, norm.weight, norm.variance_epsilon, torch.float32)


def layer_forward(
    layer: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    past_key_values: Cache | None = None,
    use_cache: bool | None = False,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    **kwargs: Any,
) -> Tensor:
    """transformers' interface of a layer: [B, L, D] in fp32 to [B, L, D]."""
    attention, mlp = layer.self_attn, layer.mlp
    dtype = product_dtype()
    wanted = wanted_places(layer)
    if not _fits(attention, hidden_states, attention_mask, position_embeddings, dtype):
        own = layer.plain_forward(
            hidden_states,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            position_embeddings=position_embeddings,
            **kwargs,
        )
        return cast(Tensor, own) if wanted is None else rows_at(own[0], wanted)[None]
    batch, length = hidden_states.shape[:2]
    packing = current_packing()
    batches = _in_order(batch, length) if packing is None else packing.batches
    heads, groups = attention.config.num_attention_heads, attention.config.num_key_value_heads

    # 1. Queries, keys and values of the normed states, turned by their positions.
    norm = layer.input_layernorm
    normed = rms_norm(hidden_states, norm.weight, norm.variance_epsilon, dtype)
    queries = attention.q_proj(normed).to(dtype)
    query = to_heads(queries, batches, heads, position_embeddings, attention.scaling)
    key = to_heads(attention.k_proj(normed).to(dtype), batches, groups, position_embeddings)
    value = to_heads(attention.v_proj(normed).to(dtype), batches, groups, None)

    # 2. Attention, of each sequence of a packed row to itself, or to what a cache holds besides.
    if past_key_values is not None:
        held = past_key_values.update(key[0], value[0], attention.layer_idx)
        key, value = ((held[0],), (held[1],))
    if packing is None:
        mixed = [short_or_long(query[0], key[0], value[0], attention_mask, 1.0)]
    else:
        mixed = batch_attention(query, key, value, packing, 1.0)
    rows = from_heads(tuple(mixed), batches).view(batch, length, -1)

    # 3. The MLP, and both sums of the residual stream; in the last layer for what is asked for.
    if wanted is not None:
        rows, hidden_states = (rows_at(x[0], wanted)[None] for x in (rows, hidden_states))
    attended = attention.o_proj(rows)
    norm = layer.post_attention_layernorm
    total, normed = add_rms_norm(
        hidden_states, attended.to(dtype), norm.weight, norm.variance_epsilon
    )
    inner = swiglu(mlp.gate_proj(normed).to(dtype), mlp.up_proj(normed).to(dtype))
    return add(total, mlp.down_proj(inner).to(dtype))


def _in_order(batch: int, length: int) -> Batches:
    return Batches(((batch, length),), (None,), batch * length, batch * length)


def _sees_all(attention: Any) -> bool:
    """Whether attention reaches back to the beginning."""
    config = attention.config
    if hasattr(attention, "sliding_window"):  # Qwen2 decides by layer
        return attention.sliding_window is None
    return getattr(config, "sliding_window", None) is None


def _fits(
    attention: Any,
    hidden_states: Tensor,
    mask: Tensor | None,
    position_embeddings: tuple[Tensor, Tensor] | None,
    dtype: torch.dtype,
) -> bool:
    """Whether this call is one of those that `layer_forward` knows."""
    if position_embeddings is None or hidden_states.dtype != torch.float32:
        return False
    if mask is not None and (mask.dtype != torch.bool or mask.dim() != 4):
        return False
    return (
        takes(hidden_states, *position_embeddings)
        and dtype in NUMBERS
        and position_embeddings[0].shape[-1] == attention.head_dim
        and attention.config._attn_implementation == NAME
        and not (attention.training and attention.attention_dropout)
        and not torch.compiler.is_compiling()
    )


_FUSED: dict[Any, Any] = {
    own: type(own.__name__, (own,), {"forward": forward, "plain_forward": own.forward})
    for kinds, forward in ((LAYERS, layer_forward), (NORMS, norm_forward))
    for own in kinds
}
"""Their classes with the forward passes of this module, transformers' own beside them."""
