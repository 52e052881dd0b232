"""Rules that look at one document alone: its language, and Gopher's on quality and repetition.

Rae et al. 2021 (arXiv:2112.11446), appendix A.1.1 and Table A1. Words are what stands between
blanks. Repeated runs are counted from the second time on; a run that comes once repeats nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import filterfalse

import numpy as np
import numpy.typing as npt

from preceptor.corpus.recipe import QualityConfig
from preceptor.corpus.words import ODD, Numbers, hashed
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
    mixed = list(filterfalse(str.isalpha, words))  # most words are letters alone: told at once
    without_letter = sum(not any(map(str.isalpha, word)) for word in mixed)
    with_letter = (count - without_letter) / count
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
    ends = np.concatenate(([0], np.cumsum(lengths)))  # characters before each word
    total = max(1, int(ends[-1]))
    for length, again in runs_said_again(hashed(words), max(REPEATED_RUNS)):
        limit = TOP_RUNS.get(length) or REPEATED_RUNS[length]
        chars_of = ends[again.places + length] - ends[again.places]
        if int(chars_of.sum()) / total <= limit:
            continue  # all of them together are not too many
        if length in TOP_RUNS:
            if (share := top_run(again, chars_of) / total) > limit:
                told = f"one run of {length} words again and again"
                return told, f"{share:.0%} of the characters"
        elif (share := repeated_chars(again, lengths, length) / total) > limit:
            return f"repeated runs of {length} words", f"{share:.0%} of the characters"
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


@dataclass(frozen=True)
class Again:
    """Where runs of one length begin that come at least twice, [M]: run by run, each in order."""

    places: npt.NDArray[np.int64]
    is_first: npt.NDArray[np.bool_]  # [M]: of its run


def runs_said_again(numbers: Numbers, longest: int) -> Iterator[tuple[int, Again]]:
    """For 2, 3, ... words in a row, those that come again; ends with the length that has none.

    A run that comes again begins with a shorter one that does, so each length looks only where the
    one before found something: in most documents nearly nowhere.
    """
    places = np.arange(len(numbers))
    found = numbers  # [M]: a number for the run that begins at each place
    for length in range(2, longest + 1):
        if len(places) and places[-1] > len(numbers) - length:  # the last has no room
            places, found = places[:-1], found[:-1]
        found = found * ODD + numbers[places + (length - 1)]
        order = np.argsort(found, kind="stable")
        ordered = found[order]
        is_new = np.ones(len(order) + 1, dtype=bool)
        np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:-1])
        again = ~(is_new[:-1] & is_new[1:])
        where = order[again]
        if len(where) == 0:
            return
        yield length, Again(places[where], is_new[:-1][again])
        where.sort()
        places, found = places[where], found[where]


def top_run(again: Again, chars_of: npt.NDArray[np.int64]) -> int:
    """Characters of the run that comes most often, each time; `chars_of` [M] has those of one."""
    starts = np.flatnonzero(again.is_first)
    counts = np.diff(starts, append=len(again.places))
    most = counts.max()
    return int(chars_of[starts[counts == most]].max() * most)


def repeated_chars(again: Again, lengths: npt.NDArray[np.int64], length: int) -> int:
    """Characters of words in runs of this length that were said before, each counted once."""
    is_said = np.zeros(len(lengths), dtype=bool)
    starts = again.places[~again.is_first]
    for at in range(length):
        is_said[starts + at] = True
    return int(lengths[is_said].sum())
