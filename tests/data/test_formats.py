"""Other people's formats: told by their keys, read into our records, and back again."""

import copy
import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from loading import load_records

from preceptor.config import FormatName
from preceptor.data.conversations import GROUP
from preceptor.data.formats import (
    FORMATS,
    KINDS,
    format_names,
    read_file,
    rows_of,
    tell_format,
    write_format,
)
from preceptor.data.records import Demonstration, Document, Prompt, Ranking, messages_of
from preceptor.errors import DataError

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Who\nare you?"},
]
UNNAMED = CHAT[1:]
TRANSCRIPT = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Who\nare you?\n\nAssistant: "


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# One row as each tool writes it, and what it says in our records.
SAMPLES: dict[str, tuple[Any, list[Any]]] = {
    "pairs, TRL": (
        {"prompt": "Q", "chosen": "good", "rejected": "bad", "source": "s"},
        [Ranking("Q", ["good", "bad"], [1, 2], meta={"source": "s"})],
    ),
    "pairs, TRL's conversations with a prompt of their own": (
        {
            "prompt": UNNAMED,
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        },
        [Ranking(UNNAMED, ["good", "bad"], [1, 2])],
    ),
    "pairs, TRL's conversations from the beginning": (
        {
            "prompt": "Hi",
            "chosen": [*CHAT, {"role": "assistant", "content": "good"}],
            "rejected": [*CHAT, {"role": "assistant", "content": "bad"}],
        },
        [Ranking(CHAT, ["good", "bad"], [1, 2])],
    ),
    "pairs, TRL's conversations that go on after a prompt": (
        {
            "prompt": CHAT[:2],
            "chosen": [*CHAT[2:], {"role": "assistant", "content": "good"}],
            "rejected": [*CHAT[2:], {"role": "assistant", "content": "bad"}],
        },
        [Ranking(CHAT, ["good", "bad"], [1, 2])],
    ),
    "pairs, HH-RLHF": (
        {
            "chosen": f"{TRANSCRIPT}good",
            "rejected": TRANSCRIPT.rstrip(),
        },
        [Ranking(UNNAMED, ["good", ""], [1, 2])],
    ),
    "pairs, HH-RLHF with the prompt apart": (
        {"prompt": TRANSCRIPT.rstrip(), "chosen": " good", "rejected": " bad"},
        [Ranking(UNNAMED, ["good", "bad"], [1, 2])],
    ),
    "scores": (
        {"prompt": "Q", "responses": ["a", "b", "c", "d"], "scores": [3.5, 9, 3.5, 1]},
        [Ranking("Q", list("abcd"), [2, 1, 2, 4], meta={"scores": [3.5, 9, 3.5, 1]})],
    ),
    "ultrafeedback": (
        {
            "instruction": "Q",
            "models": ["m", "n"],
            "completions": [
                {"response": "a", "overall_score": 5.0, "model": "m", "annotations": {}},
                {"response": "b", "overall_score": 7.5, "model": "n", "annotations": {}},
            ],
        },
        [Ranking("Q", ["a", "b"], [2, 1], meta={"models": ["m", "n"], "scores": [5.0, 7.5]})],
    ),
    "alpaca": (
        {"instruction": "Add.", "input": "1 + 1", "output": "2"},
        [Demonstration("Add.\n\n1 + 1", "2")],
    ),
    "alpaca with a history": (
        {
            "instruction": "Who\nare you?",
            "input": "",
            "output": "Me.",
            "system": "Be brief.",
            "history": [["Hi", "Hello."]],
        },
        [Demonstration(CHAT, "Me.")],
    ),
    "completion": (
        {"prompt": "Q", "completion": " A", "source": "s"},
        [Demonstration("Q", " A", meta={"source": "s"})],
    ),
    "completion, turns": (
        {"prompt": CHAT, "completion": [{"role": "assistant", "content": "Me."}]},
        [Demonstration(CHAT, "Me.")],
    ),
    "messages": (
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        [Demonstration("Q", "A")],
    ),
    "messages with context that is not trained on": (
        {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": "Hello.", "weight": 0},
                {"role": "user", "content": "Who\nare you?"},
                {"role": "assistant", "content": "Me.", "weight": 1},
            ]
        },
        [Demonstration(CHAT, "Me.")],
    ),
    "sharegpt": (
        {
            "id": 7,
            "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}],
        },
        [Demonstration("Q", "A", meta={"id": 7})],
    ),
    "sharegpt pairs": (
        {
            "system": "Be brief.",
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello."},
                {"from": "human", "value": "Who\nare you?"},
            ],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        [Ranking(CHAT, ["good", "bad"], [1, 2])],
    ),
    "argilla 2": (
        {
            "id": "1",
            "fields": {"prompt": "Q", "response-1": "a", "response-2": "b", "response-3": "c"},
            "metadata": {"batch": 4},
            "suggestions": {},
            "responses": {
                "ranking": [
                    {
                        "value": [
                            {"value": "response-2", "rank": 1},
                            {"value": "response-1", "rank": 2},
                            {"value": "response-3", "rank": 2},
                        ],
                        "user_id": "ann",
                    },
                    {
                        "value": [
                            {"value": "response-1", "rank": 1},
                            {"value": "response-2", "rank": 2},
                            {"value": "response-3", "rank": 3},
                        ],
                        "user_id": "bob",
                        "status": "draft",
                    },
                ]
            },
        },
        [Ranking("Q", ["a", "b", "c"], [2, 1, 2], "ann", meta={"batch": 4})],
    ),
    "argilla 1": (
        {
            "fields": {"instruction": "Q", "one": "a", "two": "b"},
            "responses": [
                {
                    "values": {
                        "best": {
                            "value": [{"value": "one", "rank": 2}, {"value": "two", "rank": 1}]
                        },
                        "why": {"value": "shorter"},
                    },
                    "status": "submitted",
                    "user_id": "ann",
                },
                {"values": {}, "status": "discarded", "user_id": "bob"},
            ],
        },
        [Ranking("Q", ["a", "b"], [2, 1], "ann")],
    ),
    "argilla, a written response": (
        {
            "fields": {"prompt": "Q"},
            "responses": {"response": [{"value": "A", "user_id": "ann", "status": "submitted"}]},
        },
        [Demonstration("Q", "A")],
    ),
    "label studio, a list": (
        {
            "id": 5,
            "data": {
                "prompt": "Q",
                "answers": [{"id": "x", "body": "a"}, {"id": "y", "body": "b"}],
            },
            "annotations": [
                {
                    "completed_by": {"id": 3, "email": "ann"},
                    "result": [
                        {
                            "from_name": "rank",
                            "to_name": "answers",
                            "type": "ranker",
                            "value": {"ranker": {"rank": ["y", "x"]}},
                        }
                    ],
                },
                {"completed_by": 4, "was_cancelled": True, "result": [{"type": "ranker"}]},
            ],
        },
        [Ranking("Q", ["a", "b"], [2, 1], "ann")],
    ),
    "label studio, buckets": (
        {
            "data": {"prompt": "Q", "items": [{"id": i, "body": i * 2} for i in "abcd"]},
            "annotations": [
                {
                    "completed_by": 9,
                    "result": [
                        {
                            "type": "ranker",
                            "value": {"ranker": {"place 2": ["a", "d"], "place 1": ["c"], "_": []}},
                        },
                        {"type": "ranker", "value": {"ranker": ["a", "b", "c", "d"]}},
                    ],
                }
            ],
        },
        "'b' is ranked and not there, or not ranked",
    ),
    "label studio, a pair": (
        {
            "data": {"prompt": "Q", "text1": "a", "text2": "b"},
            "annotations": [
                {
                    "completed_by": 9,
                    "result": [
                        {
                            "type": "pairwise",
                            "to_name": "text1,text2",
                            "value": {"selected": "right"},
                        }
                    ],
                }
            ],
        },
        [Ranking("Q", ["a", "b"], [2, 1], "9")],
    ),
    "label studio, a written response": (
        {
            "data": {"prompt": "Q"},
            "annotations": [
                {"completed_by": 9, "result": [{"type": "textarea", "value": {"text": ["A"]}}]}
            ],
        },
        [Demonstration("Q", "A")],
    ),
}


def kind_of(expected: Any) -> Any:
    return type(expected[0]) if isinstance(expected, list) else Ranking


@pytest.mark.parametrize("name", SAMPLES)
def test_a_row_of_each_tool_says_what_it_says(tmp_path: Path, name: str):
    row, expected = SAMPLES[name]
    path = write(tmp_path / "d.jsonl", row)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=rf"d\.jsonl:1: .*{expected}"):
            load_records(path, Ranking)
        return
    found = load_records(path, kind_of(expected)).records
    known = {"id", "suggestions"}
    assert [strip(r, known - set(expected[0].meta)) for r in found] == expected


@pytest.mark.parametrize("name", [n for n, (_, e) in SAMPLES.items() if isinstance(e, list)])
def test_read_written_and_read_again_nothing_has_changed(tmp_path: Path, name: str):
    row, expected = SAMPLES[name]
    kind = kind_of(expected)
    first = load_records(write(tmp_path / "a.jsonl", row), kind).records
    format = next(f for f in format_names() if name.startswith(f.replace("_", " ")))
    write_format(tmp_path / "b.jsonl", first, format)
    again = load_records(tmp_path / "b.jsonl", kind).records
    assert [as_said(r) for r in again] == [as_said(r) for r in first]


OURS: dict[type, list[Any]] = {
    Ranking: [
        Ranking("Q", ["a", "b"], [2, 1], "ann", "user-1", "chat", {"seconds": 3}),
        Ranking(UNNAMED, ["a", ""], [1, 2]),
    ],
    Demonstration: [
        Demonstration("Q", "A", "user-1", "chat", {"stars": 4}),
        Demonstration(UNNAMED, "A"),
    ],
}
WRITERS = [(f.name, kind) for f in FORMATS if f.write for kind in f.kinds if kind in OURS]


@pytest.mark.parametrize(("format", "kind"), [*WRITERS, ("preceptor", Ranking)])
def test_our_records_come_back_from_every_format(tmp_path: Path, format: str, kind: type):
    records = [r for r in OURS[kind] if format != "ultrafeedback" or isinstance(r.prompt, str)]
    write_format(tmp_path / "d.jsonl", records, format)
    found = load_records(tmp_path / "d.jsonl", kind).records
    added = {"scores", "source", GROUP}  # what the format says beyond the record
    assert [as_said(strip(r, added)) for r in found] == [as_said(r) for r in records]


REAL = Path(os.environ.get("PRECEPTOR_REAL_DATA", "none"))
"""A folder of real records, for those who have one; nothing of it is in the repository."""


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "kind", "formats"),
    [
        ("rankings/hanna.jsonl.gz", Ranking, "scores ultrafeedback argilla label_studio"),
        ("rankings/hh_harmless.jsonl.gz", Ranking, "pairs sharegpt oasst argilla label_studio"),
        ("rankings/llmbar_natural.jsonl", Ranking, "pairs ultrafeedback sharegpt oasst"),
        ("demonstrations/alpaca.jsonl.gz", Demonstration, "alpaca messages sharegpt argilla"),
    ],
)
def test_real_records_come_back_from_the_formats_that_hold_them(
    tmp_path: Path, name: str, kind: Any, formats: str
):
    if not (REAL / name).is_file():
        pytest.skip(f"needs PRECEPTOR_REAL_DATA, a folder with {name}")
    records = load_records(REAL / name, kind).records
    for format in formats.split():
        write_format(tmp_path / "d.jsonl", records, format)
        found = load_records(tmp_path / "d.jsonl", kind).records
        added = {"scores", GROUP, "source"}
        assert [as_said(strip(r, added)) for r in found] == [
            as_said(strip(r, added)) for r in records
        ], format


@pytest.mark.parametrize("format", ["scores", "ultrafeedback", "argilla", "label_studio"])
def test_ties_survive_where_the_format_has_them(format: str, tmp_path: Path):
    ranking = Ranking("Q", ["a", "b", "c", "d"], [2, 1, 2, 4], "ann")
    write_format(tmp_path / "d.jsonl", [ranking], format)
    [found] = load_records(tmp_path / "d.jsonl", Ranking).records
    assert as_said(strip(found, {"scores"})) == as_said(ranking)


@pytest.mark.parametrize("format", ["pairs", "sharegpt", "oasst"])
def test_a_tie_is_refused_where_the_format_has_none(format: str):
    with pytest.raises(DataError, match="tie"):
        list(rows_of(Ranking("Q", ["a", "b"], [1, 1]), format))


def test_alpaca_refuses_turns_that_do_not_alternate():
    with pytest.raises(DataError, match="alternation"):
        list(rows_of(Demonstration([CHAT[3], CHAT[3]], "A"), "alpaca"))


def test_a_format_that_cannot_hold_a_kind_names_those_that_can():
    with pytest.raises(DataError, match="alpaca: rankings are not written.*argilla.*scores"):
        list(rows_of(OURS[Ranking][0], "alpaca"))


def strip(record: Any, keys: set[str]) -> Any:
    meta = {k: v for k, v in record.meta.items() if k not in keys}
    return type(record)(**{**vars(record), "meta": meta})


def as_said(record: Any) -> dict[str, Any]:
    """What a record says: the order of its responses says nothing, nor how places are numbered."""
    found = dict(vars(record)) | {"prompt": messages_of(record.prompt)}
    if isinstance(record, Ranking):
        places = [sum(other < rank for other in record.ranks) for rank in record.ranks]
        found["responses"] = sorted(zip(places, record.responses, strict=True))
        del found["ranks"]
    return found


# --- conversations ---------------------------------------------------------------------------


TURNS = [
    *CHAT,
    {"role": "assistant", "content": "Me."},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Bye."},
]


def test_every_assistant_turn_is_a_response_once_after_all_that_was_said_before(tmp_path: Path):
    found = load_records(write(tmp_path / "d.jsonl", {"messages": TURNS}), Demonstration).records
    assert [d.response for d in found] == ["Hello.", "Me.", "Bye."]
    for demonstration in found:
        said = [*demonstration.prompt, {"role": "assistant", "content": demonstration.response}]
        assert said == TURNS[: len(said)]
    assert len({d.meta[GROUP] for d in found}) == 1


def test_what_the_assistant_says_unasked_is_no_response(tmp_path: Path):
    greeting = {"role": "assistant", "content": "Welcome."}
    path = write(tmp_path / "d.jsonl", {"messages": [greeting, *CHAT[1:3]]})
    [found] = load_records(path, Demonstration).records
    assert (found.prompt, found.response) == ([greeting, CHAT[1]], "Hello.")


def test_nor_is_what_it_says_after_the_system_alone(tmp_path: Path):
    said = [("system", "S"), ("gpt", "hello"), ("human", "q"), ("gpt", "a")]
    row = {"conversations": [{"from": who, "value": text} for who, text in said]}
    [found] = load_records(write(tmp_path / "d.jsonl", row), Demonstration).records
    assert found.response == "a"
    assert [turn["content"] for turn in messages_of(found.prompt)] == ["S", "hello", "q"]


def test_as_prompts_a_conversation_is_what_the_assistant_was_asked(tmp_path: Path):
    path = write(tmp_path / "d.jsonl", {"messages": TURNS}, {"messages": CHAT[1:2]})
    found = load_records(path, Prompt).records
    assert [p.prompt for p in found] == [TURNS[:2], TURNS[:4], TURNS[:6], "Hi"]


@pytest.mark.parametrize(
    ("turns", "rule"),
    [
        ([{"role": "tool", "content": "x"}], "a turn of 'tool'. Roles known"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "'image_url'; only text"),
        ([{"role": "user", "content": None}], "'user' without text"),
        ([{"role": "user", "content": "x"}], "no assistant turn to learn from"),
        (["x"], "a turn that is no object"),
        ([], "must be a list of turns"),
    ],
)
def test_a_conversation_that_cannot_be_trained_on_is_named(tmp_path: Path, turns: Any, rule: str):
    with pytest.raises(DataError) as caught:
        load_records(write(tmp_path / "d.jsonl", {"messages": turns}), Demonstration)
    assert str(caught.value).startswith(f"{tmp_path}/d.jsonl:1: ")
    assert rule in str(caught.value)


def test_few_shot_pairs_become_as_many_examples_each_with_the_others_as_context(tmp_path: Path):
    pairs = [{"query": f"q{i}", "response": f"r{i}"} for i in range(4)]
    row = {"instruction": "Do it.", "pairs": pairs, "user": "ann"}
    found = load_records(write(tmp_path / "d.jsonl", row), Demonstration).records
    assert [d.response for d in found] == ["r0", "r1", "r2", "r3"]
    for at, demonstration in enumerate(found):
        prompt = demonstration.prompt
        assert isinstance(prompt, str)
        assert prompt.startswith("Do it.") and prompt.endswith(f"q{at}")
        assert f"r{at}" not in prompt, "its own response is what it must learn to give"
        assert all(f"q{i}\nr{i}" in prompt for i in range(4) if i != at)
    assert len({d.meta[GROUP] for d in found}) == 1
    assert {d.user for d in found} == {"ann"}


def message(text: str, role: str, *replies: Any, **more: Any) -> dict[str, Any]:
    return {"text": text, "role": role, "replies": list(replies), **more}


TREE = {
    "message_tree_id": "t1",
    "prompt": message(
        "Q",
        "prompter",
        message("worse", "assistant", rank=1),
        message(
            "best",
            "assistant",
            message(
                "Why?",
                "prompter",
                message("alone", "assistant"),
                message("gone", "assistant", deleted=True),
                message("spam", "assistant", review_result=False),
            ),
            rank=0,
        ),
        lang="en",
        user_id="u",
    ),
}
BRANCH = [
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": "best"},
    {"role": "user", "content": "Why?"},
]


def test_a_tree_gives_rankings_where_replies_were_ranked_and_demonstrations_of_the_best(
    tmp_path: Path,
):
    path = write(tmp_path / "d.jsonl", TREE)
    meta = {"lang": "en", "source": "oasst", GROUP: "t1"}
    rest = {"source": "oasst", GROUP: "t1"}
    assert load_records(path, Ranking).records == [
        Ranking("Q", ["worse", "best"], [2, 1], user="u", meta=meta)
    ]
    assert load_records(path, Demonstration).records == [
        Demonstration("Q", "best", "u", meta=meta),
        Demonstration(BRANCH, "alone", meta=rest),
    ]
    assert [p.prompt for p in load_records(path, Prompt).records] == ["Q", BRANCH]


def test_messages_a_row_each_are_the_same_tree(tmp_path: Path):
    rows: list[Any] = []

    def flatten(found: Any, parent: Any) -> None:
        name = f"m{len(rows)}"
        own = {k: v for k, v in found.items() if k != "replies"}
        rows.append({"message_id": name, "parent_id": parent, "message_tree_id": "t1"} | own)
        for reply in found["replies"]:
            flatten(reply, name)

    flatten(TREE["prompt"], None)
    flat = write(tmp_path / "flat.jsonl", *rows, rows[0] | {"message_tree_id": "t2"})
    tree = write(tmp_path / "tree.jsonl", TREE)
    for kind in (Ranking, Demonstration):
        found = load_records(flat, kind)
        assert found.records == load_records(tree, kind).records
        assert sum(found.skipped.values()) == 1, "the second tree has no reply, and is counted"


def test_a_deep_tree_is_no_deep_recursion(tmp_path: Path):
    rows = [
        {
            "message_id": str(i),
            "parent_id": str(i - 1) if i else None,
            "message_tree_id": "t",
            "text": f"m{i}",
            "role": ("prompter", "assistant")[i % 2],
        }
        for i in range(3000)
    ]
    found = load_records(write(tmp_path / "d.jsonl", *rows), Demonstration).records
    assert len(found) == 1500


@pytest.mark.parametrize("kind", [Ranking, Demonstration, Prompt])
def test_of_a_tree_whose_first_message_is_deleted_nothing_is_there(tmp_path: Path, kind: Any):
    gone = TREE | {"prompt": TREE["prompt"] | {"deleted": True}}  # type: ignore[operator]
    found = load_records(write(tmp_path / "d.jsonl", gone, TREE), kind)
    assert found.records == load_records(write(tmp_path / "e.jsonl", TREE), kind).records
    assert sum(found.skipped.values()) == 1


def test_a_tree_out_of_a_table_has_its_ranks_and_what_is_deleted(tmp_path: Path):
    path = tmp_path / "d.csv"
    path.write_text(
        "message_id,parent_id,message_tree_id,text,role,deleted,review_result,rank\n"
        "a,,a,Q,prompter,False,True,\n"
        "b,a,a,worse,assistant,False,True,1.0\n"
        "c,a,a,best,assistant,False,True,0.0\n"
        "d,a,a,gone,assistant,True,True,2.0\n"
        "e,a,a,spam,assistant,False,False,3\n"
    )
    [found] = load_records(path, Ranking).records
    assert (found.responses, found.ranks) == (["worse", "best"], [2, 1])
    assert [d.response for d in load_records(path, Demonstration).records] == ["best"]


def test_messages_that_hang_on_nothing_are_named_each(tmp_path: Path):
    rows = [
        {"message_tree_id": "t", "message_id": name, "parent_id": parent, "text": name}
        | {"role": role}
        for name, parent, role in (
            ("q", None, "prompter"), ("a", "q", "assistant"),
            ("second", None, "prompter"), ("b", "second", "assistant"),
            ("c", "nowhere", "prompter"), ("d", "c", "assistant"),
        )
    ]  # fmt: skip
    found = list(read_file(write(tmp_path / "d.jsonl", *rows), Demonstration))
    broken = [where[-2:] for where, rows in found if isinstance(rows, DataError)]
    assert broken == [":3", ":4", ":5", ":6"]
    [good] = [rows for _, rows in found if not isinstance(rows, DataError)]
    assert [(d.prompt, d.response) for d in good] == [("q", "a")]


# --- labeling tools --------------------------------------------------------------------------


def two_fields(tool: str, **prompts: Any) -> dict[str, Any]:
    """A task with two responses ranked and these texts beside them."""
    if tool == "argilla":
        value = [{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 2}]
        fields = prompts | {"response-1": "a", "response-2": "b"}
        return {"fields": fields, "responses": {"r": [{"value": value, "user_id": "ann"}]}}
    result = [{"type": "pairwise", "to_name": "x,y", "value": {"selected": "left"}}]
    if tool == "label_studio":
        data = prompts | {"items": [{"id": "1", "body": "a"}, {"id": "2", "body": "b"}]}
        result = [{"type": "ranker", "value": {"ranker": ["1", "2"]}}]
    else:
        data = prompts | {"y": "b", "x": "a"}
    return {"data": data, "annotations": [{"completed_by": 1, "result": result}]}


@pytest.mark.parametrize("kind", [Ranking, Prompt])
@pytest.mark.parametrize("tool", ["argilla", "label_studio", "label_studio, a pair"])
def test_no_text_beside_the_prompt_is_lost(tmp_path: Path, tool: str, kind: Any):
    path = write(tmp_path / "d.jsonl", two_fields(tool, instruction="Summarise.", context="Long."))
    with pytest.raises(DataError, match=r":1: which of instruction, context is the prompt\?"):
        load_records(path, kind)
    path = write(tmp_path / "d.jsonl", two_fields(tool, prompt="Summarise.", context="Long.", n=3))
    [found] = load_records(path, kind).records
    assert found.prompt == "Summarise."
    assert found.meta["fields"] == {"context": "Long.", "n": 3}
    if kind is Ranking:
        assert (found.responses, found.ranks) == (["a", "b"], [1, 2])


def test_answers_without_a_name_are_each_of_another_labeler(tmp_path: Path):
    row = two_fields("argilla", prompt="Q")
    [answer] = row["responses"]["r"]
    first = [{"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}]
    row["responses"]["r"] = [answer | {"user_id": None}, {"value": first}]
    found = load_records(write(tmp_path / "d.jsonl", row), Ranking).records
    assert [(r.ranks, r.labeler) for r in found] == [([1, 2], ""), ([2, 1], "")]


def test_a_pair_whose_left_and_right_nothing_tells_is_refused(tmp_path: Path):
    row = two_fields("label_studio, a pair", prompt="Q")
    row["annotations"][0]["result"][0]["to_name"] = "txt-1,txt-2"
    with pytest.raises(DataError, match="which text is left and which right.*'txt-1,txt-2'"):
        load_records(write(tmp_path / "d.jsonl", row), Ranking)


# --- telling formats -------------------------------------------------------------------------


def test_an_unknown_file_is_refused_with_its_keys_and_the_formats_known(tmp_path: Path):
    path = write(tmp_path / "d.jsonl", {"frage": "Q", "antwort": "A"})
    with pytest.raises(DataError) as caught:
        load_records(path, Demonstration)
    told = str(caught.value)
    assert told.startswith(f"{path}:1: no known format has the keys frage, antwort.")
    assert all(name in told for name in ("alpaca (instruction, output)", "messages", "preceptor"))


def test_an_ambiguous_file_is_refused_until_its_format_is_named(tmp_path: Path):
    row = {"messages": TURNS[1:3], "instruction": "Q", "output": "A"}
    path = write(tmp_path / "d.jsonl", row)
    with pytest.raises(DataError, match=r"d\.jsonl:1: the keys .* fit alpaca and messages. Name"):
        load_records(path, Demonstration)
    [found] = load_records(path, Demonstration, format="alpaca").records
    assert (found.prompt, found.response) == ("Q", "A")


def test_a_text_beside_another_tool_s_keys_is_theirs(tmp_path: Path):
    row = {"instruction": "Q", "input": "", "output": "A", "text": "Below is .. Q .. A"}
    path = write(tmp_path / "d.jsonl", row)
    assert tell_format(path) == ("alpaca", Demonstration)
    assert load_records(path, Prompt).records == [Prompt("Q")], "without the answer in its text"
    assert load_records(path, Document).records[0].text == row["text"]


def test_a_first_row_whose_format_cannot_be_told_is_one_broken_row(tmp_path: Path):
    rows = [{"version": 1}, {"instruction": "Q", "output": "A"}, {"prompt": "Q", "response": "A"}]
    path = write(tmp_path / "d.jsonl", *rows)
    assert tell_format(path) == ("alpaca", Demonstration)
    with pytest.raises(DataError, match=r"d\.jsonl:1: no known format has the keys version"):
        load_records(path, Demonstration)
    found = load_records(path, Demonstration, on_error="skip")
    assert (len(found.records), sum(found.skipped.values())) == (1, 2)
    path = write(tmp_path / "e.jsonl", *[rows[0]] * 150, rows[1])
    with pytest.raises(DataError, match=r"e\.jsonl:1: no known format"):
        load_records(path, Demonstration, on_error="skip")


@pytest.mark.parametrize(
    ("name", "format"), [("argilla, a written response", "argilla"), ("messages", "messages")]
)
def test_a_kind_that_nobody_names_is_one_that_the_rows_hold(tmp_path: Path, name: str, format: str):
    row, expected = SAMPLES[name]
    assert tell_format(write(tmp_path / "d.jsonl", row)) == (format, type(expected[0]))
    asked = {"messages": [{"role": "user", "content": "Q"}]}
    assert tell_format(write(tmp_path / "d.jsonl", asked)) == ("messages", Prompt)


def test_a_key_that_is_null_is_absent(tmp_path: Path):
    row = {"messages": None, "instruction": "Q", "output": "A"}
    assert load_records(write(tmp_path / "d.jsonl", row), Demonstration).records[0].prompt == "Q"


def test_a_file_of_another_kind_is_named(tmp_path: Path):
    path = write(tmp_path / "d.jsonl", {"prompt": "Q", "chosen": "a", "rejected": "b"})
    with pytest.raises(DataError, match="this is pairs, which holds rankings; demonstrations are"):
        load_records(path, Demonstration)


@pytest.mark.parametrize(
    ("format", "rule"),
    [("alpaca", "alpaca needs the keys instruction, output"), ("alpacca", "no format alpacca")],
)
def test_a_named_format_that_does_not_fit(tmp_path: Path, format: str, rule: str):
    path = write(tmp_path / "d.jsonl", {"prompt": "Q", "response": "A"})
    with pytest.raises(DataError, match=rule):
        load_records(path, Demonstration, format=format)


@pytest.mark.parametrize(
    ("kind", "row", "rule"),
    [
        (Demonstration, {"prompt": "Q"}, 'needs "response"'),
        (Ranking, {"prompt": "Q", "responses": ["a"]}, '"ranks" must be'),
        (Document, {"text": " "}, '"text" is empty'),
    ],
)
def test_what_a_row_of_ours_lacks_is_said_as_before(tmp_path: Path, kind: Any, row: Any, rule: str):
    with pytest.raises(DataError, match=rule):
        load_records(write(tmp_path / "d.jsonl", row), kind)


def test_pairs_that_part_early_or_end_with_the_user_are_refused(tmp_path: Path):
    base = {"chosen": TURNS, "rejected": [*TURNS[:-1], {"role": "user", "content": "No"}]}
    early = base | {"rejected": [TURNS[0] | {"content": "Other."}, *TURNS[1:]]}
    for row, rule in ((early, "part before their last turn"), (base, "the last turn of")):
        with pytest.raises(DataError, match=rule):
            load_records(write(tmp_path / "d.jsonl", row), Ranking)


# --- what is left out ------------------------------------------------------------------------


def test_the_first_broken_row_is_refused_or_all_are_counted_under_their_reasons(tmp_path: Path):
    good = {"instruction": "Q", "output": "A"}
    rows = [good, good | {"output": None}, good, good | {"output": " "}, good | {"output": ""}]
    path = write(tmp_path / "d.jsonl", *rows)
    with pytest.raises(DataError, match=r'd\.jsonl:2: "output" is missing'):
        load_records(path, Demonstration)
    found = load_records(path, Demonstration, on_error="skip")
    assert len(found.records) == 2
    assert sum(found.skipped.values()) == 3
    lines = list(found.lines("d.jsonl"))
    assert lines[0].startswith(f"d.jsonl: 2 left out, the first at {path}:4: ")
    assert len(lines) == 2


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a row."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    return [p for key in keys for p in ((*path, key), *places_in(value[key], (*path, key)))]


JUNK = [None, 3, 0.5, True, "", "x", [], [None], ["x"], {}, {"x": 1}, [[1]], [{}], -(2**70)]


@pytest.mark.parametrize("name", [*SAMPLES, "oasst", "oasst messages", "few shot"])
def test_junk_anywhere_in_a_row_is_an_error_with_its_line_or_is_harmless(tmp_path: Path, name: str):
    extra: dict[str, Any] = {
        "oasst": TREE,
        "oasst messages": {
            "message_id": "m", "parent_id": None, "message_tree_id": "t", "text": "Q",
            "role": "prompter",
        },
        "few shot": {"instruction": "I", "pairs": [{"query": "q", "response": "r"}]},
    }  # fmt: skip
    good = extra[name] if name in extra else SAMPLES[name][0]
    rows = []
    for place in places_in(good):
        for junk in JUNK:
            row = copy.deepcopy(good)
            inner = row
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = junk
            rows.append(row)
    path = write(tmp_path / "d.jsonl", good, *rows)
    for kind in (Ranking, Demonstration, Prompt):
        try:
            for where, found in read_file(path, kind):
                if isinstance(found, DataError):
                    assert str(found).startswith(f"{where}: ")
                    assert str(found).endswith(".")
        except DataError as error:  # of the whole file: it holds another kind
            assert str(error).startswith(f"{path}:1: ")


def test_a_file_of_which_nothing_is_left_is_an_error(tmp_path: Path):
    path = write(tmp_path / "d.jsonl", {"instruction": "Q", "output": " "})
    with pytest.raises(DataError, match=r"d\.jsonl: no demonstrations in it\.\n.*1 left out"):
        load_records(path, Demonstration, on_error="skip")
    path.write_text("")
    with pytest.raises(DataError, match="no prompts in it"):
        load_records(path, Prompt)


def test_the_names_that_a_recipe_may_say_are_those_of_the_table():
    assert list(get_args(FormatName)) == format_names()
    assert all(f.kinds for f in FORMATS) and len(KINDS) == 4
