"""`label import` reads what other tools wrote, and what they left out is said by line."""

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from preceptor.cli import app
from preceptor.data.records import Prompt, Ranking, read_records

DECLARED = ["--licence", "CC0", "--consent", "the writers agreed"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # Splits are drawn from it: these files have users in training and elsewhere.
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", "a key that is only known to tests")
    label("init")
    return tmp_path


def label(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["label", *arguments])


def bring(name: str, kind: str, *options: str) -> Result:
    return label("import", name, "--kind", kind, *DECLARED, *options)


ARGILLA = {
    "fields": {"prompt": "Name a tree.", "a": "Oak.", "b": "Granite.", "c": "Elm."},
    "responses": {
        "order": [
            {
                "user_id": who,
                "status": "submitted",
                "value": [{"value": name, "rank": rank} for name, rank in ranks],
            }
            for who, ranks in (
                ("ann", [("a", 1), ("b", 3), ("c", 1)]),
                ("bob", [("a", 2), ("b", 3), ("c", 1)]),
            )
        ]
    },
}


def test_an_export_of_argilla_comes_out_as_our_rankings(here: Path):
    (here / "export.json").write_text(json.dumps([ARGILLA]))
    result = bring("export.json", "rankings")
    assert result.exit_code == 0, result.output
    assert "2  added" in result.stdout
    assert "added" not in bring("export.json", "rankings").stdout.replace("0  added", "")
    done = label("export", "rankings", "--out", "out")
    assert done.exit_code == 0, done.output
    [file] = Path("out").glob("*.jsonl")
    found = read_records(file, Ranking)
    assert len({ranking.labeler for ranking in found}) == 2
    ranks = sorted(sorted(zip(r.responses, r.ranks, strict=True)) for r in found)
    assert ranks == [
        [("Elm.", 1), ("Granite.", 3), ("Oak.", 1)],
        [("Elm.", 1), ("Granite.", 3), ("Oak.", 2)],
    ]


def test_prompts_of_one_conversation_stand_in_one_split(here: Path):
    rows = [
        {
            "conversations": [
                turn
                for n in range(6)
                for turn in (
                    {"from": "human", "value": f"Talk {talk}, question {n}: {'why ' * n}?"},
                    {"from": "gpt", "value": f"Answer {n}."},
                )
            ]
        }
        for talk in range(40)
    ]
    with gzip.open("talk.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    result = bring("talk.jsonl.gz", "prompts", "--keep-all")
    assert result.exit_code == 0, result.output
    assert "240  added" in result.stdout
    assert label("export", "prompts", "--out", "out").exit_code == 0
    users: dict[str, list[str]] = {}
    for path in Path("out").glob("*.jsonl"):
        for prompt in read_records(path, Prompt):
            talk = prompt.prompt if isinstance(prompt.prompt, str) else prompt.prompt[0]["content"]
            users.setdefault(talk.split(",")[0], []).append(prompt.user)
    assert 20 < len(users) < 40  # the training split
    assert all(len(own) == 6 and len(set(own)) == 1 for own in users.values())


def test_the_format_may_be_named_and_must_fit(here: Path):
    row = {
        "instruction": "Name a tree.",
        "output": "Oak.",
        "messages": [{"role": "user", "content": "x"}],
    }
    Path("d.jsonl").write_text(json.dumps(row) + "\n")
    assert "Name the format that is meant" in bring("d.jsonl", "demonstrations").output
    assert bring("d.jsonl", "demonstrations", "--format", "alpaca").exit_code == 0
    refused = bring("d.jsonl", "demonstrations", "--format", "argilla")
    assert refused.exit_code == 2
    assert "argilla needs the keys fields, responses" in refused.output


def test_a_broken_row_of_another_tool_is_named_by_line(here: Path):
    rows = [{"instruction": "Name a tree.", "output": "Oak."}, {"instruction": "Again."}]
    Path("d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = bring("d.jsonl", "demonstrations")
    assert refused.exit_code == 2
    assert 'd.jsonl:2: "output" is missing' in refused.output
    result = bring("d.jsonl", "demonstrations", "--skip-broken")
    assert result.exit_code == 0, result.output
    assert "1  added" in result.stdout
    assert "broken" in result.stdout
