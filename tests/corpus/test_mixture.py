"""The mixture's epochs against counted documents, and the shards against the documents' tokens."""

from collections import Counter

import numpy as np
import pytest
from corpora import built, document, recipe_of, write_lines
from transformers import AutoTokenizer

from preceptor.corpus.mixture import read_list, share_of
from preceptor.corpus.stream import read_index
from preceptor.corpus.words import draws
from preceptor.data.batching import pack_documents
from preceptor.data.records import Document
from preceptor.data.shards import ShardedText
from preceptor.models.tokenizers import encode_text, separator_id

SIZES = {"web": 120, "books": 40, "wiki": 20}


@pytest.fixture
def sources(tmp_path) -> list[dict]:
    for number, (name, size) in enumerate(SIZES.items()):
        texts = [document(1000 * number + n, 2 + n % 7) for n in range(size)]
        write_lines(tmp_path / name / "0.jsonl", texts[: size // 2])
        write_lines(tmp_path / name / "1.jsonl", texts[size // 2 :])
    return [{"name": name, "files": str(tmp_path / name)} for name in SIZES]


def documents_in(out, card, part: str = "train") -> list[tuple[int, list[int]]]:
    """Every copy in the shards as (source, tokens), cut by the index."""
    found = []
    for shard in card["shards"][part]:
        tokens = np.load(out / shard["file"])
        index = np.load(out / shard["file"].replace(".npy", ".index.npy"))
        edges = [*index["start"].tolist(), len(tokens)]
        for at, source in enumerate(index["source"].tolist()):
            found.append((source, tokens[edges[at] : edges[at + 1]].tolist()))
    return found


@pytest.mark.parametrize("epochs", [0.44, 1.0, 1.9, 2.9, 3.4])
def test_a_share_is_right_to_one_document(epochs):
    random = np.random.default_rng(3)
    order, lengths = draws(range(5000), 8), random.integers(5, 400, 5000)
    share = share_of(order, lengths, epochs, None)
    copies = Counter()
    for chosen, _ in share.copies(order):
        copies.update(chosen.tolist())
    seen = sum(lengths[at] * count for at, count in copies.items())
    assert abs(seen - epochs * lengths.sum()) <= 200  # half the longest document
    assert max(copies.values()) - min(copies.get(at, 0) for at in range(5000)) <= 1


def test_no_more_than_all_and_nothing_of_nothing():
    order, lengths = draws(range(4), 8), np.array([10, 10, 10, 10])
    for epochs, wanted in ((0.01, 0), (0.99, 4), (1.0, 4), (0.5, 2)):
        share = share_of(order, lengths, epochs, None)
        assert sum(len(chosen) for chosen, _ in share.copies(order)) == wanted


def test_weights_become_epochs_and_the_shards_have_them(tmp_path, sources):
    """Documents counted in the shards, against weight * tokens / the source's tokens."""
    weights = {"web": 0.5, "books": 0.2, "wiki": 0.3}
    for source in sources:
        source["weight"] = weights[source["name"]]
    card = built(recipe_of(tmp_path, sources=sources, tokens=60_000), tmp_path / "out")
    copies = Counter((s, tuple(tokens)) for s, tokens in documents_in(tmp_path / "out", card))
    for number, row in enumerate(card["sources"]):
        own = {tokens: count for (source, tokens), count in copies.items() if source == number}
        unique = sum(map(len, own))
        wanted = weights[row["name"]] * 60_000
        seen = sum(len(tokens) * count for tokens, count in own.items())
        longest = max(map(len, own))
        assert abs(seen - wanted) <= longest
        if row["epochs_asked"] >= 1:  # every document is there, so that all are known here
            assert row["train_tokens"] == unique and row["train_documents"] == len(own)
            assert {int(wanted / unique), int(wanted / unique) + 1} >= set(own.values())
        assert row["seen_tokens"] == seen and row["seen_documents"] == sum(own.values())
        assert row["epochs"] == pytest.approx(seen / row["train_tokens"], abs=1e-6)


def test_epochs_can_be_given_and_one_is_the_default(tmp_path, sources):
    sources[2]["epochs"] = 2
    card = built(recipe_of(tmp_path, sources=sources), tmp_path / "out")
    assert [row["epochs"] for row in card["sources"]] == [1, 1, 2]


def test_many_epochs_are_said(tmp_path, sources):
    sources[2]["epochs"] = 6
    card = built(recipe_of(tmp_path, sources=sources), tmp_path / "out")
    assert any("wiki is seen 6.0 times" in note for note in card["notes"])


def test_shards_are_the_tokens_of_the_documents(tmp_path, sources):
    """Each document tokenized by itself, with its separator; none twice, none on two sides."""
    card = built(recipe_of(tmp_path, sources=sources, shard_tokens=9000), tmp_path / "out")
    assert len(card["shards"]["train"]) > 3
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    end = separator_id(tokenizer)
    texts = [
        (number, document(1000 * number + n, 2 + n % 7))
        for number, size in enumerate(SIZES.values())
        for n in range(size)
    ]
    wanted = Counter((s, tuple([*encode_text(tokenizer, t), end])) for s, t in texts)
    sides = [
        Counter((s, tuple(tokens)) for s, tokens in documents_in(tmp_path / "out", card, part))
        for part in ("train", "valid")
    ]
    assert sides[0] + sides[1] == wanted
    assert not sides[0] & sides[1]
    assert sum(sides[1].values()) == card["documents"]["valid"] > 0


def test_the_stream_does_not_depend_on_shards_workers_or_files(tmp_path, sources):
    def stream(name: str, **values):
        workers = values.pop("workers", 1)
        card = built(recipe_of(tmp_path, **values), tmp_path / name, workers=workers)
        parts = [np.load(tmp_path / name / shard["file"]) for shard in card["shards"]["train"]]
        return np.concatenate(parts).tolist(), card["sha256"]

    one, digest = stream("one", sources=sources)
    assert stream("again", sources=sources, workers=2) == (one, digest)
    assert stream("many", sources=sources, shard_tokens=5000)[0] == one
    with pytest.MonkeyPatch.context() as patch:  # many appends to each shard's list
        patch.setattr("preceptor.corpus.mixture.COPIES_AT_ONCE", 7)
        assert stream("lists", sources=sources) == (one, digest)
    for name in SIZES:  # the same documents in one file, in the other order
        lines = [p.read_text() for p in sorted((tmp_path / name).iterdir(), reverse=True)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    moved = [{"name": name, "files": str(tmp_path / f"{name}.jsonl")} for name in SIZES]
    assert stream("moved", sources=moved) == (one, digest)
    assert stream("seed", sources=sources, seed=1)[0] != one


def test_a_task_reads_the_shards_that_it_writes_and_no_index(tmp_path, sources, monkeypatch):
    """Three readings of each piece's index by the mixture, however many tasks write shards."""
    read, opened = Counter(), Counter()
    monkeypatch.setattr("preceptor.corpus.pieces.PIECE_BYTES", 1)

    def counting(plan, piece):
        read[piece] += 1
        return read_index(plan, piece)

    def listed(folder, part, number):
        opened[part, number] += 1
        return read_list(folder, part, number)

    monkeypatch.setattr("preceptor.corpus.stream.read_index", counting)
    monkeypatch.setattr("preceptor.corpus.stream.read_list", listed)
    card = built(recipe_of(tmp_path, sources=sources, shard_tokens=3000), tmp_path / "out")
    assert read == dict.fromkeys(range(6), 3)
    shards = [
        (shard["part"], shard["number"]) for part in card["shards"].values() for shard in part
    ]
    assert len(shards) > 20 and opened == dict.fromkeys(shards, 1)


def test_training_on_shards_is_training_on_their_documents(tmp_path, sources):
    """The rows that a stage reads, however the shards cut them, are those of packed documents."""
    recipe = recipe_of(tmp_path, sources=sources, shard_tokens=7000)
    card = built(recipe, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    texts = [tokenizer.decode(tokens[:-1]) for _, tokens in documents_in(tmp_path / "out", card)]
    pack_documents(map(Document, texts), tokenizer, tmp_path / "t.npy")
    packed = np.load(tmp_path / "t.npy")
    for length in (16, 1000, 9001):
        rows = ShardedText.open(tmp_path / "out", "train", length)
        count = len(packed) // length
        assert rows.shape == (count, length) and len(rows) == count
        wanted = packed[: count * length].reshape(count, length)
        assert (rows[:] == wanted).all() and rows[:].dtype == np.int32
        some = [count - 1, 0, count // 2]
        assert (rows[some] == wanted[some]).all()
        assert (rows[1:3] == wanted[1:3]).all() and len(rows[:0]) == 0
