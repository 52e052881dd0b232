"""The pass from documents to tokens: each piece's in a file, and where each document begins."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from preceptor.corpus.mixture import INDEX
from preceptor.corpus.plan import Plan
from preceptor.corpus.texts import Text, whole_file, write_json
from preceptor.corpus.words import Numbers, draws, mixed
from preceptor.models.load import open_tokenizer
from preceptor.models.tokenizers import encode_texts, fingerprint, separator_id

TEXTS_AT_ONCE, CHARS_AT_ONCE = 500, 1_000_000


def tokenizer_facts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a corpus must tell of its tokenizer, so that no model reads other ids than its own."""
    size = max(tokenizer.get_vocab().values()) + 1
    return {
        "sha256": fingerprint(tokenizer),
        "separator": separator_id(tokenizer),
        "vocabulary_size": size,
        "dtype": "<u2" if size <= 2**16 else "<u4",
    }


def write_tokens(plan: Plan, piece: int, texts: Iterator[Text]) -> None:
    """Tokens of a piece's documents, each ended by the separator, and where each begins."""
    tokenizer = open_tokenizer(plan.recipe.tokenizer)
    facts = tokenizer_facts(tokenizer)
    rows: list[npt.NDArray[np.void]] = []
    start = 0
    with whole_file(plan.work / "tokens" / f"{piece:05d}.bin") as file:
        for batch in _batches(texts):
            ids = encode_texts(tokenizer, [text.text for text in batch])
            index = np.zeros(len(batch), dtype=INDEX)
            index["length"] = [len(one) + 1 for one in ids]
            ends = start + np.cumsum(index["length"].astype(np.uint64))
            index["start"] = ends - index["length"]
            index["origin"] = [text.origin for text in batch]
            parts = np.array([text.part for text in batch], dtype=np.uint64)
            own: Numbers = np.ascontiguousarray(index["origin"])
            # Pieces of one document are on one side, but not one behind the other.
            index["order"] = draws(own ^ (mixed(parts) * (parts > 0)), plan.stream("order"))
            index["split"] = draws(own, plan.stream("split"))
            for one in ids:
                file.write(np.asarray([*one, facts["separator"]], dtype=facts["dtype"]).tobytes())
            rows.append(index)
            start = int(ends[-1])
    with whole_file(plan.work / "tokens" / f"{piece:05d}.index.npy") as file:
        np.save(file, np.concatenate([np.empty(0, dtype=INDEX), *rows]), allow_pickle=False)
    write_json(plan.work / "tokens" / f"{piece:05d}.json", facts)


def _batches(texts: Iterator[Text]) -> Iterator[list[Text]]:
    held: list[Text] = []
    chars = 0
    for text in texts:
        held.append(text)
        chars += len(text.text)
        if len(held) == TEXTS_AT_ONCE or chars >= CHARS_AT_ONCE:
            yield held
            held, chars = [], 0
    if held:
        yield held
