"""A built corpus as the stages read it: whole, or refused with what is wrong."""

import json

import numpy as np
import pytest

from preceptor.data.shards import CARD, FORMAT, ShardedText, is_built, read_card
from preceptor.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Ten tokens in three shards, one of them empty."""
    parts = [np.arange(0, 3), np.arange(3, 3), np.arange(3, 10)]
    shards = []
    for number, part in enumerate(parts):
        np.save(tmp_path / f"train-{number:05d}.npy", part.astype(np.uint16))
        shards.append({"file": f"train-{number:05d}.npy", "tokens": len(part)})
    card = {"format": FORMAT, "shards": {"train": shards, "valid": []}}
    (tmp_path / CARD).write_text(json.dumps(card))
    return tmp_path


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 9, 10])
def test_sequences_cross_from_shard_to_shard(folder, length):
    rows = ShardedText.open(folder, "train", length)
    assert rows[:].ravel().tolist() == list(range(10 // length * length))


def test_rows_are_indexed_as_an_array_is(folder):
    rows = ShardedText.open(folder, "train", 2)
    whole = rows[:]
    assert rows[[4, 0]].tolist() == whole[[4, 0]].tolist()
    assert rows[[-1]].tolist() == whole[[-1]].tolist()
    assert rows[1:4:2].tolist() == whole[1:4:2].tolist()
    with pytest.raises(IndexError):
        rows[[5]]


def test_too_little_text_is_refused(folder):
    with pytest.raises(DataError, match="10 tokens in train, fewer than one sequence of 11"):
        ShardedText.open(folder, "train", 11)
    with pytest.raises(DataError, match="0 tokens in valid"):
        ShardedText.open(folder, "valid", 1)


def test_a_shard_that_changed_is_refused(folder):
    np.save(folder / "train-00002.npy", np.arange(4, dtype=np.uint16))
    with pytest.raises(DataError, match=r"train-00002.npy: 4 tokens, corpus.json says 7"):
        ShardedText.open(folder, "train", 2)
    (folder / "train-00002.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="cannot be read"):
        ShardedText.open(folder, "train", 2)
    (folder / "train-00002.npy").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        ShardedText.open(folder, "train", 2)


def test_a_folder_without_a_card_is_not_built(folder, tmp_path_factory):
    assert is_built(folder) and not is_built(tmp_path_factory.mktemp("e")) and not is_built(None)
    (folder / CARD).write_text("{}")
    with pytest.raises(DataError, match="not a corpus of this version"):
        read_card(folder)
    (folder / CARD).write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        read_card(folder)
