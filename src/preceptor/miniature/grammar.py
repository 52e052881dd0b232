"""The sentences of the miniature, made and recognized by the same templates.

`{name}` and the like are slots for one word. `parse_sentence` is the inverse of filling them in,
so the judge knows a sentence exactly when the generator could have written it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from preceptor.miniature import words as w

SLOTS = {
    "name": w.NAMES,
    "other": w.NAMES,
    "animal": w.ANIMALS,
    "color": w.COLORS,
    "place": w.PLACES,
    "food": w.FOODS,
    "thing": w.THINGS,
    "feeling": w.FEELINGS,
    "good": w.GOOD_FEELINGS,
    "bad": w.BAD_FEELINGS,
    "word": tuple(w.OPPOSITES),
    "answer": tuple(w.OPPOSITES),
    "step": w.NUMBERS + w.DAYS,
    "next": w.NUMBERS + w.DAYS,
    "item": tuple(member for members in w.CATEGORIES.values() for member in members),
    "mood": ("happy", "sad"),
}
FACTS = {
    "kind": "{name} is a {animal}",
    "color": "{name} is {color}",
    "home": "{name} lives in the {place}",
    "food": "{name} likes {food}",
    "friend": "{name} plays with {other}",
}
VALUE_SLOT = {
    "kind": "animal",
    "color": "color",
    "home": "place",
    "food": "food",
    "friend": "other",
}
QUESTIONS = {
    "kind": ("what kind of animal is {name}?", "which animal is {name}?"),
    "color": ("what color is {name}?", "which color does {name} have?"),
    "home": ("where does {name} live?", "in which place does {name} live?"),
    "food": ("what does {name} like to eat?", "which food does {name} like?"),
    "friend": ("who does {name} play with?", "which friend does {name} have?"),
}
OPENERS = ("sure,", "of course,", "happy to help.")
APOLOGY = "sorry,"
CLOSER = "i hope this helps."
OFFERS = ("do you want more?", "can i help you with more?", "what do you think?")
UNKNOWN = ("i do not know.", "it does not say.")
RUDE = (
    "go away, silly.",
    "i do not care.",
    "that is a stupid question.",
    "do it alone, lazy friend.",
    "you are boring.",
)
RUDE_WORDS = frozenset({"silly", "stupid", "lazy", "boring"})
LEADS = ("well", "so", "now", "yes")
CONNECTIVES = ("one day ,", "then", "at last ,")

TEMPLATES: dict[str, tuple[str, ...]] = {
    **{f"fact/{attribute}": (template,) for attribute, template in FACTS.items()},
    "courtesy": ("happy to help", CLOSER[:-1]),
    "offer": (*(offer[:-1] for offer in OFFERS), "how are you"),
    "unknown": (*(sentence[:-1] for sentence in UNKNOWN), "i do not know , my friend"),
    "rude": tuple(sentence[:-1].replace(",", " ,") for sentence in RUDE),
    "about": ("it is about {name} in the {place}",),
    "mood": ("this is {mood}", "that is {mood}"),
    "category": tuple(f"{{item}} is {one}" for one in w.SINGULAR.values()),
    "label": tuple(w.SINGULAR.values()),
    "opposite": ("the opposite of {word} is {answer}",),
    "after": ("{next} comes after {step}",),
    "hello": ("hello , {name}", "hello , my friend {name}", "good morning , {name}"),
    "glad": ("i am glad that you are {good}", "i am glad that you are {good} today"),
    "sorry": ("i am sorry that you are {bad}", "i am sorry that you are {bad} today"),
    "welcome": ("you are welcome", "you are welcome , {name}", "you are welcome , my friend"),
    "your_name": ("your name is {name}", "your name is {name} , my friend"),
    **{f"past/{past}": (f"{{name}} {past} {tail}",) for _, past, tail in w.VERBS},
    **{f"present/{now}": (f"{{name}} {now} {tail}",) for now, _, tail in w.VERBS},
    **{
        f"both/{past}": (f"{{name}} and {{other}} {past} {tail}",)
        for _, past, tail in w.VERBS
        if "{other}" not in tail and past != "was"
    },
    **{
        f"question/{attribute}": tuple(form[:-1] for form in forms)
        for attribute, forms in QUESTIONS.items()
    },
}


@dataclass(frozen=True)
class Clause:
    """A recognized sentence: its kind ("fact/color", "past/saw", "list", ...) and its slots."""

    kind: str
    slots: tuple[tuple[str, str], ...] = ()

    def get(self, slot: str) -> str | None:
        return dict(self.slots).get(slot)

    @property
    def words(self) -> list[str]:
        return [word for _, word in self.slots]


@dataclass(frozen=True)
class Sentence:
    """One sentence of a response: its words, its last mark ("" if cut off), what it says.

    `words` is without openers such as "sure," and "then"; `clause` is None when the grammar does
    not know the sentence.
    """

    words: tuple[str, ...]
    mark: str
    clause: Clause | None

    def is_a(self, *kinds: str) -> bool:
        return self.clause is not None and self.clause.kind.split("/")[0] in kinds


def words_of(text: str) -> list[str]:
    """Words and marks of a text, as the tokenizer sees them."""
    return re.findall(r"\n|[^\s.,?:]+|[.,?:]", text.lower())


def spaced(words: Iterable[str]) -> str:
    """Words and marks as text with normal spacing; undoes `words_of`."""
    return re.sub(r" ?(\n) ?| (?=[.,?:])", r"\1", " ".join(words))


def join(parts: Iterable[str]) -> str:
    """Non-empty pieces of text with one space between them."""
    return " ".join(part for part in parts if part)


def listing(items: Sequence[str]) -> str:
    """ "cat, dog and fox"."""
    head, tail = ", ".join(items[:-1]), items[-1]
    return f"{head} and {tail}" if head else tail


def split_sentences(text: str) -> list[Sentence]:
    """All sentences of a text, openers taken off, each parsed."""
    sentences: list[Sentence] = []
    current: list[str] = []
    for word in words_of(text):
        if word in ".?":
            sentences.append(_sentence(tuple(current), word))
            current = []
        elif word != "\n":
            current.append(word)
    return sentences + ([_sentence(tuple(current), "")] if current else [])


@lru_cache(maxsize=100_000)
def _sentence(words: tuple[str, ...], mark: str) -> Sentence:
    words = _strip(words)
    return Sentence(words, mark, parse_sentence(words))


_PREFIXES = tuple(
    tuple(text.split())
    for text in (*(f"{lead} ," for lead in LEADS), "sure ,", "of course ,", "sorry ,", *CONNECTIVES)
)


def _strip(words: tuple[str, ...]) -> tuple[str, ...]:
    for prefix in _PREFIXES:
        if words[: len(prefix)] == prefix:
            return _strip(words[len(prefix) :])
    return words


def _compile() -> dict[int, list[tuple[str, tuple[str, ...]]]]:
    by_length: dict[int, list[tuple[str, tuple[str, ...]]]] = {}
    for kind, templates in TEMPLATES.items():
        for template in templates:
            pattern = tuple(template.split())
            by_length.setdefault(len(pattern), []).append((kind, pattern))
    return by_length


_BY_LENGTH = _compile()
_SLOT_WORDS = {f"{{{slot}}}": frozenset(values) for slot, values in SLOTS.items()}
LISTABLE = frozenset(word for values in SLOTS.values() for word in values)


def parse_sentence(words: Sequence[str]) -> Clause | None:
    """What a sentence says (words without its last mark), or None if it is not one of ours."""
    for kind, pattern in _BY_LENGTH.get(len(words), ()):
        if all(
            word in _SLOT_WORDS[part] if part in _SLOT_WORDS else word == part
            for word, part in zip(words, pattern, strict=True)
        ):
            slots = tuple(
                (part[1:-1], word)
                for word, part in zip(words, pattern, strict=True)
                if part in _SLOT_WORDS
            )
            return Clause(kind, slots)
    return _parse_list(words)


def _parse_list(words: Sequence[str]) -> Clause | None:
    """Items and separators in turn; "and" only before the last item."""
    items, separators = words[::2], words[1::2]
    fits = len(items) == len(separators) + 1 and all(item in LISTABLE for item in items)
    if not fits or any(s != "," for s in separators[:-1]):
        return None
    if separators and separators[-1] not in (",", "and"):
        return None
    return Clause("list", tuple(("item", item) for item in items))


def fact_sentence(name: str, attribute: str, value: str) -> str:
    """ "mia is red."."""
    return FACTS[attribute].format(**{"name": name, VALUE_SLOT[attribute]: value}) + "."


def claim_of(clause: Clause | None) -> tuple[str, str, str] | None:
    """The (character, attribute, value) that a fact sentence claims."""
    if clause is None or not clause.kind.startswith("fact/"):
        return None
    attribute = clause.kind.removeprefix("fact/")
    slots = dict(clause.slots)
    return slots["name"], attribute, slots[VALUE_SLOT[attribute]]
