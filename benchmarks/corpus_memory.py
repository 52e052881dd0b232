"""What a corpus costs on its way to tokens: `python benchmarks/corpus_memory.py 10 100 2000` (MB).

Each size is read, split, written and packed in a process of its own, as the step `data` does it.
The text is made up: words of random letters, two hundred a document.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast
from turns import peak_memory

from preceptor.data.batching import pack_documents
from preceptor.data.files import read_documents
from preceptor.data.records import write_records


def words() -> list[str]:
    generator = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    return ["".join(generator.choices(letters, k=generator.randint(2, 9))) for _ in range(20_000)]


def write_corpus(path: Path, megabytes: int) -> None:
    """A file of about so many megabytes."""
    generator, vocabulary = random.Random(1), words()
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            written += file.write(
                json.dumps({"text": " ".join(generator.choices(vocabulary, k=200))}) + "\n"
            )


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 4,000 tokens for that text."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        words(), vocab_size=4000, special_tokens=["<pad>", "<eos>"], show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, pad_token="<pad>", eos_token="<eos>"
    )


def pack(path: Path) -> None:
    """One file, as the step `data` does it; prints seconds, tokens and the peak of memory."""
    tokenizer = make_tokenizer()
    before, began = peak_memory(), time.perf_counter()
    tokens = 0
    for name, part in zip(("train", "valid"), read_documents(str(path)), strict=True):
        write_records(path.parent / f"corpus-{name}.jsonl", part)
        tokens += pack_documents(part, tokenizer, path.parent / f"tokens-{name}.npy")
    found = {"seconds": time.perf_counter() - began, "tokens": tokens}
    print(json.dumps(found | {"before": before, "peak": peak_memory()}))


def main(arguments: list[str] | None = None) -> None:
    """A table of Markdown, a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sizes", nargs="*", type=int, metavar="MB", help="sizes of the corpus")
    parser.add_argument("--pack", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.pack:
        pack(given.pack)
        return
    if not given.sizes or min(given.sizes) < 1:
        parser.error("give sizes in MB, such as 10 50 200.")
    print("| MB | tokens | seconds | MB/s | peak memory, MB (before any text) |")
    print("|---|---|---|---|---|")
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "corpus.jsonl"
            write_corpus(path, size)
            told = subprocess.run(
                [sys.executable, __file__, "--pack", str(path)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        row = json.loads(told.stdout)
        print(
            f"| {size:,} | {row['tokens']:,} | {row['seconds']:.1f} "
            f"| {size / row['seconds']:.1f} "
            f"| {row['peak'] / 1e6:.0f} ({row['before'] / 1e6:.0f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
