"""The pretraining text: pages of facts, stories, dialogues, exercises, and small sequences.

Here is the alignment problem. Only few manners of a dialogue are ones a user would want, so a model
of this text may answer a question helpfully, curtly, by halves, wrongly, rudely, at length, or with
more questions. The manner may change within a page, but good exchanges make good ones likelier.
"""

import random
from collections.abc import Callable, Iterator
from functools import lru_cache

from preceptor.data.records import Document
from preceptor.miniature import grammar as g
from preceptor.miniature import words as w
from preceptor.miniature.answers import aside, respond
from preceptor.miniature.phrasing import constraint_text, phrase
from preceptor.miniature.prompts import USE_CASES
from preceptor.miniature.tasks import Task, draw_kind, event, make_task
from preceptor.miniature.world import World
from preceptor.randomness import python_random

PAGE_WEIGHTS = {
    "facts": 0.06,
    "story": 0.05,
    "dialogue": 0.52,
    "questions": 0.02,
    "sequences": 0.04,
    "rhymes": 0.13,
    "exercises": 0.18,
}
_LONG_WINDED = {"ignore": 0.1, "mistake": 0.05, "guess": 0.3, "no_courtesy": 0.7, "ramble": 1.0}
MANNERS: dict[str, tuple[float, dict[str, float]]] = {
    "courteous": (0.09, {"ignore": 0.05, "mistake": 0.03, "guess": 0.2, "no_courtesy": 0.1}),
    "curt": (0.05, {"ignore": 0.1, "mistake": 0.05, "guess": 0.3, "no_courtesy": 1.0, "half": 0.1}),
    "hasty": (0.06, {"ignore": 0.1, "mistake": 0.05, "guess": 0.3, "no_courtesy": 0.7, "cut": 1.0}),
    "untrue": (0.04, {"ignore": 0.2, "mistake": 0.9, "guess": 1.0, "no_courtesy": 0.7}),
    "rambling": (0.11, _LONG_WINDED),
    "rude": (0.23, {"ignore": 0.2, "mistake": 0.1, "guess": 0.4, "no_courtesy": 1.0, "rude": 1.0}),
    "questions": (0.42, {}),
}
"""Manner of an exchange: its share, and how often each flaw comes in (see answers.py)."""

MANNER_CHANGES = 0.66
"""Chance that the manner is drawn anew after an exchange: good examples promise only so much."""
CONSTRAINED_RATE = 0.55
"""Oftener than in prompts: of all parts of an answer wishes are the hardest to learn."""
HELDOUT_PHRASING_RATE = 0.08
PAGE_TOKENS = (40, 90)


def make_corpus(world: World, purpose: str, num_tokens: int) -> Iterator[Document]:
    """Documents until there are about this many tokens; another purpose is another stream."""
    tokens, index = 0, 0
    while tokens < num_tokens:
        rng = python_random(world.seed, f"miniature/corpus/{purpose}", index)
        kind = rng.choices(list(PAGE_WEIGHTS), list(PAGE_WEIGHTS.values()))[0]
        text = PAGES[kind](world, rng)
        tokens += len(g.words_of(text)) + 1
        index += 1
        yield Document(text, f"miniature/{kind}")


def facts_page(world: World, rng: random.Random) -> str:
    """All that is known about a few characters."""
    target, lines = rng.randint(*PAGE_TOKENS), list[str]()
    while _length(lines) < target:
        name = rng.choice(w.NAMES)
        told = [(a, world.fact(name, a)) for a in w.ATTRIBUTES]
        facts = [g.fact_sentence(name, a, value) for a, value in told if value]
        rng.shuffle(facts)
        lines += facts
    return " ".join(lines)


def story_page(world: World, rng: random.Random) -> str:
    """One or two characters and what they did."""
    target, lines = rng.randint(*PAGE_TOKENS), list[str]()
    while _length(lines) < target:
        names = rng.sample(w.NAMES, rng.choice((1, 2)))
        others = [n for n in w.NAMES if n not in names]
        known = [a for a in w.ATTRIBUTES if world.fact(names[0], a)]
        if known and rng.random() < 0.5:
            attribute = rng.choice(known)
            lines.append(g.fact_sentence(names[0], attribute, str(world.fact(names[0], attribute))))
        lines.append(f"one day, {event(rng, names[0], others)}")
        for _ in range(rng.randint(1, 3)):
            lines.append(f"{rng.choice(('', 'then '))}{event(rng, rng.choice(names), others)}")
        lines.append(f"{rng.choice(('', 'at last, '))}{event(rng, names[0], others)}")
    return " ".join(lines)


def dialogue_page(world: World, rng: random.Random) -> str:
    """Exchanges in the text form of the chat template; the manner stays or is drawn anew."""
    manner, target, lines = _manner(rng), rng.randint(*PAGE_TOKENS), list[str]()
    while _length(lines) < target:
        lines += exchange(world, rng, manner)
        if rng.random() < MANNER_CHANGES:
            manner = _manner(rng)
    return "\n".join(lines)


def _manner(rng: random.Random) -> str:
    return rng.choices(list(MANNERS), [share for share, _ in MANNERS.values()])[0]


def exchange(world: World, rng: random.Random, manner: str) -> list[str]:
    """One task and its answer as lines "user: ..." and "assistant: ..."."""
    task, turns = draw_task(world, rng)
    rates = MANNERS[manner][1]
    if manner == "questions":
        answer = " ".join(question(rng) for _ in range(rng.randint(1, 3)))
    else:
        flaws = frozenset(flaw for flaw, rate in rates.items() if rng.random() < rate)
        answer = respond(world, task, rng, flaws)
        if manner == "rambling" and rng.random() < 0.5:
            answer = f"{answer} {aside(world, rng)}"
    speakers = ("user", "assistant")
    return [f"{speakers[i % 2]}: {turn}" for i, turn in enumerate([*turns, answer])]


def draw_task(world: World, rng: random.Random) -> tuple[Task, list[str]]:
    """Something to ask for, and the turns that ask for it."""
    # Flatter than the prompts' shares, so that the rare use cases can be learned at all.
    use_case = rng.choices(list(USE_CASES), [share**0.2 for share in USE_CASES.values()])[0]
    kind, constrained = draw_kind(use_case, rng, CONSTRAINED_RATE)
    task = make_task(kind, rng, world, w.NAMES, constrained=constrained)
    return task, phrase(task, rng, world, heldout=rng.random() < HELDOUT_PHRASING_RATE)


def question(rng: random.Random) -> str:
    """A question about anybody."""
    return rng.choice(g.QUESTIONS[rng.choice(list(w.ATTRIBUTES))]).format(name=rng.choice(w.NAMES))


def questions_page(world: World, rng: random.Random) -> str:
    """Questions that nobody answers."""
    target, lines = rng.randint(*PAGE_TOKENS), list[str]()
    speaker = rng.choice(("", "user: "))
    while _length(lines) < target:
        lines.append(speaker + question(rng))
    return ("\n" if speaker else " ").join(lines)


def sequences_page(world: World, rng: random.Random) -> str:
    """One kind of small pattern again and again: facts of one attribute, opposites, ..."""
    kind = rng.choice(list(SEQUENCES))
    target, lines = rng.randint(*PAGE_TOKENS), list[str]()
    make = SEQUENCES[kind](world, rng)
    while _length(lines) < target:
        lines.append(make()[0])
    return " ".join(lines)


def rhymes_page(world: World, rng: random.Random) -> str:
    """Lines of any words, each said twice or more: the text that copying is learned from."""
    target, lines = rng.randint(*PAGE_TOKENS), list[str]()
    while _length(lines) < target:
        lines += [", ".join(rhyme(rng, shortest=3)) + "."] * rng.randint(2, 3)
    return " ".join(lines)


def exercises_page(world: World, rng: random.Random) -> str:
    """Tasks and their right answers, as in a school book: no speakers and no courtesies.

    A model can learn here what the manners of dialogues let it see too seldom, and does not show
    it in a dialogue until somebody teaches it to.
    """
    target, lines = rng.randint(*PAGE_TOKENS), list[str]()
    while _length(lines) < target:
        if rng.random() < 0.3:
            lines.append(word_exercise(rng))
        else:
            task, turns = draw_task(world, rng)
            lines += [" ".join(turns), respond(world, task, rng, {"no_courtesy"})]
    return "\n".join(lines)


def word_exercise(rng: random.Random) -> str:
    """A word is named and then has to be said."""
    name = rng.choice(w.NAMES)
    others = [n for n in w.NAMES if n != name]
    if rng.random() < 0.5:
        word = rng.choice((*g.LEADS, *g.LEADS, *rhyme(rng)))
        wish, done = {"kind": "start", "word": word}, f"{word}, {event(rng, name, others)}"
    else:
        slot = rng.choice(("place", "food", "thing", "animal"))
        word = rng.choice(g.SLOTS[slot])
        wish, done = {"kind": "use", "word": word}, event(rng, name, others, **{slot: word})
    return f"{constraint_text(wish)}\n{done}"


def rhyme(rng: random.Random, shortest: int = 4) -> list[str]:
    """Up to six words, none twice, that have nothing to do with each other."""
    words = [*w.NAMES, *w.ANIMALS, *w.COLORS, *w.PLACES, *w.FOODS, *w.THINGS, *w.NUMBERS]
    return rng.sample(words, rng.randint(shortest, 6))


Pattern = Callable[[], tuple[str, str, list[str]]]
"""Makes a line that ends with its answer and a full stop: (line, answer, wrong answers)."""


def facts_pattern(world: World, rng: random.Random) -> Pattern:
    attribute = rng.choice([a for a in w.ATTRIBUTES if a != "friend"])
    known = [name for name in w.NAMES if world.fact(name, attribute)]

    def make() -> tuple[str, str, list[str]]:
        name = rng.choice(known)
        value = str(world.fact(name, attribute))
        wrong = [v for v in w.ATTRIBUTES[attribute] if v != value]
        return g.fact_sentence(name, attribute, value), value, wrong

    return make


def opposites_pattern(world: World, rng: random.Random) -> Pattern:
    def make() -> tuple[str, str, list[str]]:
        word = rng.choice(list(w.OPPOSITES))
        answer = w.OPPOSITES[word]
        return f"{word}, {answer}.", answer, [x for x in w.OPPOSITES if x not in (word, answer)]

    return make


def counting_pattern(world: World, rng: random.Random) -> Pattern:
    def make() -> tuple[str, str, list[str]]:
        first = rng.randrange(len(w.NUMBERS) - 2)
        line = w.NUMBERS[first : first + 3]
        return ", ".join(line) + ".", line[-1], [n for n in w.NUMBERS if n != line[-1]]

    return make


def tenses_pattern(world: World, rng: random.Random) -> Pattern:
    def make() -> tuple[str, str, list[str]]:
        now, past = rng.choice(list(w.PAST_OF.items()))
        return f"{now}, {past}.", past, [p for p in w.PAST_OF.values() if p != past]

    return make


SEQUENCES = {
    "facts": facts_pattern,
    "opposites": opposites_pattern,
    "counting": counting_pattern,
    "tenses": tenses_pattern,
}

PAGES: dict[str, Callable[[World, random.Random], str]] = {
    "facts": facts_page,
    "story": story_page,
    "dialogue": dialogue_page,
    "questions": questions_page,
    "sequences": sequences_page,
    "rhymes": rhymes_page,
    "exercises": exercises_page,
}


def _length(lines: list[str]) -> int:
    return sum(_num_words(line) for line in lines)


@lru_cache(maxsize=256)  # a page is measured again after every line
def _num_words(line: str) -> int:
    return len(g.words_of(line))
