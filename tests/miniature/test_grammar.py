import pytest

from preceptor.miniature import grammar as g
from preceptor.miniature.tasks import event
from preceptor.miniature.words import ATTRIBUTES, NAMES
from preceptor.randomness import python_random


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_fact_sentence_claims_its_fact(attribute):
    for value in ATTRIBUTES[attribute]:
        if value != "mia":
            (sentence,) = g.split_sentences(g.fact_sentence("mia", attribute, value))
            assert g.claim_of(sentence.clause) == ("mia", attribute, value)


def test_every_event_is_recognized():
    rng = python_random(0, "test")
    for _ in range(500):
        (sentence,) = g.split_sentences("then " + event(rng, "tom", NAMES[:5]))
        assert sentence.is_a("past") and sentence.words[0] == "tom"


@pytest.mark.parametrize(
    "text",
    [
        "mia is.",
        "mia is a red.",
        "red is mia.",
        "mia went to the cat.",
        "mia went the castle.",
        "cat dog and fox.",
        "cat and dog, fox.",
        "cat,.",
        "i know.",
        "castle the to went mia.",
        "",
    ],
)
def test_other_word_orders_are_not_sentences(text):
    assert all(sentence.clause is None for sentence in g.split_sentences(text))


def test_openers_are_taken_off_but_marks_are_kept():
    first, second, third = g.split_sentences("sure, one day, mia ate corn. do you want more? tom")
    assert (first.words, first.mark) == (("mia", "ate", "corn"), ".")
    assert second.is_a("offer") and second.mark == "?"
    assert (third.words, third.mark, third.clause) == (
        ("tom",),
        "",
        g.Clause("list", (("item", "tom"),)),
    )


def test_spaced_undoes_words_of():
    text = "user: what color is mia?\nassistant: sure, mia is red."
    assert g.spaced(g.words_of(text)) == text
