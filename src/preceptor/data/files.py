"""A user's own files, of any known format, split so that no prompt or user stands on two sides."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from preceptor.data.conversations import GROUP
from preceptor.data.formats import (
    LeftOut,
    OnError,
    nothing_in,
    stream_records,
)
from preceptor.data.hashes import different, hashes, text_hash
from preceptor.data.records import (
    Demonstration,
    Document,
    Prompt,
    Ranking,
    Record,
    compared_text,
)
from preceptor.data.stored import Chosen, store_records
from preceptor.errors import DataError

Asked = TypeVar("Asked", Prompt, Demonstration, Ranking)


@dataclass(frozen=True)
class Split:
    """A named share of the users or prompts, and at most so many of them."""

    name: str
    share: float
    most: int | None = None


MOST_HELD_OUT = 2000
"""What only measures gets no more: a share is then known to 2.2 percent points, at 95 %."""
PROMPT_SPLITS = (
    Split("reward_train", 0.4),
    Split("reward_valid", 0.08, MOST_HELD_OUT),
    Split("ppo", 0.36),
    Split("valid", 0.06, MOST_HELD_OUT),
    Split("test", 0.1, MOST_HELD_OUT),
)
MANY_USERS = 20
"""With so many different ones a file is split by its users."""


@dataclass(frozen=True)
class Reading:
    """How a user's file is read: its format (None: told by its keys) and what a broken row does.

    `notes` collects what was left out, a line for each reason, for whoever tells it to people.
    `scratch` is a folder for records while they are split; None is the system's for such files.
    """

    format: str | None = None
    on_error: OnError = "refuse"
    notes: list[str] = field(default_factory=list)
    scratch: Path | None = None

    def store(self, path: str, kind: type[Record]) -> Sequence[Record]:
        """The file's records of one kind, read once; they wait on disk for whoever asks for one.

        Raises:
            DataError: a row is broken and `on_error` is "refuse"; or nothing of the file is left.
        """
        left_out = LeftOut()
        found = self.stream(path, kind, left_out)
        records = store_records(found, kind, self.scratch)
        if not records:
            raise nothing_in(path, kind, left_out)
        self.notes.extend(left_out.lines(path))
        return records

    def stream(self, path: str, kind: type[Record], left_out: LeftOut) -> Iterator[Record]:
        """The same one after another, without a note."""
        return stream_records(
            path, kind, format=self.format, on_error=self.on_error, left_out=left_out
        )


@dataclass(frozen=True)
class Documents:
    """One part of a file's documents, read from it each time that they are asked for.

    Of the texts nothing stays in memory: a corpus may be larger than that.
    """

    path: str
    reading: Reading
    is_mine: npt.NDArray[np.bool_]  # for each document of the file

    def __len__(self) -> int:
        return int(self.is_mine.sum())

    def __iter__(self) -> Iterator[Document]:
        found = self.reading.stream(self.path, Document, LeftOut())
        return (document for document, mine in zip(found, self.is_mine, strict=True) if mine)


def read_documents(
    path: str, valid_share: float = 0.1, reading: Reading | None = None
) -> tuple[Documents, Documents]:
    """Documents of a file or of plain text: training and held-out part, whole documents each.

    In a text file a blank line ends a document. Which part one is in depends on its text alone, so
    that none stands in both, be it in the file twice.
    """
    reading = reading or Reading()
    left_out = LeftOut()
    drawn = array("Q")  # eight bytes a document
    for document in reading.stream(path, Document, left_out):
        drawn.append(text_hash(document.text))
    if not drawn:
        raise nothing_in(path, Document, left_out)
    reading.notes.extend(left_out.lines(path))
    numbers = np.frombuffer(drawn, dtype=np.uint64)
    found = different(numbers)
    if len(found) < 2:
        one = "one document" if len(drawn) == 1 else f"{len(drawn)} times the same document"
        raise DataError(f"{path}: {one}. At least 2 are needed, one is held out.")
    num_valid = max(1, round(valid_share * len(drawn)))
    limit = np.partition(numbers, num_valid - 1)[num_valid - 1]
    is_valid = numbers <= min(limit, found[-2])
    return Documents(path, reading, ~is_valid), Documents(path, reading, is_valid)


def read_demonstrations(
    path: str, reading: Reading | None = None
) -> tuple[Chosen[Demonstration], Chosen[Demonstration]]:
    """Demonstrations of a file: training and held-out part, split by user or else by prompt."""
    records = (reading or Reading()).store(path, Demonstration)
    parts = split_items(records, (Split("train", 0.9), Split("valid", 0.1, MOST_HELD_OUT)), path)
    return parts["train"], parts["valid"]


def read_rankings(
    path: str, reading: Reading | None = None
) -> tuple[Chosen[Ranking], Chosen[Ranking]]:
    """Rankings of a file: training and held-out part; all labelers of a prompt on one side."""
    records = (reading or Reading()).store(path, Ranking)
    parts = split_items(records, (Split("train", 0.88), Split("valid", 0.12, MOST_HELD_OUT)), path)
    return parts["train"], parts["valid"]


def read_prompts(path: str, reading: Reading | None = None) -> dict[str, Chosen[Prompt]]:
    """Prompts of a file in the five parts that the stages need."""
    return split_items((reading or Reading()).store(path, Prompt), PROMPT_SPLITS, path)


def prompts_of(
    demonstrations: Sequence[Demonstration], where: str, scratch: Path | None = None
) -> dict[str, Chosen[Prompt]]:
    """The prompts of demonstrations, for a user who has no other prompts."""
    prompts = (Prompt(d.prompt, d.user, d.use_case, d.meta) for d in demonstrations)
    return split_items(store_records(prompts, Prompt, scratch), PROMPT_SPLITS, where)


def split_items(
    items: Sequence[Asked], splits: Sequence[Split], where: str
) -> dict[str, Chosen[Asked]]:
    """Cut items into parts by a hash of the user (or the prompt), stable under reordering.

    Turns of one conversation, and examples of one few-shot prompt, go together. Of the items
    nothing stays in memory but two hashes.

    Raises:
        DataError: fewer distinct users or prompts than parts.
    """
    origins, owners, users = array("Q"), array("Q"), set[str]()
    for item in items:
        if item.user and not owners:  # from the first user on; most files name none
            owners = origins[:]
        origins.append(text_hash(origin_of(item)))
        if item.user or owners:
            owners.append(text_hash(item.user) if item.user else origins[-1])
        if item.user and len(users) < MANY_USERS:
            users.add(item.user)
    keys = np.frombuffer(owners if len(users) == MANY_USERS else origins, dtype=np.uint64)
    groups = different(keys)
    if len(groups) < len(splits):
        raise DataError(
            f"{where}: {len(groups)} different prompts; at least {len(splits)} are needed, so that "
            "what is tested is never trained on."
        )
    # Every part gets at least one group; what rounding and limits leave goes to the largest part.
    counts = [max(1, int(split.share * len(groups))) for split in splits]
    counts = [min(n, split.most or n) for n, split in zip(counts, splits, strict=True)]
    largest = max(range(len(splits)), key=lambda i: splits[i].share)
    while sum(counts) > len(groups):
        counts[max(range(len(counts)), key=lambda i: counts[i])] -= 1
    counts[largest] += len(groups) - sum(counts)
    # Groups are in the order of their draws, so a part is all keys up to that of its last group.
    last = groups[np.cumsum(counts) - 1]
    parts = np.searchsorted(last, keys).astype(np.int8)
    return {
        split.name: Chosen(items, np.flatnonzero(parts == number))
        for number, split in enumerate(splits)
    }


def enough(part: Chosen[Asked]) -> Chosen[Asked]:
    """Of what only measures at most MOST_HELD_OUT records, those of smallest hash.

    Few users may have written many prompts; all of the users stay held out.
    """
    if len(part) <= MOST_HELD_OUT:
        return part
    drawn = hashes(compared_text(item.prompt) for item in part)
    return Chosen(
        part.items, np.sort(part.numbers[np.argsort(drawn, kind="stable")[:MOST_HELD_OUT]])
    )


def origin_of(item: Prompt | Demonstration | Ranking) -> str:
    """What it shares with others of one origin; the prompt alone where nothing tells of any."""
    group = item.meta.get(GROUP)
    return f"{GROUP}:{group}" if isinstance(group, str) else compared_text(item.prompt)
