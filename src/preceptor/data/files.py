"""A user's own files as a `Dataset`, split so that no prompt or user stands on two sides."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from preceptor.data.records import (
    Demonstration,
    Document,
    Prompt,
    Ranking,
    read_records,
    text_of,
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


def read_documents(path: str, valid_share: float = 0.1) -> tuple[list[Document], list[Document]]:
    """Documents of a JSONL or plain text file: training and held-out part, whole documents each.

    In a text file a blank line ends a document.
    """
    file = Path(path)
    if file.suffix == ".txt":
        if not file.is_file():
            raise DataError(f"{path}: no such file. A text file or JSONL of documents is needed.")
        try:
            parts = file.read_text(encoding="utf-8").split("\n\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8."
            ) from error
        documents = [Document(part.strip(), source=file.name) for part in parts if part.strip()]
    else:
        documents = read_records(file, Document)
    if len(documents) < 2:
        raise DataError(f"{path}: one document. At least 2 are needed, one is held out.")
    ordered = sorted(documents, key=lambda d: _draw(d.text))
    num_valid = max(1, round(valid_share * len(documents)))
    return ordered[num_valid:], ordered[:num_valid]


def read_demonstrations(path: str) -> tuple[list[Demonstration], list[Demonstration]]:
    """Demonstrations of a file: training and held-out part, split by user or else by prompt."""
    parts = split_items(
        read_records(path, Demonstration), (Split("train", 0.9), Split("valid", 0.1)), path
    )
    return parts["train"], parts["valid"]


def read_rankings(path: str) -> tuple[list[Ranking], list[Ranking]]:
    """Rankings of a file: training and held-out part; all labelers of a prompt on one side."""
    parts = split_items(
        read_records(path, Ranking), (Split("train", 0.88), Split("valid", 0.12)), path
    )
    return parts["train"], parts["valid"]


def read_prompts(path: str) -> dict[str, list[Prompt]]:
    """Prompts of a file in the five parts that the stages need."""
    return split_items(read_records(path, Prompt), PROMPT_SPLITS, path)


def prompts_of(demonstrations: Sequence[Demonstration], where: str) -> dict[str, list[Prompt]]:
    """The prompts of demonstrations, for a user who has no other prompts."""
    prompts = [Prompt(d.prompt, d.user, d.use_case, d.meta) for d in demonstrations]
    return split_items(prompts, PROMPT_SPLITS, where)


def split_items(
    items: Sequence[Asked], splits: Sequence[Split], where: str
) -> dict[str, list[Asked]]:
    """Cut items into parts by a hash of the user (or the prompt), stable under reordering.

    Raises:
        DataError: fewer distinct users or prompts than parts.
    """
    by_user = len({item.user for item in items if item.user}) >= 20
    key: Callable[[Asked], str] = (
        (lambda item: item.user or text_of(item.prompt))
        if by_user
        else (lambda item: text_of(item.prompt))
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


def _draw(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
