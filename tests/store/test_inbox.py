"""What a labeler sees of their work: only what is for them, and no project's name."""

import dataclasses
import uuid
from datetime import datetime

import pytest
from people import START, add_labeler, add_project, at, fill_in
from sqlalchemy import update
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store import next_task
from preceptor.store.accounts import acknowledge, publish_guideline
from preceptor.store.database import Store
from preceptor.store.inbox import (
    assignment_guideline,
    inbox,
    label_state,
    project_guideline,
    recent_tasks,
    set_accepts_sensitive,
)
from preceptor.store.labels import save_draft, submit, undo
from preceptor.store.projects import ProjectOptions, create_project, set_guideline
from preceptor.store.queue import claim, skip
from preceptor.store.standing import set_state
from preceptor.store.tables import Project, Task


def test_the_inbox_has_what_may_be_claimed(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        held_out = add_labeler(session, store, "hal", group="heldout")
        project = add_project(session)
        create_project(session, "second", "ranking", ProjectOptions(), now=at(1))
        create_project(session, "screen", "ranking", ProjectOptions(purpose="screening"), now=at(2))
        create_project(
            session,
            "final",
            "evaluation",
            ProjectOptions(purpose="eval", groups=("heldout",)),
            now=at(3),
        )
        cards = inbox(session, ann, now=START)
        assert [(c.task_type, c.number, c.screening) for c in cards] == [
            ("ranking", 1, False),
            ("ranking", 2, False),
        ]
        assert (cards[0].id, cards[0].held, cards[0].num_done) == (project, None, 0)
        assert [c.task_type for c in inbox(session, held_out, now=START)] == ["evaluation"]
        assert not {"second", "final"} & {str(v) for v in dataclasses.asdict(cards[1]).values()}
        task = claim(session, project, ann, now=START)
        assert inbox(session, ann, now=START)[0].held == task.id
        submit(session, task.id, ann, key=task.key, form=fill_in(task), now=START)
        assert [(c.held, c.num_done) for c in inbox(session, ann, now=START)][0] == (None, 1)
        session.get_one(Project, project).state = "paused"
        assert [c.number for c in inbox(session, ann, now=START)] == [1]
        set_state(session, ann, "screening", now=START)
        assert [c.screening for c in inbox(session, ann, now=START)] == [True]
        set_state(session, ann, "paused", now=START)
        assert inbox(session, ann, now=START) == []


def works(session: Session, account: uuid.UUID, *, now: datetime = START) -> list[bool]:
    return [card.has_work for card in inbox(session, account, now=now)]


def test_there_is_work_where_a_claim_would_find_some(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        project = add_project(session, num_tasks=2, overlap=2, num_calibration=1)
        create_project(session, "empty", "ranking", ProjectOptions(), now=at(1))
        assert works(session, ann) == [True, False]
        for _ in range(2):
            task = claim(session, project, ann, now=START)
            assert works(session, ann)[0], "a task in hand is work"
            submit(session, task.id, ann, key=task.key, form=fill_in(task), now=START)
        # Her part of a task that wants another label, and of the pool, is done.
        assert claim(session, project, ann, now=START) is None
        assert works(session, ann) == [False, False] and works(session, bob) == [True, False]


def test_a_lease_that_ran_out_is_work_for_others(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        project = add_project(session, num_tasks=1)
        claim(session, project, ann, now=START)
        assert works(session, bob) == [False]
        assert works(session, bob, now=at(3601)) == [True]
        assert claim(session, project, bob, now=at(3601)) is not None


def test_sensitive_work_is_none_for_who_does_not_accept_it(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        add_project(session, num_tasks=2)
        session.query(Task).update({"sensitive": True})
        assert works(session, ann) == [False]
        set_accepts_sensitive(session, ann, True)
        assert works(session, ann) == [True]


def test_of_very_many_tasks_a_few_are_looked_at(store: Store, monkeypatch: pytest.MonkeyPatch):
    """What may be behind them is not hidden."""
    monkeypatch.setattr(next_task, "LOOK", 2)
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        project = add_project(session, num_tasks=3, overlap=2)
        for done in range(3):
            task = claim(session, project, ann, now=START)
            submit(session, task.id, ann, key=task.key, form=fill_in(task), now=START)
            assert works(session, ann) == [True], done


def test_a_guideline_is_unread_until_its_newest_version_is_confirmed(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        project = add_project(session)
        assert project_guideline(session, project, ann) is None
        publish_guideline(session, "rules", "one", now=START)
        set_guideline(session, project, "rules")
        assert inbox(session, ann, now=START)[0].unread == "rules@1"
        shown = project_guideline(session, project, ann)
        assert (shown.markdown, shown.confirmed) == ("one", False)
        acknowledge(session, ann, shown.id, now=START)
        assert inbox(session, ann, now=START)[0].unread is None
        task = claim(session, project, ann, now=START)
        publish_guideline(session, "rules", "two", now=START)
        assert inbox(session, ann, now=START)[0].unread == "rules@2"
        assert assignment_guideline(session, task.id, ann).markdown == "one"
        bob = add_labeler(session, store, "bob")
        assert assignment_guideline(session, task.id, bob) is None
        session.get_one(Project, project).state = "closed"
        with pytest.raises(StoreError, match="no such project"):
            project_guideline(session, project, ann)


def test_recent_tasks_tell_what_became_of_each(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        project = add_project(session, "demonstration", num_tasks=4)
        done = claim(session, project, ann, now=at(0))
        submit(session, done.id, ann, key=done.key, form=fill_in(done), now=at(1))
        skipped = claim(session, project, ann, now=at(2))
        skip(session, skipped.id, ann, reason="broken", now=at(3))
        held = claim(session, project, ann, now=at(4))
        save_draft(session, held.id, ann, {"response": "half"}, version=0, now=at(5))
        tasks = recent_tasks(session, ann)
        assert [(t.id, t.state, t.has_draft, t.skip_reason) for t in tasks] == [
            (held.id, "leased", True, None),
            (skipped.id, "skipped", False, "broken"),
            (done.id, "submitted", False, None),
        ]
        assert not any(t.sensitive for t in tasks)
        session.execute(update(Task).values(sensitive=True))
        assert all(t.sensitive for t in recent_tasks(session, ann))
        assert [t.id for t in recent_tasks(session, ann, before=tasks[0].at, limit=1)] == [
            skipped.id
        ]
        assert recent_tasks(session, bob) == []


def test_a_label_can_be_undone_for_a_while_and_revised_later(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        project = add_project(session, undo_seconds=60)
        task = claim(session, project, ann, now=START)
        assert label_state(session, task.id, ann, now=START) is None
        submit(session, task.id, ann, key=task.key, form=fill_in(task), now=START)

        def may(now: float) -> tuple[bool, bool]:
            state = label_state(session, task.id, ann, now=at(now))
            return state.may_undo, state.may_revise

        assert may(60) == (True, True)
        assert may(61) == (False, True)
        assert label_state(session, task.id, bob, now=START) is None
        session.get_one(Project, project).state = "closed"
        assert may(1) == (False, False)
        session.get_one(Project, project).state = "open"
        undo(session, task.id, ann, now=at(30))
        assert label_state(session, task.id, ann, now=at(30)) is None
