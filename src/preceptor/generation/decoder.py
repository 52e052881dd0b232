"""One token of each row through all layers at once, in a single call of kernels.cpp.

For one token a row what a layer multiplies is little, and most of a step was the way from one
operation to the next (docs/log.md). The numbers are those of `models/layers.py`, up to the order of
sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from preceptor.generation.cache import RoomyLayer
from preceptor.generation.weights import ordered_weights
from preceptor.models.fused import WIDTHS, product_dtype
from preceptor.models.kernels import LANES, NUMBERS, LayerPointers, LayerSizes, decode
from preceptor.models.layers import is_fused, running_layers
from preceptor.models.load import trunk


@contextmanager
def fast_steps(model: PreTrainedModel, spare_memory: bool = False) -> Iterator["Decoder | None"]:
    """Whatever makes a pass over one token a row fast, for as long as responses are sampled.

    A decoder, which has a copy of the weights; for models that it does not know None, and their
    linear layers multiply with such copies. To `spare_memory` neither.
    """
    if not spare_memory and (layers := decodable(model)):
        yield Decoder(model, layers)
        return
    with ordered_weights(model, spare_memory):
        yield None


def decodable(model: PreTrainedModel) -> list[Any]:
    """The model's layers, or none if `Decoder` does not know all that they do."""
    whole: Any = trunk(model)
    layers = running_layers(whole)
    if not layers or not all(map(_is_known, layers)) or product_dtype() not in NUMBERS:
        return []
    if len(layers) != whole.config.num_hidden_layers:  # the cache would have more
        return []
    turns_all = 2 * whole.rotary_emb.inv_freq.numel() == layers[0].self_attn.head_dim
    return layers if turns_all else []


def _is_known(layer: Any) -> bool:
    if not is_fused(layer):
        return False
    attention, mlp, config = layer.self_attn, layer.mlp, layer.self_attn.config
    plain = (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    return (
        all(type(linear) is nn.Linear for linear in (*plain, *projections))
        and all(linear.bias is None for linear in plain)
        and len({linear.bias is None for linear in projections}) == 1
        and attention.head_dim in WIDTHS
        and config.hidden_size % LANES == config.intermediate_size % LANES == 0
        and attention.q_proj.weight.device.type == "cpu"
        and not attention.training
    )


class Decoder:
    """Weights [N, D] in the order in which kernels.cpp multiplies them, and where they lie.

    A model that learns needs a new one. Made for the precision of the passes around it.
    """

    def __init__(self, model: PreTrainedModel, layers: list[Any]) -> None:
        self.dtype = product_dtype()
        self.trunk: Any = trunk(model)
        self.kept: list[Tensor] = []  # what the pointers point to
        self.pointers = (LayerPointers * len(layers))()
        for pointers, layer in zip(self.pointers, layers, strict=True):
            attention, mlp = layer.self_attn, layer.mlp
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            pointers.norm = self._keep(layer.input_layernorm.weight.float())
            pointers.norm_after = self._keep(layer.post_attention_layernorm.weight.float())
            pointers.into = self._keep(self._in_order(*projections))
            pointers.out = self._keep(self._in_order(attention.o_proj))
            pointers.gate_up = self._keep(self._in_order(mlp.gate_proj, mlp.up_proj))
            pointers.down = self._keep(self._in_order(mlp.down_proj))
            if attention.q_proj.bias is not None:
                biases = torch.cat([linear.bias.detach().float() for linear in projections])
                pointers.bias = self._keep(biases)
        config, norm = layers[0].self_attn.config, layers[0].input_layernorm
        self.sizes = LayerSizes(
            width=config.hidden_size,
            heads=config.num_attention_heads,
            groups=config.num_key_value_heads,
            head_width=layers[0].self_attn.head_dim,
            inner=config.intermediate_size,
            eps=norm.variance_epsilon,
            scale=layers[0].self_attn.scaling,
        )

    def step(
        self, vectors: Tensor, positions: Tensor, starts: Tensor, cache: DynamicCache
    ) -> Tensor:
        """Last hidden states [B, D] of one more token a row, whose keys and values are kept.

        Args:
            vectors: [B, 1, D] of the tokens, in fp32.
            positions: [B, 1], each within its row.
            starts: [B], the place in the cache where each row begins.
            cache: one of `roomy_cache`, with everything before.
        """
        states = vectors.clone()
        cosines, sines = self.trunk.rotary_emb(states, position_ids=positions)
        for pointers, layer in zip(self.pointers, cache.layers, strict=True):
            room = cast(RoomyLayer, layer)
            self.sizes.place = room.extend(1)
            keys, values = cast(Tensor, room.keys), cast(Tensor, room.values)
            pointers.keys, pointers.values = keys.data_ptr(), values.data_ptr()
            self.sizes.room = keys.shape[2]
        self.sizes.batch = len(states)
        decode(self.dtype, self.pointers, self.sizes, states, cosines, sines, starts)
        return cast(Tensor, self.trunk.norm(states)[:, 0])

    def _in_order(self, *linear: nn.Linear) -> Tensor:
        weight = torch.cat([each.weight.detach().to(self.dtype) for each in linear])
        step = 4 // weight.element_size()
        parts = weight.view(len(weight) // LANES, LANES, weight.shape[1] // step, step)
        return parts.transpose(1, 2).contiguous()

    def _keep(self, tensor: Tensor) -> int:
        self.kept.append(tensor.detach().contiguous())
        return self.kept[-1].data_ptr()
