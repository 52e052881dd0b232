"""`preceptor data check`: everything planted is found, by line; what is sound is called sound."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from toys import tiny_model, tiny_tokenizer
from typer.testing import CliRunner, Result

from preceptor.cli import app
from preceptor.data.profile import Measure, profile_file, training_prompts
from preceptor.data.records import Prompt
from preceptor.models import gguf, save_model

REAL = Path(os.environ.get("PRECEPTOR_REAL_DATA", "none"))
"""A folder of real records, for those who have one; nothing of it is in the repository."""


def check(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)])


def profile(*arguments: Any) -> dict[str, Any]:
    """The one file's profile, out of what the command prints for programs."""
    printed = json.loads(check(*arguments, "--json").stdout)
    [found] = printed["files"]
    assert printed["errors"] == sum(error["count"] for error in found["errors"])
    return dict(found)


def write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def problems(found: dict[str, Any], severity: str) -> dict[str, list[str]]:
    """Rule to the lines where it is broken."""
    return {p["rule"]: [place.split(":")[-1] for place in p["places"]] for p in found[severity]}


def ranking(prompt: str, responses: list[str], ranks: list[int], **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "responses": responses, "ranks": ranks} | more


@pytest.fixture
def rankings(tmp_path: Path) -> Path:
    """Two labelers who agree on two of the three pairs that both put in order, and accidents."""
    return write(
        tmp_path / "r.jsonl",
        [
            ranking("one", ["a", "bb", "ccc"], [1, 2, 3], labeler="ann", use_case="chat"),
            ranking("one", ["ccc", "a", "bb"], [2, 1, 3], labeler="bob", use_case="chat"),
            '{"prompt": "broken"',
            ranking("two", ["dddd", "e"], [1, 2], labeler="ann", use_case="open_qa"),
            ranking("two", ["dddd", "e"], [1, 2], labeler="ann", use_case="open_qa"),
            ranking("three", ["x", "y"], [1, 1], labeler="bob"),
            ranking("four", ["same", "same"], [1, 2]),
            ranking("five", ["only one"], [1]),
        ],
    )


def test_everything_planted_is_found_by_line(rankings: Path):
    found = profile(rankings)
    assert (found["rows"], found["records"], found["kind"]) == (8, 6, "rankings")
    errors = problems(found, "errors")
    assert sorted(errors.values()) == [["3"], ["8"]]
    assert any(rule.startswith("not JSON") for rule in errors)
    assert problems(found, "warnings") == {
        "the same record again.": ["5"],
        "all responses are tied; it makes no pair to learn from.": ["6"],
        "one response stands twice, in different ranks.": ["7"],
    }
    assert found["labels"]["labelers"] == {"ann": 3, "bob": 2}
    assert found["labels"]["use_cases"] == {"chat": 2, "open_qa": 2}
    assert found["repeated_prompts"] == 2


def test_labelers_agree_as_counted_by_hand_whatever_order_they_saw(rankings: Path):
    # ann a > bb > ccc; bob a > ccc > bb: alike on (a, bb) and (a, ccc), not on (bb, ccc).
    agreement = profile(rankings)["rankings"]["agreement"]
    assert agreement["mean"] == pytest.approx(2 / 3)
    assert agreement["n"] == 3


def test_the_longer_wins_as_counted_by_hand(rankings: Path):
    found = profile(rankings)["rankings"]
    # ann 0 of 3; bob 1 of 3 (ccc over bb); dddd over e twice; "same" is as long as itself: a half.
    assert found["strict_pairs"] == 9
    assert found["longer_wins"]["mean"] == pytest.approx((0 + 1 + 2 + 0.5) / 9)
    assert found["tied_pairs"] == 1
    assert found["responses"] == {"2": 4, "3": 2}


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("hanna.jsonl.gz", 0.685),
        ("hh_harmless.jsonl.gz", 0.437),
        ("llmbar_natural.jsonl", 0.571),
        ("alpacaeval_k8.jsonl.gz", 0.803),
        ("dpo_en_demo.jsonl.gz", 0.438),
    ],
)
def test_the_longer_wins_on_real_rankings_as_published(name: str, share: float):
    if not (REAL / "rankings" / name).is_file():
        pytest.skip(f"needs PRECEPTOR_REAL_DATA, a folder with rankings/{name}")
    assert profile(REAL / "rankings" / name)["rankings"]["longer_wins"]["mean"] == pytest.approx(
        share, abs=5e-4
    )


def test_lengths_are_those_of_the_texts(tmp_path: Path):
    rows = [{"prompt": "w " * n, "response": "r " * (2 * n)} for n in range(1, 102)]
    lengths = profile(write(tmp_path / "d.jsonl", rows))["lengths"]
    assert lengths["prompt"] == {"min": 1, "median": 51, "p90": 91, "max": 101}
    assert lengths["response"] == {"min": 2, "median": 102, "p90": 182, "max": 202}
    assert lengths["unit"] == "words"


def test_lengths_in_tokens_are_held_against_the_context_of_the_model(tmp_path: Path):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "model")
    rows = [{"prompt": "a " * n, "response": "b"} for n in (3, 57, 58)]
    path = write(tmp_path / "d.jsonl", rows)
    found = profile(path, "--model", tmp_path / "model")
    # "user: ", "assistant:" are four tokens; a response has its end token; the context is 64.
    assert found["lengths"]["prompt"]["max"] == 62
    assert found["lengths"]["response"]["max"] == 2
    assert problems(found, "warnings") == {}
    short = profile(path, "--model", tmp_path / "model", "--context", 63)
    told = "prompt and response are longer than the context of 63 tokens; training leaves it out."
    assert problems(short, "warnings") == {told: ["3"]}
    documents = write(tmp_path / "t.jsonl", [{"text": "a " * 99}])
    assert problems(profile(documents, "--context", 63), "warnings") == {}, "they are packed"


def test_the_model_that_recipes_know_by_name_is_known_here(tmp_path: Path, monkeypatch: Any):
    save_model(tiny_model("llama"), tiny_tokenizer(), tmp_path / "model")
    monkeypatch.setattr(gguf, "smollm2_folder", lambda: tmp_path / "model")
    path = write(tmp_path / "d.jsonl", [{"prompt": "a", "response": "b"}])
    assert profile(path, "--model", "smollm2") == profile(path, "--model", tmp_path / "model")


def test_repeated_prompts_are_named_by_line(tmp_path: Path):
    rows = [{"prompt": prompt} for prompt in ("Q", "R", "q ", "Q")]
    path = write(tmp_path / "d.jsonl", rows)
    assert profile(path)["repeated_prompts_at"] == [f"{path}:3", f"{path}:4"]
    assert "repeated prompts    2: lines 3, 4\n" in check(path).stdout


def test_one_problem_in_many_columns_is_one_problem(tmp_path: Path):
    lines = [" " * n + '{"prompt" "Q"}' for n in range(5)]
    path = write(tmp_path / "d.jsonl", [{"prompt": "Q"}, *lines])
    [error] = profile(path)["errors"]
    assert error["rule"].startswith("not JSON (Expecting ':' delimiter).")
    assert error["count"] == 5
    [alone] = profile(write(tmp_path / "e.jsonl", [{"prompt": "Q"}, lines[0]]))["errors"]
    assert "column 11" in alone["rule"]


def test_an_empty_response_in_a_ranking_is_a_warning(tmp_path: Path):
    path = write(tmp_path / "d.jsonl", [ranking("Q", ["a", " "], [1, 2])])
    assert problems(profile(path), "warnings") == {"a response is empty.": ["1"]}


def test_what_is_in_the_training_file_too_is_an_error(tmp_path: Path):
    train = write(
        tmp_path / "train.jsonl", [{"prompt": f"p{i}", "user": f"u{i}"} for i in range(9)]
    )
    valid = write(
        tmp_path / "valid.jsonl",
        [{"prompt": "new"}, {"prompt": " P3 "}, {"prompt": "other", "user": "u5"}],
    )
    found = profile(valid, "--against", train)
    [error] = found["errors"]
    assert error["places"] == [f"{valid}:2 (line 4 there)"]
    assert [w["places"] for w in found["warnings"]] == [[f"{valid}:3"]]
    assert check(valid, "--against", train).exit_code == 2
    clean = write(tmp_path / "clean.jsonl", [{"prompt": "new"}])
    assert check(clean, "--against", train).exit_code == 0
    assert "leaks               none out of" in check(clean, "--against", train).stdout
    assert "leaks               1 out of" in check(valid, "--against", train).stdout


def test_a_prompt_as_text_and_as_one_turn_is_one_prompt(tmp_path: Path):
    def turn(text: str, role: str = "user") -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    texts = write(tmp_path / "t.jsonl", [{"prompt": "Who?"}, {"prompt": "Why?"}])
    system = [*turn("Be brief.", "system"), *turn("Where?")]
    turns = write(tmp_path / "m.jsonl", [{"prompt": turn("Why?")}, {"prompt": system}])
    assert problems(profile(turns, "--against", texts), "errors") == {
        f"its prompt or its conversation is in {texts} too.": ["1 (line 2 there)"]
    }
    assert problems(profile(texts, "--against", turns), "errors") == {
        f"its prompt or its conversation is in {turns} too.": ["2 (line 1 there)"]
    }
    both = write(tmp_path / "b.jsonl", [{"prompt": "Who?"}, {"prompt": turn("who?")}])
    assert profile(both)["repeated_prompts_at"] == [f"{both}:2"]


def test_documents_are_held_against_documents(tmp_path: Path):
    """`data get` writes documents-train and -heldout; that they are apart can be checked."""
    train = write(tmp_path / "train.jsonl", [{"text": f"text {i}"} for i in range(9)])
    valid = write(tmp_path / "valid.jsonl", [{"text": "new"}, {"text": " Text 3"}, {"text": "new"}])
    [error] = profile(valid, "--against", train)["errors"]
    assert error["rule"] == f"its text is in {train} too."
    assert error["places"] == [f"{valid}:2 (line 4 there)"]
    assert "repeated texts      1: line 3\n" in check(valid, "--against", train).stdout
    clean = write(tmp_path / "clean.jsonl", [{"text": "new"}])
    assert check(clean, "--against", train).exit_code == 0


def test_documents_and_prompts_cannot_be_held_against_each_other(tmp_path: Path):
    texts = write(tmp_path / "texts.jsonl", [{"text": "one"}])
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": "one"}])
    for file, other in ((texts, prompts), (prompts, texts)):
        result = check(file, "--against", other)
        assert result.exit_code == 2 and "cannot be compared" in " ".join(result.stdout.split())


def test_a_later_turn_of_a_conversation_of_the_training_file_is_a_leak(tmp_path: Path):
    turns = [{"role": ("user", "assistant")[i % 2], "content": f"t{i}"} for i in range(6)]
    train = write(tmp_path / "train.jsonl", [{"messages": turns}])
    [group] = {r.meta["split_group"] for r in read_prompts(train)}
    row = {"prompt": "else", "response": "x", "meta": {"split_group": group}}
    assert check(write(tmp_path / "v.jsonl", [row]), "--against", train).exit_code == 2


def read_prompts(path: Path) -> list[Prompt]:
    from loading import load_records

    return load_records(path, Prompt).records


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "there is nothing in it."),
        (b'{"frage": "Q"}\n', "no known format has the keys frage."),
        (b'{"messages": [], "chosen": "a", "rejected": "b"}\n', "fit messages and pairs. Name the"),
        (b"\xff\xfe\n", "not UTF-8 at byte 0. Save it as UTF-8. line 1"),
        (b"[1]\n2\n", "a record is a JSON object, this is list. line 1"),
        (b"\x1f\x8b\x08", "damaged or cut off after this"),
    ],
)
def test_a_file_that_cannot_be_told_is_an_error_in_words(tmp_path: Path, content: bytes, rule: str):
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    result = check(path)
    assert result.exit_code == 2
    assert rule in " ".join(result.stdout.split())
    assert result.stderr == ""


def test_all_rows_that_were_tried_are_named_where_a_file_begins_badly(tmp_path: Path):
    broken = ["{broken", "{", "[1", "{}x", '{"prompt": "a"']
    found = profile(write(tmp_path / "five.jsonl", broken))
    assert found["rows"] == 5
    *rows, whole = problems(found, "errors").values()
    assert rows == [["1", "2"], ["3", "5"], ["4"]] and len(whole) == 1  # there is no record in it
    many = ["{broken"] * 120 + [json.dumps({"prompt": "a", "response": "b"})]
    found = profile(write(tmp_path / "many.jsonl", many))
    assert sum(e["count"] for e in found["errors"] if e["rule"].startswith("not JSON")) == 100
    assert "none of the first 100 rows can be read" in json.dumps(found["errors"])


def test_a_missing_file_and_a_broken_training_file_are_named(tmp_path: Path):
    assert check(tmp_path / "none.jsonl").exit_code == 2
    assert "no such file" in check(tmp_path / "none.jsonl").stdout
    assert "a folder. Name the files" in check(tmp_path).stdout
    path = write(tmp_path / "d.jsonl", [{"prompt": "Q"}])
    train = write(tmp_path / "t.jsonl", [{"prompt": "Q"}, "no"])
    result = check(path, "--against", train)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {train}:2: not JSON")


def test_the_status_is_0_only_if_no_file_has_an_error(tmp_path: Path, rankings: Path):
    good = write(tmp_path / "good.jsonl", [{"instruction": "Q", "output": "A"}])
    assert check(good).exit_code == 0
    assert "no errors, no warnings" in check(good).stdout
    both = check(good, rankings)
    assert both.exit_code == 2
    assert both.stdout.index("good.jsonl") < both.stdout.index("r.jsonl")


def test_a_kind_or_format_may_be_named(tmp_path: Path):
    path = write(tmp_path / "d.jsonl", [{"instruction": "Q", "output": "A", "messages": []}])
    assert check(path).exit_code == 2
    assert profile(path, "--format", "alpaca")["kind"] == "demonstrations"
    assert profile(path, "--format", "alpaca", "--kind", "prompts")["kind"] == "prompts"
    wrong = check(path, "--format", "alpacca")
    assert "no format alpacca" in wrong.stdout
    assert wrong.exit_code == 2


def test_it_reads_well_at_80_columns(rankings: Path, tmp_path: Path):
    long_name = tmp_path / ("a-name-" * 12 + ".jsonl")
    rows = [{"prompt": f"p{i}", "response": "", "use_case": f"case {i} of many"} for i in range(40)]
    write(long_name, rows)
    text = check(rankings, long_name).stdout
    paths = str(tmp_path)
    assert all(len(line) <= 80 for line in text.splitlines() if paths not in line)
    assert "lines 1, 2, 3, 4, 5, 6, 7, 8 and 32 more" in text
    assert "the longer wins     0.389" in text


def test_problems_of_a_large_file_are_counted_and_the_first_thousand_named(tmp_path: Path):
    path = write(tmp_path / "d.jsonl", [{"prompt": "Q"}, *["no"] * 3000])
    [error] = profile_file(path)["errors"]
    assert error["count"] == 3000
    assert len(error["places"]) == 1000


def test_memory_does_not_grow_with_the_length_of_texts(tmp_path: Path):
    """Forty megabytes of text, of which no more than a few are held at any time."""
    import tracemalloc

    rng = random.Random(0)
    rows = [{"prompt": f"{rng.random()} " * 1000, "response": f"{i} " * 1000} for i in range(1600)]
    path = write(tmp_path / "d.jsonl", rows)
    del rows
    profile_file(path)  # what is imported and cached on the way is not counted
    tracemalloc.start()
    profile_file(path, measure=Measure())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 30e6
    assert peak < 4e6


def test_training_prompts_need_prompts(tmp_path: Path):
    from preceptor.errors import DataError

    path = write(tmp_path / "t.jsonl", [{"fields": {"prompt": "Q"}, "responses": {}}])
    assert len(training_prompts(path).prompts) == 1
    with pytest.raises(DataError):
        training_prompts(write(tmp_path / "e.jsonl", []))


def test_a_named_format_is_the_training_file_s_too_where_it_fits(tmp_path: Path):
    both = {"messages": [{"role": "user", "content": "M"}], "instruction": "Q", "output": "A"}
    file = write(tmp_path / "f.jsonl", [both])
    other = write(tmp_path / "t.jsonl", [{"prompt": "Q", "response": "A"}])
    for training in (file, other):
        found = profile(file, "--format", "alpaca", "--against", training)
        assert [error["count"] for error in found["errors"]] == [1]


def test_what_is_nearly_the_same_is_found_when_asked_for(tmp_path: Path):
    long = "Write a short story about a bear who finds a hat in the woods and wears it to town"
    turns = [{"role": "user", "content": long + ". " + "It should rhyme, and be kind." * 2}]
    later = [*turns, {"role": "assistant", "content": "No."}, {"role": "user", "content": "Why?"}]
    rows = [
        {"prompt": f"{long}."},
        {"prompt": "Something else entirely, about boats and their owners by the sea."},
        {"prompt": f"{long}!!"},
        {"prompt": f"{long.upper()}."},
        {"prompt": turns, "split_group": "talk"},
        {"prompt": later, "split_group": "talk"},
        {"prompt": [*later, *later[1:]], "split_group": "talk"},
    ]
    path = write(tmp_path / "p.jsonl", rows)
    found = problems(profile(path, "--near"), "warnings")
    assert found["it is nearly the same as an earlier one."] == ["3 (line 1)"]
    assert not any("begins as" in rule for rule in found)  # a later turn goes on from an earlier
    assert not any("nearly" in rule for rule in problems(profile(path), "warnings"))
    shown = check(path, "--near").stdout
    assert "it is nearly the same as an earlier one." in shown
    assert "3 (line 1)" in shown


def test_what_is_nearly_in_the_training_file_is_found_when_asked_for(tmp_path: Path):
    long = "Write a short story about a bear who finds a hat in the woods and wears it to town"
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who is it?"}]
    train = write(
        tmp_path / "train.jsonl",
        [
            {"prompt": "Something else."},
            {"prompt": f"{long}, to be read to children."},
            {"prompt": "Who is it?"},
        ],
    )
    rows = [
        {"prompt": f"{long}, to be read by children!"},
        {"prompt": f"{long.upper()}, to be read to children."},
        {"prompt": f"{long}, to be read to children. Let it rhyme, and end well for all of them."},
        {"prompt": asked},
        {"prompt": "Of boats and their owners by the sea, and of nothing that was asked before."},
    ]
    path = write(tmp_path / "valid.jsonl", rows)
    found = profile(path, "--near", "--against", train)
    assert problems(found, "errors") == {
        f"its prompt or its conversation is in {train} too.": ["2 (line 2 there)"]
    }
    across = {rule: at for rule, at in problems(found, "warnings").items() if str(train) in rule}
    assert across == {
        f"it is nearly the same as one in {train}.": ["1 (line 2 there)"],
        f"it begins as one in {train} for long.": ["3 (line 2 there)"],
        f"it asks the same as one in {train}.": ["4 (line 3 there)"],
    }
    assert found["leaks"] == {"of": str(train), "records": 1, "near": 3}
    shown = " ".join(check(path, "--near", "--against", train).stdout.split())
    assert f"leaks 1 out of {train}, 3 nearly" in shown
    assert "near" not in profile(path, "--against", train)["leaks"]


def test_the_line_of_what_is_nearly_the_same_is_its_row_s(tmp_path: Path):
    """A row may hold several records: the turns of a conversation."""
    long = "Write a short story about a bear who finds a hat in the woods and wears it to town"
    said = [("user", "Hi"), ("assistant", "Hi."), ("user", long), ("assistant", "No.")]
    turns = [{"role": role, "content": content} for role, content in said]
    again = [{"role": "user", "content": f"user: Hi\nassistant: Hi.\nuser: {long}!"}, turns[-1]]
    path = write(tmp_path / "m.jsonl", [{"messages": turns}, {"messages": again}])
    found = problems(profile(path, "--near"), "warnings")
    assert found["it begins as an earlier one for long."] == ["2 (line 1)"]
