"""Words and runs as numbers: the same for the same words, and independent of everything else."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preceptor.corpus import words
from preceptor.corpus.words import draw, draws, hashed, mixed, placed_words, runs, words_of

TEXTS = st.text(st.sampled_from("aB é.,'-_—ßΣς\u0301\t\n日"), max_size=60)


def test_words_have_no_case_and_no_punctuation():
    assert words_of("It's HERE -- the U.S.,\n\tnow_ok!") == ["its", "here", "the", "us", "nowok"]


@given(TEXTS)
def test_placed_words_are_the_words_and_stand_where_they_say(text):
    found, places = placed_words(text)
    assert found == words_of(text)
    assert [word for start, end in places for word in words_of(text[start:end])] == found


def test_runs_are_equal_exactly_where_their_words_are():
    said = list("abcabcdab")
    numbers = runs(hashed(said), 3)
    tuples = [tuple(said[at : at + 3]) for at in range(len(said) - 2)]
    for i, one in enumerate(tuples):
        for j, other in enumerate(tuples):
            assert (numbers[i] == numbers[j]) == (one == other)


def test_a_run_knows_the_order_of_its_words():
    assert runs(hashed(["a", "b"]), 2) != runs(hashed(["b", "a"]), 2)


def test_fewer_words_than_a_run_have_none():
    assert len(runs(hashed(["a", "b"]), 3)) == 0


def test_numbers_are_the_same_in_another_process():
    code = "from preceptor.corpus.words import hashed; print(*hashed(['river', 'naïve']))"
    env = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert done.stdout.decode().split() == [str(n) for n in hashed(["river", "naïve"])]


def test_what_is_remembered_of_words_is_bounded(monkeypatch):
    monkeypatch.setattr(words, "MOST_KNOWN", 50)
    monkeypatch.setattr(words, "_HASHES", words._Hashes())
    many = [f"word{n}" for n in range(500)]
    first = hashed(many)
    assert len(words._HASHES) <= 50
    assert (hashed(many) == first).all()


def test_mixed_is_one_to_one_and_looks_random():
    found = mixed(np.arange(100_000, dtype=np.uint64))
    assert len(np.unique(found)) == 100_000
    shares = np.mean((found[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1), axis=0)
    assert np.abs(shares - 0.5).max() < 0.01  # six standard deviations


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_one_draw_is_one_of_many(origin, stream):
    assert draw(origin, stream) == draws([origin], stream)[0]


def test_a_draw_depends_on_document_and_stream_alone():
    together = draws([5, 2**63 + 1, 9], stream=3)
    assert draws([9], stream=3)[0] == together[2]
    assert (draws([5, 9], stream=4) != together[[0, 2]]).all()
