"""Made-up documents and small recipes for the tests of the corpus."""

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from preceptor.corpus.build import build
from preceptor.corpus.recipe import CorpusRecipe
from preceptor.data.records import PLAIN_CHAT_TEMPLATE
from preceptor.data.shards import read_card

_WORDS = (
    "the of and to in that have with be a river market season winter people small large old new "
    "house road city letter number water paper music garden window morning evening teacher "
    "student doctor friend story question answer reason minute corner bridge island forest "
    "mountain valley writes reads finds keeps opens closes carries follows brings leaves begins "
    "ends moves stands quickly slowly often never always under over between before after during "
    "because although "
)
WORDS = _WORDS.split()


def sentence(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.randint(8, 16))
    return " ".join([words[0].capitalize(), *words[1:]]) + "."


def document(seed: int, sentences: int = 8) -> str:
    """English enough for every filter; two of different seeds share next to no five words."""
    rng = random.Random(seed)
    return " ".join(sentence(rng) for _ in range(sentences))


_SHOP = "cheap casino bonus discount winner credit shop sale pills click login loan"
SHOP = _SHOP.split()


def advert(seed: int) -> str:
    """A few words of another kind."""
    return " ".join(random.Random(seed).choices(SHOP, k=14)) + "."


_INSULTS = "idiot moron scum vermin filth worthless pathetic disgusting stupid loser trash creep"
INSULTS = _INSULTS.split()


def insult(seed: int, sentences: int = 8) -> str:
    """A document in which every third word is one of these."""
    rng = random.Random(seed)
    words = document(seed, sentences).split(" ")
    return " ".join(rng.choice(INSULTS) if at % 3 == 0 else word for at, word in enumerate(words))


def write_examples(path: Path, count: int = 40) -> Path:
    """As many labelled examples of each kind."""
    rows = [{"text": insult(100 + n), "toxic": True} for n in range(count)]
    rows += [{"text": document(7000 + n, 5), "toxic": False} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def changed(text: str, seed: int, share: float) -> str:
    """The text with so many of its words replaced."""
    rng = random.Random(seed)
    words = text.split(" ")
    for at in rng.sample(range(len(words)), round(share * len(words))):
        words[at] = rng.choice(WORDS)
    return " ".join(words)


def write_lines(path: Path, texts: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def save_tokenizer(folder: Path) -> Path:
    """Bytes as tokens, with an end of text and a pad of their own."""
    alphabet = ["<|pad|>", "<|endoftext|>", *sorted(ByteLevel.alphabet())]
    inner = Tokenizer(BPE({token: at for at, token in enumerate(alphabet)}, []))
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False)
    inner.decoder = ByteLevelDecoder()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<|pad|>", eos_token="<|endoftext|>"
    )
    wrapped.chat_template = PLAIN_CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    return folder


def recipe_of(tmp_path: Path, **values: Any) -> CorpusRecipe:
    """A recipe with a tokenizer; what is not said is off."""
    tokenizer = tmp_path / "tokenizer"
    if not tokenizer.is_dir():
        save_tokenizer(tokenizer)
    return CorpusRecipe.model_validate(
        {"name": "test", "tokenizer": str(tokenizer), "valid_fraction": 0.05} | values
    )


def built(recipe: CorpusRecipe, out: Path, workers: int = 1) -> dict[str, Any]:
    """The corpus's card, after building it in this process."""
    build(recipe, out, workers=workers, say=lambda line: None)
    return read_card(out)


def reasons(card: dict[str, Any], step: str) -> dict[str, int]:
    """What a step dropped, by reason."""
    [found] = [one for one in card["steps"] if one["step"] == step]
    return {row["reason"]: row["documents"] for row in found["reasons"]}


BENCH = "Which of the seven old bridges over the winter river was carried away by the great flood"


def everything(tmp_path: Path) -> dict[str, Any]:
    """Sources with something for every step, and a recipe that has every step."""
    good = [document(n, 14) for n in range(60)]
    raw = [f"{document(1000 + n, 14)} {advert(n)} {document(1500 + n, 2)}" for n in range(80)]
    raw += [" ".join(np.random.default_rng(n).choice(WORDS[-30:], 120)) for n in range(40)]
    raw += [changed(text, 1, 0.01) for text in raw[:20]] + [changed(good[3], 2, 0.01)]
    raw += [f"{document(2000 + n, 14)} {BENCH} {document(3000 + n, 14)}" for n in range(3)]
    raw += [f"{document(4000 + n, 14)} Write to a{n}@example.com or call." for n in range(3)]
    raw += [f"{document(5000 + n, 14)} And a Forbidden word." for n in range(3)]
    raw += [insult(6000 + n, 14) for n in range(3)]
    raw += ["Der Hund läuft durch den Wald und die Katze schläft auf dem Dach. " * 9, "Short."]
    write_lines(tmp_path / "good.jsonl", good)
    for part in range(3):
        write_lines(tmp_path / "raw" / f"{part}.jsonl", raw[part::3])
    write_lines(tmp_path / "bench.jsonl", [BENCH])
    (tmp_path / "blocked.txt").write_text("# words\nforbidden\n")
    write_examples(tmp_path / "examples.jsonl")
    return {
        "sources": [
            {"name": "good", "files": str(tmp_path / "good.jsonl"), "weight": 0.4, "is_good": True},
            {"name": "raw", "files": str(tmp_path / "raw"), "weight": 0.6, "classify": True},
        ],
        "on_error": "skip",
        "language": {"keep": ["en"]},
        "quality": {},
        "classifier": {"alpha": 2, "num_features": 4096},
        "duplicates": {},
        "decontaminate": {"files": str(tmp_path / "bench.jsonl")},
        "personal": {},
        "blocklist": {"file": str(tmp_path / "blocked.txt")},
        "toxicity": {"files": str(tmp_path / "examples.jsonl")},
        "shard_tokens": 40_000,
    }


def files_of(folder: Path) -> dict[str, str]:
    """The hash of everything that a build leaves, but for what the clock said."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in ("timing.json", ".lock")
    }
