"""Records and ids that stay on disk: as a list of them, read one by one, gone after use."""

import gc
import io
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from preceptor.data import stored
from preceptor.data.records import (
    MOST_NESTED,
    Demonstration,
    Prompt,
    Ranking,
    read_records,
    write_records,
)
from preceptor.data.stored import Chosen, open_records, store_ids, store_records
from preceptor.errors import DataError

ODD = "e\u0301 \u2028 \x85 \U0001f600 \\n \x00 tab\t"
PROMPTS = [
    Prompt("plain"),
    Prompt(ODD, user="u", use_case="c", meta={"n": 1, "list": [1.5, None, {"k": ODD}]}),
    Prompt([{"role": "system", "content": "s"}, {"role": "user", "content": ODD}]),
    *(Prompt(f"number {i} " + "x" * (i * 37 % 400)) for i in range(50)),
]


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=["stored", "opened"])
def prompts(request, tmp_path):
    if request.param == "stored":
        return store_records(iter(PROMPTS), Prompt, tmp_path)
    write_records(tmp_path / "p.jsonl", PROMPTS)
    return open_records(tmp_path / "p.jsonl", Prompt)


def test_they_are_a_list_that_lies_on_disk(prompts):
    assert list(prompts) == PROMPTS and len(prompts) == len(PROMPTS)
    numbers = list(range(-len(PROMPTS), len(PROMPTS)))
    random.Random(0).shuffle(numbers)
    assert [prompts[i] for i in numbers] == [PROMPTS[i] for i in numbers]
    for wrong in (len(PROMPTS), -len(PROMPTS) - 1):
        with pytest.raises(IndexError):
            prompts[wrong]


SLICES = [
    slice(None),
    slice(3),
    slice(-4, None),
    slice(1, 40, 7),
    slice(None, None, -3),
    slice(9, 2),
]


@pytest.mark.parametrize("part", SLICES, ids=str)
def test_slices_are_those_of_a_list_and_slices_of_slices_too(prompts, part):
    assert list(prompts[part]) == PROMPTS[part]
    assert list(prompts[::2][part]) == PROMPTS[::2][part]
    assert list(prompts[5:][part][1:]) == PROMPTS[5:][part][1:]


@pytest.mark.parametrize(
    "record",
    [
        Demonstration("p", ODD, user="u", meta={"m": [1]}),
        Ranking(ODD, ["a", "b", ODD], [2, 1, 2], labeler="l", meta={"finished": [True, False]}),
    ],
    ids=lambda record: type(record).__name__,
)
def test_every_kind_comes_back_as_it_was(record, tmp_path):
    [found] = store_records([record], type(record), tmp_path)
    assert found == record


def test_two_read_in_turns_do_not_disturb_each_other(prompts):
    assert list(zip(prompts, prompts[::-1], strict=True)) == list(
        zip(PROMPTS, PROMPTS[::-1], strict=True)
    )


def test_choices_out_of_one_sequence_can_be_added():
    letters = list("abcdef")
    first, second = Chosen(letters, np.array([4, 0])), Chosen(letters, np.array([5]))
    assert list(first + second) == ["e", "a", "f"] and (first + second)[-1] == "f"
    with pytest.raises(ValueError, match="out of one sequence"):
        first + Chosen(list("abcdef"), np.array([1]))


def test_nothing_stays_in_the_folder_and_no_file_stays_open(tmp_path):
    before = open_files()
    found = store_records(PROMPTS, Prompt, tmp_path)
    ids = store_ids([[1, 2], [3]], tmp_path)
    part = found[1:3]
    assert os.listdir(tmp_path) == [] and open_files() == before + 2
    del found
    assert list(part) == PROMPTS[1:3], "a choice holds what it was chosen from"
    del part, ids
    assert open_files() == before


def test_what_fails_in_writing_leaves_no_file_open(tmp_path):
    before = open_files()

    def broken():
        yield PROMPTS[0]
        raise DataError("row 2 is broken")

    with pytest.raises(DataError, match="row 2"):
        store_records(broken(), Prompt, tmp_path)
    assert open_files() == before and os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
@pytest.mark.parametrize("length", [1, 10_000], ids=["told at the end", "told at once"])
def test_a_full_disk_is_told_with_the_folder(length, tmp_path, monkeypatch):
    full = io.BufferedWriter(io.FileIO("/dev/full", "w"))
    monkeypatch.setattr(stored.tempfile, "TemporaryFile", lambda dir: full)
    with pytest.raises(OSError, match="No space left") as error:
        store_ids([[0] * length], tmp_path)
    assert error.value.filename == str(tmp_path)
    assert full.closed or full.raw.closed


def test_a_record_that_was_read_is_not_checked_again(tmp_path):
    """What is a key beside ours goes one level deeper, into `meta`."""
    deep = "[" * (MOST_NESTED - 1) + "]" * (MOST_NESTED - 1)
    (tmp_path / "p.jsonl").write_text('{"prompt": "p", "deep": ' + deep + "}\n")
    [record] = read_records(tmp_path / "p.jsonl", Prompt)
    assert list(store_records([record], Prompt, tmp_path)) == [record]


@pytest.mark.parametrize("rows", [[], [[]], [[], [5], [], [2**31 - 1, 0, -7], list(range(999))]])
def test_ids_come_back_as_they_were(rows, tmp_path):
    found = store_ids(iter(rows), tmp_path)
    assert list(found) == rows and len(found) == len(rows)
    assert all(type(number) is int for row in found for number in row)


def test_blank_lines_are_no_records(tmp_path):
    path = tmp_path / "p.jsonl"
    lines = [json.dumps({"prompt": text}) for text in ("one", "two", "three")]
    path.write_text("\n \n" + "\n\n".join(lines) + "\n\n")
    assert list(open_records(path, Prompt)) == read_records(path, Prompt)
    path.write_text("\n".join(lines))  # and no end to the last line
    assert list(open_records(path, Prompt)) == read_records(path, Prompt)


def test_errors_name_the_file_and_the_line(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "good"}\n{"prompt": 7}\n{"prompt": \n')
    found = open_records(path, Prompt)
    assert found[0] == Prompt("good")
    with pytest.raises(DataError, match=r'p.jsonl:2: "prompt" must be text'):
        found[1]
    with pytest.raises(DataError, match=r"p.jsonl:3: not JSON"):
        found[2]


@pytest.mark.parametrize("text", [None, "", "\n\n"], ids=["no file", "empty", "blank lines"])
def test_a_file_without_records_is_refused_as_a_small_one_is(text, tmp_path):
    path = tmp_path / "p.jsonl"
    if text is not None:
        path.write_text(text)
    told = []
    for read in (read_records, open_records):
        with pytest.raises(DataError, match="p.jsonl: no") as error:
            read(path, Prompt)
        told.append(str(error.value))
    assert told[0] == told[1]
