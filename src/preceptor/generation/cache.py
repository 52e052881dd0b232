"""A cache of keys and values whose memory is allocated once.

transformers' own is copied whole for every token that is added to it.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values [B, G, S, d] as views of memory that has room for `capacity` positions."""

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.memory: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        """Add positions; returns all keys and values so far.

        Rotated keys come in fp32 under autocast, which rounds them before every product. Here they
        are rounded once, to the same numbers.
        """
        key_states = key_states.to(value_states.dtype)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.memory = [self._room(x, len(x)) for x in (key_states, value_states)]
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        for memory, states in zip(self.memory, (key_states, value_states), strict=True):
            memory[:, :, begin:end] = states
        self.keys, self.values = (memory[:, :, :end] for memory in self.memory)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, or repeat them."""
        length = self.get_seq_length()
        kept = [self._room(memory, len(indices)) for memory in self.memory]
        for new, old in zip(kept, self.memory, strict=True):
            new[:, :, :length] = old[indices, :, :length]
        self.memory = kept
        self.keys, self.values = (memory[:, :, :length] for memory in kept)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row."""
        self.batch_select_indices(torch.arange(len(self.memory[0])).repeat_interleave(repeats))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take rows in another order."""
        self.batch_select_indices(beam_idx)

    def _room(self, like: Tensor, rows: int) -> Tensor:
        return like.new_empty(rows, like.shape[1], self.capacity, like.shape[3])


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
