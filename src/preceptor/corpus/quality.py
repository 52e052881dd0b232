"""Rules that look at one document alone: its language, and Gopher's on quality and repetition.

Rae et al. 2021 (arXiv:2112.11446), appendix A.1.1 and Table A1. Words are what stands between
blanks. Repeated runs are counted from the second time on; a run that comes once repeats nothing.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from preceptor.corpus.recipe import QualityConfig
from preceptor.corpus.words import Numbers, hashed, runs
from preceptor.data.languages import identify_language

LOOKED_AT = 1_000
"""Characters that tell a document's language."""
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
TOP_RUNS = {2: 0.20, 3: 0.18, 4: 0.16}
"""Words of a run: share of the characters that the commonest such run may have."""
REPEATED_RUNS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
"""Words of a run: share of the characters that runs said before may have."""
REPEATED_CHARS = 0.2
"""Share of the characters that lines or paragraphs said before may have."""

Problem = tuple[str, str]
"""The rule that a document breaks, and by how much."""


def language_problem(text: str, keep: Sequence[str]) -> Problem | None:
    """Why it is in none of these languages, or None."""
    found = identify_language(text[:LOOKED_AT])
    if found.code in keep:
        return None
    if found.code == "und":
        return "no language can be told", f"likeliest at {found.score:.2f}"
    return "in another language", f"{found.code} {found.score:.2f}"


def quality_problem(text: str, rules: QualityConfig) -> Problem | None:
    """The first rule that a document breaks, or None."""
    words = text.split()
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    return _of_words(text, words, lengths, rules) or _of_repetition(text, words, lengths, rules)


def _of_words(
    text: str, words: list[str], lengths: npt.NDArray[np.int64], rules: QualityConfig
) -> Problem | None:
    count = len(words)
    if count < rules.min_words or count == 0:
        return "fewer than min_words", f"{count} words"
    if count > rules.max_words:
        return "more than max_words", f"{count:,} words"
    mean = float(lengths.mean())
    if not rules.min_mean_word_chars <= mean <= rules.max_mean_word_chars:
        return "mean length of words", f"{mean:.1f} characters"
    symbols = max(text.count("#"), text.count("...") + text.count("…")) / count
    if symbols > rules.max_symbols:
        return "signs such as # and ...", f"{symbols:.2f} a word"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    bullets = sum(line[0] in "-•*" for line in lines) / len(lines)
    if bullets > rules.max_bullet_lines:
        return "nearly all lines are of a list", f"{bullets:.0%}"
    dots = sum(line.endswith(("...", "…")) for line in lines) / len(lines)
    if dots > rules.max_ellipsis_lines:
        return "lines that end in dots", f"{dots:.0%}"
    with_letter = sum(any(map(str.isalpha, word)) for word in words) / count
    if with_letter < rules.min_letter_words:
        return "words without a letter", f"{1 - with_letter:.0%}"
    stop_words = STOP_WORDS.intersection(words) if rules.min_stop_words else ()
    if len(stop_words) < rules.min_stop_words:
        return "fewer than min_stop_words", f"{len(stop_words)} of the, be, to, of, ..."
    return None


def _of_repetition(
    text: str, words: list[str], lengths: npt.NDArray[np.int64], rules: QualityConfig
) -> Problem | None:
    for what, parts, limit in (
        ("lines", text.split("\n"), rules.max_repeated_lines),
        ("paragraphs", text.split("\n\n"), rules.max_repeated_paragraphs),
    ):
        share, chars = repeated([part.strip() for part in parts if part.strip()])
        if share > limit or (limit < 1 and chars > REPEATED_CHARS):
            return f"repeated {what}", f"{share:.0%} of them, {chars:.0%} of the characters"
    if not rules.repeated_runs:
        return None
    numbers = hashed(words)
    total = max(1, int(lengths.sum()))
    for length, limit in TOP_RUNS.items():
        if (share := top_run(numbers, lengths, length) / total) > limit:
            return f"one run of {length} words again and again", f"{share:.0%} of the characters"
    for length, limit in REPEATED_RUNS.items():
        chars = repeated_chars(numbers, lengths, length)
        if chars == 0:
            break  # a longer run that repeats holds shorter ones that do
        if chars / total > limit:
            return f"repeated runs of {length} words", f"{chars / total:.0%} of the characters"
    return None


def repeated(parts: Sequence[str]) -> tuple[float, float]:
    """Share of the parts, and of their characters, that were said before."""
    seen: set[str] = set()
    count = chars = 0
    for part in parts:
        if part in seen:
            count += 1
            chars += len(part)
        seen.add(part)
    return count / max(1, len(parts)), chars / max(1, sum(map(len, parts)))


def top_run(numbers: Numbers, lengths: npt.NDArray[np.int64], length: int) -> int:
    """Characters of the run of so many words that comes most often; 0 if none comes twice."""
    found, first, counts = np.unique(runs(numbers, length), return_index=True, return_counts=True)
    if len(found) == 0 or counts.max() < 2:
        return 0
    commonest = np.flatnonzero(counts == counts.max())
    chars = [int(lengths[at : at + length].sum()) for at in first[commonest]]
    return max(chars) * int(counts.max())


def repeated_chars(numbers: Numbers, lengths: npt.NDArray[np.int64], length: int) -> int:
    """Characters of words in runs of this length that were said before, each counted once."""
    found = runs(numbers, length)
    first = np.unique(found, return_index=True)[1]
    if len(first) == len(found):
        return 0
    again = np.ones(len(found), dtype=bool)
    again[first] = False
    edges = np.zeros(len(numbers) + 1, dtype=np.int64)
    starts = np.flatnonzero(again)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + length, -1)
    return int(lengths[np.cumsum(edges[:-1]) > 0].sum())
