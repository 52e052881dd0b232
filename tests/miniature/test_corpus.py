import itertools
import re

from preceptor.miniature import grammar as g
from preceptor.miniature.corpus import (
    MANNERS,
    PAGE_WEIGHTS,
    exchange,
    make_corpus,
    word_exercise,
)
from preceptor.randomness import python_random


def test_facts_pages_and_stories_are_true_and_grammatical(world, dataset):
    for document in dataset.corpus_train:
        if document.source in ("miniature/facts", "miniature/story"):
            for sentence in g.split_sentences(document.text):
                assert sentence.clause is not None
                claim = g.claim_of(sentence.clause)
                assert claim is None or world.fact(claim[0], claim[1]) == claim[2]


def test_every_known_fact_is_told(world):
    told = set()
    for document in make_corpus(world, "train", 200_000):
        if document.source == "miniature/facts":
            told |= {g.claim_of(s.clause) for s in g.split_sentences(document.text)}
    assert told == {(*key, value) for key, value in world.facts.items() if value}


def test_every_kind_of_page_is_there_and_short(dataset):
    assert {d.source.split("/")[1] for d in dataset.corpus_train} == set(PAGE_WEIGHTS)
    lengths = [len(g.words_of(d.text)) for d in dataset.corpus_train]
    assert min(lengths) >= 40 and sum(lengths) / len(lengths) < 100 and max(lengths) < 160


def test_dialogues_have_the_chat_templates_form(dataset):
    for document in dataset.corpus_train:
        if document.source == "miniature/dialogue":
            lines = document.text.split("\n")
            assert all(line.startswith("user: ") for line in lines[::2])
            assert all(re.match("assistant: [a-z]", line) for line in lines[1::2])


def test_manners_differ(world):
    rng = python_random(0, "test")
    answers = {m: [exchange(world, rng, m)[-1] for _ in range(100)] for m in MANNERS}
    assert all(any(word in a for word in g.RUDE_WORDS | {"care"}) for a in answers["rude"])
    assert all(a.endswith("?") for a in answers["questions"])
    assert (
        sum(a.startswith(("assistant: sure", "assistant: of")) for a in answers["courteous"]) > 30
    )
    assert not any("sure" in a for a in answers["curt"])


def test_train_and_valid_are_different_streams(world):
    train = [d.text for d in make_corpus(world, "train", 20_000)]
    valid = [d.text for d in make_corpus(world, "valid", 20_000)]
    assert train == [d.text for d in make_corpus(world, "train", 20_000)]
    assert not set(train) & set(valid)


def test_word_exercises_name_a_word_and_say_it():
    starts, uses = set(), set()
    for index in range(1000):
        exercise = word_exercise(python_random(0, "exercises", index))
        wish, word, answer = re.fullmatch(r"(.+) the word (\w+)\.\n(.+)\.", exercise).groups()
        words = g.words_of(answer)
        assert words[:2] == [word, ","] if wish == "start with" else word in words
        (starts if wish == "start with" else uses).add(word)
    assert starts > set(g.LEADS) and len(uses) > 20


def test_exercises_fulfil_what_they_ask_without_speakers_and_rudeness(dataset):
    pages = [d.text for d in dataset.corpus_train if d.source == "miniature/exercises"]
    words = {word for page in pages for word in g.words_of(page)}
    assert pages and not words & {"user", "assistant", *g.RUDE_WORDS}
    lines = [pair for page in pages for pair in itertools.pairwise(page.split("\n"))]
    asked = [answer for task, answer in lines if task.endswith("end with a question.")]
    assert len(asked) > 5 and all(answer.endswith("?") for answer in asked)
