"""What users ask for, as plain JSON-able mappings: the kind of task, its material, its constraint.

A task holds all that a judge needs beside the world; phrasing.py puts it into words.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from preceptor.miniature import words as w
from preceptor.miniature.grammar import LEADS, fact_sentence, spaced, words_of
from preceptor.miniature.world import World

Task = dict[str, Any]

KINDS: dict[str, dict[str, float]] = {
    "generation": {"story": 1},
    "open_qa": {"fact": 1},
    "brainstorming": {"list": 1},
    "chat": {"feeling": 3, "my_name": 1, "thanks": 1},
    "rewriting": {"past": 1, "rename": 1},
    "summarization": {"summary": 1},
    "classification": {"mood": 1, "category": 1},
    "closed_qa": {"passage_fact": 1},
    "extraction": {"extract": 1},
    "other": {"count": 1, "opposite": 1, "after": 1},
}
"""The kinds of task in each use case, with their weights."""

CONSTRAINED_FRACTION = 0.4


def draw_kind(
    use_case: str, rng: random.Random, constrained_fraction: float = CONSTRAINED_FRACTION
) -> tuple[str, bool]:
    """A kind of task of this use case, and whether it comes with a constraint."""
    kinds = KINDS[use_case]
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    return kind, rng.random() < constrained_fraction


def make_task(
    kind: str, rng: random.Random, world: World, names: Sequence[str], *, constrained: bool
) -> Task:
    """A task of this kind about some of these characters."""
    task: Task = {"kind": kind} | _MAKERS[kind](rng, world, names)
    task["constraint"] = make_constraint(task, rng) if constrained else None
    return task


def make_constraint(task: Task, rng: random.Random) -> Task:
    """An explicit wish that fits the task: about one in four prompts had one in the paper."""
    kind = task["kind"]
    options = ["question", "start"]
    if kind == "story":
        options = ["use", "use", "sentences", "sentences", "avoid", "question", "start"]
    elif kind == "list":
        options += ["avoid", "avoid"]
    elif kind in ("fact", "passage_fact", "summary", "mood", "category"):
        options += ["max_words", "sentences"]
    elif kind in ("feeling", "my_name"):
        options = ["question", "use", "use"]
    elif kind == "thanks":
        options = ["question"]
    choice = rng.choice(options)
    if choice == "use":
        pool = w.PLACES + w.FOODS + w.THINGS + w.ANIMALS if kind == "story" else ("friend",)
        pool = pool + ("today",) if kind == "feeling" else pool
        return {"kind": "use", "word": rng.choice(pool)}
    if choice == "sentences":
        return {"kind": "sentences", "count": rng.choice((2, 3)) if kind == "story" else 1}
    if choice == "avoid":
        pool = w.CATEGORIES[task.get("category", "places")]
        return {"kind": "avoid", "word": rng.choice([x for x in pool if x != task.get("place")])}
    if choice == "max_words":
        lowest = 3 if kind in ("mood", "category") else 6
        return {"kind": "max_words", "count": rng.randint(lowest, 8)}
    return {"kind": "start", "word": rng.choice(LEADS)} if choice == "start" else {"kind": choice}


def event(rng: random.Random, name: str, names: Sequence[str], **fixed: str) -> str:
    """A sentence in the past about one character; `fixed` sets verb (past) or slot words."""
    verbs = [v for v in w.VERBS if fixed.get("verb") in (None, v[1])]
    slots = [slot for slot in fixed if slot != "verb"]
    verbs = [v for v in verbs if all(f"{{{slot}}}" in v[2] for slot in slots)]
    _, past, tail = rng.choice(verbs)
    return f"{name} {past} {fill(tail, rng, [n for n in names if n != name], **fixed)}."


def fill(tail: str, rng: random.Random, others: Sequence[str], **fixed: str) -> str:
    """Random words in the slots of a verb's tail."""
    pools = {
        "place": w.PLACES,
        "animal": w.ANIMALS,
        "thing": w.THINGS,
        "food": w.FOODS,
        "feeling": w.FEELINGS,
        "other": others,
    }
    slots = [slot for slot in pools if f"{{{slot}}}" in tail]
    return tail.format(**{slot: fixed.get(slot) or rng.choice(pools[slot]) for slot in slots})


def _story(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    place = rng.choice(w.PLACES) if rng.random() < 0.4 else None
    return {"subjects": rng.sample(list(names), rng.choice((1, 1, 2))), "place": place}


def _fact(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    return {"subject": rng.choice(names), "attribute": rng.choice(list(w.ATTRIBUTES))}


def _list(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    receiver = rng.choice(names) if rng.random() < 0.4 else None
    category = rng.choice(list(w.CATEGORIES))
    return {"category": category, "n": rng.randint(2, 4), "receiver": receiver}


def _feeling(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    return {"name": rng.choice(names), "feeling": rng.choice(w.FEELINGS)}


def _my_name(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    return {"name": rng.choice(names) if rng.random() < 0.75 else None}


def _thanks(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    known = [key for key, value in sorted(world.facts.items()) if value and key[0] in names]
    subject, attribute = rng.choice(known)
    return {"subject": subject, "attribute": attribute}


def _past(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    now, past, tail = rng.choice(w.VERBS)
    name = rng.choice(names)
    tail = fill(tail, rng, [n for n in names if n != name])
    return {"source": f"{name} {now} {tail}.", "target": f"{name} {past} {tail}."}


def _rename(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    old, new, other = rng.sample(list(names), 3)
    source = event(rng, old, [other])
    target = spaced(new if word == old else word for word in words_of(source))
    return {"source": source, "target": target, "old": old, "new": new}


def _summary(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    name, place = rng.choice(names), rng.choice(w.PLACES)
    rest = [v[1] for v in w.VERBS if "{place}" not in v[2]]
    details = [event(rng, name, names, verb=verb) for verb in rng.sample(rest, 2)]
    passage = [event(rng, name, names, place=place), *details]
    if rng.random() < 0.3:
        passage[0], passage[1] = passage[1], passage[0]
    return {"subject": name, "place": place, "passage": passage}


def _mood(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    verb = rng.choice(list(w.MOODS))
    return {"source": event(rng, rng.choice(names), names, verb=verb), "answer": w.MOODS[verb]}


def _category(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    right, wrong = rng.sample(list(w.SINGULAR), 2)
    choices = rng.sample([w.SINGULAR[right], w.SINGULAR[wrong]], 2)
    word, answer = rng.choice(w.CATEGORIES[right]), w.SINGULAR[right]
    return {"word": word, "choices": choices, "answer": answer}


def _passage_fact(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    name, attributes = rng.choice(names), rng.sample(list(w.ATTRIBUTES), 3)
    told = {
        a: rng.choice([v for v in (names if a == "friend" else w.ATTRIBUTES[a]) if v != name])
        for a in attributes[:2]
    }
    asked = attributes[rng.choice((0, 0, 1, 1, 2))]
    passage = [fact_sentence(name, a, value) for a, value in told.items()]
    return {"subject": name, "attribute": asked, "passage": passage, "value": told.get(asked)}


def _extract(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    what = rng.choice(("names", "foods"))
    people = rng.sample(list(names), 3)
    if what == "names":
        others = rng.sample(["met", "helped"], 2)
        count = rng.choice((1, 2))
        first = event(rng, people[0], names, verb=others[0], other=people[1])
        second = event(rng, people[2], [], verb=rng.choice(("went", "found", "ate")))
        passage = [first, second][:count]
        return {"what": what, "passage": passage, "items": people[: count + 1]}
    foods = rng.sample(w.FOODS, 2)
    passage = [
        event(rng, name, names, verb=rng.choice(("ate", "cooked")), food=food)
        for name, food in zip(people, foods, strict=False)
    ]
    return {"what": what, "passage": passage, "items": foods}


def _count(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    first = rng.randint(0, 7)
    last = rng.randint(first + 1, min(first + 4, 9))
    return {"items": list(w.NUMBERS[first : last + 1])}


def _opposite(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    word = rng.choice(list(w.OPPOSITES))
    return {"word": word, "answer": w.OPPOSITES[word]}


def _after(rng: random.Random, world: World, names: Sequence[str]) -> Task:
    sequence = rng.choice((w.NUMBERS, w.DAYS))
    index = rng.randrange(len(sequence) - 1)
    return {"word": sequence[index], "answer": sequence[index + 1]}


_MAKERS: dict[str, Callable[[random.Random, World, Sequence[str]], Task]] = {
    "story": _story,
    "fact": _fact,
    "list": _list,
    "feeling": _feeling,
    "my_name": _my_name,
    "thanks": _thanks,
    "past": _past,
    "rename": _rename,
    "summary": _summary,
    "mood": _mood,
    "category": _category,
    "passage_fact": _passage_fact,
    "extract": _extract,
    "count": _count,
    "opposite": _opposite,
    "after": _after,
}
