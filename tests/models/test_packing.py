"""A packed row says of each of its sequences what it says alone, gradients too."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import END, tiny_model

from preceptor.models import attention, forward
from preceptor.models.attention import NAME, can_pack
from preceptor.models.forward import make_rows, response_logprobs
from preceptor.models.packing import GRAIN, WIDTH_STEP, as_batch, as_row, pack, packed, rows_at

PROMPTS = [[6, 7, 8], [9], [10, 11, 12, 13, 14, 15]]
RESPONSES = [[10, 11, END], [7, 8, 9, 10, 11, END], [END]]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9))
def test_sequences_stand_one_after_another_and_come_back(lengths):
    packing = pack(lengths)
    size = len(packing.positions)
    assert size % GRAIN == 0
    assert packing.count == sum(lengths) <= size < packing.count + GRAIN + 1
    if len(packing.padded):  # what attention sees behind a sequence's end is the row's padding
        assert packing.count < size and int(packing.index.max()) == packing.count
    assert packing.shape[1] % WIDTH_STEP == 0
    row = torch.arange(1.0, size + 1)[:, None].repeat(1, 2)
    batch = as_batch(row, packing).view(*packing.shape, 2)
    start = 0
    for number, length in enumerate(lengths):
        assert batch[number, :length, 0].tolist() == row[start : start + length, 0].tolist()
        assert packing.positions[start : start + length].tolist() == list(range(length))
        assert packing.starts[number] == start
        start += length
    back = as_row(batch.flatten(0, 1), packing)
    assert torch.equal(back[: packing.count], row[: packing.count])
    assert not back[packing.count :].any()


def test_padding_is_under_a_twentieth_in_a_microbatch_of_4096_tokens():
    lengths = np.random.default_rng(0).lognormal(4, 0.6, 60).astype(int).tolist()
    packing = pack(lengths)
    assert 3000 < packing.count < 4500
    assert len(packing.positions) < 1.05 * packing.count


def test_copies_have_the_gradients_of_indexing_whatever_stands_in_the_padding():
    generator = torch.Generator().manual_seed(0)
    packing = pack([3, 5, 1])
    row = torch.randn(len(packing.positions), 2, generator=generator, requires_grad=True)
    weights = torch.randn(len(packing.index), 2, generator=generator)
    weights[packing.padded] = 0.0
    [expected] = torch.autograd.grad((row[packing.index] * weights).sum(), row)
    [found] = torch.autograd.grad((as_batch(row, packing) * weights).sum(), row)
    assert torch.equal(found, expected)

    batch = torch.randn(len(packing.index), 2, generator=generator, requires_grad=True)
    weights = torch.randn(len(packing.positions), 2, generator=generator)  # the padding's too
    flat = batch[packing.places[: packing.count]]
    [expected] = torch.autograd.grad((flat * weights[: packing.count]).sum(), batch)
    [found] = torch.autograd.grad((as_row(batch, packing) * weights).sum(), batch)
    assert torch.equal(found, expected)

    places = torch.tensor([4, 0, 7])
    [expected] = torch.autograd.grad((row[places] * weights[:3]).sum(), row)
    [found] = torch.autograd.grad((rows_at(row, places) * weights[:3]).sum(), row)
    assert torch.equal(found, expected)


def learned(model, rows):
    model.zero_grad()
    response_logprobs(model, rows).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradients_are_the_sum_of_those_of_each_alone(any_model):
    together = learned(any_model, make_rows(PROMPTS, RESPONSES))
    apart = [
        learned(any_model, make_rows([p], [r])) for p, r in zip(PROMPTS, RESPONSES, strict=True)
    ]
    assert together
    for name, gradient in together.items():
        total = sum(own[name] for own in apart)
        torch.testing.assert_close(gradient, total, atol=1e-5, rtol=1e-4)


def test_what_stands_in_the_rows_padding_teaches_nothing(any_model):
    rows = make_rows(PROMPTS, RESPONSES)
    before = learned(any_model, rows)
    rows.input_ids[rows.packing.count :] = 17
    for name, gradient in learned(any_model, rows).items():
        torch.testing.assert_close(gradient, before[name], atol=0, rtol=0)


def test_a_model_that_cannot_be_packed_is_given_a_padded_batch(any_model, monkeypatch):
    rows = make_rows(PROMPTS, RESPONSES)
    expected, gradients = response_logprobs(any_model, rows), learned(any_model, rows)
    monkeypatch.setattr(forward, "can_pack", lambda _: False)
    torch.testing.assert_close(response_logprobs(any_model, rows), expected, atol=1e-5, rtol=1e-5)
    for name, gradient in learned(any_model, rows).items():
        torch.testing.assert_close(gradient, gradients[name], atol=1e-5, rtol=1e-4)


def test_a_padded_batch_stays_within_a_table_of_positions():
    """Attention's width is rounded up to 32 here, and GPT-2 has learned 20 positions."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=2, n_positions=20)
    model = GPT2LMHeadModel(config).eval()
    model.set_attn_implementation("eager")
    rows = make_rows([[6, 7], list(range(6, 22))], [[8, END], [9, END]])
    found = response_logprobs(model, rows)
    logits = model(torch.tensor([[6, 7, 8, END]])).logits[0].log_softmax(-1)
    torch.testing.assert_close(found[0], torch.stack([logits[1, 8], logits[2, END]]))


def test_what_packed_attention_does_not_know_is_refused(model):
    rows = make_rows(PROMPTS, RESPONSES)
    layer = model.model.layers[0].self_attn
    ours = torch.zeros(1, 2, len(rows.input_ids), 8)
    with packed(rows.packing), pytest.raises(ValueError, match="packed rows know no dropout"):
        attention.plain_or_fused(layer, ours, ours, ours, None, softcap=30.0)


def test_long_sequences_go_to_the_fused_kernel_with_the_same_numbers(any_model, monkeypatch):
    rows = make_rows(PROMPTS, RESPONSES)
    expected = response_logprobs(any_model, rows)
    monkeypatch.setattr(attention, "LONGEST", 4)
    monkeypatch.setattr(attention, "plain_attention", None)
    torch.testing.assert_close(response_logprobs(any_model, rows), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "packs"),
    [
        ({"_attn_implementation": NAME}, True),
        ({"_attn_implementation": "eager"}, False),
        ({"_attn_implementation": NAME, "sliding_window": 64}, False),
        ({"_attn_implementation": NAME, "layer_types": ["full_attention"] * 2}, True),
        (
            {"_attn_implementation": NAME, "layer_types": ["full_attention", "sliding_attention"]},
            False,
        ),
    ],
)
def test_only_plain_causal_attention_of_ours_is_packed(options, packs):
    assert can_pack(SimpleNamespace(config=SimpleNamespace(**options))) is packs
    assert can_pack(tiny_model())
