"""A user's own files: split by user and prompt, disjoint, stable, refused when too few."""

import json
import random
import tracemalloc

import pytest
from toys import tiny_tokenizer

from preceptor.data import files
from preceptor.data.batching import fit_prompts, pack_documents
from preceptor.data.files import (
    PROMPT_SPLITS,
    Reading,
    Split,
    enough,
    prompts_of,
    read_demonstrations,
    read_documents,
    read_prompts,
    read_rankings,
    split_items,
)
from preceptor.data.records import Demonstration, Prompt, messages_of, write_records
from preceptor.data.stored import open_records, store_ids
from preceptor.errors import DataError
from preceptor.models import tokenizers
from preceptor.models.tokenizers import encode_prompts


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_no_user_stands_on_two_sides(tmp_path):
    rows = [{"prompt": f"p{i}", "user": f"u{i % 40}"} for i in range(400)]
    parts = read_prompts(write(tmp_path / "p.jsonl", rows))
    users = [{p.user for p in part} for part in parts.values()]
    assert sum(len(u) for u in users) == len(set().union(*users)) == 40
    assert sum(len(part) for part in parts.values()) == 400


def test_without_users_no_prompt_stands_on_two_sides(tmp_path):
    rows = [{"prompt": f"p{i % 60}"} for i in range(300)]
    parts = read_prompts(write(tmp_path / "p.jsonl", rows))
    texts = [{p.prompt for p in part} for part in parts.values()]
    assert sum(len(t) for t in texts) == 60


def test_the_order_of_the_file_does_not_matter(tmp_path):
    rows = [{"prompt": f"p{i}"} for i in range(100)]
    before = read_prompts(write(tmp_path / "a.jsonl", rows))
    random.Random(1).shuffle(rows)
    after = read_prompts(write(tmp_path / "b.jsonl", rows))
    for name in before:
        assert {p.prompt for p in before[name]} == {p.prompt for p in after[name]}


@pytest.mark.parametrize("count", [5, 6, 7, 11, 50, 500])
def test_every_part_gets_something(tmp_path, count):
    parts = read_prompts(write(tmp_path / "p.jsonl", [{"prompt": f"p{i}"} for i in range(count)]))
    assert set(parts) == {split.name for split in PROMPT_SPLITS}
    assert all(parts.values())
    assert sum(len(part) for part in parts.values()) == count


def test_what_only_measures_gets_no_more_than_it_needs():
    items = [Prompt(f"p{i}", meta={"n": i}) for i in range(200)]
    splits = (Split("train", 0.5), Split("valid", 0.3, most=7), Split("other", 0.2, most=1000))
    parts = split_items(items, splits, "p.jsonl")
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 153,
        "valid": 7,
        "other": 40,
    }
    assert sorted(p.meta["n"] for part in parts.values() for p in part) == list(range(200))
    assert all(split.most for split in PROMPT_SPLITS if split.name not in ("reward_train", "ppo"))


def test_of_few_users_many_prompts_enough_are_kept_and_all_users_stay_held_out(monkeypatch):
    monkeypatch.setattr(files, "MOST_HELD_OUT", 30)
    items = [Prompt(f"p{i}", user=f"u{i % 40}") for i in range(4000)]
    parts = split_items(items, PROMPT_SPLITS, "p.jsonl")
    assert len(parts["test"]) == 400
    kept = enough(parts["test"])
    assert len(kept) == 30 and {p.user for p in kept} == {p.user for p in parts["test"]}
    assert list(kept) == [p for p in parts["test"] if p in list(kept)], "in the order of the file"
    moved = random.Random(3).sample(items, len(items))
    again = enough(split_items(moved, PROMPT_SPLITS, "p.jsonl")["test"])
    assert {p.prompt for p in again} == {p.prompt for p in kept}
    small = parts["test"][:30]
    assert enough(small) is small


def test_a_part_is_in_the_order_of_the_file(tmp_path):
    rows = [{"prompt": f"p{i % 37}", "n": i} for i in range(100)]
    for part in read_prompts(write(tmp_path / "p.jsonl", rows)).values():
        numbers = [p.meta["n"] for p in part]
        assert numbers == sorted(numbers)


def test_a_file_is_split_by_users_from_twenty_on(tmp_path):
    for users, is_split in ((19, True), (20, False)):
        rows = [{"prompt": f"p{i}", "user": f"u{i % users}"} for i in range(400)]
        parts = read_prompts(write(tmp_path / "p.jsonl", rows))
        sides = [{p.user for p in part} for part in parts.values()]
        assert (sum(map(len, sides)) > users) == is_split


def test_too_few_prompts_are_refused(tmp_path):
    path = write(tmp_path / "p.jsonl", [{"prompt": "same"}] * 30)
    with pytest.raises(DataError, match="1 different prompts; at least 5"):
        read_prompts(path)


def test_all_labelers_of_a_prompt_stand_on_one_side(tmp_path):
    rows = [
        {"prompt": f"p{i % 20}", "responses": ["a", "b"], "ranks": [1, 2], "labeler": f"l{i}"}
        for i in range(60)
    ]
    train, valid = read_rankings(write(tmp_path / "r.jsonl", rows))
    assert not {r.prompt for r in train} & {r.prompt for r in valid}
    assert len(train) + len(valid) == 60 and valid


def test_documents_of_text_and_jsonl(tmp_path):
    text = tmp_path / "t.txt"
    text.write_text("one\n\ntwo\n\n\n\nthree\n\nfour")
    train, valid = read_documents(str(text))
    assert sorted(d.text for d in (*train, *valid)) == ["four", "one", "three", "two"]
    rows = [{"text": f"d{i}", "source": "s"} for i in range(20)]
    train, valid = read_documents(write(tmp_path / "d.jsonl", rows))
    assert (len(train), len(valid)) == (18, 2)
    text.write_bytes(b"caf\xe9\n\nbar")
    with pytest.raises(DataError, match="not UTF-8 at byte 3"):
        read_documents(str(text))
    text.write_text("only one")
    with pytest.raises(DataError, match="At least 2"):
        read_documents(str(text))


def test_a_document_that_stands_twice_is_on_one_side_and_the_parts_can_be_read_again(tmp_path):
    rows = [{"text": f"d{i % 15}", "source": "s"} for i in range(60)]
    train, valid = read_documents(write(tmp_path / "d.jsonl", rows))
    assert len(train) + len(valid) == 60 and len(valid) == 8  # six, and the copies of the last
    for _ in range(2):
        assert (len(list(train)), len(list(valid))) == (len(train), len(valid))
    assert not {d.text for d in train} & {d.text for d in valid}
    path = write(tmp_path / "same.jsonl", [{"text": "same"}] * 4)
    with pytest.raises(DataError, match="4 times the same document. At least 2"):
        read_documents(path)


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Reading and packing six times the text holds no more Python objects at any time."""
    peaks = []
    for name, count in (("small", 2_000), ("large", 12_000)):
        rows = ({"text": f"{i} " + "a b c d e f g h " * 12} for i in range(count))
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        tracemalloc.start()
        train, valid = read_documents(str(path))
        for part in (train, valid):
            pack_documents(part, tiny_tokenizer(), tmp_path / "tokens.npy")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (len(train), len(valid)) == (0.9 * count, 0.1 * count)
    grown = 10_000 * (8 + 8 + 8 + 2)  # hashes, sorted once, cut once, and a part for each document
    assert peaks[1] - peaks[0] < 2 * grown


def test_memory_does_not_grow_with_a_file_of_prompts(tmp_path, monkeypatch):
    """Of six times the prompts a few numbers stay, nothing of their texts and ids."""
    monkeypatch.setattr(tokenizers, "TEXTS_AT_ONCE", 100)  # as full a batch of either file
    peaks = []
    for name, count in (("small", 2_000), ("large", 12_000)):
        rows = ({"prompt": f"{i} " + "a b c d e f g h " * 30, "k": "v" * 400} for i in range(count))
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        folder = tmp_path / name
        folder.mkdir()
        tracemalloc.start()
        parts = read_prompts(str(path), Reading(scratch=folder))
        fitting = fit_prompts(parts["ppo"], tiny_tokenizer(), 1000, "p")
        write_records(folder / "p.jsonl", fitting)
        prompts = open_records(folder / "p.jsonl", Prompt)
        ids = store_ids(encode_prompts(tiny_tokenizer(), (p.prompt for p in prompts)), folder)
        batch = [ids[i] for i in range(0, len(ids), 100)]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(batch[-1]) > 240 and len(prompts) == len(fitting) == len(parts["ppo"])
    # Where it begins, two hashes and its part: some forty bytes a prompt, which has 900 in its file
    # and 240 ids, in lists 2 KB.
    assert peaks[1] - peaks[0] < 10_000 * 60


def test_prompts_of_demonstrations_are_split_the_same_way(tmp_path):
    demonstrations = [Demonstration(f"p{i}", "r") for i in range(50)]
    parts = prompts_of(demonstrations, "d.jsonl")
    assert sum(len(part) for part in parts.values()) == 50
    rows = [{"prompt": d.prompt, "response": d.response} for d in demonstrations]
    train, valid = read_demonstrations(write(tmp_path / "d.jsonl", rows))
    assert len(train) + len(valid) == 50


def test_turns_of_one_conversation_stand_on_one_side(tmp_path):
    rows = [
        {
            "messages": [
                {"role": role, "content": f"{role} {i} {turn}"}
                for turn in range(3)
                for role in ("user", "assistant")
            ]
        }
        for i in range(40)
    ]
    train, valid = read_demonstrations(write(tmp_path / "d.jsonl", rows))
    assert (len(train), len(valid)) == (108, 12)
    talks = [{d.response.split()[1] for d in part} for part in (train, valid)]
    assert not talks[0] & talks[1]
    parts = prompts_of([*train, *valid], "d.jsonl")
    first = {n: {messages_of(p.prompt)[0]["content"] for p in part} for n, part in parts.items()}
    assert sum(len(talks) for talks in first.values()) == 40


def test_what_is_left_out_is_noted_with_its_reason(tmp_path):
    rows = [{"instruction": f"q{i}", "output": "a" if i % 7 else None} for i in range(50)]
    reading = Reading(on_error="skip")
    train, valid = read_demonstrations(write(tmp_path / "d.jsonl", rows), reading)
    assert len(train) + len(valid) == 42
    [note] = reading.notes
    assert "8 left out" in note and "d.jsonl:1: " in note and '"output" is missing' in note
    with pytest.raises(DataError, match="d.jsonl:1: "):
        read_demonstrations(write(tmp_path / "d.jsonl", rows))
