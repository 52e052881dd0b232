"""Few-shot tasks of the pretraining distribution, for the alignment tax: articles nobody saw."""

import random
from collections.abc import Callable, Sequence

from preceptor.data.dataset import Choice
from preceptor.data.real_records import UNWANTED, Article

NUM_ITEMS = 60
NUM_CHOICES = 4


def make_tasks(articles: Sequence[Article], rng: random.Random) -> dict[str, list[Choice]]:
    """Which description fits, and which sentence goes on; wrong choices are other articles'.

    Worked examples and items come from held-out articles, never the same one in both. They are
    few and short: every choice of every item is one forward pass for every model.
    """
    usable = [
        article
        for article in articles
        if 40 < len(article.sentences[0]) < 160 and not UNWANTED.search(article.text)
    ]
    described = [a for a in usable if 3 <= len(a.description.split()) <= 9]
    continued = [a for a in usable if len(a.sentences) > 1 and 40 < len(a.sentences[1]) < 160]
    return {
        "wiki_description": _task(described, rng, 2, _ask_description, lambda a: a.description),
        "wiki_continuation": _task(continued, rng, 1, _first, lambda a: a.sentences[1]),
    }


def _ask_description(article: Article) -> str:
    return f"{_first(article)}\nIn short:"


def _first(article: Article) -> str:
    return article.sentences[0]


def _task(
    articles: Sequence[Article],
    rng: random.Random,
    num_shots: int,
    ask: Callable[[Article], str],
    answer: Callable[[Article], str],
) -> list[Choice]:
    """One item an article, each behind worked examples of other articles."""
    order = list(articles)
    rng.shuffle(order)
    items = []
    for article in order[:NUM_ITEMS]:
        others = [other for other in order if other is not article]
        rng.shuffle(others)
        shots = "".join(f"{ask(a)} {answer(a)}\n\n" for a in others[:num_shots])
        right = answer(article)
        wrong = [answer(a) for a in others[num_shots:] if answer(a) != right]
        choices = list(dict.fromkeys(wrong))[: NUM_CHOICES - 1]
        place = rng.randrange(len(choices) + 1)
        choices.insert(place, right)
        items.append(Choice(shots + ask(article), [f" {choice}" for choice in choices], place))
    return items
