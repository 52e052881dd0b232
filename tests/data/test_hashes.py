"""Sets of hashes are those of Python, and groups come in the order in which they are met."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preceptor.data.hashes import are_among, different, hashes, numbered

NUMBERS = st.lists(st.integers(0, 9) | st.just(2**64 - 1))


def array(numbers):
    return np.array(numbers, dtype=np.uint64)


@given(NUMBERS, st.lists(st.integers(5, 12) | st.just(0)))
def test_sets_are_those_of_python(numbers, others):
    assert different(array(numbers)).tolist() == sorted(set(numbers))
    found = are_among(array(numbers), array(others))
    assert found.tolist() == [number in set(others) for number in numbers]


@given(NUMBERS)
def test_groups_are_counted_as_they_are_met(numbers):
    met: dict[int, int] = {}
    for number in numbers:
        met.setdefault(number, len(met))
    groups, first = numbered(array(numbers))
    assert groups.tolist() == [met[number] for number in numbers]
    assert first.tolist() == [numbers.index(number) for number in met]


def test_a_hash_comes_in_the_order_of_the_whole_one():
    texts = [f"text {i}" for i in range(300)] + ["", "\U0001f600"]
    whole = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
    order = sorted(range(len(texts)), key=lambda i: whole[i])
    assert np.argsort(hashes(texts)).tolist() == order
    assert hashes([]).tolist() == []
