"""Plain counts beside the judgement: repetition and variety. Text in, number out.

The gold judge of the miniature looks at neither. The rubric has a part against repetition that
counts otherwise; what it knows nothing of is variety, and perplexity.
"""

from collections.abc import Sequence

from preceptor.data.wording import words


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
