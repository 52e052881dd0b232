"""Encoding, packing and grouping: every token once, in its place, within the budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import END, tiny_tokenizer

from preceptor import randomness
from preceptor.data.batching import (
    encode_demonstrations,
    fit_prompts,
    open_sequences,
    pack_documents,
    split_by_tokens,
)
from preceptor.data.records import Demonstration, Document, Prompt
from preceptor.errors import DataError
from preceptor.models import tokenizers
from preceptor.models.tokenizers import (
    encode_prompt,
    encode_prompts,
    encode_response,
    encode_responses,
)
from preceptor.randomness import batch_indices


def test_the_end_token_stands_once_and_last(tokenizer):
    ids = encode_response(tokenizer, "a b c")
    assert ids.count(END) == 1 and ids[-1] == END
    assert END not in encode_prompt(tokenizer, "a b c")


def test_prompts_over_the_limit_leave_whole(tokenizer):
    prompts = [Prompt("a"), Prompt("a b c d e f g h i j"), Prompt("b")]
    kept = fit_prompts(prompts, tokenizer, 7, "prompts.jsonl")
    assert list(kept) == [prompts[0], prompts[2]]
    assert list(fit_prompts([], tokenizer, 7, "prompts.jsonl")) == []
    with pytest.raises(DataError, match=r"prompts.jsonl: every prompt is longer.*14 tokens"):
        fit_prompts(prompts[1:2], tokenizer, 7, "prompts.jsonl")


def test_a_response_over_the_limit_is_never_cut(tokenizer):
    items = [Demonstration("a", "b"), Demonstration("c", "a b c d e f g h")]
    prompts, responses = encode_demonstrations(
        items, tokenizer, max_prompt_tokens=20, max_response_tokens=5, where="d"
    )
    assert len(prompts) == len(responses) == 1
    assert responses[0][-1] == END
    with pytest.raises(DataError, match="every response is longer"):
        encode_demonstrations(
            items[1:], tokenizer, max_prompt_tokens=20, max_response_tokens=5, where="d"
        )


def test_demonstrations_are_the_same_whether_a_limit_is_the_prompts_or_the_responses(tokenizer):
    items = [Demonstration("a " * (i % 9 + 1), "b " * (i % 7 + 1)) for i in range(60)]
    found = encode_demonstrations(
        items, tokenizer, max_prompt_tokens=9, max_response_tokens=6, where="d"
    )
    pairs = [
        (encode_prompt(tokenizer, d.prompt), encode_response(tokenizer, d.response)) for d in items
    ]
    kept = [(p, r) for p, r in pairs if len(p) <= 9 and len(r) <= 6]
    assert list(zip(*found, strict=True)) == kept and 0 < len(kept) < 60
    with pytest.raises(DataError, match="every prompt is longer than max_prompt_tokens 2"):
        encode_demonstrations(
            items, tokenizer, max_prompt_tokens=2, max_response_tokens=1, where="d"
        )


@pytest.mark.parametrize("at_once", [(1000, 10**6), (3, 10**6), (1000, 20)])
def test_many_at_once_are_encoded_as_each_alone(tokenizer, monkeypatch, at_once):
    monkeypatch.setattr(tokenizers, "TEXTS_AT_ONCE", at_once[0])
    monkeypatch.setattr(tokenizers, "CHARS_AT_ONCE", at_once[1])
    texts = ["a b " * (i % 4) + "c" for i in range(11)]
    prompts = [*texts, [{"role": "system", "content": "a"}, {"role": "user", "content": "b c"}]]
    assert list(encode_prompts(tokenizer, iter(prompts))) == [
        encode_prompt(tokenizer, prompt) for prompt in prompts
    ]
    assert list(encode_responses(tokenizer, iter(texts))) == [
        encode_response(tokenizer, text) for text in texts
    ]
    assert list(encode_prompts(tokenizer, [])) == []


def test_every_document_survives_packing_once(tmp_path):
    documents = [Document("a b"), Document("c"), Document("d e f")]
    count = pack_documents(documents, tiny_tokenizer(), tmp_path / "t.npy")
    stream = np.load(tmp_path / "t.npy")
    assert count == len(stream) == 9
    assert stream.tolist() == [6, 7, END, 8, END, 9, 10, 11, END]
    assert open_sequences(tmp_path / "t.npy", 4).tolist() == [[6, 7, END, 8], [END, 9, 10, 11]]
    with pytest.raises(DataError, match="fewer than one sequence of 10"):
        open_sequences(tmp_path / "t.npy", 10)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 120))
def test_groups_hold_every_row_once_within_the_budget(lengths, budget):
    groups = list(split_by_tokens(lengths, budget))
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * max(lengths[row] for row in group)
        assert padded <= budget or len(group) == 1


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 5))
def test_batches_visit_every_item_once_an_epoch(num_items, batch_size, seed):
    steps = -(-2 * num_items // batch_size)
    seen = [
        i
        for step in range(steps)
        for i in batch_indices(num_items, batch_size, step, seed=seed, purpose="x")
    ]
    assert sorted(seen[:num_items]) == list(range(num_items))
    assert sorted(seen[num_items : 2 * num_items]) == list(range(num_items))


def test_epochs_differ_and_purposes_differ():
    first = batch_indices(50, 50, 0, seed=0, purpose="x")
    assert first != batch_indices(50, 50, 1, seed=0, purpose="x")
    assert first != batch_indices(50, 50, 0, seed=0, purpose="y")
    assert first == batch_indices(50, 50, 0, seed=0, purpose="x")


def test_an_epoch_is_shuffled_once_however_many_batches_it_has(monkeypatch):
    """Two sets in turn, as PPO-ptx draws them; one of them goes through two epochs."""
    shuffled, plain = [], randomness.numpy_generator
    monkeypatch.setattr(
        randomness, "numpy_generator", lambda *key: shuffled.append(key) or plain(*key)
    )
    for step in range(20):
        own = batch_indices(100, 10, step, seed=77, purpose="own")
        text = batch_indices(1000, 10, step, seed=77, purpose="text")
        for purpose, size, rows in (("own", 100, own), ("text", 1000, text)):
            epoch, offset = divmod(10 * step, size)
            order = plain(77, f"order/{purpose}", epoch).permutation(size)
            assert rows == order[offset : offset + 10].tolist()
    assert sorted(shuffled) == [(77, "order/own", 0), (77, "order/own", 1), (77, "order/text", 0)]
