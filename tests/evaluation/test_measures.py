"""Measures of text against counts by hand."""

from preceptor.evaluation.measures import distinct_words, repetition


def test_repetition_is_the_share_of_three_grams_seen_before():
    assert repetition("a b c d") == 0
    assert repetition("a b c a b c") == 0.25  # abc bca cab abc
    assert repetition("x " * 12) == 0.9  # ten runs, one of them new
    assert repetition("") == repetition("one two") == 0


def test_distinct_words_ignore_case():
    assert distinct_words("The the cat sat") == 0.75
    assert distinct_words("") == 0
