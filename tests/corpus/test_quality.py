"""The rules on one document, each broken once, against counts by hand and by a double loop."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from corpora import document

from preceptor.corpus.quality import (
    language_problem,
    quality_problem,
    repeated,
    repeated_chars,
    runs_said_again,
    top_run,
)
from preceptor.corpus.recipe import QualityConfig
from preceptor.corpus.words import hashed

RULES = QualityConfig()
GOOD = document(1)


def test_a_good_document_breaks_no_rule():
    assert quality_problem(GOOD, RULES) is None


@pytest.mark.parametrize(
    ("reason", "text", "rules"),
    [
        ("fewer than min_words", "Too short to be anything.", {}),
        ("fewer than min_words", "", {"min_words": 0}),
        ("more than max_words", GOOD, {"max_words": 20}),
        ("mean length of words", "a b " * 60, {}),
        ("mean length of words", "incomprehensibilities " * 60, {}),
        ("signs such as # and ...", GOOD + " #" * 20, {}),
        ("nearly all lines are of a list", "\n".join(f"- {w}" for w in GOOD.split()), {}),
        ("lines that end in dots", GOOD.replace(". ", " ...\n"), {"max_symbols": 9}),
        ("words without a letter", GOOD + " 1234" * 60, {}),
        ("fewer than min_stop_words", " ".join(f"word{n}ly" for n in range(60)), {}),
        ("repeated lines", "\n".join([GOOD[:60]] * 9 + [GOOD]), {}),
        ("repeated paragraphs", f"{GOOD[:80]}\n\n" * 2 + GOOD, {"max_repeated_lines": 1}),
        ("one run of 2 words again and again", GOOD + " buy cheap" * 40, {}),
        ("repeated runs of 5 words", f"{GOOD} {document(2)} {GOOD}", {}),
    ],
)  # fmt: skip
def test_each_rule_is_told_by_its_name(reason, text, rules):
    found = quality_problem(text, QualityConfig.model_validate(rules))
    assert found is not None and found[0] == reason


def test_what_is_at_the_limit_stays():
    words = ["the", "and", *(f"word{n}" for n in range(48))]
    assert quality_problem(" ".join(words), RULES) is None
    assert quality_problem(" ".join(words[:-1]), RULES)[0] == "fewer than min_words"


def slow_top_run(words: list[str], length: int) -> int:
    """Characters of the run that comes most often, each time; 0 if none comes twice."""
    counts = Counter(tuple(words[at : at + length]) for at in range(len(words) - length + 1))
    most = max(counts.values(), default=0)
    return max((most * sum(map(len, run)) for run, n in counts.items() if n == most > 1), default=0)


def slow_repeated_chars(words: list[str], length: int) -> int:
    """Every run against every earlier one; the words of those said before, each once."""
    marked = [False] * len(words)
    for at in range(len(words) - length + 1):
        if any(words[at : at + length] == words[b : b + length] for b in range(at)):
            marked[at : at + length] = [True] * length
    return sum(len(word) for word, is_marked in zip(words, marked, strict=True) if is_marked)


def test_repeated_runs_are_those_that_a_double_loop_finds():
    random = np.random.default_rng(0)
    for vocabulary in (1, 2, 4, 8) * 10:
        all_words = ["a", "bb", "ccc", "dddd", "e", "ff", "ggg", "hhhh"][:vocabulary]
        words = random.choice(all_words, random.integers(0, 60)).tolist()
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        found = dict(runs_said_again(hashed(words), 10))
        for length in range(2, 11):
            if length not in found:
                assert slow_top_run(words, length) == slow_repeated_chars(words, length) == 0
                continue
            again = found[length]
            chars = np.array([lengths[at : at + length].sum() for at in again.places])
            assert top_run(again, chars) == slow_top_run(words, length)
            assert repeated_chars(again, lengths, length) == slow_repeated_chars(words, length)


def test_the_first_run_over_its_limit_is_the_one_that_a_plain_loop_names():
    """Documents of few words, so that some have a run of each length too often."""
    random = np.random.default_rng(1)
    rules = QualityConfig(min_stop_words=0, min_words=1)
    limits = {2: 0.20, 3: 0.18, 4: 0.16, 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
    seen = set()
    for _ in range(300):
        words = [f"word{n}" for n in random.integers(0, random.choice([6, 30, 300]), 60)]
        at, length, times = random.integers(0, 50), random.integers(2, 11), random.integers(1, 5)
        words[at:at] = words[at : at + length] * times
        total, expected = sum(map(len, words)), None
        for run, limit in limits.items():
            count = slow_top_run if run <= 4 else slow_repeated_chars
            if count(words, run) / total > limit:
                kind = "one run of {} words again and again" if run <= 4 else "repeated runs of {}"
                expected = kind.format(run)
                break
        found = quality_problem(" ".join(words), rules)
        assert (found or ("",))[0].startswith(expected or "") and bool(found) == bool(expected)
        seen.add(expected)
    assert len(seen) > 5


def test_the_commonest_run_counts_its_characters_each_time():
    words = ["to", "be", "or", "not", "to", "be", "to", "be"]
    (length, again), *longer = runs_said_again(hashed(words), 10)
    assert (length, again.places.tolist(), longer) == (2, [0, 4, 6], [])
    assert top_run(again, np.array([4, 4, 4])) == 3 * 4
    assert sum(pair == ("to", "be") for pair in pairwise(words)) == 3


def test_repeated_parts_are_counted_from_the_second_on():
    assert repeated(["aa", "b", "aa", "aa"]) == (2 / 4, 4 / 7)
    assert repeated([]) == (0, 0)


def test_languages_are_told():
    german = "Der Hund läuft schnell durch den Wald, und die Katze schläft auf dem Dach des Hauses."
    assert language_problem(GOOD, ["en"]) is None
    assert language_problem(german, ["en"])[0] == "in another language"
    assert language_problem(german, ["de", "en"]) is None
    assert language_problem("12 34 56", ["en"])[0] == "no language can be told"
