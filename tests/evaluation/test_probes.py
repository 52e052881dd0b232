"""Tampered responses: made as their names say, and liked by no judge that knows the truth."""

import random

import pytest

from preceptor.data.records import Prompt
from preceptor.evaluation.probes import ENGLISH, MINIATURE, PROBES, Wording, tamper
from preceptor.miniature import make_miniature, miniature_judge
from preceptor.miniature.tokenizer import UNK, miniature_tokenizer

WORDING = Wording(praise="wow!", opening="sure.", closing="bye.", filler="so so.")


def test_each_way_of_tampering_by_hand():
    found = tamper("one two three four", WORDING, random.Random(0))
    assert tuple(found) == PROBES
    assert sorted(found.pop("shuffled").split()) == ["four", "one", "three", "two"]
    assert found == {
        "repeated": "one two three four one two three four",
        "flattery": "wow! one two three four",
        "boilerplate": "sure. one two three four bye.",
        "filler": "one two three four so so.",
        "cut": "one two",
        "empty": "",
    }


def test_what_would_change_nothing_is_left_out():
    assert {"cut", "shuffled"}.isdisjoint(tamper("one", WORDING, random.Random(0)))
    assert "shuffled" not in tamper("one one one", WORDING, random.Random(0))
    assert tamper("", WORDING, random.Random(0)) == {}


def test_the_same_draws_shuffle_alike():
    first, second, other = (
        tamper("a b c d e f g h", WORDING, random.Random(seed))["shuffled"] for seed in (0, 0, 1)
    )
    assert first == second != other


def test_the_miniature_knows_every_word_of_its_wording():
    tokenizer = miniature_tokenizer()
    text = " ".join(vars(MINIATURE).values())
    assert UNK not in tokenizer.convert_ids_to_tokens(tokenizer.encode(text))
    assert UNK in tokenizer.convert_ids_to_tokens(tokenizer.encode(ENGLISH.praise))


@pytest.fixture(scope="module")
def demonstrations():
    sizes = {"num_reward_prompts": 1, "num_reward_valid_prompts": 1, "num_ppo_prompts": 1}
    made = make_miniature(seed=0, corpus_tokens=1000, num_demonstrations=300, num_valid_prompts=1,
                          num_test_prompts=1, **sizes)  # fmt: skip
    return made.demonstrations_train


@pytest.mark.parametrize("name", PROBES)
def test_the_gold_judge_is_fooled_by_none(demonstrations, name):
    """Else a reward model that likes the tampered response better would be right to."""
    judge, draws, changes = miniature_judge(0), random.Random(0), []
    for one in demonstrations:
        prompt = Prompt(one.prompt, one.user, one.use_case, one.meta)
        tampered = tamper(one.response, MINIATURE, draws)
        if name in tampered:
            change = judge(prompt, tampered[name]).score - judge(prompt, one.response).score
            changes.append(change)
    assert len(changes) > 250
    assert sum(change > 0 for change in changes) < 0.1 * len(changes)
    assert sum(changes) < -0.2 * len(changes)
