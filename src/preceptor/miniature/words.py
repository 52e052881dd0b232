"""The words of the miniature: everything its sentences are filled with."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "anna ben carl dora ella emil finn gus hana hugo igor ivy jack kate kurt leo lily luna max mia "
    "nina nora oscar pia rosa ruby sam theo tom vera yara zoe"
)
ANIMALS = _words("cat dog fox bear rabbit duck")
COLORS = _words("red blue green yellow black white")
PLACES = _words("forest garden village city castle desert")
FOODS = _words("bread cheese honey soup rice cake")
THINGS = _words("ball book hat bell lamp drum")
GOOD_FEELINGS = ("happy", "calm", "proud")
BAD_FEELINGS = ("sad", "angry", "tired")
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
    ("runs", "ran", "to the {place}"),
    ("sleeps", "slept", "in the {place}"),
    ("sees", "saw", "a {animal}"),
    ("finds", "found", "a {thing}"),
    ("wins", "won", "a {thing}"),
    ("loses", "lost", "a {thing}"),
    ("breaks", "broke", "a {thing}"),
    ("eats", "ate", "{food}"),
    ("meets", "met", "{other}"),
    ("helps", "helped", "{other}"),
    ("is", "was", "{feeling}"),
)
"""What characters do: present, past, and what follows the verb."""

PAST_OF = {present: past for present, past, _ in VERBS}
MOODS = {"found": "happy", "won": "happy", "helped": "happy"} | {
    "lost": "sad",
    "broke": "sad",
}
"""The events whose mood anybody can tell."""

MARKS = (
    "rude",
    "unfinished",
    "beside the point",
    "untrue",
    "half done",
    "wish ignored",
    "almost",
    "good",
    "very good",
)
"""What a reader writes under an answer, from the worst fault to praise."""
