"""Cutting English prose at sentence ends, with care for "St. Louis" and "I. M. Pei"."""

import re

from preceptor.data.wording import word_set

# Words whose full stop does not end a sentence. A single capital letter is treated the same.
ABBREVIATIONS = word_set(
    """st dr mr mrs ms prof jr sr gen col capt lt sgt rev hon gov sen rep mt ft approx cf e.g i.e
    etc vs viz u.s u.k u.n d.c b.c a.d bros inc ltd co corp est dept univ jan feb mar apr jun jul
    aug sep sept oct nov dec lit ed eds trans pl"""
)
BEFORE_NUMBERS = word_set("no nos vol fig c ca r fl p pp op")  # "No." alone is a sentence
_END = re.compile(r"[.!?][\"'”’)]*\s+(?=[\"'“‘(]?[A-Z0-9À-Þ])")
_BEFORE = re.compile(r"([^\s(]+)[.!?][\"'”’)]*\s*$")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text; a stop after an abbreviation or an initial ends nothing."""
    sentences, start = [], 0
    for match in _END.finditer(text):
        before = _BEFORE.search(text[start : match.end()])
        if text[match.start()] == "." and before and _goes_on(before[1], text[match.end()]):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences


def leading_sentences(text: str, max_chars: int, max_sentences: int = 99) -> str:
    """As many whole sentences from the start as fit; nothing when the first is too long."""
    kept = ""
    for sentence in split_sentences(text)[:max_sentences]:
        longer = f"{kept} {sentence}".strip()
        if len(longer) > max_chars:
            break
        kept = longer
    return kept


def _goes_on(word: str, following: str) -> bool:
    """Whether a stop after this word belongs to the word."""
    bare = word.lstrip("\"'“‘(").rstrip(".")
    if bare.lower() in BEFORE_NUMBERS and not bare.isupper():
        return following.isdigit()
    return bare.lower() in ABBREVIATIONS or (len(bare) == 1 and bare.isupper())
