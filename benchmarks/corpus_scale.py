"""How fast a corpus is built and how much memory each pass takes, on made-up text of any size.

    python benchmarks/corpus_scale.py FOLDER [MEGABYTES] [WORKERS]

Writes MEGABYTES (default 100) of documents into FOLDER/raw unless they are there, with a known
share of near-duplicates, short ones, other languages, runs of a benchmark, e-mail addresses, a
blocked word and insults; then builds a corpus of them with every step, and prints a table.
FOLDER/truth.json says what was put in.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from preceptor.corpus.build import build
from preceptor.corpus.recipe import CorpusRecipe
from preceptor.data.shards import read_card

FILE_BYTES = 64 * 10**6
SHARES = {"near": 0.12, "short": 0.05, "german": 0.03, "spam": 0.05, "bench": 0.004, "mail": 0.02}
_STEMS = (
    "act art bear bird book bread break bridge bright build burn call care carry chance change "
    "child city clean clear climb close cloud coast cold cook corn count cross dance dark day "
    "deal deep draw dream drink drive dry earth east eat edge end fair fall farm fast father "
    "field fight fill find fire fish floor flow fly follow food foot forest form free fresh "
    "friend garden gate give glass gold good grain grass green ground grow hand hard head heart "
    "heat help high hill hold home hope horse hour house hunt ice island join judge jump keep "
    "kind king knife know lake lamp land large laugh law lead leaf learn leave letter light line "
    "list live long look lose love low made make map mark market meal mean measure meet mend "
    "might milk mind money moon morning mother mount move music name near neck need new night "
    "noise north note ocean offer oil old open order paint paper part pass path pay peace people "
    "place plain plant play point poor press price print pull push quick quiet race rain raise "
    "reach read red rest rice rich ride right ring rise river road rock roof room root rope round "
    "rule run sail salt sand save school sea seed sell send serve shape share sharp ship shoe "
    "shop short shout show side sign silver sing sit skin sleep slow small smoke snow soft soil "
    "song sound south space speak spend spring stand star start state stay steel step stone stop "
    "store storm street strong sugar summer sun sweet swim table tail talk tall teach tell thick "
    "thin think time town trade train tree true trust turn village voice wait walk wall war warm "
    "wash watch water wave way wear west wet wheel white wide wild wind window wine winter wise "
    "wood wool word work world write year young "
)
STEMS = _STEMS.split()
ENDINGS = ["", "s", "er", "ing", "ed", "ers", "less", "ful", "ly", "ness", "man", "land"]
_STOP = "the of and to a in that is was he for it with as his on be at by had not are but from "
STOP = _STOP.split()
_GERMAN = (
    "der die das und ist nicht mit auf für ein eine haben werden Haus Straße Wasser Zeit Jahr "
    "Mensch schön groß klein laufen sprechen zwischen während Garten Fenster Morgen Abend "
)
GERMAN = _GERMAN.split()
_SPAM = "click here cheap discount casino bonus winner pills offer deal free login subscribe now "
SPAM = _SPAM.split()
_INSULTS = "idiot moron scum vermin filth worthless pathetic disgusting stupid loser trash creep "
INSULTS = _INSULTS.split()
BLOCKED = "forbidden"


class Writer:
    """Documents of a made-up English, each with a known fault or none."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        words = np.array([stem + ending for ending in ENDINGS for stem in STEMS], dtype=object)
        weights = 1 / np.arange(3, len(words) + 3)
        self.words, self.cumulative = words, np.cumsum(weights / weights.sum())
        self.pool: list[list[str]] = []
        self.counts = dict.fromkeys((*SHARES, "plain", "blocked", "toxic"), 0)

    def plain(self, count: int) -> list[str]:
        """So many words, two in five of them the commonest ones of English."""
        random = self.random
        drawn = self.words[np.searchsorted(self.cumulative, random.random(count))]
        stops = random.random(count) < 0.4
        drawn[stops] = np.array(STOP, dtype=object)[random.integers(0, len(STOP), int(stops.sum()))]
        drawn[15::16] = drawn[15::16] + "."
        return list(drawn)

    def toxic(self, words: list[str]) -> list[str]:
        """The same with every fifth one an insult."""
        return [INSULTS[at % len(INSULTS)] if at % 5 == 0 else w for at, w in enumerate(words)]

    def length(self) -> int:
        """Words of a document: 330 in the median, as on the web."""
        return int(np.clip(self.random.lognormal(5.8, 0.7), 80, 20_000))

    def document(self, bench: list[list[str]]) -> str:
        """The next one; near-duplicates repeat one of the last 500 with one word in 50 changed."""
        random, number = self.random, sum(self.counts.values())
        kind, at = "plain", random.random()
        for name, share in SHARES.items():
            at -= share
            if at < 0:
                kind = name
                break
        count = self.length()
        if kind == "near" and len(self.pool) > 100:
            words = list(self.pool[random.integers(len(self.pool))])
            for place in random.integers(0, len(words), len(words) // 50):
                words[place] = str(self.words[random.integers(len(self.words))])
        elif kind == "short":
            words = self.plain(int(random.integers(5, 40)))
        elif kind == "german":
            words = list(random.choice(GERMAN, count))
        elif kind == "spam":
            words = list(random.choice(SPAM, count // 2)) + self.plain(count // 2)
        else:
            words = self.plain(count)
            if kind == "bench":
                middle = count // 2
                words[middle:middle] = bench[int(random.integers(len(bench)))]
            elif kind == "mail":
                words.insert(count // 2, f"write to {random.integers(10**6)}@example.com or call")
            elif kind == "near":
                kind = "plain"
            if kind == "plain" and random.random() < 0.2:
                self.pool = [*self.pool[-499:], words]
            if kind == "plain" and number % 200 == 0:
                kind, words = "blocked", [*words[: count // 2], BLOCKED, *words[count // 2 :]]
            elif kind == "plain" and number % 200 == 100:
                kind, words = "toxic", self.toxic(words)
        self.counts[kind] += 1
        return " ".join(words)


def make(folder: Path, megabytes: int) -> dict[str, Any]:
    """Write the raw files, the good ones and the benchmark; what is there already stays."""
    truth = folder / "truth.json"
    if truth.is_file() and json.loads(truth.read_text())["megabytes"] == megabytes:
        return json.loads(truth.read_text())  # type: ignore[no-any-return]
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    writer = Writer(0)
    bench = [writer.plain(30) for _ in range(2000)]
    rows = "".join(json.dumps({"question": " ".join(words)}) + "\n" for words in bench)
    (folder / "bench.jsonl").write_text(rows)
    good = Writer(1)
    with (folder / "good.jsonl").open("w") as file:
        for _ in range(max(300, min(3000, 50 * megabytes))):
            file.write(json.dumps({"text": " ".join(good.plain(good.length()))}) + "\n")
    (folder / "blocked.txt").write_text(f"{BLOCKED}\n")
    with (folder / "examples.jsonl").open("w") as file:
        for number in range(600):
            words = good.plain(good.length())
            row = {"text": " ".join(good.toxic(words) if number % 2 else words)}
            file.write(json.dumps(row | {"toxic": bool(number % 2)}) + "\n")
    number, left, documents = 0, megabytes * 10**6, 0
    while left > 0:
        with (folder / "raw" / f"{number:04d}.jsonl").open("w") as file:
            size = 0
            while size < min(FILE_BYTES, left):
                size += file.write(json.dumps({"text": writer.document(bench)}) + "\n")
                documents += 1
        left -= size
        number += 1
    found = {"megabytes": megabytes, "documents": documents, "kinds": writer.counts}
    truth.write_text(json.dumps(found))
    return found


def make_tokenizer(folder: Path) -> Path:
    """A byte-level BPE of 16,000 tokens, trained on the first file."""
    out = folder / "tokenizer"
    if not out.is_dir():
        with (folder / "raw" / "0000.jsonl").open() as file:
            texts = [json.loads(line)["text"] for _, line in zip(range(4000), file, strict=False)]
        inner = ByteLevelBPETokenizer()
        inner.train_from_iterator(texts, 16_000, special_tokens=["<|endoftext|>", "<|pad|>"])
        wrapped = PreTrainedTokenizerFast(
            tokenizer_object=inner._tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>"
        )
        wrapped.save_pretrained(out)
    return out


def main(folder: Path, megabytes: int, workers: int) -> None:
    """Make, build, tell."""
    began = time.monotonic()
    truth = make(folder, megabytes)
    print(f"made in {time.monotonic() - began:.0f} s: {truth}", flush=True)
    recipe = CorpusRecipe.model_validate(
        {
            "name": "scale",
            "tokenizer": str(make_tokenizer(folder)),
            "sources": [
                {"name": "good", "files": str(folder / "good.jsonl"), "is_good": True},
                {"name": "raw", "files": str(folder / "raw"), "classify": True},
            ],
            "language": {"keep": ["en"]},
            "quality": {},
            "classifier": {"alpha": 0.05},  # nearly all stay, so that later steps have work
            "duplicates": {},
            "decontaminate": {"files": str(folder / "bench.jsonl")},
            "personal": {},
            "blocklist": {"file": str(folder / "blocked.txt")},
            "toxicity": {"files": str(folder / "examples.jsonl")},
        }
    )
    began = time.monotonic()
    out = folder / "out"
    build(recipe, out, workers=workers, say=lambda line: print(line, file=sys.stderr, flush=True))
    wall = time.monotonic() - began
    card, timing = read_card(out), json.loads((out / "timing.json").read_text())
    for step in card["steps"]:
        told = ", ".join(f"{r['reason']} {r['documents']:,}" for r in step["reasons"])
        print(f"{step['step']:<14}{step['entered']:>10,} in {step['kept']:>10,} kept   {told}")
    size = sum(path.stat().st_size for path in (folder / "raw").iterdir()) / 1e6
    print(f"\n{size:,.0f} MB, {workers} workers")
    print(f"{'pass':<14}{'seconds':>10}{'core seconds':>14}{'MB/s a core':>14}{'peak MB':>10}")
    total = 0.0
    for name, cost in timing["passes"].items():
        total += cost["core_seconds"]
        rate = size / max(cost["core_seconds"], 1e-3)
        peak = cost["peak_memory_bytes"] / 1e6
        numbers = f"{cost['seconds']:>10.1f}{cost['core_seconds']:>14.1f}{rate:>14.1f}{peak:>10.0f}"
        print(f"{name:<14}{numbers}")
    print(f"{'all':<14}{wall:>10.1f}{total:>14.1f}{size / total:>14.2f}")
    print(f"\n{'step':<24}{'core seconds':>14}{'MB/s':>10}")
    for name, steps in timing["steps"].items():
        for step, seconds in steps.items():
            print(f"{name + ' ' + step:<24}{seconds:>14.1f}{size / max(seconds, 1e-3):>10.1f}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    main(
        Path(arguments[0]),
        int(arguments[1]) if len(arguments) > 1 else 100,
        int(arguments[2]) if len(arguments) > 2 else 2,
    )
