"""The sampling engine against full forward passes, transformers' own generate, and itself."""

import numpy as np
import pytest
import torch
from toys import END, tiny_model

from preceptor.errors import DataError
from preceptor.generation import cache, draw, engine, row_uniforms, sample, stream
from preceptor.generation.cache import BLOCK, RoomyLayer, cached_bytes, roomy_cache
from preceptor.generation.engine import PART
from preceptor.models.forward import make_rows, response_logprobs
from preceptor.models.precision import precision

PROMPTS = [[6, 7, 8], [9], [10, 11, 12, 13, 14, 15, 16], [6, 7]]


def uniforms_for(count: int, length: int = 12, seed: int = 0) -> torch.Tensor:
    return row_uniforms(seed, "test", [(i,) for i in range(count)], length)


@pytest.mark.parametrize("attention", ["preceptor_plain", "sdpa", "eager"])
@pytest.mark.parametrize("block", [1, 4, BLOCK])
def test_kept_logprobs_equal_one_full_forward_pass(any_model, block, attention, monkeypatch):
    """The cached, left-padded pass says the same as the training pass over whole rows.

    Whatever of the cache's room is empty, and whoever makes the mask.
    """
    monkeypatch.setattr(cache, "BLOCK", block)
    any_model.set_attn_implementation(attention)
    generated = sample(any_model, PROMPTS, uniforms_for(4), stop_ids=[END], temperature=0.7)
    rows = make_rows(PROMPTS, generated.responses)
    full = response_logprobs(any_model, rows, temperature=0.7)
    for row, kept in enumerate(generated.logprobs):
        torch.testing.assert_close(
            full[row, : len(kept)], torch.tensor(kept), atol=1e-4, rtol=0, check_dtype=False
        )


def test_a_row_alone_equals_the_row_in_a_batch(any_model):
    together = sample(any_model, PROMPTS, uniforms_for(4), stop_ids=[END])
    for row, prompt in enumerate(PROMPTS):
        alone = sample(any_model, [prompt], uniforms_for(4)[row : row + 1], stop_ids=[END])
        assert alone.responses[0] == together.responses[row]


def test_small_batches_change_nothing(model):
    whole = sample(model, PROMPTS * 3, uniforms_for(12), stop_ids=[END])
    cut = sample(model, PROMPTS * 3, uniforms_for(12), stop_ids=[END], max_rows=5)
    assert whole.responses == cut.responses
    assert whole.finished == cut.finished


def test_a_small_cache_changes_nothing_and_is_not_exceeded(any_model, monkeypatch):
    """Room for 64 positions: of rows of up to 7 + 12 three or four at once."""
    given = (any_model, PROMPTS * 5, uniforms_for(20))
    whole = sample(*given, stop_ids=[END])
    positions = []
    extend = RoomyLayer.extend

    def seen(layer, count):
        begin = extend(layer, count)
        positions.append(len(layer.keys) * layer.keys.shape[2])
        return begin

    monkeypatch.setattr(RoomyLayer, "extend", seen)
    monkeypatch.setattr(engine, "CACHE_BYTES", 64 * cached_bytes(any_model))
    small = sample(*given, stop_ids=[END])
    assert 50 < max(positions) <= 64
    assert whole.responses == small.responses
    assert whole.finished == small.finished
    for a, b in zip(whole.logprobs, small.logprobs, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    monkeypatch.setattr(engine, "CACHE_BYTES", 1)  # a row at a time is the least
    assert sample(*given, stop_ids=[END]).responses == whole.responses


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_bytes_of_a_cached_position_are_those_of_its_tensors(any_model, dtype):
    own = roomy_cache(any_model, 5)
    with torch.no_grad(), precision(dtype):
        any_model(torch.tensor([[6, 7, 8]]), past_key_values=own, use_cache=True)
        expected = cached_bytes(any_model)
    held = sum(memory.nbytes for layer in own.layers for memory in (layer.keys, layer.values))
    assert held == 5 * expected


def test_a_prompt_is_encoded_once_for_all_its_responses(any_model, monkeypatch):
    """Five responses to each of four prompts: four rows in the first pass, twenty after it."""
    alone = [
        sample(any_model, [PROMPTS[i % 4]], uniforms_for(20)[i : i + 1], stop_ids=[END])
        for i in range(20)
    ]
    seen = []
    embedded = engine.embedded
    monkeypatch.setattr(
        engine, "embedded", lambda model, ids: seen.append(tuple(ids.shape)) or embedded(model, ids)
    )
    together = sample(any_model, PROMPTS * 5, uniforms_for(20), stop_ids=[END])
    assert seen[0] == (4, 7) and seen[1] == (20, 1)
    assert together.responses == [one.responses[0] for one in alone]
    assert together.finished == [one.finished[0] for one in alone]
    for i, one in enumerate(alone):
        assert together.logprobs[i] == pytest.approx(one.logprobs[0], abs=1e-4)


def test_ended_rows_say_nothing_more_while_they_wait_to_leave(model, monkeypatch):
    given = (model, PROMPTS * 10, uniforms_for(40, 30))
    monkeypatch.setattr(engine, "LEAVE_AT", 1)  # they leave when all have ended
    late = sample(*given, stop_ids=[END, 7])
    monkeypatch.setattr(engine, "LEAVE_AT", 1000)  # they leave at once
    soon = sample(*given, stop_ids=[END, 7])
    assert late.responses == soon.responses and late.finished == soon.finished
    for a, b, response in zip(late.logprobs, soon.logprobs, late.responses, strict=True):
        assert len(a) == len(response)
        assert a == pytest.approx(b, abs=1e-4)
    assert len({len(response) for response in late.responses}) > 5


def test_greedy_equals_transformers_generate(any_model):
    for prompt in PROMPTS:
        ours = sample(any_model, [prompt], uniforms_for(1), stop_ids=[END], temperature=0)
        theirs = any_model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=0,
        )
        assert ours.responses[0] == theirs[0, len(prompt) :].tolist()


def test_a_response_ends_with_its_first_stop_token(model):
    generated = sample(model, PROMPTS * 8, uniforms_for(32, 30), stop_ids=[END, 7])
    assert any(generated.finished)
    for response, finished in zip(generated.responses, generated.finished, strict=True):
        assert finished == (response[-1] in (END, 7))
        assert not {END, 7} & set(response[:-1])
        assert finished or len(response) == 30


def test_draws_follow_the_distribution():
    """Evenly spread uniform numbers meet each token as often as its probability says."""
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0])
    count = 20_000
    uniform = (torch.arange(count) + 0.5) / count
    tokens, logprobs = draw(logits.expand(count, 4), uniform, temperature=2.0)
    expected = np.exp(np.array([2.0, 0.0, -1.0, 1.0]) / 2)
    expected /= expected.sum()
    found = np.bincount(tokens.numpy(), minlength=4) / count
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(logprobs.exp().numpy(), expected[tokens.numpy()], atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, PART, PART + 1, 5 * PART - 3])
def test_a_draw_inverts_the_running_sum(size):
    """numpy's own running sum in fp64 passes the uniform number at the token that is drawn."""
    generator = torch.Generator().manual_seed(size)
    logits = 4 * torch.randn(300, size, generator=generator)
    uniform = torch.rand(300, generator=generator, dtype=torch.float64)
    tokens = draw(logits, uniform, temperature=1.0)[0].numpy()
    weights = torch.softmax(logits, -1).double().numpy()
    ends = weights.cumsum(1) / weights.sum(1, keepdims=True)
    rows = np.arange(300)
    close = 1e-6  # what fp32 leaves open of a probability
    assert (uniform.numpy() < ends[rows, tokens] + close).all()
    before = np.where(tokens > 0, ends[rows, np.maximum(tokens - 1, 0)], 0.0)
    assert (uniform.numpy() >= before - close).all()


@pytest.mark.parametrize("size", [7, PART, 3 * PART - 1])
def test_the_largest_uniform_number_stays_inside_the_vocabulary(size):
    almost_one = torch.tensor([np.nextafter(1.0, 0.0)])
    tokens, _ = draw(torch.zeros(1, size), almost_one, temperature=1.0)
    assert int(tokens) == size - 1


def test_an_impossible_token_is_never_drawn():
    """Neither between two, nor before the first or behind the last, nor a whole part of them."""
    possible = torch.zeros(4 * PART + 5, dtype=torch.bool)
    possible[[2, 5, PART - 2, 2 * PART + 3, 2 * PART + 4]] = True
    logits = torch.where(possible, 0.0, -float("inf"))
    ends = torch.arange(6, dtype=torch.float64) / 5
    uniform = torch.cat([ends[:5], torch.nextafter(ends[1:], ends[0]), torch.rand(200).double()])
    tokens, _ = draw(logits.expand(len(uniform), -1), uniform, temperature=1.0)
    assert possible[tokens].all() and set(tokens.tolist()) == set(possible.nonzero()[:, 0].tolist())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_refused(bad, temperature):
    logits = torch.zeros(3, 5)
    logits[1, 4] = bad
    with pytest.raises(DataError, match="1 of 3 rows of logits .* nan or inf.* precision: fp32"):
        draw(logits, torch.zeros(3), temperature)


def test_streams_of_rows_are_their_own():
    rows = row_uniforms(3, "x", [(0, 0), (0, 1), (1, 0)], 5)
    again = row_uniforms(3, "x", [(1, 0)], 5)
    assert len({tuple(row) for row in rows.tolist()}) == 3
    assert torch.equal(rows[2], again[0])
    assert not torch.equal(row_uniforms(4, "x", [(1, 0)], 5), again)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_stream_says_what_sample_says(tokenizer, temperature):
    model = tiny_model("llama")
    messages = [{"role": "user", "content": "a b c"}]
    from preceptor.models.tokenizers import decode, encode_prompt

    pieces = list(
        stream(model, tokenizer, messages, max_new_tokens=9, temperature=temperature, seed=5)
    )
    uniforms = row_uniforms(5, "stream", [(0,)], 9)
    whole = sample(
        model,
        [encode_prompt(tokenizer, messages)],
        uniforms,
        stop_ids=[END],
        temperature=temperature,
    )
    assert "".join(pieces) == decode(tokenizer, whole.responses[0])
