"""Attention tasks: among the others, not to be told from them, and no part of what is made."""

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from people import START, add_labeler, add_project, at, fill_in
from sqlalchemy import select

from preceptor.errors import StoreError
from preceptor.store.attention import add_attention, read_answers, set_attention_fraction
from preceptor.store.database import Store
from preceptor.store.export import Filter, export_records
from preceptor.store.labels import submit
from preceptor.store.next_task import has_work
from preceptor.store.projects import ProjectOptions, create_project, prompts_without_task
from preceptor.store.queue import AssignmentView, claim, release
from preceptor.store.screening import drop_gold, set_gold
from preceptor.store.status import project_status, prompt_status
from preceptor.store.tables import Account, Assignment, Project, Prompt, Task


def lines(num: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"What is {i} + 1?",
            "responses": [f"{i + 1}.", "No.", "Bah."],
            "ranks": [1, 2, 2],
        }
        for i in range(num)
    ]


def add(store: Store, project: uuid.UUID, rows: Sequence[dict[str, Any]], folder: Path) -> Counter:
    path = folder / "attention.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = read_answers(path, now=START)
    with store.write() as session:
        return add_attention(session, store.site_key, project, file)


def made(store: Store, task_type: str = "ranking", **options: Any) -> tuple[uuid.UUID, uuid.UUID]:
    """A project, and a labeler of it."""
    with store.write() as session:
        project = add_project(session, task_type, groups=("training",), **options)
        return project, add_labeler(session, store, "ann")


def take(store: Store, project: uuid.UUID, account: uuid.UUID, second: float) -> Any:
    """(view, kind) of the next task, which is done; None if there is none."""
    with store.write() as session:
        held = claim(session, project, account, now=at(second))
        if held is None:
            return None
        form = fill_in(held)
        submit(session, held.id, account, key=held.key, form=form, now=at(second))
        task = session.get_one(Assignment, held.id).task_id
        return held, session.get_one(Task, task).kind


def kinds(store: Store, project: uuid.UUID, account: uuid.UUID) -> list[str]:
    found = []
    while done := take(store, project, account, len(found)):
        found.append(done[1])
    return found


def test_the_share_is_what_was_asked_and_each_comes_once(store: Store, tmp_path: Path):
    project, ann = made(store, num_tasks=30, attention_fraction=0.3)
    assert add(store, project, lines(20), tmp_path) == {"added": 20}
    found = kinds(store, project, ann)
    assert found.count("normal") == 30
    assert 5 <= found.count("attention") <= 20  # 3 of 7 beside them: 12.9, deviation 4.3
    with store.read() as session:
        asked = session.scalars(select(Assignment.task_id).where(Assignment.account_id == ann))
        assert len(set(asked)) == len(found)


def test_they_come_before_the_last_of_the_others_and_never_alone(store: Store, tmp_path: Path):
    project, ann = made(store, num_tasks=3, attention_fraction=1.0)
    add(store, project, lines(2), tmp_path)
    assert kinds(store, project, ann) == ["attention"] * 2 + ["normal"] * 3
    with store.write() as session:
        bob = session.get_one(Account, add_labeler(session, store, "bob"))
        assert not has_work(session, session.get_one(Project, project), bob, now=at(0))
        assert claim(session, project, bob.id, now=at(0)) is None


def test_a_lease_that_runs_out_on_one_brings_no_work(store: Store, tmp_path: Path):
    project, ann = made(store, num_tasks=1, attention_fraction=1.0)
    add(store, project, lines(1), tmp_path)
    with store.write() as session:
        bob = session.get_one(Account, add_labeler(session, store, "bob"))
        assert claim(session, project, ann, now=at(0)) is not None
        set_attention_fraction(session, project, 0)
        held = claim(session, project, bob.id, now=at(1))
        assert held is not None
        submit(session, held.id, bob.id, key=held.key, form=fill_in(held), now=at(2))
        over = at(10_000)
        assert not has_work(session, session.get_one(Project, project), bob, now=over)
        assert claim(session, project, bob.id, now=over) is None


def test_a_view_has_nothing_that_tells(store: Store, tmp_path: Path):
    project, ann = made(store, num_tasks=10, attention_fraction=0.5)
    add(store, project, lines(4), tmp_path)
    told: dict[str, set[str]] = {"attention": set(), "normal": set()}
    second = 0
    while done := take(store, project, ann, second):
        second += 1
        view: AssignmentView = done[0]
        own = {"id", "prompt", "responses", "key", "lease_expires"}
        said = {name: value for name, value in asdict(view).items() if name not in own}
        told[done[1]].add(str(said) + str(len(view.responses)))
        assert (view.lease_expires - at(second - 1)).total_seconds() == 3600
    assert told["attention"] == told["normal"] and len(told["normal"]) == 1


def test_nothing_that_is_made_of_labels_holds_them(store: Store, tmp_path: Path):
    project, ann = made(store, num_tasks=4, attention_fraction=1.0)
    add(store, project, lines(3), tmp_path)
    kinds(store, project, ann)
    rankings = export_records(store, Filter("rankings"), tmp_path, now=at(1_000))
    with store.read() as session:
        sides = select(Prompt.split).join(Task).where(Task.kind == "attention")
        num = session.scalars(sides).all().count("train")
    # Ann's and the right one of each that fell on this side of the split.
    assert rankings.num_rows == 4 and num
    assert rankings.left_out == {"of attention tasks": 2 * num}
    asked = set()
    for split in ("train", "valid", "test"):
        try:
            wanted = export_records(store, Filter("prompts", split), tmp_path, now=at(1_000))
        except StoreError as error:
            assert "No prompts to export" in str(error)
            continue
        rows = map(json.loads, wanted.path.read_text().splitlines())
        asked |= {row["prompt"] for row in rows}
    assert asked == {f"p{i}" for i in range(4)}
    with store.read() as session:
        for split in ("train", "valid", "test"):
            assert prompts_without_task(session, project, split=split, limit=None, seed=0) == []
            free = prompts_without_task(session, None, split=split, limit=None, seed=0)
            assert not {p.prompt for p in free} & {row["prompt"] for row in lines(3)}
        [status] = project_status(session)
    assert (status.num_tasks, status.num_full, status.num_labels) == (4, 4, 4)
    assert status.num_labelers == 1


def test_what_a_user_sends_later_repeats_none_of_them(store: Store, tmp_path: Path):
    project, _ = made(store)
    add(store, project, lines(1), tmp_path)
    with store.read() as session:
        texts = select(Prompt.normal_sha256).join(Task).where(Task.kind == "attention")
        assert session.scalars(texts).all() == [""]


def test_the_same_file_adds_nothing_and_an_answer_stays(store: Store, tmp_path: Path):
    project, ann = made(store, num_tasks=1, attention_fraction=1.0)
    assert add(store, project, lines(2), tmp_path) == {"added": 2}
    assert add(store, project, lines(3), tmp_path) == {"added": 1, "there already": 2}
    other = [lines(1)[0] | {"ranks": [2, 1, 1]}]
    with pytest.raises(StoreError, match="is in a ranking project already, with another answer"):
        add(store, project, other, tmp_path)
    with pytest.raises(StoreError, match="jsonl:2: the task of .*jsonl:1 again, with another"):
        add(store, project, [lines(1)[0], *other], tmp_path)
    with store.write() as session:
        held = claim(session, project, ann, now=at(0))
        assert held is not None
        submit(session, held.id, ann, key=held.key, form=fill_in(held), now=at(0))
        task = session.get_one(Assignment, held.id).task_id
        for change in (
            lambda: drop_gold(session, task),
            lambda: set_gold(session, held.id, ann, now=at(0)),
        ):
            with pytest.raises(StoreError, match="answer of an attention task came with it"):
                change()


@pytest.mark.parametrize(
    ("task_type", "change", "told"),
    [
        ("ranking", {"ranks": [1, 1, 1]}, "jsonl:1: all ranks are equal, so no order would be"),
        ("ranking", {"responses": ["a", "b", " a"]}, "jsonl:1: two responses are equal"),
        ("evaluation_ab", {}, "jsonl:1: 3 responses; an evaluation_ab compares two"),
        ("demonstration", {}, "a demonstration has no answer that is known to be right"),
    ],
)
def test_what_cannot_be_failed_is_refused(
    store: Store, tmp_path: Path, task_type: str, change: dict[str, Any], told: str
):
    project, _ = made(store, task_type, num_responses=2, num_tasks=1)
    with pytest.raises(StoreError, match=told):
        add(store, project, [lines(1)[0] | change], tmp_path)
    with store.read() as session:
        assert session.scalars(select(Task.kind)).all() == ["normal"]


def test_a_share_is_one(store: Store):
    project, _ = made(store)
    with store.write() as session, pytest.raises(StoreError, match="0 to 1, not 1.5"):
        set_attention_fraction(session, project, 1.5)


def test_one_that_was_given_back_is_had_again_like_any_other(store: Store, tmp_path: Path):
    project, ann = made(store, num_tasks=1, attention_fraction=1.0)
    add(store, project, lines(1), tmp_path)
    with store.write() as session:
        held = claim(session, project, ann, now=at(0))
        assert held is not None
        release(session, held.id, ann)
        again = claim(session, project, ann, now=at(1))
        assert again is not None and again.id == held.id


def test_their_prompts_are_counted_apart_from_those_of_users(store: Store, tmp_path: Path):
    first, _ = made(store)
    with store.write() as session:
        second = create_project(session, "other", "ranking", ProjectOptions(), now=START)
        before = prompt_status(session)
    assert before == {"train": 3} and "made up for attention tasks" not in before
    for project, num in ((first, 3), (second, 2)):  # two are the same in both
        add(store, project, lines(num), tmp_path)
    with store.read() as session:
        assert prompt_status(session) == before | {"made up for attention tasks": 3}
