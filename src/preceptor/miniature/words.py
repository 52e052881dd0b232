"""The words of the miniature: everything its sentences are filled with."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "anna ben carl dora emil finn gus hana hugo ivy jack kate leo luna max mia nora oscar pia rosa "
    "sam tom vera zoe"
)
ANIMALS = _words("cat dog fox bear rabbit mouse duck frog")
COLORS = _words("red blue green yellow black white brown gray")
PLACES = _words("forest garden village city farm castle desert cave")
FOODS = _words("bread cheese honey soup rice cake milk corn")
THINGS = _words("ball book hat bell lamp drum kite cup")
GOOD_FEELINGS = ("happy", "calm", "proud", "excited")
BAD_FEELINGS = ("sad", "angry", "tired", "scared")
FEELINGS = GOOD_FEELINGS + BAD_FEELINGS
NUMBERS = _words("one two three four five six seven eight nine ten")
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
_FIRST = _words("hot big up fast old open day wet loud hard full long")
_SECOND = _words("cold small down slow new closed night dry quiet soft empty short")
OPPOSITES = dict(zip(_FIRST + _SECOND, _SECOND + _FIRST, strict=True))

CATEGORIES = {
    "animals": ANIMALS,
    "colors": COLORS,
    "places": PLACES,
    "foods": FOODS,
    "things": THINGS,
    "numbers": NUMBERS,
    "days": DAYS,
}
"""Kinds of thing a user may ask for, with all their members."""

SINGULAR = {
    "animals": "an animal",
    "colors": "a color",
    "places": "a place",
    "foods": "a food",
    "things": "a thing",
    "numbers": "a number",
    "days": "a day",
}

ATTRIBUTES = {"kind": ANIMALS, "color": COLORS, "home": PLACES, "food": FOODS, "friend": NAMES}
"""What can be known about a character, and the values it can have."""

VERBS = (
    ("goes", "went", "to the {place}"),
    ("walks", "walked", "to the {place}"),
    ("runs", "ran", "to the {place}"),
    ("sleeps", "slept", "in the {place}"),
    ("sits", "sat", "in the {place}"),
    ("sees", "saw", "a {animal}"),
    ("hears", "heard", "a {animal}"),
    ("finds", "found", "a {thing}"),
    ("wins", "won", "a {thing}"),
    ("buys", "bought", "a {thing}"),
    ("loses", "lost", "a {thing}"),
    ("breaks", "broke", "a {thing}"),
    ("eats", "ate", "{food}"),
    ("cooks", "cooked", "{food}"),
    ("meets", "met", "{other}"),
    ("helps", "helped", "{other}"),
    ("is", "was", "{feeling}"),
)
"""What characters do: present, past, and what follows the verb."""

PAST_OF = {present: past for present, past, _ in VERBS}
MOODS = {"found": "happy", "won": "happy", "bought": "happy", "helped": "happy"} | {
    "lost": "sad",
    "broke": "sad",
}
"""The events whose mood anybody can tell."""
