"""Labels in short: always what the submissions say, whatever labelers did in between."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from people import START, Fresh, add_labeler, add_project, add_prompt, at, fill_in
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from preceptor.labeling.judgements import NO, NOT_ASKED, YES, id_of, read_judgements
from preceptor.store.database import Store, create_store, migrations
from preceptor.store.forms import ranks_of
from preceptor.store.judgements import in_short, note_all_labels
from preceptor.store.labels import reopen, submit, undo
from preceptor.store.projects import Candidate, ProjectOptions, add_tasks, create_project
from preceptor.store.questions import PAPER
from preceptor.store.queue import claim, skip
from preceptor.store.tables import Assignment, Judgement, Submission


def rows_of(session: Session) -> list[dict[str, Any]]:
    table = Judgement.__table__
    rows = session.execute(select(table).order_by(table.c.assignment_id)).mappings()
    return [dict(row) for row in rows]


def made_again(session: Session) -> list[dict[str, Any]]:
    session.execute(delete(Judgement))
    note_all_labels(session)
    return rows_of(session)


def work(store: Store, seed: int) -> Any:
    """Labelers claim, submit, take back, revise and skip, in an order drawn from the seed."""
    draws = random.Random(seed)
    with store.write() as session:
        project = add_project(session, num_tasks=6, overlap=2, num_calibration=2)
        people = [add_labeler(session, store, name) for name in ("ann", "bob", "cyd")]
    for step in range(40):
        who, now = draws.choice(people), at(step)
        with store.write() as session:
            if (view := claim(session, project, who, now=now)) is None:
                continue
            if draws.random() < 0.2:
                skip(session, view.id, who, reason="broken", now=now)
                continue
            form = fill_in(view, seed=draws.randrange(100))
            if step % 3 == 0:
                form["comment"] = "a word"
            submit(session, view.id, who, key=view.key, form=form, now=now)
            if draws.random() < 0.3:
                undo(session, view.id, who, now=now)
            elif draws.random() < 0.3:
                _, key = reopen(session, view.id, who)
                again = fill_in(view, seed=draws.randrange(100))
                submit(session, view.id, who, key=key, form=again, now=now)
    return project


def test_the_short_rows_are_those_made_of_the_submissions(store: Store):
    work(store, seed=1)
    with store.write() as session:
        kept = rows_of(session)
        assert len(kept) > 8
        assert 0 < sum(row["commented"] for row in kept) < len(kept)
        assert made_again(session) == kept
        submitted = session.scalars(
            select(Assignment.id).where(Assignment.state == "submitted")
        ).all()
        assert {row["assignment_id"] for row in kept} == set(submitted)


def test_arrays_say_what_the_bodies_say(store: Store):
    project = work(store, seed=2)
    with store.read() as session:
        labels = read_judgements(session, project, with_flags=True)
        tasks = [id_of(key) for key in labels.tasks]
        accounts = [id_of(key) for key in labels.accounts]
        for row in range(len(labels)):
            assignment = session.scalar(
                select(Assignment).where(
                    Assignment.task_id == tasks[labels.task[row]],
                    Assignment.account_id == accounts[labels.account[row]],
                )
            )
            assert assignment is not None
            newest = session.scalars(
                select(Submission)
                .where(Submission.assignment_id == assignment.id)
                .order_by(Submission.revision.desc())
            ).first()
            assert newest is not None and labels.counted[row] == assignment.counted
            ranks = ranks_of(newest.body["rank_groups"])
            slots = sorted(ranks)
            assert labels.ranks[row, : len(slots)].tolist() == [ranks[s] for s in slots]
            assert not labels.ranks[row, len(slots) :].any()
            order = assignment.display_order
            assert labels.positions[row, : len(slots)].tolist() == [
                order.index(s) + 1 for s in slots
            ]
            for place, slot in enumerate(slots):
                rating = newest.body["ratings"][slot]
                assert labels.likert[row, place] == rating["likert"]
                codes = {True: YES, False: NO, None: NOT_ASKED}
                expected = [codes[rating["flags"][flag]] for flag in PAPER.flag_names]
                assert labels.flags[row, place].tolist() == expected
            assert labels.num_unacceptable[row] == len(newest.body["unacceptable"])


def test_a_label_that_was_taken_back_is_not_counted(store: Store):
    with store.write() as session:
        project = add_project(session, num_tasks=1)
        ann = add_labeler(session, store, "ann")
        view = claim(session, project, ann, now=START)
        submit(session, view.id, ann, key=view.key, form=fill_in(view), now=START)
        assert len(rows_of(session)) == 1
        undo(session, view.id, ann, now=at(5))
        assert rows_of(session) == []


def test_equal_texts_share_their_position(store: Store):
    with store.write() as session:
        options = ProjectOptions(calibration_fraction=0.0)
        project = create_project(session, "twins", "ranking", options, now=START)
        prompt = add_prompt(session, "q")
        texts = [Candidate("same"), Candidate(" same "), Candidate("other")]
        add_tasks(session, project, {prompt: texts})
        ann = add_labeler(session, store, "ann")
        view = claim(session, project, ann, now=START)
        assert len(view.responses) == 2
        submit(session, view.id, ann, key=view.key, form=fill_in(view), now=START)
        labels = read_judgements(session, project)
        same = [
            slot
            for slot in range(3)
            if (labels.positions[0] == labels.positions[0, slot]).sum() == 2
        ]
        assert len(same) == 2 and sorted(set(labels.positions[0, :3].tolist())) == [1, 2]
        assert len(set(labels.ranks[0, same].tolist())) == 1
        assert labels.num_chars[0] == len("q") + len("same") + len(" same ") + len("other")


def test_a_label_from_elsewhere_may_have_no_ratings_and_no_order():
    body = {"rank_groups": [["B"], ["A", "C"]], "unacceptable": [], "ratings": {"B": {"likert": 5}}}
    short = in_short(body, [], {"A": "a", "B": "b", "C": "c"}, PAPER.flag_names)
    assert short["ranks"] == "212" and short["positions"] == "" and short["likert"] == "-5-"
    assert short["flags"] == "-" * 3 * len(PAPER.flag_names)
    assert in_short({"prompt_labels": {}}, [], {}, PAPER.flag_names)["ranks"] == ""


def test_no_labels_are_no_rows(store: Store):
    with store.write() as session:
        project = add_project(session, num_tasks=1)
        labels = read_judgements(session, project, with_flags=True)
    assert len(labels) == 0 and labels.flags.shape == (0, 9, len(PAPER.flag_names))
    assert labels.seconds.dtype == np.float64


def test_a_store_of_an_older_version_gets_its_short_rows(fresh: Fresh):
    store = fresh()
    work(store, seed=3)
    with store.read() as session:
        kept = rows_of(session)
    with store.engine.execution_options(writes=True).begin() as connection:
        command.downgrade(migrations(connection), "0002")
    url = store.engine.url
    where = Path(url.database) if url.get_backend_name() == "sqlite" else None
    create_store(str(where) if where else url.render_as_string(hide_password=False))
    with store.read() as session:
        assert rows_of(session) == kept
    store.close()


def test_a_store_of_an_older_version_learns_which_labels_have_a_comment(fresh: Fresh):
    store = fresh()
    work(store, seed=4)
    with store.read() as session:
        kept = rows_of(session)
    assert 0 < sum(row["commented"] for row in kept) < len(kept)
    for version in ("0011", "head"):
        with store.engine.execution_options(writes=True).begin() as connection:
            move = command.upgrade if version == "head" else command.downgrade
            move(migrations(connection), version)
    with store.read() as session:
        assert rows_of(session) == kept
    store.close()


def test_ratings_that_came_as_4_0_are_whole_numbers_again(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """An older version took them, kept them, and made short rows of three characters a response."""
    monkeypatch.setattr("preceptor.store.forms.is_answer", lambda value, allowed: value in allowed)
    store = fresh()
    with store.write() as session:
        project = add_project(session, num_tasks=1)
        ann = add_labeler(session, store, "ann")
        view = claim(session, project, ann, now=START)
        form = fill_in(view)
        for rating in form["ratings"].values():
            rating["likert"] = float(rating["likert"])
        submit(session, view.id, ann, key=view.key, form=form, now=START)
        kept = rows_of(session)
        short = kept[0]["likert"]
        assert short.isdigit() and len(short) == len(kept[0]["ranks"])
        session.execute(update(Judgement).values(likert="".join(f"{digit}.0" for digit in short)))
    for version in ("0012", "head"):
        with store.engine.execution_options(writes=True).begin() as connection:
            move = command.upgrade if version == "head" else command.downgrade
            move(migrations(connection), version)
    monkeypatch.undo()
    with store.write() as session:
        assert rows_of(session) == kept and made_again(session) == kept
        again, key = reopen(session, view.id, ann)
        submit(session, view.id, ann, key=key, form=again | {"comment": "as it was"}, now=START)
    store.close()
