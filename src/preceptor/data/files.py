"""A user's own files, of any known format, split so that no prompt or user stands on two sides."""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from preceptor.data.conversations import GROUP
from preceptor.data.formats import (
    Loaded,
    OnError,
    load_records,
    nothing_in,
    stream_records,
)
from preceptor.data.records import (
    Demonstration,
    Document,
    Prompt,
    Ranking,
    Record,
    compared_text,
)
from preceptor.errors import DataError

Item = TypeVar("Item")
Asked = TypeVar("Asked", Prompt, Demonstration, Ranking)


@dataclass(frozen=True)
class Split:
    """A named share of the items."""

    name: str
    share: float


PROMPT_SPLITS = (
    Split("reward_train", 0.4),
    Split("reward_valid", 0.08),
    Split("ppo", 0.36),
    Split("valid", 0.06),
    Split("test", 0.1),
)


@dataclass(frozen=True)
class Reading:
    """How a user's file is read: its format (None: told by its keys) and what a broken row does.

    `notes` collects what was left out, a line for each reason, for whoever tells it to people.
    """

    format: str | None = None
    on_error: OnError = "refuse"
    notes: list[str] = field(default_factory=list)

    def load(self, path: str, kind: type[Record]) -> list[Record]:
        """The file's records of one kind."""
        loaded = load_records(path, kind, format=self.format, on_error=self.on_error)
        self.notes.extend(loaded.lines(path))
        return loaded.records

    def stream(self, path: str, kind: type[Record], left_out: Loaded[Record]) -> Iterator[Record]:
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
        found = self.reading.stream(self.path, Document, Loaded([]))
        return (document for document, mine in zip(found, self.is_mine, strict=True) if mine)


def read_documents(
    path: str, valid_share: float = 0.1, reading: Reading | None = None
) -> tuple[Documents, Documents]:
    """Documents of a file or of plain text: training and held-out part, whole documents each.

    In a text file a blank line ends a document. Which part one is in depends on its text alone, so
    that none stands in both, be it in the file twice.
    """
    reading = reading or Reading()
    left_out: Loaded[Document] = Loaded([])
    drawn = array("Q")  # eight bytes a document
    for document in reading.stream(path, Document, left_out):
        drawn.append(int.from_bytes(_draw(document.text)[:8], "big"))
    if not drawn:
        raise nothing_in(path, Document, left_out)
    reading.notes.extend(left_out.lines(path))
    numbers = np.frombuffer(drawn, dtype=np.uint64)
    different = np.unique(numbers)
    if len(different) < 2:
        one = "one document" if len(drawn) == 1 else f"{len(drawn)} times the same document"
        raise DataError(f"{path}: {one}. At least 2 are needed, one is held out.")
    num_valid = max(1, round(valid_share * len(drawn)))
    limit = np.partition(numbers, num_valid - 1)[num_valid - 1]
    is_valid = numbers <= min(limit, different[-2])
    return Documents(path, reading, ~is_valid), Documents(path, reading, is_valid)


def read_demonstrations(
    path: str, reading: Reading | None = None
) -> tuple[list[Demonstration], list[Demonstration]]:
    """Demonstrations of a file: training and held-out part, split by user or else by prompt."""
    parts = split_items(
        (reading or Reading()).load(path, Demonstration),
        (Split("train", 0.9), Split("valid", 0.1)),
        path,
    )
    return parts["train"], parts["valid"]


def read_rankings(path: str, reading: Reading | None = None) -> tuple[list[Ranking], list[Ranking]]:
    """Rankings of a file: training and held-out part; all labelers of a prompt on one side."""
    parts = split_items(
        (reading or Reading()).load(path, Ranking),
        (Split("train", 0.88), Split("valid", 0.12)),
        path,
    )
    return parts["train"], parts["valid"]


def read_prompts(path: str, reading: Reading | None = None) -> dict[str, list[Prompt]]:
    """Prompts of a file in the five parts that the stages need."""
    return split_items((reading or Reading()).load(path, Prompt), PROMPT_SPLITS, path)


def prompts_of(demonstrations: Sequence[Demonstration], where: str) -> dict[str, list[Prompt]]:
    """The prompts of demonstrations, for a user who has no other prompts."""
    prompts = [Prompt(d.prompt, d.user, d.use_case, d.meta) for d in demonstrations]
    return split_items(prompts, PROMPT_SPLITS, where)


def split_items(
    items: Sequence[Asked], splits: Sequence[Split], where: str
) -> dict[str, list[Asked]]:
    """Cut items into parts by a hash of the user (or the prompt), stable under reordering.

    Turns of one conversation, and examples of one few-shot prompt, go together.

    Raises:
        DataError: fewer distinct users or prompts than parts.
    """
    by_user = len({item.user for item in items if item.user}) >= 20
    key: Callable[[Asked], str] = (
        (lambda item: item.user or origin_of(item)) if by_user else origin_of
    )
    groups = sorted({key(item) for item in items}, key=_draw)
    if len(groups) < len(splits):
        raise DataError(
            f"{where}: {len(groups)} different prompts; at least {len(splits)} are needed, so that "
            "what is tested is never trained on."
        )
    # Every part gets at least one group; what rounding leaves goes to the largest part.
    counts = [max(1, int(split.share * len(groups))) for split in splits]
    largest = max(range(len(splits)), key=lambda i: splits[i].share)
    while sum(counts) > len(groups):
        counts[max(range(len(counts)), key=lambda i: counts[i])] -= 1
    counts[largest] += len(groups) - sum(counts)
    names = [s.name for s, count in zip(splits, counts, strict=True) for _ in range(count)]
    edges = dict(zip(groups, names, strict=True))
    parts: dict[str, list[Asked]] = {split.name: [] for split in splits}
    for item in items:
        parts[edges[key(item)]].append(item)
    return parts


def origin_of(item: Prompt | Demonstration | Ranking) -> str:
    """What it shares with others of one origin; the prompt alone where nothing tells of any."""
    group = item.meta.get(GROUP)
    return f"{GROUP}:{group}" if isinstance(group, str) else compared_text(item.prompt)


def _draw(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
