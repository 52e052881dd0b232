"""A cache of keys and values whose memory is allocated for many positions at once.

transformers' own is copied whole for every token that is added to it.
"""

from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

BLOCK = 32
"""Positions by which the memory grows."""


class RoomyLayer(DynamicLayer):
    """Keys and values [B, G, R, d] with room for R positions, zeros behind those that are filled.

    A product of many small matrices takes them as they lie only when they fill their memory; of a
    part of it all keys and values were copied for every token (docs/log.md). So the whole room is
    given, and the mask says what of it counts.
    """

    is_croppable = False

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Add positions; returns all keys and values, with the room behind them.

        Rotated keys come in fp32 under autocast, which rounds them before every product. Here they
        are rounded once, to the same numbers.
        """
        key_states = key_states.to(value_states.dtype)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self.length = 0
        begin = self.extend(key_states.shape[-2])
        held = (cast(Tensor, self.keys), cast(Tensor, self.values))
        for memory, states in zip(held, (key_states, value_states), strict=True):
            memory[:, :, begin : self.length] = states
        return held

    def extend(self, count: int) -> int:
        """Make room for so many positions more, to be written by the caller from this place on."""
        begin, self.length = self.length, self.length + count
        keys, values = cast(Tensor, self.keys), cast(Tensor, self.values)
        if self.length > keys.shape[-2]:
            self.keys, self.values = self._grown(keys, begin), self._grown(values, begin)
        return begin

    def get_seq_length(self) -> int:
        """Positions that are filled."""
        return self.length if self.is_initialized else 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Positions that a mask is to tell of with so many more, and the place of the first."""
        return self._room(self.get_seq_length() + query_length), 0

    def _room(self, length: int) -> int:
        return max(length, min(self.capacity, -(-length // BLOCK) * BLOCK))

    def _grown(self, filled: Tensor, begin: int) -> Tensor:
        rows, groups, _, width = filled.shape
        grown = filled.new_zeros(rows, groups, self._room(self.length), width)
        grown[:, :, :begin] = filled[:, :, :begin]
        return grown


def roomy_cache(model: PreTrainedModel, capacity: int) -> DynamicCache:
    """A cache for at most `capacity` positions; layers that keep fewer stay as they are."""
    cache = DynamicCache(config=model.config)
    if all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.layers = [RoomyLayer(capacity) for _ in cache.layers]
    return cache


def cached_bytes(model: PreTrainedModel) -> int:
    """Keys and values of one position in all layers, in the precision of the passes around."""
    config: Any = model.config.get_text_config()
    heads: int = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width: int = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    size = 2 if torch.is_autocast_enabled("cpu") else 4
    return 2 * size * int(config.num_hidden_layers) * heads * width
