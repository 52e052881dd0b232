"""Records: what is written comes back, and a broken line is named with its rule."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.data.records import (
    Demonstration,
    Document,
    Prompt,
    Ranking,
    messages_of,
    parse_record,
    read_records,
    text_of,
    write_records,
)
from preceptor.errors import DataError

KINDS: dict[str, Any] = {
    "document": Document,
    "prompt": Prompt,
    "demonstration": Demonstration,
    "ranking": Ranking,
}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi\nthere"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Où? \u2028 日本"},
]
RECORDS: list[Any] = [
    Document("line one\nline two\u2028three", "book"),
    Prompt("What is it?", "ann", "open_qa", {"entity": "fox", "n": 3}),
    Prompt(CHAT),
    Demonstration(CHAT, "There.", "bob", "chat"),
    Ranking("Q", ["a", "", "c"], [1, 2, 2], "lab-1", meta={"seconds": 2.5}),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_comes_back_as_it_was_written(tmp_path: Path, record: Any):
    path = tmp_path / "folder" / "records.jsonl"
    write_records(path, [record, record])
    assert read_records(path, type(record)) == [record, record]


words = st.text(min_size=1).filter(lambda text: bool(text.strip()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, st.text()), min_size=1, max_size=4))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]):
    path = tmp_path_factory.mktemp("records") / "x.jsonl"
    rankings = [Ranking(prompt, [other, prompt], [2, 1]) for prompt, other in rows]
    write_records(path, rankings)
    assert read_records(path, Ranking) == rankings


def test_the_returned_hash_is_the_file_s(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    assert write_records(path, RECORDS[:1]) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not list(tmp_path.glob("*.partial"))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    write_records(path, [Document("old")])
    with pytest.raises(TypeError):
        write_records(path, [Document("new"), {"text": object()}])
    assert read_records(path, Document) == [Document("old")]


def test_unknown_keys_are_kept_in_meta():
    found = parse_record({"prompt": "Q", "stars": 5, "meta": {"a": 1}}, Prompt, "x:1")
    assert found.meta == {"a": 1, "stars": 5}


def test_null_counts_as_absent():
    assert parse_record({"prompt": "Q", "user": None}, Prompt, "x:1") == Prompt("Q")


def test_blank_lines_are_skipped_and_still_counted(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    path.write_text('\n{"prompt": "Q"}\r\n\n{"prompt": 3}\n')
    with pytest.raises(DataError, match=r"x\.jsonl:4: "):
        read_records(path, Prompt)


RANKING = {"prompt": "Q", "responses": ["a", "b"], "ranks": [1, 2]}
BROKEN: list[tuple[str, Any, str]] = [
    ("document", {}, 'needs "text"'),
    ("document", {"text": " "}, '"text" is empty'),
    ("document", {"text": 3}, '"text" must be text, it is int'),
    ("document", {"text": "a", "source": 3}, '"source" must be text'),
    ("document", [1], "is a JSON object, this is list"),
    ("prompt", {}, 'needs "prompt"'),
    ("prompt", {"prompt": ""}, '"prompt" is empty'),
    ("prompt", {"prompt": 3}, "text or a list of messages"),
    ("prompt", {"prompt": []}, "text or a list of messages"),
    ("prompt", {"prompt": ["Hi"]}, 'needs a "role"'),
    ("prompt", {"prompt": [{"role": "human", "content": "x"}]}, "system, user, assistant"),
    ("prompt", {"prompt": [{"role": "user", "content": " "}]}, 'empty "content"'),
    ("prompt", {"prompt": CHAT[:3]}, "last message must be the user's"),
    ("prompt", {"prompt": "Q", "user": 3}, '"user" must be text'),
    ("demonstration", {"prompt": "Q"}, 'needs "response"'),
    ("demonstration", {"prompt": "Q", "response": ""}, '"response" is empty'),
    ("ranking", RANKING | {"responses": "ab"}, '"responses" must be a list of texts'),
    ("ranking", RANKING | {"responses": ["a", 3]}, '"responses" must be a list of texts'),
    ("ranking", RANKING | {"ranks": None}, '"ranks" must be a list of whole numbers'),
    ("ranking", RANKING | {"ranks": [1, 1.5]}, '"ranks" must be a list of whole numbers'),
    ("ranking", RANKING | {"ranks": [1, True]}, '"ranks" must be a list of whole numbers'),
    ("ranking", RANKING | {"ranks": [1, 2**80]}, "over two thousand million"),
    ("ranking", RANKING | {"ranks": [1]}, "2 responses and 1 ranks"),
    ("ranking", RANKING | {"responses": ["a"], "ranks": [1]}, "at least 2 responses"),
    ("prompt", {"prompt": "Q", "meta": "text"}, '"meta" must be'),
]


@pytest.mark.parametrize(("kind", "row", "rule"), BROKEN)
def test_a_malformed_line_names_file_line_and_rule(tmp_path: Path, kind: str, row: Any, rule: str):
    path = tmp_path / "input.jsonl"
    good = {"text": "fine", "response": "fine"} | RANKING
    path.write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError) as caught:
        read_records(path, KINDS[kind])
    assert f"{path}:2: " in str(caught.value)
    assert rule in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b'{"prompt": "Q"\n', ":1: not JSON"),
        (b'{"prompt": "Q"}\n{"prompt": "\xff"}\n', ":2: not UTF-8 at byte"),
        (b"", "no records in it"),
        (b"\n \n", "no records in it"),
        (b'{"prompt": ' + b"[" * 100_000, ":1: JSON that is nested too deep"),
        (b'{"prompt": ' + b"9" * 10_000 + b"}", ":1: JSON that is nested too deep or holds a num"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, rule: str):
    path = tmp_path / "input.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_records(path, Prompt)
    assert str(caught.value).startswith(str(path))
    assert rule in str(caught.value)


def test_a_missing_file_says_what_is_needed(tmp_path: Path):
    with pytest.raises(DataError, match="no such file. A JSONL file of rankings is needed"):
        read_records(tmp_path / "none.jsonl", Ranking)


def test_a_text_and_its_one_turn_are_the_same_conversation():
    assert messages_of("Hi") == [{"role": "user", "content": "Hi"}]
    assert messages_of(CHAT) is CHAT
    assert text_of("Hi") == "Hi"
    assert text_of(CHAT[:2]) == "system: Be brief.\nuser: Hi\nthere"
