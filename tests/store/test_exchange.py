"""Import and export: all of a file or nothing, and back without loss."""

import json
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from people import START, Fresh, add_labeler, add_project, at, fill_in, say
from sqlalchemy import func, insert, select

from preceptor.data.files import read_demonstrations, read_prompts, read_rankings
from preceptor.data.hygiene import Looked, look_at, without_personal
from preceptor.data.records import (
    Demonstration,
    Prompt,
    Ranking,
    file_hash,
    read_records,
    text_of,
    write_records,
)
from preceptor.errors import DataError, StoreError
from preceptor.store import export, tables
from preceptor.store.accounts import acknowledge, newest_guideline, publish_guideline
from preceptor.store.database import Store
from preceptor.store.erase import Wanted, erase
from preceptor.store.export import Exported, Filter, export_records
from preceptor.store.forms import LONGEST
from preceptor.store.ingest import import_labels, import_prompts, read_file
from preceptor.store.labels import reopen, submit, undo
from preceptor.store.layout import read_manifest
from preceptor.store.names import identify
from preceptor.store.projects import Candidate, add_policy, add_tasks, prompts_without_task
from preceptor.store.prompt_labels import label_prompt, labels_of
from preceptor.store.queue import claim, view
from preceptor.store.rows import Provenance
from preceptor.store.writing import TAKEN_BACK

PROMPT = tables.Prompt
LATER = START + timedelta(days=1)
KINDS: dict[str, Any] = {"demonstrations": Demonstration, "rankings": Ranking}


def source(path: Path, **options: Any) -> Provenance:
    return Provenance(path, licence="CC0", consent="They said yes.", now=START, **options)


def bring(
    store: Store,
    path: Path,
    kind: str,
    *,
    project: str | None = None,
    provenance: dict[str, Any] | None = None,
    **options: Any,
) -> Counter[str]:
    kinds = {"prompts": Prompt, "evaluations": Ranking} | KINDS
    options.setdefault("keep_meta", True)
    file = read_file(source(path, **provenance or {}), kinds[kind], **options)
    with store.write() as session:
        if kind == "prompts":
            return import_prompts(session, store.site_key, file)
        return import_labels(session, store.site_key, file, project=project)


def take_out(store: Store, folder: Path, kind: str, **options: Any) -> Exported:
    return export_records(store, Filter(kind, **options), folder, now=LATER)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def count(store: Store, table: Any) -> int:
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def labeled_store(store: Store, task_type: str) -> None:
    """Prompts of users with meta, models' responses, a guideline, three labelers, ties, an undo."""
    with store.write() as session:
        publish_guideline(session, "rules", "Be *true*.", now=START)
        project = add_project(
            session,
            task_type,
            num_tasks=0,
            overlap=2,
            guideline="rules",
            purpose="eval" if task_type == "evaluation" else "train",
            calibration_fraction=0.3,
        )
        policy = add_policy(session, "sft", run="runs/x", weights_sha256="c" * 64)
        prompts = prompts_without_task(session, project, split="train", limit=None, seed=1)
        tasks = {
            p.id: [
                Candidate(text, policy_id=policy, finished=text != "b", sampling={"seed": i})
                for i, text in enumerate(["a", "b", "a ", "ü\u2028"])
            ]
            for p in prompts
        }
        if task_type == "demonstration":
            tasks = dict.fromkeys(tasks, [])
        add_tasks(session, project, tasks, num_calibration=2)
        labelers = [add_labeler(session, store, name) for name in ("ann", "bob", "cem")]
        rules = newest_guideline(session, "rules")
        assert rules is not None
        for labeler in labelers:
            acknowledge(session, labeler, rules.id, now=START)
    for turn, labeler in enumerate(labelers * 4):
        with store.write() as session:
            held = claim(session, project, labeler, now=at(turn))
            if held is None:
                continue
            form = fill_in(held, turn) | {"comment": f"thought {turn}"}
            submit(
                session, held.id, labeler, key=held.key, form=form, now=at(turn), active_seconds=2.5
            )
            if turn == 3:
                key = undo(session, held.id, labeler, now=at(turn))
                submit(session, held.id, labeler, key=key, form=form, now=at(turn))
            if turn == 11:
                undo(session, held.id, labeler, now=at(turn))


def some_prompts(path: Path, num: int = 12) -> Path:
    rows = [
        {
            "prompt": f"question {i}" if i % 3 else [{"role": "user", "content": f"say {i}"}],
            "user": f"person-{i % 7}",
            "use_case": "chat",
            "task": {"number": i},
            "split": "mine",  # a key that exports have too
        }
        for i in range(num)
    ]
    return write(path, rows)


@pytest.mark.parametrize(
    ("kind", "task_type"),
    [
        ("rankings", "ranking"),
        ("demonstrations", "demonstration"),
        ("evaluations", "evaluation"),
    ],
)
def test_what_is_exported_comes_back_without_loss(
    fresh: Fresh, tmp_path: Path, kind: str, task_type: str
):
    store = fresh()
    bring(store, some_prompts(tmp_path / "prompts.jsonl"), "prompts")
    labeled_store(store, task_type)
    first = take_out(store, tmp_path, kind)
    again = take_out(store, tmp_path, kind)
    assert first == again
    assert first.num_rows >= 8
    assert first.left_out == {"withdrawn": 1}
    empty = fresh()
    counts = bring(empty, first.path, kind)
    assert counts == {"added": first.num_rows}
    second = take_out(empty, tmp_path / "second", kind)
    assert second.path.read_bytes() == first.path.read_bytes()
    assert second.sha256 == first.sha256
    assert bring(empty, first.path, kind) == {"there already": first.num_rows}
    with empty.read() as session:
        assert session.scalars(select(tables.Guideline.markdown)).all() == ["Be *true*."]
    if kind != "demonstrations":
        row = read_records(first.path, Ranking)[0]
        assert row.meta["sources"] == ["sft"] * 4
        assert row.meta["finished"] == [text != "b" for text in row.responses]
        assert row.meta["task"]["number"] >= 0  # the prompt's own meta stays where it was
        assert row.meta["extra"] == {"split": "mine"}
    for other in (store, empty):
        other.close()


def test_what_leads_say_of_prompts_comes_back_without_loss(fresh: Fresh, tmp_path: Path):
    store, empty = fresh(), fresh()
    path = write(tmp_path / "p.jsonl", [{"prompt": f"Say {i}", "user": "u"} for i in range(3)])
    bring(store, path, "prompts")
    with store.write() as session:
        lead, split = add_labeler(session, store, "lead"), session.scalars(select(PROMPT.split))
        [one, two, _], split = sorted(session.scalars(select(PROMPT.id))), split.first()
        label_prompt(session, one, {"ambiguous": True, "use_case": "chat"}, lead, now=START)
        label_prompt(session, one, {"ambiguous": False}, lead, now=at(1))
        label_prompt(session, two, {"closed_domain": True}, lead, now=START)
        label_prompt(session, two, {"closed_domain": None}, lead, now=at(1))
    first = take_out(store, tmp_path, "prompts", split=split)
    lines = {row.meta["prompt_id"]: row for row in read_records(first.path, Prompt)}
    assert lines[str(one)].meta["prompt_labels"] == {"ambiguous": False, "use_case": "chat"}
    assert lines[str(one)].meta["prompt_labels_by"]["ambiguous"]["at"] == at(1).isoformat()
    assert lines[str(one)].use_case == "chat"
    assert all("prompt_labels" not in line.meta for id, line in lines.items() if id != str(one))
    for counts in ({"added": 3}, {"there already": 3}):
        assert bring(empty, first.path, "prompts") == counts
        assert take_out(empty, tmp_path / "b", "prompts", split=split).sha256 == first.sha256
        assert count(empty, tables.PromptLabel) == 2  # the same file adds none
    # A later word stands, wherever it was said; and goes back with its time.
    with empty.write() as session:
        other = add_labeler(session, empty, "other")
        label_prompt(session, one, {"ambiguous": None, "use_case": "other"}, other, now=at(2))
    bring(empty, first.path, "prompts")
    with empty.read() as session:
        assert labels_of(session, [one]) == {one: {"use_case": "other"}}
    bring(store, take_out(empty, tmp_path / "c", "prompts", split=split).path, "prompts")
    with store.read() as session:
        assert session.get_one(PROMPT, one).use_case == "other"
    store.close()
    empty.close()


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"prompt_labels": {"ambiguous": True}}, "does not say whose ambiguous is"),
        ({"prompt_labels": {"nice": True}}, "The prompt has no label nice"),
        ({"prompt_labels_by": {"ambiguous": {"labeler": "x", "at": "soon"}}}, "not what an export"),
        (
            {"prompt_labels_by": {"ambiguous": {"labeler": "x", "at": "2026-01-01T00:00:00"}}},
            "not what an export",
        ),
    ],
)
def test_what_no_export_says_of_prompts_is_a_broken_line(
    store: Store, tmp_path: Path, meta: dict[str, Any], words: str
):
    row = {"prompt": "Say it", "meta": {"schema": "preceptor.prompt/1"} | meta}
    with pytest.raises(DataError, match=words):
        bring(store, write(tmp_path / "p.jsonl", [row]), "prompts")


def test_training_takes_what_is_exported(store: Store, tmp_path: Path):
    bring(store, some_prompts(tmp_path / "prompts.jsonl", 40), "prompts")
    labeled_store(store, "ranking")
    train, valid = read_rankings(str(take_out(store, tmp_path, "rankings").path))
    assert train
    assert valid
    assert all(
        [1 + sum(other < rank for other in r.ranks) for rank in r.ranks] == r.ranks for r in train
    )
    assert len(read_prompts(str(take_out(store, tmp_path, "prompts").path))) == 5
    labeled = write(
        tmp_path / "d.jsonl",
        [{"prompt": f"q {i}", "response": f" r {i}\n", "user": "u1"} for i in range(9)],
    )
    bring(store, labeled, "demonstrations")
    exported = []
    for split in ("train", "valid", "test"):
        try:
            exported.append(take_out(store, tmp_path, "demonstrations", split=split))
        except StoreError:
            continue
    assert len(exported) == 1, "a user stands on two sides"
    both = read_demonstrations(str(exported[0].path))
    assert sorted(d.response for part in both for d in part) == [f" r {i}\n" for i in range(9)]


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
texts = words.filter(lambda text: bool(text.strip()))


@st.composite
def foreign_rankings(draw: Any) -> list[Ranking]:
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        k = draw(st.integers(2, 9))
        rows.append(
            Ranking(
                draw(texts),
                draw(
                    st.lists(
                        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
                        min_size=k,
                        max_size=k,
                    )
                ),
                draw(st.lists(st.integers(-9, 9), min_size=k, max_size=k)),
                labeler=draw(st.sampled_from(["", "lab-1", "lab-2"])),
                user=draw(st.sampled_from(["", "u"])),
                meta=draw(
                    st.dictionaries(
                        st.sampled_from(["seconds", "split", "schema", "k"]), st.integers() | words
                    )
                ),
            )
        )
    return rows


def test_other_people_s_rankings_keep_their_order_and_their_meta(
    fresh: Fresh, tmp_path: Path, num_examples: int
):
    @settings(
        max_examples=num_examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(foreign_rankings())
    def check(rankings: list[Ranking]) -> None:
        store = fresh()
        write_records(tmp_path / "in.jsonl", rankings)
        counts = bring(store, tmp_path / "in.jsonl", "rankings")
        assert counts.total() == len(rankings)
        found = []
        for split in ("train", "valid", "test"):
            try:
                path = take_out(store, tmp_path, "rankings", split=split).path
            except StoreError:
                continue
            found += read_records(path, Ranking)
        store.close()
        assert len(found) == counts["added"]
        for out in found:
            pairs = {(a, b) for a in range(len(out.ranks)) for b in range(len(out.ranks))}
            [given] = [
                r
                for r in rankings
                if (r.prompt, r.responses) == (out.prompt, out.responses)
                and all(
                    (r.ranks[a] < r.ranks[b]) == (out.ranks[a] < out.ranks[b]) for a, b in pairs
                )
                and (out.meta.get("extra", {}) | out.meta).items()
                >= {k: v for k, v in r.meta.items() if k in ("seconds", "k")}.items()
            ][:1]
            hidden = {k: v for k, v in given.meta.items() if k in ("split", "schema")}
            assert out.meta.get("extra", {}) == hidden

    check()


def test_a_run_s_rankings_keep_what_the_reward_model_reads(store: Store, tmp_path: Path):
    ranking = {
        "prompt": "q",
        "responses": ["a", "b", "c"],
        "ranks": [1, 1, 3],
        "labeler": "labeler-3",
        "finished": [True, False, True],
        "sources": ["sft", "sft", "ppo, round 1"],
        "task": "x",
    }
    bring(store, write(tmp_path / "r.jsonl", [ranking]), "rankings")
    for split in ("train", "valid", "test"):
        try:
            [out] = read_records(take_out(store, tmp_path, "rankings", split=split).path, Ranking)
        except StoreError:
            continue
    assert {k: out.meta[k] for k in ("finished", "sources", "task")} == {
        k: ranking[k] for k in ("finished", "sources", "task")
    }
    assert "extra" not in out.meta
    assert out.ranks == [1, 1, 3]


def test_names_become_pseudonyms(store: Store, tmp_path: Path):
    row = {"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2]}
    rows = [row | {"labeler": "Ann Example", "user": "bob@example.org"}]
    bring(store, write(tmp_path / "r.jsonl", rows), "rankings")
    with store.read() as session:
        [user] = session.scalars(select(tables.PromptUser.pseudonym)).all()
        [labeler] = session.scalars(select(tables.Account.pseudonym)).all()
    assert user.startswith("usr_")
    assert labeler.startswith("lab_")
    assert store.site_key.user("bob@example.org") == user
    assert store.site_key.user(user) == user  # what is a pseudonym already stays the one it is


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "q", "responses": ["a", "b"], "ranks": [1]}', "2 responses and 1 ranks"),
        ('{"prompt": "q", "responses": ["a"], "ranks": [1]}', "compares at least 2"),
        ('{"prompt": "q", "respo', "not JSON"),
        ("[1]", "a ranking is a JSON object"),
        ('{"prompt": "q\\u0000", "responses": ["a", "b"], "ranks": [1, 2]}', "NUL character"),
        (
            '{"prompt": "q", "responses": ["a","b","c","d","e","f","g","h","i","j"], '
            '"ranks": [1,1,1,1,1,1,1,1,1,1]}',
            "10 responses; labelers compare 2 to 9",
        ),
        (
            '{"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2], "meta": {"schema": '
            '"preceptor.ranking/1", "rank_groups": [["B"], ["A"]]}}',
            "ranks and meta.rank_groups say different things",
        ),
        (
            '{"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2], "meta": {"schema": '
            '"preceptor.ranking/1", "rank_groups": [["A"]]}}',
            "Response B has no rank yet",
        ),
        (
            '{"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2], "meta": {"schema": '
            '"preceptor.ranking/1", "submitted_at": "yesterday"}}',
            "meta is not what an export writes",
        ),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_imported_or_it_is_counted(
    store: Store, tmp_path: Path, line: str, words: str
):
    good = '{"prompt": "good %d", "responses": ["a", "b"], "ranks": [1, 2], "labeler": "x"}'
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join([good % 1, "", line, good % 2]) + "\n")
    with pytest.raises(DataError, match=rf"r.jsonl:3: .*{words}(.|\n)*nothing was imported"):
        bring(store, path, "rankings")
    assert count(store, tables.Prompt) == count(store, tables.Ingest) == 0
    counts = bring(store, path, "rankings", skip_broken=True)
    assert counts["added"] == 2
    [reason] = [reason for reason in counts if reason.startswith("broken: ")]
    assert counts[reason] == 1
    assert "r.jsonl" not in reason
    with store.read() as session:
        ingest = session.scalars(select(tables.Ingest)).one()
    assert ingest.counts == {"added": 2, "broken": 1}  # a reason may quote the line
    assert (ingest.licence, ingest.file_name) == ("CC0", "r.jsonl")


def test_a_failure_in_the_middle_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    row = {"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2]}
    path = write(tmp_path / "r.jsonl", [row])

    def fail(*arguments: Any) -> None:
        raise OSError("pulled the plug")

    monkeypatch.setattr("preceptor.store.rows.Rows.insert_labels", fail)
    with pytest.raises(OSError, match="plug"):
        bring(store, path, "rankings")
    assert count(store, tables.Prompt) == count(store, tables.Response) == 0


def test_many_broken_lines_are_summed_up(store: Store, tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_text("x\n" * 9)
    with pytest.raises(DataError) as told:
        bring(store, path, "prompts")
    lines = str(told.value).splitlines()
    assert len(lines) == 7
    assert lines[5] == f"{path}: and 4 more"
    with pytest.raises(DataError, match="no prompt in it"):
        bring(store, path, "prompts", skip_broken=True)
    with pytest.raises(DataError, match="no such file"):
        bring(store, tmp_path / "none.jsonl", "prompts")


def test_a_second_import_adds_nothing(store: Store, tmp_path: Path):
    path = some_prompts(tmp_path / "p.jsonl")
    assert bring(store, path, "prompts") == {"added": 12}
    assert bring(store, path, "prompts") == {"there already": 12}
    assert count(store, tables.Prompt) == 12
    assert count(store, tables.Ingest) == 2  # both are on record


def test_another_label_of_the_same_labeler_is_counted_and_changes_nothing(
    store: Store, tmp_path: Path
):
    row = {"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2], "labeler": "ann"}
    other = row | {"ranks": [2, 1]}
    path = write(tmp_path / "r.jsonl", [row, other, row])
    counts = bring(store, path, "rankings")
    assert counts == {"added": 1, "another label of the same labeler": 1, "there already": 1}
    assert bring(store, write(tmp_path / "s.jsonl", [other]), "rankings") == {
        "another label of the same labeler": 1
    }
    unnamed = {k: v for k, v in row.items() if k != "labeler"}
    twice = write(tmp_path / "t.jsonl", [unnamed, unnamed])
    assert bring(store, twice, "rankings")["added"] == 2  # two people, for all we know


def test_users_keep_their_side_and_stand_on_one(store: Store, tmp_path: Path):
    rows = [{"prompt": f"q {i}", "user": f"u {i % 40}"} for i in range(400)]
    bring(store, write(tmp_path / "p.jsonl", rows), "prompts")
    with store.read() as session:
        sides = session.execute(
            select(tables.Prompt.user_id, func.count(func.distinct(tables.Prompt.split))).group_by(
                tables.Prompt.user_id
            )
        ).all()
        shares = Counter(session.scalars(select(tables.PromptUser.split)))
        apart = select(func.count()).where(tables.Prompt.split != tables.PromptUser.split)
        assert session.scalar(apart.select_from(tables.Prompt).join(tables.PromptUser)) == 0
    assert {number for _, number in sides} == {1}
    assert shares["train"] > shares["valid"] + shares["test"]
    # The side that was drawn once stays, whatever would be drawn today.
    with store.write() as session:
        moved = session.scalars(
            select(tables.PromptUser).where(
                tables.PromptUser.pseudonym == store.site_key.user("u 1")
            )
        ).one()
        moved.split = "valid" if moved.split == "test" else "test"
    path = write(tmp_path / "more.jsonl", [{"prompt": "one more", "user": "u 1"}])
    bring(store, path, "prompts")
    with store.read() as session:
        more = session.scalars(select(tables.Prompt).where(tables.Prompt.ingest_id.is_not(None)))
        assert {p.split for p in more if p.content == "one more"} == {moved.split}


def test_what_hygiene_leaves_out_is_kept_with_its_reason(store: Store, tmp_path: Path):
    def hygiene(prompts: Any) -> list[Looked]:
        return [Looked(p, "too long" * p.prompt.endswith("7"), "", None) for p in prompts]

    rows = [{"prompt": f"q {i}"} for i in range(10)]
    path = write(tmp_path / "p.jsonl", rows)
    assert bring(store, path, "prompts", hygiene=hygiene) == {"added": 9, "too long": 1}
    with store.read() as session:
        kept = session.scalars(select(tables.Prompt).where(tables.Prompt.status == "rejected"))
        assert [(p.content, p.reason) for p in kept] == [("q 7", "too long")]


LONG = "x" * (LONGEST + 1)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("prompts", {"prompt": LONG}),
        ("prompts", {"prompt": [{"role": "user", "content": LONG}]}),
        ("prompts", {"prompt": "p", "use_case": LONG}),
        ("demonstrations", {"prompt": LONG, "response": "r"}),
        ("demonstrations", {"prompt": "p", "response": LONG}),
        ("rankings", {"prompt": "p", "responses": ["a", LONG], "ranks": [1, 2]}),
    ],
)
def test_what_is_too_long_is_counted_and_not_stored(
    store: Store, tmp_path: Path, kind: str, row: dict[str, Any]
):
    more = {
        "prompts": {},
        "demonstrations": {"response": "r"},
        "rankings": {"responses": ["a", "b"], "ranks": [1, 2]},
    }
    short: dict[str, Any] = {"prompt": "x" * LONGEST, **more[kind]}
    path = write(tmp_path / "p.jsonl", [short, row])
    options: dict[str, Any] = {"hygiene": look_at} if kind == "prompts" else {}
    assert bring(store, path, kind, **options) == {"added": 1, "too long": 1}
    with store.read() as session:
        assert session.scalars(select(tables.Prompt.content)).all() == [short["prompt"]]
        assert LONG not in session.scalars(select(tables.Response.text)).all()
        assert session.scalars(select(tables.Ingest.counts)).all() == [{"added": 1, "too long": 1}]
    alone = write(tmp_path / "q.jsonl", [row])
    assert bring(store, alone, kind) == {"too long": 1}
    assert bring(store, path, kind, max_chars=2 * LONGEST) == {"added": 1, "there already": 1}


def test_what_does_not_go_out_is_counted_by_reason(store: Store, tmp_path: Path):
    bring(store, some_prompts(tmp_path / "p.jsonl", 60), "prompts")
    labeled_store(store, "ranking")
    whole = take_out(store, tmp_path, "rankings")
    with store.write() as session:
        user = session.scalars(
            select(tables.Prompt.user_id)
            .join(tables.Task)
            .join(tables.Assignment)
            .where(tables.Assignment.state == "submitted")
        ).first()
        withdrawn = {
            "user_id": user,
            "scope": "train",
            "channel": "declared",
            "event": "withdrawn",
            "text_sha256": "",
            "at": START,
        }
        session.execute(insert(tables.Consent), [withdrawn])
    less = take_out(store, tmp_path, "rankings")
    assert less.num_rows + less.left_out["no consent"] == whole.num_rows
    assert less.sha256 != whole.sha256
    names = json.loads(Path(str(less.path).replace(".jsonl", ".manifest.json")).read_text())
    assert names["left_out"] == less.left_out
    assert names["num_rows"] == less.num_rows == len(read_records(less.path, Ranking))
    with pytest.raises(StoreError, match="can still be undone"):
        export_records(store, Filter("rankings"), tmp_path, now=at(5))
    with pytest.raises(StoreError, match="No evaluations to export in split test. There are none"):
        take_out(store, tmp_path, "evaluations", split="test")


def test_surplus_stays_here_unless_it_is_asked_for_and_comes_back_as_surplus(
    fresh: Fresh, tmp_path: Path
):
    store, empty = fresh(), fresh()
    bring(store, some_prompts(tmp_path / "p.jsonl", 30), "prompts")
    labeled_store(store, "ranking")
    whole = take_out(store, tmp_path, "rankings")
    with store.write() as session:
        one = session.scalars(
            select(tables.Assignment).where(tables.Assignment.state == "submitted")
        ).first()
        one.counted = False
        session.get_one(tables.Task, one.task_id).taken -= 1
    less = take_out(store, tmp_path, "rankings")
    assert (less.num_rows, less.left_out["surplus"]) == (whole.num_rows - 1, 1)
    every = take_out(store, tmp_path, "rankings", include_surplus=True)
    assert every.num_rows == whole.num_rows
    bring(empty, every.path, "rankings")
    assert take_out(empty, tmp_path, "rankings").path.read_bytes() == less.path.read_bytes()
    for other in (store, empty):
        other.close()


def test_nobody_is_asked_about_prompts_whose_users_do_not_consent(store: Store, tmp_path: Path):
    bring(store, some_prompts(tmp_path / "p.jsonl", 30), "prompts")
    with store.write() as session:
        before = prompts_without_task(session, None, split="train", limit=None, seed=0)
        user = session.get_one(tables.Prompt, before[0].id).user_id
        session.execute(
            insert(tables.Consent),
            [
                {
                    "user_id": user,
                    "scope": "train",
                    "channel": "declared",
                    "event": "withdrawn",
                    "text_sha256": "",
                    "at": START,
                }
            ],
        )
        after = prompts_without_task(session, None, split="train", limit=None, seed=0)
        own = select(tables.Prompt.id).where(tables.Prompt.user_id == user)
        assert {p.id for p in before} - {p.id for p in after} == set(session.scalars(own))


def test_a_changed_export_is_not_taken_for_the_exported_one(store: Store, tmp_path: Path):
    bring(store, some_prompts(tmp_path / "p.jsonl", 30), "prompts")
    labeled_store(store, "ranking")
    exported = take_out(store, tmp_path, "rankings")
    exported.path.write_bytes(exported.path.read_bytes() + b"\n")
    with pytest.raises(StoreError, match="not the file that was exported"):
        bring(store, exported.path, "rankings")


@pytest.mark.parametrize("name", ["licence", "consent"])
def test_licence_and_consent_are_declared(name: str):
    words = {"licence": "CC0", "consent": "yes", name: " "}
    with pytest.raises(StoreError, match=f"under what {name} are these texts used"):
        Provenance(Path("x.jsonl"), now=START, **words)


RANKING = {"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2]}


def test_unnamed_labelers_are_told_apart_by_their_lines(store: Store, tmp_path: Path):
    other = RANKING | {"ranks": [2, 1]}
    bring(store, write(tmp_path / "a.jsonl", [RANKING]), "rankings")
    # Another file holds another person's view of the same responses.
    assert bring(store, write(tmp_path / "b.jsonl", [other]), "rankings") == {"added": 1}
    # Lines that came before do not become new when others are put among them, in any order.
    for rows, new in (([other, RANKING, other], 1), ([RANKING, other, other, RANKING], 1)):
        counts = bring(store, write(tmp_path / "c.jsonl", rows), "rankings")
        assert counts == {"added": new, "there already": len(rows) - new}
    again = bring(store, tmp_path / "c.jsonl", "rankings", keep_meta=False)
    assert again == {"there already": 4}


def everything(store: Store) -> str:
    """All that stands in the database, as text."""
    with store.read() as session:
        return "\n".join(
            str(tuple(row))
            for table in tables.Base.metadata.sorted_tables
            for row in session.execute(select(table))
        )


@pytest.mark.parametrize("keep_meta", [False, True])
def test_a_labeler_in_the_meta_becomes_a_pseudonym_too(
    store: Store, tmp_path: Path, keep_meta: bool
):
    rows: list[Any] = [
        {"prompt": f"q {i}", "response": "r", "labeler": "Ann Example", "seconds": "81 seconds"}
        for i in range(9)
    ]
    rows[0]["meta"] = {"labeler": "Ann Example"}
    path = write(tmp_path / "d.jsonl", rows)
    assert bring(store, path, "demonstrations", keep_meta=keep_meta) == {"added": 9}
    exported = take_out(store, tmp_path, "demonstrations", split="train").path.read_text()
    assert "Ann Example" not in everything(store) + exported
    assert ("81 seconds" in exported) == ("81 seconds" in everything(store)) == keep_meta
    with store.read() as session:
        assert len(session.scalars(select(tables.Account.id)).all()) == 1


def test_what_means_nothing_to_us_is_not_kept_unless_asked_for(store: Store, tmp_path: Path):
    rows = [{"prompt": f"q {i}", "user": f"u{i}", "email": "bob@example.org"} for i in range(9)]
    path = write(tmp_path / "p.jsonl", rows)
    bring(store, path, "prompts", keep_meta=False)
    exported = take_out(store, tmp_path, "prompts").path.read_text()
    assert "bob@example.org" not in everything(store) + exported


def test_no_free_text_of_a_file_stands_where_it_cannot_be_erased(store: Store, tmp_path: Path):
    row = RANKING | {"labeler": "x", "note": "a secret of somebody"}
    bring(store, write(tmp_path / "r.jsonl", [row]), "rankings")
    with store.read() as session:
        for name in tables.APPEND_ONLY:
            kept = session.execute(select(tables.Base.metadata.tables[name])).all()
            assert "secret" not in str(kept)


def test_a_guideline_of_elsewhere_is_never_the_one_that_is_shown(store: Store, tmp_path: Path):
    with store.write() as session:
        ours = publish_guideline(session, "rules", "Be true.", now=START)
    meta = {"schema": "preceptor.demonstration/1", "guideline": "rules@7"}
    path = write(tmp_path / "d.jsonl", [{"prompt": "q", "response": "r", "meta": meta}])
    assert bring(store, path, "demonstrations") == {"added": 1}
    with store.write() as session:
        newest = newest_guideline(session, "rules")
        assert newest is not None
        assert (f"rules@{newest.version}", newest.markdown) == (ours, "Be true.")
        assert publish_guideline(session, "rules", "Be kind.", now=START) == "rules@8"


def test_labels_under_another_text_of_a_guideline_s_name_do_not_refer_to_ours(
    fresh: Fresh, tmp_path: Path
):
    theirs, ours = fresh(), fresh()
    bring(theirs, some_prompts(tmp_path / "p.jsonl"), "prompts")
    labeled_store(theirs, "ranking")
    path = take_out(theirs, tmp_path, "rankings").path
    for markdown, kept in (("Be *true*.", {"rules@1"}), ("Be quick.", {None})):
        with ours.write() as session:
            publish_guideline(session, "rules", markdown, now=START)
        bring(ours, path, "rankings")
        exported = take_out(ours, tmp_path / markdown, "rankings")
        assert {r.meta["guideline"] for r in read_records(exported.path, Ranking)} == kept
        ours.close()
        ours = fresh()
    for other in (theirs, ours):
        other.close()


JUNK = {
    "purpose": "foo",
    "split": "foo",
    "labeler_group": "foo",
    "origin": "foo",
    "revision": 10**30,
    "active_seconds": "abc",
    "display_seed": 2**70,
    "display_order": "x",
    "surplus": "no",
    "project": 5,
    "labeler": 7,
    "slots": [1],
    "guideline": "rules@x",
    "prompt_labels": {"odd": True},
    "comment": ["x"],
    "extra": 3,
}


@pytest.mark.parametrize("key", sorted(JUNK))
def test_a_meta_that_no_export_writes_is_a_broken_line(store: Store, tmp_path: Path, key: str):
    meta = {"schema": "preceptor.demonstration/1", key: JUNK[key]}
    path = write(tmp_path / "d.jsonl", [{"prompt": "q", "response": "r", "meta": meta}])
    with pytest.raises(DataError, match=r"d.jsonl:1: .*\n.*nothing was imported"):
        bring(store, path, "demonstrations")


@pytest.mark.parametrize("likert", [4.0, True, "4", 8])
def test_ratings_of_a_file_are_held_to_what_a_form_takes(store: Store, tmp_path: Path, likert: Any):
    ratings = {"A": {"likert": 4}, "B": {"likert": likert}}
    meta = {"schema": "preceptor.ranking/1", "ratings": ratings}
    line = {"prompt": "q", "responses": ["x", "y"], "ranks": [1, 2], "meta": meta}
    path = write(tmp_path / "r.jsonl", [line])
    with pytest.raises(DataError, match=f"Response B: the quality is 1 to 7, not {likert!r}"):
        bring(store, path, "rankings")


def test_what_an_older_version_took_as_7_0_goes_out_as_7_and_comes_in_again(
    fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("preceptor.store.forms.is_answer", lambda value, allowed: value in allowed)
    ours, theirs = fresh(), fresh()
    with ours.write() as session:
        project = add_project(
            session, "evaluation_ab", num_tasks=1, num_responses=2, purpose="eval"
        )
        ann = add_labeler(session, ours, "ann")
        held = claim(session, project, ann, now=START)
        form = {"choice": "2", "confidence": 7.0, "ratings": {"1": {"likert": 3.0}}}
        submit(session, held.id, ann, key=held.key, form=form, now=START)
    monkeypatch.undo()
    path = take_out(ours, tmp_path, "evaluations").path
    [record] = read_records(path, Ranking)
    [rating] = record.meta["ratings"].values()
    assert (str(record.meta["confidence"]), str(rating["likert"])) == ("7", "3")
    bring(theirs, path, "evaluations")
    assert take_out(theirs, tmp_path / "again", "evaluations").path.read_bytes() == (
        path.read_bytes()
    )
    for store in (ours, theirs):
        store.close()


def submit_one(store: Store, name: str, form: Any, seconds: float) -> None:
    """A label of this labeler, or its next revision."""
    with store.write() as session:
        labeler = identify("account", store.site_key.labeler(f"login:{name}"))
        held = session.scalars(select(tables.Assignment.id)).first()
        if held is None:
            project = session.scalars(select(tables.Project.id)).one()
            held = claim(session, project, labeler, now=at(seconds)).id
            key = view(session, held, labeler).key
        else:
            _, key = reopen(session, held, labeler)
        submit(session, held, labeler, key=key, form=form, now=at(seconds))


def test_a_restored_store_takes_newer_revisions_and_its_people_back(fresh: Fresh, tmp_path: Path):
    store, other = fresh(), fresh()
    with store.write() as session:
        add_labeler(session, store, "ann")
        add_project(session, "demonstration", num_tasks=1)
    submit_one(store, "ann", {"response": "first"}, 1)
    first = take_out(store, tmp_path / "1", "demonstrations").path
    submit_one(store, "ann", {"response": "second"}, 5000)
    second = take_out(store, tmp_path / "2", "demonstrations").path
    assert bring(store, second, "demonstrations") == {"there already": 1}  # where it came from
    assert bring(other, first, "demonstrations") == {"added": 1}
    assert bring(other, second, "demonstrations") == {"newer revision": 1}
    assert bring(other, first, "demonstrations") == {"there already": 1}
    again = take_out(other, tmp_path / "3", "demonstrations").path
    assert again.read_bytes() == second.read_bytes()
    with other.write() as session:
        add_labeler(session, other, "ann")
    with other.read() as session:
        account = session.scalars(select(tables.Account)).one()
        assert (account.login, account.state) == ("ann", "active")
    for opened in (store, other):
        opened.close()


def test_labels_of_held_out_people_do_not_change_sides_with_an_invitation(
    store: Store, tmp_path: Path
):
    pseudonym = store.site_key.labeler("login:ann")
    meta = {"schema": "preceptor.ranking/1", "labeler_group": "heldout", "purpose": "eval"}
    path = write(tmp_path / "r.jsonl", [RANKING | {"labeler": pseudonym, "meta": meta}])
    bring(store, path, "rankings")
    with pytest.raises(StoreError, match="of the group heldout"), store.write() as session:
        add_labeler(session, store, "ann")


def asked(store: Store, scope: str) -> set[str]:
    with store.read() as session:
        return {
            str(p.prompt)
            for split in ("train", "valid", "test")
            for p in prompts_without_task(
                session, None, split=split, limit=None, seed=0, scope=scope
            )
        }


def test_equal_names_of_two_sources_are_two_users_with_a_consent_each(store: Store, tmp_path: Path):
    for name, scopes in (("A", ("evaluate",)), ("B", ("train",))):
        path = write(tmp_path / f"{name}.jsonl", [{"prompt": f"of {name}", "user": "1"}])
        bring(store, path, "prompts", provenance={"source": name, "scopes": scopes})
    assert count(store, tables.PromptUser) == 2
    assert (asked(store, "train"), asked(store, "evaluate")) == ({"of B"}, {"of A"})


def test_what_a_file_s_consent_does_not_cover_stays_so_when_another_file_s_does(
    store: Store, tmp_path: Path
):
    for name, scopes in (("A", ("evaluate",)), ("B", ("train",)), ("C", ("train", "evaluate"))):
        path = write(tmp_path / f"{name}.jsonl", [{"prompt": f"of {name}", "user": "1"}])
        bring(store, path, "prompts", provenance={"scopes": scopes})
    assert asked(store, "train") == {"of B", "of C"}
    assert asked(store, "evaluate") == {"of A", "of C"}
    exported = []
    for split in ("train", "valid", "test"):
        with suppress(StoreError):
            exported += read_records(take_out(store, tmp_path, "prompts", split=split).path, Prompt)
    assert {p.prompt for p in exported} == {"of B", "of C"}


def test_repetitions_are_found_across_files_and_users(store: Store, tmp_path: Path):
    words = ["Tell me  about FROGS", "tell me about frogs", "Tell me about frogs"]
    counts = [
        bring(
            store,
            write(tmp_path / f"{i}.jsonl", [{"prompt": text, "user": f"u{i}"}]),
            "prompts",
            hygiene=look_at,
        )
        for i, text in enumerate(words)
    ]
    assert counts == [{"added": 1}, *[{"the same as an earlier one": 1}] * 2]
    assert asked(store, "train") == {words[0]}


def test_no_more_than_200_of_a_user_whatever_the_number_of_files(store: Store, tmp_path: Path):
    def nothing(prompts: Any) -> list[Looked]:
        return [Looked(prompt, "", "", None) for prompt in prompts]

    def part(start: int, stop: int) -> Counter[str]:
        rows = [{"prompt": f"q {i}", "user": "u"} for i in range(start, stop)]
        return bring(store, write(tmp_path / "p.jsonl", rows), "prompts", hygiene=nothing)

    assert part(0, 150) == {"added": 150}
    assert part(100, 230) == {
        "added": 50,
        "there already": 50,
        "more than 200 of its user": 30,
    }


PERSONAL = [
    {"prompt": "Write to ann@example.com, and to ann@example.com again.", "user": "u1"},
    {"prompt": [{"role": "user", "content": "Is 4111 1111 1111 1111 a card?"}], "user": "u2"},
    {
        "prompt": "\u00bfPuedes decirme c\u00f3mo se cocina una buena paella valenciana?",
        "user": "u3",
    },
]


def prompts_in(store: Store) -> dict[str, tables.Prompt]:
    """By the name of the user who asked, which only the test knows."""
    with store.read() as session:
        rows = session.scalars(select(tables.Prompt)).all()
        session.expunge_all()
    users = {identify("user", store.site_key.user(f"u{i}", "")): f"u{i}" for i in range(1, 4)}
    return {users[row.user_id]: row for row in rows}


def test_personal_data_of_prompts_never_reach_the_store(store: Store, tmp_path: Path):
    path = write(tmp_path / "p.jsonl", PERSONAL)
    counts = bring(store, path, "prompts", hygiene=look_at)
    assert counts == {"added": 3, "masked: email": 2, "masked: card": 1}
    found = prompts_in(store)
    assert found["u1"].content == "Write to <EMAIL_1>, and to <EMAIL_1> again."
    assert found["u2"].content == [{"role": "user", "content": "Is <CARD_1> a card?"}]
    assert [found[user].masked for user in ("u1", "u2", "u3")] == [{"EMAIL": 2}, {"CARD": 1}, {}]
    assert [found[user].language for user in ("u1", "u3")] == ["en", "es"]
    assert bring(store, path, "prompts", hygiene=look_at) == {"there already": 3}
    with store.engine.connect() as connection:
        for table in tables.Base.metadata.sorted_tables:
            assert "ann@example" not in str(connection.execute(select(table)).all()), table


def test_what_was_found_in_a_prompt_goes_out_and_comes_in_again(
    store: Store, fresh: Fresh, tmp_path: Path
):
    keep = partial(look_at, keep_personal=True)
    bring(store, write(tmp_path / "p.jsonl", PERSONAL[:1]), "prompts", hygiene=keep)
    bring(store, write(tmp_path / "q.jsonl", PERSONAL[1:]), "prompts", hygiene=look_at)
    before = prompts_in(store)
    assert before["u1"].content == PERSONAL[0]["prompt"] and before["u1"].masked is None
    other = fresh()
    for split in ("train", "valid", "test"):
        with suppress(StoreError):
            # What was kept on purpose is kept.
            path = take_out(store, tmp_path, "prompts", split=split).path
            bring(other, path, "prompts", hygiene=look_at)
    with other.read() as session:
        after = {row.id: row for row in session.scalars(select(tables.Prompt))}
        for row in before.values():
            assert (after[row.id].content, after[row.id].masked) == (row.content, row.masked)
            assert after[row.id].language == row.language
        assert after[before["u1"].id].masked is None
    # Nor does a file that has them masked change what was kept.
    bring(other, write(tmp_path / "m.jsonl", PERSONAL), "prompts", hygiene=look_at)
    with other.read() as session:
        kept = session.get_one(tables.Prompt, before["u1"].id)
        assert (kept.content, kept.masked) == (PERSONAL[0]["prompt"], None)
    other.close()


@pytest.mark.parametrize("order", [("rankings", "prompts"), ("prompts", "rankings")])
def test_prompts_and_labels_come_in_again_whichever_comes_first(
    fresh: Fresh, tmp_path: Path, order: tuple[str, str]
):
    """What is known of a prompt is told by the prompts' file alone."""
    ours, theirs = fresh(), fresh()
    rows = [{**row, "user": f"u{i % 9}"} for i, row in enumerate(PERSONAL * 4)]
    for i, row in enumerate(rows):
        row["prompt"] = [{"role": "user", "content": f"Of number {i}: {text_of(row['prompt'])}"}]
    bring(
        ours, write(tmp_path / "p.jsonl", rows), "prompts", hygiene=partial(look_at, keep_all=True)
    )
    with ours.write() as session:
        for number, row in enumerate(session.scalars(select(tables.Prompt))):
            row.kind = ("customer", "plain", "few_shot")[number % 3]
    labeled_store(ours, "ranking")
    files = {kind: take_out(ours, tmp_path, kind).path for kind in order}
    for kind in order:
        bring(theirs, files[kind], kind, hygiene=partial(look_at, keep_all=True))
    for kind in order:
        again = take_out(theirs, tmp_path / "again", kind).path
        assert again.read_bytes() == files[kind].read_bytes(), kind
    for store in (ours, theirs):
        store.close()


def test_kept_and_masked_are_one_prompt_whichever_comes_first(fresh: Fresh, tmp_path: Path):
    path = write(tmp_path / "p.jsonl", PERSONAL)
    both = (look_at, partial(look_at, keep_personal=True))
    for first, second in (both, both[::-1]):
        store = fresh()
        assert bring(store, path, "prompts", hygiene=first)["added"] == 3
        assert bring(store, path, "prompts", hygiene=second) == {"there already": 3}
        written = [{"prompt": PERSONAL[0]["prompt"], "response": "Done.", "user": "u1"}]
        labels = write(tmp_path / "d.jsonl", written)
        bring(store, labels, "demonstrations", hygiene=without_personal)
        assert count(store, tables.Prompt) == 3, "the label is of the prompt that was there"
        store.close()


def test_prompts_of_labels_lose_their_personal_data_too(store: Store, tmp_path: Path):
    written = [{"prompt": "Mail joe@example.org.", "response": "Yes: joe@example.org"}]
    path = write(tmp_path / "d.jsonl", written)
    bring(store, path, "demonstrations", hygiene=without_personal)
    with store.read() as session:
        [prompt] = session.scalars(select(tables.Prompt))
        assert (prompt.content, prompt.masked) == ("Mail <EMAIL_1>.", {"EMAIL": 1})
        [text] = session.scalars(select(tables.SubmissionText.text))
        assert text == "Yes: joe@example.org", "what somebody wrote stays as it was"


def test_to_keep_repetitions_is_not_to_keep_other_languages(store: Store, tmp_path: Path):
    rows = [PERSONAL[2], {"prompt": "What is a frog?"}, {"prompt": "what is a  frog?"}]
    both = partial(look_at, languages=["en"], keep_all=True)
    found = both([Prompt(row["prompt"]) for row in rows])
    assert [one.reason for one in found] == ["in another language", "", ""]


def test_prompts_in_other_languages_are_kept_with_the_reason(store: Store, tmp_path: Path):
    english = partial(look_at, languages=["en"])
    counts = bring(store, write(tmp_path / "p.jsonl", PERSONAL), "prompts", hygiene=english)
    assert counts["added"] == 2 and counts["in another language"] == 1
    assert (prompts_in(store)["u3"].status, prompts_in(store)["u3"].language) == ("rejected", "es")
    with pytest.raises(DataError, match="no language xx"):
        bring(store, tmp_path / "p.jsonl", "prompts", hygiene=partial(look_at, languages=["xx"]))


FROG = "What is a frog, and where does it live in winter when the ponds are frozen?"
ANEW = "left out before, added now"


def test_a_second_import_takes_in_what_only_the_first_left_out(store: Store, tmp_path: Path):
    rows = [*PERSONAL, {"prompt": FROG, "user": "u1"}, {"prompt": FROG.upper(), "user": "u1"}]
    path = write(tmp_path / "p.jsonl", rows)
    english, every = partial(look_at, languages=["en"]), partial(look_at, keep_all=True)
    first = bring(store, path, "prompts", hygiene=english)
    assert (first["in another language"], first["the same as an earlier one"]) == (1, 1)
    assert bring(store, path, "prompts", hygiene=english) == {"there already": 5}
    assert bring(store, path, "prompts", hygiene=look_at) == {ANEW: 1, "there already": 4}
    found = prompts_in(store)["u3"]
    assert (found.status, found.reason, found.language) == ("active", "", "es")
    with store.read() as session:
        assert session.get_one(tables.Ingest, found.ingest_id).counts["in another language"] == 1
    # What is asked about stays so, whatever a later file would leave out.
    assert bring(store, path, "prompts", hygiene=english) == {"there already": 5}
    assert asked(store, "train") >= {FROG, PERSONAL[2]["prompt"]}
    assert bring(store, path, "prompts", hygiene=every, keep_all=True) == {
        ANEW: 1,
        "there already": 4,
    }
    assert FROG.upper() in asked(store, "train")
    assert count(store, tables.Prompt) == 5


def test_repetitions_stay_out_where_none_is_kept(store: Store, tmp_path: Path):
    near = FROG.replace("frozen", "frosted")
    path = write(tmp_path / "p.jsonl", [{"prompt": FROG}, {"prompt": near}])
    assert bring(store, path, "prompts", hygiene=look_at)["added"] == 1
    # Alone, or before the other, nothing in the file says that it repeats something.
    for rows in ([near], [near, FROG]):
        path = write(tmp_path / "q.jsonl", [{"prompt": text} for text in rows])
        assert bring(store, path, "prompts", hygiene=look_at) == {"there already": len(rows)}
    assert asked(store, "train") == {FROG}


def test_what_is_taken_in_is_no_double_of_what_is_asked_about(store: Store, tmp_path: Path):
    def first(prompts: Any) -> list[Looked]:
        return [Looked(p, "in another language" * (p.prompt == "a"), "", None) for p in prompts]

    def second(prompts: Any) -> list[Looked]:
        reasons = {"b": "nearly the same as an earlier one"}
        return [
            Looked(p, reasons.get(p.prompt, ""), "", None, 0 if p.prompt == "b" else None)
            for p in prompts
        ]

    path = write(tmp_path / "p.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    bring(store, path, "prompts", hygiene=first)
    assert bring(store, path, "prompts", hygiene=second) == {"there already": 2}
    assert asked(store, "train") == {"b"}


def test_no_more_than_200_of_a_user_are_taken_in_anew(store: Store, tmp_path: Path):
    def hygiene(prompts: Any) -> list[Looked]:
        return [Looked(p, other * (int(p.prompt[2:]) >= 190), "", None) for p in prompts]

    rows = [{"prompt": f"q {i}", "user": "u"} for i in range(230)]
    path = write(tmp_path / "p.jsonl", rows)
    other = "in another language"
    assert bring(store, path, "prompts", hygiene=hygiene) == {"added": 190, other: 40}
    other = ""
    for expected in ({ANEW: 10, "there already": 220}, {"there already": 230}):
        assert bring(store, path, "prompts", hygiene=hygiene) == expected
    with store.read() as session:
        reasons = Counter(session.scalars(select(tables.Prompt.reason)))
    assert reasons == {"": 200, "more than 200 of its user": 30}


@pytest.mark.parametrize("what", ["erased", "taken back", "withdrawn", "of a labeler's import"])
def test_what_people_took_out_does_not_come_in_again(store: Store, tmp_path: Path, what: str):
    path = write(tmp_path / "p.jsonl", PERSONAL[2:])
    bring(store, path, "prompts", hygiene=partial(look_at, languages=["en"]))
    row = prompts_in(store)["u3"]
    with store.write() as session:
        there = session.get_one(tables.Prompt, row.id)
        if what == "erased":
            erase(session, store.site_key, Wanted(user="u3"), by=None, now=START)
        elif what == "taken back":
            there.reason = TAKEN_BACK
        elif what == "withdrawn":
            say(session, row.user_id, "withdrawn")
    keep = partial(look_at, keep_all=True)
    if what == "of a labeler's import":
        labels = write(tmp_path / "d.jsonl", [PERSONAL[2] | {"response": "Claro."}])
        assert bring(store, labels, "demonstrations", hygiene=without_personal) == {"added": 1}
    else:
        counts = bring(store, path, "prompts", hygiene=keep, keep_all=True)
        assert counts == {"erased" if what == "erased" else "there already": 1}
    assert prompts_in(store)["u3"].status == ("erased" if what == "erased" else "rejected")


def test_what_comes_in_anew_comes_without_personal_data(store: Store, tmp_path: Path):
    rows = [{"prompt": "\u00bfPuedo escribir a ana@example.com sobre la paella?", "user": "u3"}]
    path = write(tmp_path / "p.jsonl", rows)
    keep = partial(look_at, languages=["en"], keep_personal=True)
    assert bring(store, path, "prompts", hygiene=keep) == {"in another language": 1}
    assert bring(store, path, "prompts", hygiene=look_at) == {ANEW: 1}
    found = prompts_in(store)["u3"]
    assert "<EMAIL_1>" in found.content and found.masked == {"EMAIL": 1}


def test_nobody_waits_for_an_export_but_for_its_note(store: Store, tmp_path: Path):
    """A label that comes while a file is written is in none of it, or whole in the next."""
    bring(store, some_prompts(tmp_path / "p.jsonl", 30), "prompts")
    labeled_store(store, "ranking")
    wrote = []
    real = export.write_records

    def write_slowly(path: Path, rows: Any) -> str:
        with store.write() as session:
            add_labeler(session, store, "somebody else")
        wrote.append(path)
        return real(path, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "write_records", write_slowly)
        take_out(store, tmp_path, "rankings")
    assert wrote


def test_a_reader_sees_one_state_from_its_first_look_on(store: Store):
    with store.read() as session:
        number = select(func.count()).select_from(tables.Account)
        assert session.scalar(number) == 0
        with store.write() as writer:
            add_labeler(writer, store, "ann")
        assert session.scalar(number) == 0


def test_exports_at_once_are_whole_and_their_own(store: Store, tmp_path: Path):
    """Of two projects and one kind and split, some of them with the very same rows."""
    for name, count in (("small", 3), ("large", 40)):
        rows = [
            {"prompt": f"{name} {n}", "responses": ["a", "b"], "ranks": [1, 2]}
            for n in range(count)
        ]
        write_records(tmp_path / f"{name}.jsonl", rows)
        bring(store, tmp_path / f"{name}.jsonl", "rankings", project=name)
    together = threading.Barrier(4)

    def export_one(project: str) -> list[Exported]:
        found = []
        for _ in range(6):
            together.wait(60)
            wanted = Filter("rankings", project=project)
            found.append(export_records(store, wanted, tmp_path / "out", now=LATER))
        return found

    with ThreadPoolExecutor(4) as pool:
        each = list(pool.map(export_one, ["small", "large", "small", "large"]))
    [small], [large], [again], [more] = [{one.num_rows for one in own} for own in each]
    assert 0 < small == again <= 3 < 20 < large == more
    for one in sum(each, []):
        assert file_hash(one.path) == one.sha256 and one.sha256[:12] in one.path.name
        assert len(one.path.read_text().splitlines()) == one.num_rows
        assert read_manifest(one.path)["num_rows"] == one.num_rows
    assert len(list((tmp_path / "out").iterdir())) == 4  # nothing half written is left


def test_what_a_killed_export_left_is_gone_with_a_later_one(store: Store, tmp_path: Path):
    """It holds texts, and no erasure knows of it; one that is under way is left alone."""
    rows = [{"prompt": f"p {n}", "responses": ["a", "b"], "ranks": [1, 2]} for n in range(20)]
    bring(store, write(tmp_path / "r.jsonl", rows), "rankings")
    for name, age in ((".writing-old", 2 * export.ABANDONED_AFTER), (".writing-new", 0)):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "rows.jsonl.partial").write_text("a text")
        os.utime(tmp_path / "out" / name, (time.time() - age,) * 2)
    before = tmp_path / "out" / "rankings-train.jsonl.writing.partial"  # as it was named once
    before.write_text("a text")
    os.utime(before, (time.time() - 2 * export.ABANDONED_AFTER,) * 2)
    made = take_out(store, tmp_path / "out", "rankings").path
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {".writing-new", made.name, made.name.replace(".jsonl", ".manifest.json")}


def test_what_an_erased_lead_said_of_prompts_does_not_come_in_again(store: Store, tmp_path: Path):
    path = write(tmp_path / "p.jsonl", [{"prompt": "Say it", "user": "u"}])
    bring(store, path, "prompts")
    with store.write() as session:
        prompt = session.scalars(select(PROMPT)).one()
        split, id = prompt.split, prompt.id
        lead = add_labeler(session, store, "lead")
        label_prompt(session, id, {"ambiguous": True}, lead, now=START)
    exported = take_out(store, tmp_path, "prompts", split=split)
    later = json.loads(exported.path.read_text())
    later["meta"]["prompt_labels_by"]["ambiguous"]["at"] = at(9).isoformat()
    with store.write() as session:
        session.get_one(tables.Account, lead).erased_at = at(5)
    assert bring(store, write(tmp_path / "later.jsonl", [later]), "prompts") == {"there already": 1}
    assert count(store, tables.PromptLabel) == 1
