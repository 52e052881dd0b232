"""A corpus whose files are not what its card says is refused, by the first thing that is wrong."""

import hashlib
import json

import numpy as np
import pytest

from preceptor.data.shard_checks import check_corpus, require_undamaged
from preceptor.data.shards import CARD, FORMAT, SHARD_INDEX, index_name, shard_name
from preceptor.errors import DataError

SEPARATOR, VOCABULARY = 1, 50
STREAMS = {  # documents of a shard: source, tokens
    "train": [[(0, [7, 8, 9, 1]), (1, [5, 1])], [(1, [1]), (0, [49, 3, 1])]],
    "valid": [[(0, [2, 2, 1])]],
}


def write(folder, streams):
    """A corpus of these documents, and a card that is right about them."""
    shards, digest = {}, hashlib.sha256()
    for part, of_part in streams.items():
        shards[part] = []
        for number, documents in enumerate(of_part):
            lengths = [len(tokens) for _, tokens in documents]
            index = np.zeros(len(documents), SHARD_INDEX)
            index["start"] = np.cumsum([0, *lengths])[:-1]
            index["source"] = [source for source, _ in documents]
            path = folder / shard_name(part, number)
            np.save(path, np.array([t for _, tokens in documents for t in tokens], np.uint16))
            np.save(folder / index_name(part, number), index)
            own = [[n for (source, _), n in zip(documents, lengths, strict=True) if source == s]
                   for s in range(2)]  # fmt: skip
            shards[part].append({
                "file": path.name, "tokens": sum(lengths), "documents": len(documents),
                "documents_by_source": [len(one) for one in own],
                "tokens_by_source": [sum(one) for one in own],
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "index_sha256": hashlib.sha256(index.tobytes()).hexdigest(),
            })  # fmt: skip
            digest.update(
                f"{shards[part][-1]['sha256']} {shards[part][-1]['index_sha256']}\n".encode()
            )
    card = {
        "format": FORMAT,
        "sha256": digest.hexdigest(),
        "tokenizer": {"vocabulary_size": VOCABULARY, "separator": SEPARATOR, "dtype": "<u2"},
        "shards": shards,
        "sources": [
            {"name": name, **{f"seen_{what}": sum(shard[f"{what}_by_source"][number]
                                                  for shard in shards["train"])
                              for what in ("documents", "tokens")}}
            for number, name in enumerate(("a", "b"))
        ],
    } | {what: {part: sum(s[what] for s in shards[part]) for part in shards}
         for what in ("tokens", "documents")}  # fmt: skip
    (folder / CARD).write_text(json.dumps(card))
    return card


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, STREAMS)
    return tmp_path


def checked(folder):
    return check_corpus(folder, say=lambda line: None)


def test_a_whole_corpus_passes(folder):
    assert checked(folder) == {"shards": 3, "tokens": 13, "documents": 5}
    require_undamaged(folder, say=lambda line: None)


@pytest.mark.parametrize("name", ["train-00001.npy", "train-00000.index.npy", "valid-00000.npy"])
def test_a_flipped_bit_is_found_though_every_length_is_right(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 4
    (folder / name).write_bytes(content)
    told = rf"{name}: sha256: .*remove .*corpus\.json and build the corpus again"
    for check in (checked, lambda f: require_undamaged(f, say=lambda line: None)):
        with pytest.raises(DataError, match=told):
            check(folder)


def test_a_file_that_is_missing_short_or_no_shard_is_named(folder):
    whole = (folder / "train-00000.npy").read_bytes()
    for content in (b"", whole[:-2], whole[:20], b"hello"):
        (folder / "train-00000.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"train-00000\.npy: it cannot be read"):
            checked(folder)
    np.save(folder / "train-00000.npy", np.zeros(5, np.uint16))
    with pytest.raises(DataError, match=r"train-00000\.npy: tokens: 5, and it should be 6"):
        checked(folder)
    (folder / "train-00000.npy").write_bytes(whole)
    (folder / "train-00001.index.npy").unlink()
    with pytest.raises(DataError, match=r"train-00001\.index\.npy: it cannot be read"):
        checked(folder)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ((0, [VOCABULARY, 1]), r"valid-00000\.npy: token 0 has id 50, the vocabulary ends at 49"),
        ((0, [4, 2]), r"valid-00000\.index\.npy: document 0 does not end in the separator"),
        ((0, []), r"valid-00000\.index\.npy: document 0 does not end behind where it begins"),
        ((2, [1]), r"valid-00000\.index\.npy: a document is of source 2 of 2"),
    ],
)
def test_what_was_built_wrong_is_found_though_every_hash_is_right(tmp_path, document, told):
    write(tmp_path, STREAMS | {"valid": [[document, (0, [2, 1])]]})
    with pytest.raises(DataError, match=told):
        checked(tmp_path)


def change(folder, *path_and_value):
    *path, last, value = path_and_value
    card = json.loads((folder / CARD).read_text())
    inner = card
    for key in path:
        inner = inner[key]
    inner[last] = value
    (folder / CARD).write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("change_of", "told"),
    [
        (("tokens", "train", 11), r"corpus\.json: tokens in train: 11, and it should be 10"),
        (("documents", "valid", 0), "documents in valid: 0, and it should be 1"),
        (("sources", 1, "seen_tokens", 4), "tokens of source b: 4, and it should be 3"),
        (("sources", 0, "seen_documents", 9), "documents of source a: 9, and it should be 2"),
        (("shards", "train", 0, "documents_by_source", [2, 0]), "documents by source"),
        (("shards", "train", 0, "tokens_by_source", [3, 3]), "tokens by source"),
        (("shards", "train", 0, "file", "../x.npy"), "file of shard 0 of train"),
        (("shards", "train", 0, "sha256", "0"), r"train-00000\.npy: sha256"),
        (("sha256", "0"), "sha256 over all shards"),
        (("shards", {"train": []}), "it says nothing of valid"),
        (("shards", 7), "shards: input should be a valid dictionary"),
        (("format", "preceptor corpus 0"), "not a corpus of this version"),
    ],
)
def test_a_card_that_says_something_else_is_named(folder, change_of, told):
    change(folder, *change_of)
    with pytest.raises(DataError, match=told):
        checked(folder)


def test_a_file_that_the_card_does_not_name_is_named(folder):
    (folder / "train-00002.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"train-00002\.npy: corpus\.json does not name it"):
        checked(folder)
    (folder / CARD).unlink()
    with pytest.raises(DataError, match="no corpus is built there to its end"):
        checked(folder)
