"""What a file of one's own costs, up to batches: `python benchmarks/input_memory.py KIND MB MB ..`.

KIND is corpus, prompts, demonstrations or rankings. Each size goes through the step `data` in a
process of its own, and what is no corpus then through what its stage reads: it is opened, encoded,
and a hundred batches of 64 are drawn. The text is made up, words of random letters: two hundred a
document, one hundred a prompt, as many a response, forty each of four that are ranked.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from turns import peak_memory

from preceptor.config import Recipe
from preceptor.models.load import load_tokenizer, save_model
from preceptor.randomness import batch_indices
from preceptor.steps.inputs import demonstration_ids, prompts_with_ids, ranked_ids, read_rankings
from preceptor.steps.labels import make_data

BATCHES, BATCH_SIZE = 100, 64
Text = Callable[[int], str]
"""So many words of the made-up language."""
RECORDS: dict[str, Callable[[Text], dict[str, Any]]] = {
    "corpus": lambda text: {"text": text(200)},
    "prompts": lambda text: {"prompt": text(100)},
    "demonstrations": lambda text: {"prompt": text(100), "response": text(100)},
    "rankings": lambda text: {
        "prompt": text(100),
        "responses": [text(40) for _ in range(4)],
        "ranks": [1, 2, 2, 4],
    },
}


def words() -> list[str]:
    """Those of the language."""
    generator = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    return ["".join(generator.choices(letters, k=generator.randint(2, 9))) for _ in range(20_000)]


def write_file(path: Path, kind: str, num_bytes: int, seed: int) -> None:
    """A file of about so many bytes."""
    generator, vocabulary = random.Random(seed), words()

    def text(count: int) -> str:
        return " ".join(generator.choices(vocabulary, k=count))

    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < num_bytes:
            written += file.write(json.dumps(RECORDS[kind](text)) + "\n")


def write_model(folder: Path) -> None:
    """A model of next to nothing with a byte-level BPE of 4,000 tokens for that text."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        words(), vocab_size=4000, special_tokens=["<pad>", "<eos>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, pad_token="<pad>", eos_token="<eos>"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    save_model(LlamaForCausalLM(config), tokenizer, folder)


def read(kind: str, folder: Path) -> None:
    """One file as a run reads it; prints seconds, items and the peak of memory."""
    path, out = folder / f"{kind}.jsonl", folder / "run"
    few = folder / "few.jsonl"
    write_file(few, "demonstrations", 100_000, seed=1)  # every recipe has some
    files = {"demonstrations": str(few)} | {kind: str(path)}
    recipe = Recipe(
        model=str(folder / "model"), max_prompt_tokens=1000, max_response_tokens=1000, **files
    )
    tokenizer = load_tokenizer(folder / "model", vocabulary_size=2**31)
    before, began = peak_memory(), time.perf_counter()
    make_data(recipe, out)
    data_seconds = time.perf_counter() - began
    sets: Sequence[Sequence[Any]] = ()
    if kind == "prompts":
        sets = prompts_with_ids(out, "ppo", tokenizer)
    elif kind == "demonstrations":
        sets = demonstration_ids(recipe, out, tokenizer, "train")
    elif kind == "rankings":
        ranked, _ = ranked_ids(recipe, read_rankings([out], "train"), tokenizer, out / "data")
        sets = [ranked]
    for items in sets:
        for step in range(BATCHES):
            for i in batch_indices(len(items), BATCH_SIZE, step, seed=0, purpose=kind):
                _ = items[i]
    found = {"data": data_seconds, "stage": time.perf_counter() - began - data_seconds}
    found |= {"items": len(sets[0]) if sets else 0, "before": before, "peak": peak_memory()}
    print(json.dumps(found))


def measured(kind: str, num_bytes: int) -> dict[str, Any]:
    """What `read` prints of a file of so many bytes, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        write_file(folder / f"{kind}.jsonl", kind, num_bytes, seed=2)
        told = subprocess.run(
            [sys.executable, __file__, kind, "--read", str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def rows(kind: str, sizes: Sequence[int]) -> Iterator[str]:
    """A table of Markdown, a row for each size."""
    yield "| MB | items of the stage | step data, s | MB/s | stage reads, s | peak, MB (at first) |"
    yield "|---|---|---|---|---|---|"
    for size in sizes:
        found = measured(kind, size * 1_000_000)
        yield (
            f"| {size:,} | {found['items']:,} | {found['data']:.1f} "
            f"| {size / found['data']:.1f} | {found['stage']:.1f} "
            f"| {found['peak'] / 1e6:.0f} ({found['before'] / 1e6:.0f}) |"
        )


def main(arguments: list[str] | None = None) -> None:
    """The table of one kind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("kind", choices=RECORDS, help="what the file holds")
    parser.add_argument("sizes", nargs="*", type=int, metavar="MB", help="sizes of the file")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.read:
        read(given.kind, given.read)
        return
    if not given.sizes or min(given.sizes) < 1:
        parser.error("give sizes in MB, such as 10 50 200.")
    for row in rows(given.kind, given.sizes):
        print(row, flush=True)


if __name__ == "__main__":
    main()
