"""Probes as ids: what is encoded, what finds no room, and how many demonstrations are taken."""

import pytest
from toys import END, WORDS, tiny_tokenizer

from preceptor.config import Recipe
from preceptor.evaluation.probes import PROBES
from preceptor.miniature.tokenizer import UNK, miniature_tokenizer
from preceptor.steps.inputs import MOST_PROBED, probe_ids

A, B, C = (WORDS.index(letter) for letter in "abc")


def recipe(**options) -> Recipe:
    return Recipe.model_validate(
        {"model": "some/model", "demonstrations": "d.jsonl", "max_response_tokens": 64} | options
    )


def test_tampered_ids_end_once_and_say_what_their_name_says():
    found = probe_ids(recipe(), tiny_tokenizer(), [[A, B, C, END]])
    assert tuple(found) == PROBES
    assert found["repeated"] == {0: [A, B, C, A, B, C, END]}
    assert found["cut"] == {0: [A, END]}
    assert found["empty"] == {0: [END]}
    assert all(ids.count(END) == 1 for rows in found.values() for ids in rows.values())


def test_what_is_too_long_to_be_written_leaves_its_probe_only():
    short, long = [A, END], [A, B, C, END]
    found = probe_ids(recipe(max_response_tokens=6), tiny_tokenizer(), [short, long])
    assert set(found["repeated"]) == {0}
    assert set(found["empty"]) == {0, 1} and set(found["cut"]) == {1}
    assert found["filler"] == {}


def test_an_original_is_never_its_own_tampered_version():
    """An empty demonstration is what the empty probe makes of it."""
    assert probe_ids(recipe(), tiny_tokenizer(), [[END]]) == {name: {} for name in PROBES}


def test_only_so_many_are_taken():
    found = probe_ids(recipe(), tiny_tokenizer(), [[A, B, END]] * (MOST_PROBED + 5))
    assert len(found["repeated"]) == MOST_PROBED


@pytest.mark.parametrize("source", ["miniature", "d.jsonl"])
def test_each_world_is_probed_in_its_own_words(source):
    tokenizer = miniature_tokenizer()
    ids = tokenizer.encode("mia is red.", add_special_tokens=False)
    asked = recipe(demonstrations=source)
    found = probe_ids(asked, tokenizer, [[*ids, int(tokenizer.eos_token_id)]])
    unknown = tokenizer.convert_tokens_to_ids(UNK)
    assert (unknown in found["flattery"][0]) == (source == "d.jsonl")
