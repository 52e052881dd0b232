"""The cache with room is transformers' own, only that nothing is copied to add a token."""

import torch
from toys import tiny_model
from transformers import DynamicCache, MistralConfig
from transformers.cache_utils import DynamicLayer

from preceptor.generation.cache import RoomyLayer, roomy_cache


def states(generator: torch.Generator, rows: int, length: int) -> list[torch.Tensor]:
    return [torch.randn(rows, 2, length, 4, generator=generator) for _ in range(2)]


def test_it_gives_what_transformers_own_gives():
    generator = torch.Generator().manual_seed(0)
    own, theirs, rows = RoomyLayer(capacity=20), DynamicLayer(), 3
    for length, chosen in ((5, [0, 0, 1, 2]), (1, None), (1, [3, 1]), (1, None), (2, [1])):
        given = states(generator, rows, length)
        for ours, expected in zip(own.update(*given), theirs.update(*given), strict=True):
            assert torch.equal(ours, expected)
        assert own.get_seq_length() == theirs.get_seq_length()
        assert own.get_mask_sizes(1) == theirs.get_mask_sizes(1)
        if chosen is not None:
            for layer in (own, theirs):
                layer.batch_select_indices(torch.tensor(chosen))
            rows = len(chosen)
            assert torch.equal(own.keys, theirs.keys)
            assert torch.equal(own.values, theirs.values)


def test_rows_can_be_repeated_and_reordered_as_in_transformers_own():
    generator = torch.Generator().manual_seed(0)
    own, theirs = RoomyLayer(capacity=9), DynamicLayer()
    for layer, given in zip((own, theirs), [states(generator, 2, 3)] * 2, strict=True):
        layer.update(*given)
        layer.batch_repeat_interleave(2)
        layer.reorder_cache(torch.tensor([3, 0, 1, 2]))
    added = states(generator, 4, 1)
    for ours, expected in zip(own.update(*added), theirs.update(*added), strict=True):
        assert torch.equal(ours, expected)


def test_adding_a_token_moves_nothing():
    generator = torch.Generator().manual_seed(0)
    layer = RoomyLayer(capacity=9)
    places = {layer.update(*states(generator, 2, length))[0].data_ptr() for length in (4, 1, 1, 3)}
    assert len(places) == 1


def test_layers_that_keep_only_a_window_stay_as_they_are():
    assert all(type(layer) is RoomyLayer for layer in roomy_cache(tiny_model(), 9).layers)
    model = tiny_model()
    model.config = MistralConfig(sliding_window=8, num_hidden_layers=2)
    kept = [type(layer) for layer in roomy_cache(model, 9).layers]
    assert kept == [type(layer) for layer in DynamicCache(config=model.config).layers]
    assert RoomyLayer not in kept


def test_keys_that_were_rotated_in_fp32_are_kept_as_the_products_round_them():
    layer = RoomyLayer(capacity=4)
    key, value = torch.randn(2, 1, 2, 3, 4).unbind()
    kept, _ = layer.update(key, value.bfloat16())
    assert kept.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kept @ kept.transpose(2, 3), key @ key.transpose(2, 3))
