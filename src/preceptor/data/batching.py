"""From records to token rows: encoding with limits, packing, microbatches by token budget."""

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from preceptor.data.records import Demonstration, Document, Prompt, Ranking
from preceptor.data.shards import PackedText, ShardedText, write_header
from preceptor.data.stored import Chosen, store_ids
from preceptor.errors import DataError
from preceptor.models.tokenizers import (
    batches_of_texts,
    encode_prompts,
    encode_responses,
    encode_text,
    encode_texts,
    separator_id,
)

Item = TypeVar("Item", Prompt, Demonstration, Ranking)


def fit_prompts(
    items: Sequence[Item], tokenizer: PreTrainedTokenizerBase, max_prompt_tokens: int, where: str
) -> Chosen[Item]:
    """Items whose prompt fits. InstructGPT drops longer ones, never cuts.

    Raises:
        DataError: none fits.
    """
    encoded = encode_prompts(tokenizer, (item.prompt for item in items))
    lengths = np.fromiter(map(len, encoded), dtype=np.int32)
    if len(items) and lengths.min() > max_prompt_tokens:
        raise _all_too_long(where, "prompt", max_prompt_tokens, lengths)
    return Chosen(items, np.flatnonzero(lengths <= max_prompt_tokens))


def encode_demonstrations(
    items: Sequence[Demonstration],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_response_tokens: int,
    where: str,
    scratch: Path | None = None,
) -> tuple[Sequence[list[int]], Sequence[list[int]]]:
    """Ids of prompts and responses; a response over the limit leaves with its prompt.

    Cutting a response would teach the model to stop in mid-sentence, or never to. The ids wait on
    disk, in the folder `scratch`, for whoever asks for them.

    Raises:
        DataError: none fits.
    """
    lengths = array("i"), array("i")

    def fitting() -> Iterator[list[int]]:
        prompts = encode_prompts(tokenizer, (item.prompt for item in items))
        responses = encode_responses(tokenizer, (item.response for item in items))
        for prompt, response in zip(prompts, responses, strict=True):
            lengths[0].append(len(prompt))
            lengths[1].append(len(response))
            if len(prompt) <= max_prompt_tokens and len(response) <= max_response_tokens:
                yield from (prompt, response)

    rows = store_ids(fitting(), scratch)
    if len(items) and not len(rows):
        prompt_lengths, response_lengths = (np.asarray(own, dtype=np.int32) for own in lengths)
        if prompt_lengths.min() > max_prompt_tokens:
            raise _all_too_long(where, "prompt", max_prompt_tokens, prompt_lengths)
        kept = response_lengths[prompt_lengths <= max_prompt_tokens]
        raise _all_too_long(where, "response", max_response_tokens, kept)
    return rows[0::2], rows[1::2]


def _all_too_long(where: str, what: str, limit: int, lengths: npt.NDArray[np.int32]) -> DataError:
    key = f"max_{what}_tokens"
    return DataError(
        f"{where}: every {what} is longer than {key} {limit}; the shortest has {lengths.min()} "
        f"tokens. Raise {key} or shorten the {what}s."
    )


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
        for texts in batches_of_texts(document.text for document in documents):
            for ids in encode_texts(tokenizer, texts):
                file.write(np.asarray([*ids, separator], dtype=np.int32).tobytes())
                count += len(ids) + 1
        file.seek(0)
        write_header(file, count)
    partial.replace(path)
    return count


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
