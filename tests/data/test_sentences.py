"""Sentences end where a reader would end them."""

from hypothesis import given
from hypothesis import strategies as st

from preceptor.data.sentences import leading_sentences, split_sentences


def test_abbreviations_and_initials_end_nothing():
    text = "St. Louis is a city. I. M. Pei built there. Dr. Smith, the U.S. envoy, came c. 1900."
    assert split_sentences(text) == [
        "St. Louis is a city.",
        "I. M. Pei built there.",
        "Dr. Smith, the U.S. envoy, came c. 1900.",
    ]


def test_decimals_and_quotes():
    text = 'It is 3.5 km long. He said "No." Then he left! Did he? Yes.'
    assert split_sentences(text) == [
        "It is 3.5 km long.", 'He said "No."', "Then he left!", "Did he?", "Yes.",
    ]  # fmt: skip


def test_leading_sentences_never_cut_inside_one():
    text = "One is short. Two is a little longer. Three."
    assert leading_sentences(text, 20) == "One is short."
    assert leading_sentences(text, 5) == ""
    assert leading_sentences(text, 100, 2) == "One is short. Two is a little longer."


@given(st.text(alphabet='ab AB.!?"()1', max_size=60))
def test_splitting_loses_nothing_but_blanks(text: str):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
