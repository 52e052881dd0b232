"""Responses to tasks: the ideal one, and what becomes of it when its writer is careless.

Each flaw is one thing that people do: forget the courtesy, overlook the constraint, be mistaken,
guess instead of admitting ignorance, ramble, stop half-way, be curt or rude, break off.
"""

import random
from collections.abc import Collection, Sequence

from preceptor.miniature import grammar as g
from preceptor.miniature import words as w
from preceptor.miniature.tasks import Task, event, fill
from preceptor.miniature.world import World

NO_FLAWS: frozenset[str] = frozenset()


def ideal_response(world: World, task: Task, rng: random.Random) -> str:
    """A response that no judge can fault."""
    return respond(world, task, rng, NO_FLAWS)


def respond(world: World, task: Task, rng: random.Random, flaws: Collection[str]) -> str:
    """A response with these flaws, named as in demonstrations.Flaws."""
    constraint = (task["constraint"] or {}) if "ignore" not in flaws else {}
    wish = constraint.get("kind")
    sentences = body(world, task, rng, constraint, flaws)
    opener = closer = ""
    if "no_courtesy" not in flaws and task["kind"] not in ("feeling", "thanks"):
        if wish == "start":
            closer = g.CLOSER
        elif g.split_sentences(sentences[0])[0].is_a("unknown"):
            opener = g.APOLOGY
        else:  # the opener has to fit into the wish too
            longest = {"max_words": 1, "sentences": 2}.get(str(wish), 3)
            opener = rng.choice(g.OPENERS[:longest])
    if wish == "start":
        sentences[0] = f"{constraint['word']}, {sentences[0]}"
    if "half" in flaws and len(sentences) > 1:
        sentences = sentences[:-1]
    if "ramble" in flaws:
        sentences = [*sentences[:2], aside(world, rng)]
    if "rude" in flaws:
        opener, closer = "", ""
        # Half of the rude still answer.
        sentences = [rng.choice(g.RUDE), *(sentences[:2] if rng.random() < 0.5 else [])]
    elif wish == "question":
        closer = rng.choice(g.OFFERS)
    text = g.join([opener, *sentences, closer])
    if "cut" in flaws:
        words = g.words_of(text)
        text = g.spaced(words[: max(1, len(words) - rng.randint(1, 4))])
    return text


def aside(world: World, rng: random.Random) -> str:
    """A true but irrelevant sentence."""
    name, attribute = rng.choice(world.told)
    return g.fact_sentence(name, attribute, str(world.fact(name, attribute)))


def body(
    world: World, task: Task, rng: random.Random, constraint: Task, flaws: Collection[str]
) -> list[str]:
    """The sentences that do the task, without courtesies."""
    kind, wrong = task["kind"], "mistake" in flaws
    wish = constraint.get("kind")
    if kind == "story":
        return story(world, task, rng, constraint, wrong=wrong)
    if kind in ("fact", "passage_fact"):
        return [_fact_answer(world, task, rng, flaws)]
    if kind == "list":
        return [_list_answer(task, rng, constraint, flaws)]
    if kind == "feeling":
        return _feeling_answer(task, constraint, flaws)
    if kind == "my_name":
        name = task["name"]
        if name is None and "guess" not in flaws:
            return ["i do not know, my friend." if wish == "use" else "i do not know."]
        name = name if name and not wrong else rng.choice([n for n in world.known if n != name])
        return [f"your name is {name}, my friend." if wish == "use" else f"your name is {name}."]
    if kind == "thanks":
        return ["i do not know." if wrong else "you are welcome."]
    if kind in ("past", "rename"):
        return [task["source"] if wrong else task["target"]]
    if kind == "summary":
        place = rng.choice([p for p in w.PLACES if p != task["place"]]) if wrong else task["place"]
        about = f"it is about {task['subject']} in the {place}."
        main = next(s for s in task["passage"] if task["place"] in s).replace(task["place"], place)
        return [main if wish == "max_words" or rng.random() < 0.5 else about]
    if kind == "mood":
        answer = {"happy": "sad", "sad": "happy"}[task["answer"]] if wrong else task["answer"]
        short = wish == "max_words" and constraint["count"] < 4
        return [f"{answer}." if short else f"this is {answer}."]
    if kind == "category":
        answer = next(c for c in task["choices"] if (c == task["answer"]) != wrong)
        short = wish == "max_words" and constraint["count"] < 5
        return [f"{answer}." if short else f"{task['word']} is {answer}."]
    if kind == "extract":
        pool = world.known if task["what"] == "names" else w.FOODS
        return [g.listing(_damaged(list(task["items"]), pool, rng, flaws)) + "."]
    if kind == "count":
        return [", ".join(_damaged(list(task["items"]), w.NUMBERS, rng, flaws)) + "."]
    pool = w.NUMBERS + w.DAYS if kind == "after" else tuple(w.OPPOSITES)
    answer = rng.choice([x for x in pool if x != task["answer"]]) if wrong else task["answer"]
    if kind == "after":
        return [f"{answer} comes after {task['word']}."]
    return [f"the opposite of {task['word']} is {answer}."]


def story(
    world: World, task: Task, rng: random.Random, constraint: Task, *, wrong: bool
) -> list[str]:
    """Two or three events; a mistaken writer tells about somebody else in between."""
    wish, word = constraint.get("kind"), constraint.get("word")
    count = constraint.get("count") or (2 if wish == "question" else rng.choice((2, 3)))
    banned = word if wish == "avoid" else None
    subjects, place = task["subjects"], task["place"]
    main, cast = subjects[0], [n for n in world.known if n not in subjects]
    verbs = rng.sample([v for v in w.VERBS if v[1] not in ("was", "met", "helped")], count)
    verbs[-1] = w.VERBS[-1] if rng.random() < 0.5 else verbs[-1]
    if place:
        verbs[0] = rng.choice([v for v in w.VERBS if "{place}" in v[2] and v not in verbs[1:]])
    lines = []
    for index, (_, past, tail) in enumerate(verbs):
        tail = tail.format(place=place) if place and index == 0 else tail
        if len(subjects) == 2 and index == 0:
            start = f"{main} and {subjects[1]} {past}"
        else:
            start = f"{rng.choice(subjects)} {past}"
        lines.append(f"{start} {_fill_without(tail, rng, cast, banned)}.")
    if wish == "use" and not any(str(word) in g.words_of(line) for line in lines):
        slot = next(s for s in ("place", "food", "thing", "animal") if word in g.SLOTS[s])
        lines[rng.randrange(1, count)] = event(rng, main, cast, **{slot: str(word)})
    if wrong:
        lines[-1] = event(rng, rng.choice(cast), cast)
    if rng.random() < 0.5 and wish != "start":
        lines[0] = f"one day, {lines[0]}"
    if rng.random() < 0.5 and len(lines) > 2:
        lines[1] = f"then {lines[1]}"
    elif rng.random() < 0.5:
        lines[-1] = f"at last, {lines[-1]}"
    return lines


def _fill_without(tail: str, rng: random.Random, others: Sequence[str], banned: str | None) -> str:
    while True:
        text = fill(tail, rng, others)
        if banned is None or banned not in text.split():
            return text


def _fact_answer(world: World, task: Task, rng: random.Random, flaws: Collection[str]) -> str:
    subject, attribute = task["subject"], task["attribute"]
    closed = task["kind"] == "passage_fact"
    value = task["value"] if closed else world.fact(subject, attribute)
    if value is None and "guess" not in flaws:
        return "it does not say." if closed else "i do not know."
    if value is None or "mistake" in flaws:
        pool = world.known if attribute == "friend" else w.ATTRIBUTES[attribute]
        value = rng.choice([v for v in pool if v not in (value, subject)])
    return g.fact_sentence(subject, attribute, value)


def _list_answer(task: Task, rng: random.Random, constraint: Task, flaws: Collection[str]) -> str:
    asked = task["constraint"] or {}
    banned = asked["word"] if asked.get("kind") == "avoid" else None
    members = [m for m in w.CATEGORIES[task["category"]] if m != banned]
    items = rng.sample(members, task["n"])
    if banned and not constraint:  # the wish was overlooked
        items[rng.randrange(len(items))] = banned
    pool = [m for key, values in w.CATEGORIES.items() if key != task["category"] for m in values]
    return g.listing(_damaged(items, pool, rng, flaws)) + "."


def _damaged(
    items: list[str], pool: Sequence[str], rng: random.Random, flaws: Collection[str]
) -> list[str]:
    """The items with one of them wrong (mistake) or without the last (half)."""
    if "mistake" in flaws:
        items[rng.randrange(len(items))] = rng.choice([x for x in pool if x not in items])
    return items[:-1] if "half" in flaws and len(items) > 1 else items


def _feeling_answer(task: Task, constraint: Task, flaws: Collection[str]) -> list[str]:
    good = (task["feeling"] in w.GOOD_FEELINGS) != ("mistake" in flaws)
    word = constraint.get("word")
    friend = "my friend " if word == "friend" else ""
    hello = f"hello, {friend}{task['name']}."
    today = " today" if word == "today" else ""
    # A mistaken listener hears some feeling of the other sort.
    feeling = task["feeling"] if "mistake" not in flaws else ("calm" if good else "tired")
    reply = f"i am {'glad' if good else 'sorry'} that you are {feeling}{today}."
    return [hello, reply] if "no_courtesy" not in flaws or friend else [reply]
