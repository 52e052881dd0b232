"""Blocked words: which are found, and which share of a text they are, against counts by hand."""

from pathlib import Path

import pytest

from preceptor.corpus.blocklist import Blocklist
from preceptor.errors import DataError


def blocklist(tmp_path: Path, text: str) -> Blocklist:
    (tmp_path / "blocked.txt").write_text(text, encoding="utf-8")
    return Blocklist.read(str(tmp_path / "blocked.txt"))


@pytest.mark.parametrize(
    ("text", "share", "first"),
    [
        ("nothing of that kind", 0, ""),
        ("", 0, ""),
        ("one BAD! word", 1 / 3, "bad"),
        ("badly is no bad-word", 0, ""),  # a word is whole, and a hyphen joins two
        ("a very bad idea, and a very\nbad one", 4 / 9, "very bad"),
        ("bad bad bad", 1, "bad"),
        ("x very bad news y", 3 / 5, "very bad"),  # two entries share a word, which counts once
        ("very very bad", 2 / 3, "very bad"),
    ],
)
def test_a_text_s_share_of_blocked_words(tmp_path, text, share, first):
    entries = "\ufeff# a comment\n\nbad  # another\nVery bad\nbad news\nvery bad\n"
    assert blocklist(tmp_path, entries).found_in(text) == (pytest.approx(share), first)


def test_of_entries_that_begin_alike_the_longer_counts(tmp_path):
    for entries in ("bad\nbad news\n", "bad news\nbad\n"):
        assert blocklist(tmp_path, entries).found_in("bad news today")[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"# nothing\n \n", "no word in it"), (b"caf\xe9\n", "not UTF-8 at byte 3")],
)
def test_a_list_that_blocks_nothing_is_refused(tmp_path, content, told):
    path = tmp_path / "blocked.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"blocked.txt: {told}"):
        Blocklist.read(str(path))
