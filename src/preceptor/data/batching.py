"""From records to token rows: encoding with limits, packing, microbatches by token budget."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from preceptor.data.records import Demonstration, Document, Prompt, Ranking
from preceptor.data.shards import PackedText, ShardedText, write_header
from preceptor.errors import DataError
from preceptor.models.tokenizers import (
    encode_prompt,
    encode_response,
    encode_text,
    encode_texts,
    separator_id,
)

Item = TypeVar("Item", Prompt, Demonstration, Ranking)
TEXTS_AT_ONCE, CHARS_AT_ONCE = 1000, 4_000_000


def fit_prompts(
    items: Sequence[Item], tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int, where: str
) -> tuple[list[Item], list[list[int]]]:
    """Items whose prompt fits, with the prompts' ids. InstructGPT drops longer ones, never cuts.

    Raises:
        DataError: none fits.
    """
    encoded = [encode_prompt(tokenizer, item.prompt) for item in items]
    kept = [i for i, ids in enumerate(encoded) if len(ids) <= max_prompt_tokens]
    if items and not kept:
        shortest = min(len(ids) for ids in encoded)
        raise DataError(
            f"{where}: every prompt is longer than max_prompt_tokens {max_prompt_tokens}; the "
            f"shortest has {shortest} tokens. Raise max_prompt_tokens or shorten the prompts."
        )
    return [items[i] for i in kept], [encoded[i] for i in kept]


def encode_demonstrations(
    items: Sequence[Demonstration],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_response_tokens: int,
    where: str,
) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of prompts and responses; a response over the limit leaves with its prompt.

    Cutting a response would teach the model to stop in mid-sentence, or never to.
    """
    kept, prompts = fit_prompts(items, tokenizer, max_prompt_tokens, where)
    responses = [encode_response(tokenizer, item.response) for item in kept]
    fits = [i for i, ids in enumerate(responses) if len(ids) <= max_response_tokens]
    if kept and not fits:
        shortest = min(len(ids) for ids in responses)
        raise DataError(
            f"{where}: every response is longer than max_response_tokens {max_response_tokens}; "
            f"the shortest has {shortest}. Raise max_response_tokens or shorten the responses."
        )
    return [prompts[i] for i in fits], [responses[i] for i in fits]


def pack_documents(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase, path: Path
) -> int:
    """Tokenize documents into one stream on disk, each ended by the separator; returns its length.

    GPT-3 appendix B: full sequences of packed documents, no mask between them. The tokens go to the
    disk as they come.
    """
    separator = separator_id(tokenizer)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    count = 0
    with partial.open("wb") as file:
        write_header(file, 0)
        for texts in batches_of_texts(documents):
            for ids in encode_texts(tokenizer, texts):
                file.write(np.asarray([*ids, separator], dtype=np.int32).tobytes())
                count += len(ids) + 1
        file.seek(0)
        write_header(file, count)
    partial.replace(path)
    return count


def batches_of_texts(documents: Iterable[Document]) -> Iterator[list[str]]:
    """Texts, many at once so that all threads tokenize, and not too many for memory."""
    texts: list[str] = []
    chars = 0
    for document in documents:
        texts.append(document.text)
        chars += len(document.text)
        if len(texts) == TEXTS_AT_ONCE or chars >= CHARS_AT_ONCE:
            yield texts
            texts, chars = [], 0
    if texts:
        yield texts


def packed_text(folder: Path, part: str) -> Path | None:
    """What `open_sequences` takes for one part of a run's text, or None where there is no text."""
    names = (f"tokens-{part}.npy", f"tokens-{part}.json")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def open_sequences(path: Path, sequence_length: int) -> PackedText:
    """The packed stream as [N, sequence_length], memory-mapped; the last partial one is left out.

    A JSON file names a built corpus, whose shards are read where they are.

    Raises:
        DataError: the text is shorter than one sequence.
    """
    if path.suffix == ".json":
        named = json.loads(path.read_text(encoding="utf-8"))
        return ShardedText.open(named["corpus"], named["part"], sequence_length)
    stream = np.load(path, mmap_mode="r", allow_pickle=False)
    count = len(stream) // sequence_length
    if count == 0:
        raise DataError(
            f"{path}: {len(stream)} tokens, fewer than one sequence of {sequence_length}. "
            "Give more pretraining text or a shorter sequence_length."
        )
    sequences: npt.NDArray[np.int32] = stream[: count * sequence_length].reshape(
        count, sequence_length
    )
    return sequences


def sequences_by_source(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase, length: int, most: int
) -> dict[str, npt.NDArray[np.int32]]:
    """The first packed sequences [N, length] of each source, at most `most` of it.

    Sources that do not fill one sequence are left out.
    """
    separator, streams = separator_id(tokenizer), dict[str, list[int]]()
    for document in documents:
        stream = streams.setdefault(document.source, [])
        if len(stream) < most * length:
            stream += [*encode_text(tokenizer, document.text), separator]
    found = {}
    for source, stream in streams.items():
        if count := min(most, len(stream) // length):
            whole = np.asarray(stream[: count * length], dtype=np.int32)
            found[source] = whole.reshape(count, length)
    return found


def beginnings(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase, length: int, most: int
) -> list[tuple[str, list[int]]]:
    """Source and first ids of documents for a model to go on from, all sources in turn.

    Each begins with the separator, as it does in the middle of packed text.
    """
    by_source: dict[str, list[list[int]]] = {}
    for document in documents:
        own = by_source.setdefault(document.source, [])
        if len(own) < most:
            own.append([separator_id(tokenizer), *encode_text(tokenizer, document.text)[:length]])
    turns = [(at, source) for source, own in by_source.items() for at in range(len(own))]
    turns.sort(key=lambda turn: turn[0])  # the first of each source, then the second of each
    return [(source, by_source[source][at]) for at, source in turns[:most]]


def split_by_tokens(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Groups of row numbers whose padded size stays within `budget` tokens, like lengths together.

    Every group has at least one row, however long. Grouping changes memory and speed, no result.
    """
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and lengths[row] * (len(group) + 1) > budget:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
