"""`preceptor data convert`: what is read in one format is written in another, or named by line."""

import json
from pathlib import Path
from typing import Any

import pytest
from loading import load_records
from typer.testing import CliRunner, Result

from preceptor.cli import app
from preceptor.data.records import Demonstration, Ranking


def convert(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["data", "convert", *map(str, arguments)])


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


ALPACA = [
    {"instruction": "Name a tree.", "input": "", "output": "Oak."},
    {"instruction": "Say it in one word.", "input": "It is very cold.", "output": "Freezing."},
]


@pytest.mark.parametrize("to", ["preceptor", "messages", "sharegpt", "completion", "argilla"])
def test_there_and_back_the_records_are_the_same(tmp_path: Path, to: str):
    file = write(tmp_path / "a.jsonl", ALPACA)
    there = convert(file, "--to", to, "--out", tmp_path / "b.jsonl")
    assert there.exit_code == 0, there.output
    assert there.stdout.split() == ["2", str(tmp_path / "b.jsonl")]
    first = load_records(file, Demonstration).records
    second = load_records(tmp_path / "b.jsonl", Demonstration, format=to).records
    assert [(d.prompt, d.response) for d in first] == [(d.prompt, d.response) for d in second]


def test_a_conversation_is_written_as_its_turns(tmp_path: Path):
    turns = [
        {"role": role, "content": text}
        for role, text in (
            ("user", "Hi"),
            ("assistant", "Hello."),
            ("user", "Bye"),
            ("assistant", "So long."),
        )
    ]
    file = write(tmp_path / "a.jsonl", [{"messages": turns}])
    assert convert(file, "--to", "preceptor", "--out", tmp_path / "b.jsonl").exit_code == 0
    assert [row["response"] for row in rows_of(tmp_path / "b.jsonl")] == ["Hello.", "So long."]


RANKINGS = [
    {"prompt": "one", "responses": ["a", "b"], "ranks": [2, 1], "labeler": "ann"},
    {"prompt": "two", "responses": ["a", "b", "c"], "ranks": [1, 2, 2]},
    {"prompt": "three", "responses": ["a", "b"], "ranks": [1, 1]},
]


def test_what_does_not_fit_is_refused_by_line_and_nothing_is_written(tmp_path: Path):
    file = write(tmp_path / "r.jsonl", RANKINGS)
    result = convert(file, "--to", "pairs", "--out", tmp_path / "p.jsonl")
    assert result.exit_code == 2
    assert f"{file}:2: pairs hold two responses without a tie" in result.output
    assert not (tmp_path / "p.jsonl").exists()


def test_or_left_out_and_counted(tmp_path: Path):
    file = write(tmp_path / "r.jsonl", RANKINGS)
    result = convert(file, "--to", "pairs", "--out", tmp_path / "p.jsonl", "--on-error", "skip")
    assert result.exit_code == 0, result.output
    assert "2 left out, the first at" in result.stderr and "r.jsonl:2" in result.stderr
    [row] = rows_of(tmp_path / "p.jsonl")
    assert (row["chosen"], row["rejected"], row["labeler"]) == ("b", "a", "ann")
    again = load_records(tmp_path / "p.jsonl", Ranking).records
    assert (again[0].responses, again[0].ranks) == (["b", "a"], [1, 2])


def test_rows_without_a_record_of_the_kind_are_counted(tmp_path: Path):
    """Of three trees of OpenAssistant one has answers in an order."""
    replies = [[{"role": "assistant", "text": t, "rank": n} for n, t in enumerate("ab")], [], []]
    trees = [
        {"message_tree_id": f"t{n}", "prompt": {"role": "prompter", "text": "Q", "replies": own}}
        for n, own in enumerate(replies)
    ]
    file = write(tmp_path / "oasst.jsonl", trees)
    result = convert(file, "--to", "pairs", "--kind", "rankings", "--out", tmp_path / "p.jsonl")
    assert result.exit_code == 0, result.output
    assert len(rows_of(tmp_path / "p.jsonl")) == 1
    assert "2 left out, the first at" in result.stderr and "oasst.jsonl:2" in result.stderr
    assert "it has none of the rankings" in result.stderr


def test_an_unknown_format_names_the_known_ones(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", ALPACA)
    result = convert(file, "--to", "alpaka", "--out", tmp_path / "b.jsonl")
    assert result.exit_code == 2
    assert "no format alpaka. Formats known: preceptor, pairs" in result.output


def test_prompts_alone_may_be_taken(tmp_path: Path):
    file = write(tmp_path / "r.jsonl", RANKINGS)
    result = convert(file, "--to", "preceptor", "--kind", "prompts", "--out", tmp_path / "p.jsonl")
    assert result.exit_code == 0, result.output
    assert [row["prompt"] for row in rows_of(tmp_path / "p.jsonl")] == ["one", "two", "three"]
    assert all("responses" not in row for row in rows_of(tmp_path / "p.jsonl"))


def test_a_file_is_not_converted_onto_itself(tmp_path: Path):
    file = write(tmp_path / "a.jsonl", ALPACA)
    (tmp_path / "link.jsonl").symlink_to(file)
    before = file.read_bytes()
    for out in (file, tmp_path / "link.jsonl", tmp_path / "in" / ".." / "a.jsonl"):
        result = convert(file, "--to", "messages", "--out", out)
        assert result.exit_code == 2
        assert "it is read, and would be written over" in result.stderr
        assert file.read_bytes() == before
