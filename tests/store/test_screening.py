"""Gold answers, screening scores and decisions: whose they may be, and what follows from them."""

from pathlib import Path

import pytest
from people import START, add_labeler, add_project, add_prompt, at, fill_in
from sqlalchemy import select

from preceptor.errors import StoreError
from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store
from preceptor.store.export import Filter, export_records
from preceptor.store.labels import submit
from preceptor.store.projects import (
    Candidate,
    ProjectOptions,
    add_tasks,
    create_project,
    set_project_state,
)
from preceptor.store.queue import ask_once_more, claim
from preceptor.store.screening import (
    decide,
    drop_gold,
    note_access,
    score_competence,
    score_demonstration,
    set_gold,
)
from preceptor.store.tables import AccessLog, Account, GoldAnswer, ScreeningScore, Task


def add_candidate(session, store, name):
    _, token = invite(session, store.site_key, name, now=START)
    return accept_invitation(session, token, password_hash="x", now=START)


def label(session, project, account, seconds=0):
    view = claim(session, project, account, now=at(seconds))
    assert view is not None
    submit(session, view.id, account, key=view.key, form=fill_in(view), now=at(seconds))
    return view.id


@pytest.fixture
def people(store: Store):
    with store.write() as session:
        lead = add_labeler(session, store, "lead", role="researcher", group="researcher")
        return lead, add_labeler(session, store, "ann")


def test_a_gold_answer_is_a_researcher_s_label(store: Store, people):
    lead, ann = people
    with store.write() as session:
        groups = ("training", "researcher")
        project = add_project(session, num_tasks=1, overlap=2, groups=groups)
        own, others = label(session, project, lead), label(session, project, ann)
        with pytest.raises(StoreError, match="this is a labeler's"):
            set_gold(session, others, lead, now=START)
        set_gold(session, own, lead, explanation="the second is rude", now=START)
        set_gold(session, own, lead, explanation="the second is very rude", now=at(9))
        [gold] = session.scalars(select(GoldAnswer)).all()
        assert gold.explanation == "the second is very rude" and gold.assignment_id == own
        drop_gold(session, gold.task_id)
        assert session.scalars(select(GoldAnswer)).all() == []


def test_labels_of_a_gold_task_make_no_training_data(store: Store, people, tmp_path: Path):
    lead, ann = people
    with store.write() as session:
        groups = ("training", "researcher")
        project = add_project(session, num_tasks=2, overlap=2, groups=groups)
        own = label(session, project, lead)
        for _ in range(2):
            label(session, project, ann)
        set_gold(session, own, lead, now=START)
    done = export_records(store, Filter("rankings"), tmp_path, now=at(3600))
    assert done.num_rows == 1
    assert done.left_out == {"of a task with a gold answer": 2}


def test_researchers_answer_a_screening_and_candidates_too_others_not(store: Store, people):
    lead, ann = people
    with store.write() as session:
        project = add_project(
            session,
            num_tasks=2,
            num_calibration=2,
            purpose="screening",
            groups=("training", "researcher"),
            calibration_fraction=1.0,
        )
        candidate = add_candidate(session, store, "newcomer")
        assert label(session, project, lead) and label(session, project, candidate)
        with pytest.raises(StoreError, match="needs it screening"):
            claim(session, project, ann, now=START)


def test_scores_are_one_to_seven_and_of_demonstrations_in_screening(store: Store, people):
    lead, ann = people
    with store.write() as session:
        candidate = add_candidate(session, store, "newcomer")
        screening = add_project(session, "demonstration", num_tasks=1, purpose="screening")
        written = label(session, screening, candidate)
        score_demonstration(session, written, lead, 6, now=START)
        score_competence(session, candidate, lead, 5, now=START)
        for value in (0, 8):
            with pytest.raises(StoreError, match="1 to 7"):
                score_demonstration(session, written, lead, value, now=START)
        with pytest.raises(StoreError, match="Only a researcher"):
            score_demonstration(session, written, ann, 6, now=START)
        ranking = create_project(session, "r", "ranking", ProjectOptions(), now=START)
        add_tasks(session, ranking, {add_prompt(session, "q"): [Candidate("a"), Candidate("b")]})
        with pytest.raises(StoreError, match="no demonstration of a screening"):
            score_demonstration(session, label(session, ranking, ann), lead, 6, now=START)
        rows = session.scalars(select(ScreeningScore).order_by(ScreeningScore.id)).all()
        assert [(row.part, row.value) for row in rows] == [("demonstration", 6), ("competence", 5)]


def test_a_person_decides_once_and_the_figures_stay_with_it(store: Store, people):
    lead, _ = people
    with store.write() as session:
        yes, no = (add_candidate(session, store, name) for name in ("yes", "no"))
        decide(session, yes, lead, True, card={"rankings": {"mean": 0.7}}, now=START)
        decide(session, no, lead, False, card={}, now=START)
        assert session.get_one(Account, yes).state == "active"
        assert session.get_one(Account, no).state == "left"
        with pytest.raises(StoreError, match="is active, not in screening"):
            decide(session, yes, lead, False, card={}, now=START)
        first = session.scalars(select(ScreeningScore).order_by(ScreeningScore.id)).first()
        assert first is not None and first.card == {"rankings": {"mean": 0.7}}


def test_one_more_label_is_asked_for(store: Store, people):
    _, ann = people
    with store.write() as session:
        project = add_project(session, num_tasks=1, num_calibration=0)
        label(session, project, ann)
        [task] = session.scalars(select(Task)).all()
        assert (task.state, task.target) == ("full", 1)
        ask_once_more(session, task.id)
        assert (task.state, task.target) == ("open", 2)
        bob = add_labeler(session, store, "bob")
        label(session, project, bob)
        assert task.state == "full"
        task.state = "closed"
        with pytest.raises(StoreError, match="closed"):
            ask_once_more(session, task.id)


def test_the_pool_s_tasks_are_everybody_s_anyway(store: Store):
    with store.write() as session:
        add_project(session, num_tasks=1, num_calibration=1)
        [task] = session.scalars(select(Task)).all()
        with pytest.raises(StoreError, match="shared pool"):
            ask_once_more(session, task.id)


def test_a_paused_project_hands_out_nothing(store: Store, people):
    _, ann = people
    with store.write() as session:
        project = add_project(session, num_tasks=2)
        set_project_state(session, project, "paused")
        with pytest.raises(StoreError, match="This project is paused"):
            claim(session, project, ann, now=START)
        set_project_state(session, project, "open")
        assert claim(session, project, ann, now=START)
        with pytest.raises(StoreError, match="open, paused or closed"):
            set_project_state(session, project, "gone")


def test_who_read_what_is_noted(store: Store, people):
    lead, _ = people
    with store.write() as session:
        note_access(session, lead, "prompts left out", "too long", now=START)
    with store.read() as session:
        [entry] = session.scalars(select(AccessLog)).all()
        assert (entry.account_id, entry.what, entry.object) == (
            lead,
            "prompts left out",
            "too long",
        )
