"""Measures that no judge here looks at: length, repetition, variety. Text in, number out."""

from collections.abc import Sequence

from preceptor.data.wording import words


def length_words(response: str) -> int:
    """How many words and numbers a response has."""
    return len(words(response))


def length_chars(response: str) -> int:
    """How many characters a response has, blanks at both ends left out."""
    return len(response.strip())


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n tokens, in order."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def repetition(response: str) -> float:
    """Share of a response's 3-grams that it has had before; 0 for fewer than four words."""
    found = ngrams(words(response), 3)
    return 1 - len(set(found)) / len(found) if found else 0.0


def distinct_words(response: str) -> float:
    """Different words by all words of one response (distinct-1); 0 for none.

    Longer texts have lower values, so compare it only beside the length.
    """
    found = words(response)
    return len(set(found)) / len(found) if found else 0.0


def distinct_bigrams(responses: Sequence[str]) -> float:
    """Different word pairs by all word pairs over a set of responses (distinct-2; Li et al. 2016).

    Low when many responses say the same: a collapse that no single response shows.
    """
    found = [pair for response in responses for pair in ngrams(words(response), 2)]
    return len(set(found)) / len(found) if found else 0.0
