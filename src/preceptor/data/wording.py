"""Words of a text, for overlaps: lower case, function words apart, plural and verb endings off."""

import re


def word_set(text: str) -> frozenset[str]:
    """A set of words, written as one text."""
    return frozenset(text.split())


FUNCTION_WORDS = word_set(
    """a an the this that these those such some any each every both all no not nor neither
    either of in on at by for with from to into onto over under between among through during
    before after about against within without along across behind beyond near as than like
    per via up down out off is am are was were be been being do does did done has have had
    having can cannot could may might must shall should will would and or but so yet if then
    because while although though when where who whom whose which what why how there here it
    its it's he him his she her they them their we us our you your i me my one also very
    more most other only own same too just it'll i'm you're don't doesn't isn't usually
    often"""
)
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person",
    "teeth": "tooth", "feet": "foot", "mice": "mouse", "geese": "goose", "wolves": "wolf",
}  # fmt: skip


def words(text: str) -> list[str]:
    """The words and numbers of a text in lower case; "1,500" is one number."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text.replace("’", "'"))
    text = re.sub(r"(?<=\d)-(?=\d)", " ", text)  # a range of years is two numbers
    return [word.casefold() for word in _WORD.findall(text)]


def stem(word: str) -> str:
    """A word without possessive, plural and common verb endings, so that near forms meet."""
    word = _IRREGULAR.get(word, word.removesuffix("'s"))
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    for ending in ("ing", "ed", "es", "s", "e"):
        if len(word) - len(ending) >= 3 and word.endswith(ending) and not word.endswith("ss"):
            return word[: -len(ending)]
    return word


def content_words(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order, repetitions kept."""
    return [stem(word) for word in words(text) if word not in FUNCTION_WORDS]


def numbers(text: str) -> set[str]:
    """The numbers in a text, as digits."""
    return {word for word in words(text) if word[0].isdigit()}
