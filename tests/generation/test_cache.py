"""The cache with room is transformers' own, only that nothing is copied to add a token."""

import torch
from toys import tiny_model
from transformers import DynamicCache, MistralConfig
from transformers.cache_utils import DynamicLayer

from preceptor.generation.cache import BLOCK, RoomyLayer, roomy_cache


def states(generator: torch.Generator, rows: int, length: int) -> list[torch.Tensor]:
    return [torch.randn(rows, 2, length, 4, generator=generator) for _ in range(2)]


def assert_same(own: RoomyLayer, theirs: DynamicLayer) -> None:
    """The same positions, zeros behind them, and memory as a product takes it."""
    length = theirs.get_seq_length()
    assert own.get_seq_length() == length
    for ours, expected in ((own.keys, theirs.keys), (own.values, theirs.values)):
        assert torch.equal(ours[:, :, :length], expected)
        assert not ours[:, :, length:].any()
        assert ours.is_contiguous()


def test_it_gives_what_transformers_own_gives():
    generator = torch.Generator().manual_seed(0)
    own, theirs, rows = RoomyLayer(capacity=2 * BLOCK + 3), DynamicLayer(), 3
    assert own.get_seq_length() == 0
    every = ((5, [0, 0, 1, 2]), (BLOCK - 6, None), (1, [3, 1]), (1, None), (BLOCK, [1]), (5, None))
    for length, chosen in every:
        given = states(generator, rows, length)
        told = own.get_mask_sizes(length)
        theirs.update(*given)
        keys, values = own.update(*given)
        assert keys is own.keys and values is own.values
        assert told == (keys.shape[2], 0)
        assert_same(own, theirs)
        if chosen is not None:
            for layer in (own, theirs):
                layer.batch_select_indices(torch.tensor(chosen))
            rows = len(chosen)
            assert_same(own, theirs)


def test_rows_can_be_repeated_and_reordered_as_in_transformers_own():
    generator = torch.Generator().manual_seed(0)
    own, theirs = RoomyLayer(capacity=9), DynamicLayer()
    for layer, given in zip((own, theirs), [states(generator, 2, 3)] * 2, strict=True):
        layer.update(*given)
        layer.batch_repeat_interleave(2)
        layer.reorder_cache(torch.tensor([3, 0, 1, 2]))
    added = states(generator, 4, 1)
    own.update(*added)
    theirs.update(*added)
    assert_same(own, theirs)


def test_it_can_be_emptied_and_filled_again():
    generator = torch.Generator().manual_seed(0)
    own, theirs = RoomyLayer(capacity=9), DynamicLayer()
    own.update(*states(generator, 2, 7))
    own.reset()
    assert own.get_seq_length() == 0
    given = states(generator, 3, 2)
    own.update(*given)
    theirs.update(*given)
    assert_same(own, theirs)


def test_adding_a_token_moves_nothing():
    generator = torch.Generator().manual_seed(0)
    layer = RoomyLayer(capacity=100)
    layer.update(*states(generator, 2, 4))
    places = {layer.update(*states(generator, 2, 1))[0].data_ptr() for _ in range(BLOCK - 4)}
    assert len(places) == 1


def test_room_is_for_no_more_than_there_may_be():
    generator = torch.Generator().manual_seed(0)
    layer = RoomyLayer(capacity=9)
    for length in (4, 1, 1, 3):
        layer.update(*states(generator, 2, length))
        assert layer.keys.shape[2] == layer.values.shape[2] == 9


def test_layers_that_keep_only_a_window_stay_as_they_are():
    assert all(type(layer) is RoomyLayer for layer in roomy_cache(tiny_model(), 9).layers)
    model = tiny_model()
    model.config = MistralConfig(sliding_window=8, num_hidden_layers=2)
    kept = [type(layer) for layer in roomy_cache(model, 9).layers]
    assert kept == [type(layer) for layer in DynamicCache(config=model.config).layers]
    assert RoomyLayer not in kept


def test_keys_that_were_rotated_in_fp32_are_kept_as_the_products_round_them():
    layer = RoomyLayer(capacity=3)
    key, value = torch.randn(2, 1, 2, 3, 4).unbind()
    kept, _ = layer.update(key, value.bfloat16())
    assert kept.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kept @ kept.transpose(2, 3), key @ key.transpose(2, 3))
