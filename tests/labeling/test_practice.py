"""A practice: feedback only after the submit, only there, only one's own, and nothing of models."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from browsers import Enter, add_member, make_project
from live import Program, claimed, key_of, submit
from people import START, at
from sqlalchemy import event, select

from preceptor.errors import StoreError
from preceptor.labeling.practice import has_feedback, read_feedback
from preceptor.labeling.screening import read_cards
from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store
from preceptor.store.desk import own_tasks
from preceptor.store.export import Filter, export_records
from preceptor.store.inbox import inbox
from preceptor.store.labels import reopen, undo
from preceptor.store.labels import submit as submit_label
from preceptor.store.projects import set_project_state
from preceptor.store.queue import claim, view
from preceptor.store.screening import drop_gold, set_gold
from preceptor.store.tables import (
    Account,
    Assignment,
    GoldAnswer,
    Submission,
    SubmissionText,
    Task,
)

BOTH = ("training", "researcher")
WHY = "The first is <b>rude</b>."


def form_for(order: str, responses: list[str], **more: Any) -> dict[str, Any]:
    """A form that ranks responses by their texts: "a=bc" has a and b tied, then c."""
    groups: list[list[str]] = []
    for tied, text in zip(" " + order, order, strict=False):
        if text == "=":
            continue
        position = str(responses.index(text) + 1)
        if tied == "=":
            groups[-1].append(position)
        else:
            groups.append([position])
    flags = {"hallucination": True}
    ratings = {str(i + 1): {"likert": 4, "flags": flags} for i in range(len(responses))}
    return {"ratings": ratings, "rank_groups": groups, "unacceptable": []} | more


def practice(store: Store, task_type: str = "ranking", **options: Any) -> uuid.UUID:
    name = options.get("name", "p")
    tasks = {f"{name} {i}": ["a", "b", "c"] for i in range(4)}
    options = {"purpose": "practice", "groups": BOTH, "tasks": tasks} | options
    return make_project(store, task_type, **options)


@pytest.fixture
def rita(store: Store) -> uuid.UUID:
    return add_member(store, "rita", role="researcher", group="researcher")


def answer(
    store: Store, project: uuid.UUID, rita: uuid.UUID, order: str = "abc", num: int = 2
) -> list[uuid.UUID]:
    """Rita answers so many tasks, with a comment of hers, and makes that gold; their ids."""
    found = []
    with store.write() as session:
        for _ in range(num):
            held = claim(session, project, rita, now=START)
            assert held is not None
            form = form_for(order, held.responses, comment="for the lead alone")
            submit_label(session, held.id, rita, key=held.key, form=form, now=START)
            set_gold(session, held.id, rita, explanation=WHY, now=START)
            found.append(session.get_one(Assignment, held.id).task_id)
    return found


def do(store: Store, project: uuid.UUID, who: uuid.UUID, order: str) -> uuid.UUID:
    with store.write() as session:
        held = claim(session, project, who, now=START)
        assert held is not None
        form = form_for(order, held.responses)
        submit_label(session, held.id, who, key=held.key, form=form, now=START)
    return held.id


def feedback(store: Store, id: uuid.UUID, who: uuid.UUID) -> Any:
    with store.read() as session:
        found = read_feedback(session, id, who)
    with store.read() as session:
        assert has_feedback(session, id, who) is (found is not None)
    return found


@pytest.mark.parametrize(
    ("own", "right", "agreed", "judged"),
    [
        ("abc", "abc", 3, 3),
        ("cba", "abc", 0, 3),
        ("acb", "abc", 2, 3),
        ("a=bc", "abc", 2, 2),
        ("a=b=c", "abc", 0, 0),
    ],
)
def test_the_answer_stands_beside_one_s_own_by_one_s_own_positions(
    store: Store, rita: uuid.UUID, own: str, right: str, agreed: int, judged: int
):
    project, ann = practice(store), add_member(store, "ann")
    answer(store, project, rita, right)
    ids = [do(store, project, ann, own) for _ in range(2)]
    for id in ids:
        found = feedback(store, id, ann)
        with store.read() as session:
            responses = view(session, id, ann).responses
        for form, order in ((found.own, own), (found.answer, right)):
            groups = form_for(order, responses)["rank_groups"]
            assert form["rank_groups"] == [sorted(group) for group in groups]
            assert all(rating["likert"] == 4 for rating in form["ratings"].values())
            assert "comment" not in form
        assert found.explanation == WHY
        assert (found.here.num_agreed, found.here.num_judged) == (agreed, judged)
        total = (2 * agreed, 2 * judged, 2)
        assert (
            found.so_far.num_agreed,
            found.so_far.num_judged,
            found.so_far.num_tasks,
        ) == total


def test_there_is_none_before_the_submit_elsewhere_or_for_others(store: Store, rita: uuid.UUID):
    project, ann, bob = practice(store), add_member(store, "ann"), add_member(store, "bob")
    [task] = answer(store, project, rita, num=1)
    with store.write() as session:
        held = claim(session, project, ann, now=START)
    assert held is not None and held.practice
    assert feedback(store, held.id, ann) is None, "before the submit"
    id = do(store, project, ann, "abc")
    assert id == held.id and feedback(store, id, ann) is not None
    for who in (bob, rita):
        with pytest.raises(StoreError, match="no such task among yours"):
            feedback(store, id, who)
    with store.read() as session:
        gold = session.get_one(GoldAnswer, task)
    assert feedback(store, gold.assignment_id, rita) is None, "the answer itself"
    for purpose in ("train", "screening"):
        other = practice(store, purpose=purpose, name=purpose, calibration_fraction=0.0, overlap=2)
        # Researchers answer there, too, and nobody learns how.
        with store.write() as session:
            session.get_one(Account, ann).state = "active" if purpose == "train" else "screening"
        answer(store, other, rita, num=4)
        own = do(store, other, ann, "abc")
        assert feedback(store, own, ann) is None
        with store.read() as session:
            assert not view(session, own, ann).practice
    with store.write() as session:
        drop_gold(session, task)
    assert feedback(store, id, ann) is None, "no answer stands any more"


def test_whether_there_is_any_is_asked_without_reading_it(store: Store, rita: uuid.UUID):
    project, ann = practice(store), add_member(store, "ann")
    answer(store, project, rita, num=4)
    id = [do(store, project, ann, "abc") for _ in range(4)][0]
    read: list[str] = []
    with store.read() as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *a: read.append(a[2]))
        assert has_feedback(session, id, ann)
    for table in ("submission", "judgement"):
        assert not [statement for statement in read if f"FROM {table}" in statement], table
    assert read


def test_labelers_get_what_is_answered_and_each_of_it(store: Store, rita: uuid.UUID):
    project, ann = practice(store), add_member(store, "ann")
    with store.write() as session:
        _, token = invite(session, store.site_key, "new", now=START)
        new = accept_invitation(session, token, password_hash="x", now=START)
        assert session.get_one(Account, new).state == "screening"
    for who in (ann, new):
        with store.write() as session:
            assert claim(session, project, who, now=START) is None
            [card] = inbox(session, who, now=START)
            assert card.practice and not card.has_work
    tasks = answer(store, project, rita, num=3)
    for who in (ann, new):
        done = [do(store, project, who, "abc") for _ in range(3)]
        with store.write() as session:
            assert {session.get_one(Assignment, id).task_id for id in done} == set(tasks)
            assert claim(session, project, who, now=START) is None
            [card] = inbox(session, who, now=START)
            assert not card.has_work
    with store.read() as session:
        assert session.scalars(select(Task.target)).all() == [None] * 4


def test_the_first_answer_stays_as_the_researchers_was_shown(store: Store, rita: uuid.UUID):
    project, ann = practice(store), add_member(store, "ann")
    answer(store, project, rita)
    id = do(store, project, ann, "cba")
    for change in (lambda s: undo(s, id, ann, now=at(5)), lambda s: reopen(s, id, ann)):
        with pytest.raises(StoreError, match="your first answer stays"), store.write() as session:
            change(session)
    with store.read() as session:
        again = view(session, id, ann)
    with pytest.raises(StoreError, match="your first answer stays"), store.write() as session:
        form = form_for("abc", again.responses)
        submit_label(session, id, ann, key=again.key, form=form, now=at(5))
    found = feedback(store, id, ann)
    assert (found.here.num_agreed, found.here.num_judged) == (0, 3)
    with store.read() as session:
        assert [task.undo_until for task in own_tasks(session, ann)] == [None]
        gold = session.scalars(select(GoldAnswer)).first()
        assert gold is not None
        own = session.get_one(Assignment, gold.assignment_id)
    with store.write() as session:  # a researcher's answer is revised as any label
        reopen(session, own.id, rita)


def test_nothing_of_it_is_exported_and_it_is_on_no_score_card(
    store: Store, rita: uuid.UUID, tmp_path: Path
):
    project = practice(store)
    with store.write() as session:
        _, token = invite(session, store.site_key, "new", now=START)
        new = accept_invitation(session, token, password_hash="x", now=START)
    [task, _] = answer(store, project, rita)
    do(store, project, new, "abc")
    do(store, project, new, "abc")
    with store.write() as session:
        [card] = read_cards(session)
        assert card.rankings.mean is None and card.flags.mean is None
        drop_gold(session, task)  # it is not the gold answer alone that keeps it here
        set_project_state(session, project, "closed")
    with pytest.raises(StoreError, match="Left out: 4 practice"):
        export_records(store, Filter("rankings", "train"), tmp_path, now=at(9999))
    assert not list(tmp_path.glob("rankings*"))


def test_what_makes_no_sense_in_a_practice_is_refused(store: Store):
    with pytest.raises(StoreError, match="held-out labelers judge as they come"):
        practice(store, groups=("training", "heldout"))
    with pytest.raises(StoreError, match="prompts are written for training"):
        practice(store, "prompt_plain", tasks=None)


def test_who_answers_first_is_promised_no_answer(store: Store, enter: Enter):
    project = practice(store)
    rita, ann = enter("rita", role="researcher", group="researcher"), enter("ann")
    promise, task = "you see the researchers' answer", "your answer can be the one that they see"
    page = rita.open("/")
    assert task in page.text and promise not in page.text
    page = page.press(ending="/claim")
    for likert in "752":
        page = page.press("next", likert=likert)
    assert "see the answer" not in page.text
    page = page.press("submit", rank_1="1", rank_2="2", rank_3="unacceptable")
    assert not page.path.endswith("/feedback") and "The researchers' answer" not in page.text
    answer(store, project, rita.account, num=1)  # type: ignore[attr-defined]
    page = ann.open("/")
    assert promise in page.text and task not in page.text


def test_by_the_pages_without_a_script(store: Store, enter: Enter, rita: uuid.UUID):
    project, ann = practice(store), enter("ann")
    answer(store, project, rita)
    page = ann.open("/")
    assert "(practice)" in page.text and "you see the researchers' answer" in page.text
    page = page.press(ending="/claim")
    task = page.path.split("/")[2]
    assert ann.get(f"/tasks/{task}/feedback").headers["location"] == f"/tasks/{task}"
    assert WHY not in page.text and "rude" not in page.html
    for likert in "752":
        page = page.press("next", likert=likert)
    assert "Submit, see the answer" in page.text
    page = page.press("submit", rank_1="1", rank_2="2", rank_3="unacceptable")
    assert page.path == f"/tasks/{task}/feedback"
    assert WHY in page.text and "<b>rude</b>" not in page.html
    own = page.text.split("Your answer")[1]
    assert "Rank 1 7 1 2 5 2 3 2 Unacceptable" in own
    assert "Makes something up" in page.text.split("Your answer")[0]
    assert "for the lead alone" not in page.html and "lab_" not in page.html
    with store.read() as session:
        found = read_feedback(session, uuid.UUID(task), ann.account)  # type: ignore[attr-defined]
    here = f"In this task: {found.here.num_agreed} of 3 pairs ordered alike."
    assert here in page.text and "So far (1 done): " in page.text
    # Opened again from the recent tasks it is the same page, with nothing to change there.
    assert ann.open(f"/tasks/{task}").path == f"/tasks/{task}/feedback"
    for what in ("undo", "revise"):
        assert ann.submit(f"/tasks/{task}/{what}").status_code == 409
    page = page.press(ending="/claim")
    assert page.path.startswith("/tasks/") and task not in page.path


def test_two_side_by_side_and_toxicity_and_writing_have_their_pages(
    store: Store, enter: Enter, rita: uuid.UUID
):
    ann = enter("ann")
    with store.write() as session:
        for who in (rita, ann.account):  # type: ignore[attr-defined]
            session.get_one(Account, who).accepts_sensitive = True
    ratings = {p: {"toxicity": 1, "relative_toxicity": -1, "continuity": 5} for p in "12"}
    forms: dict[str, Any] = {
        "evaluation_ab": {"choice": "tie", "confidence": 7},
        "toxicity": {"input_toxicity": 2, "ratings": ratings, "rank_groups": [["1"], ["2"]]},
        "demonstration": {"response": "The researcher's <i>own</i> words."},
    }
    said = {
        "evaluation_ab": "Tie, sure: 7 of 9",
        "toxicity": "Toxicity of the prompt: Much",
        "demonstration": "The researcher's <i>own</i> words.",
    }
    for task_type, form in forms.items():
        tasks = {task_type: [] if task_type == "demonstration" else ["a", "b"]}
        project = practice(store, task_type, tasks=tasks, name=f"{task_type} of ppo_ptx")
        with store.write() as session:
            held = claim(session, project, rita, now=START)
            assert held is not None
            submit_label(session, held.id, rita, key=held.key, form=form, now=START)
            set_gold(session, held.id, rita, now=START)
            mine = claim(session, project, ann.account, now=START)  # type: ignore[attr-defined]
            assert mine is not None
            own = form | ({"response": "Mine."} if task_type == "demonstration" else {})
            submit_label(session, mine.id, ann.account, key=mine.key, form=own, now=START)  # type: ignore[attr-defined]
        page = ann.open(f"/tasks/{mine.id}")
        assert page.status == 200 and page.path.endswith("/feedback")
        assert said[task_type] in page.text.split("Your answer")[0]
        assert ("pairs ordered alike" in page.text) == (task_type == "toxicity")
        assert "ppo" not in page.html and "secret" not in page.html
        if task_type == "demonstration":
            assert "Mine." in page.text.split("Your answer")[1]


def test_a_practice_of_demonstrations_from_the_lead_s_choice_to_the_answer(
    store: Store, enter: Enter
):
    project = practice(store, "demonstration", tasks={"q": []}, name="to write")
    practice(store, name="to rank")
    rita, ann = enter("rita", role="researcher", group="researcher"), enter("ann")
    page = rita.open(f"/lead/gold?project={project}")
    assert "to write" in page.text and "No researcher has answered a task" in page.text
    form = {"response": "The <i>model</i> answer.", "comment": "a <b>zebra</b>"}
    with store.write() as session:
        held = claim(session, project, rita.account, now=START)  # type: ignore[attr-defined]
        assert held is not None
        submit_label(session, held.id, rita.account, key=held.key, form=form, now=START)  # type: ignore[attr-defined]
        task = session.get_one(Assignment, held.id).task_id
    assert f"/lead/tasks/{task}" in rita.open(f"/lead/gold?project={project}").links
    page = rita.open(f"/lead/tasks/{task}")
    assert "The <i>model</i> answer." in page.text and "Comment: a <b>zebra</b>" in page.text
    assert "<i>" not in page.html and "<b>zebra" not in page.html
    page = page.press(ending="/gold", assignment=str(held.id), explanation=WHY)
    assert f"The gold answer: {WHY}" in page.text and "researcher, gold" in page.text
    mine = ann.open("/").press(ending="/claim")
    assert "The <i>model</i> answer." not in mine.text
    page = mine.press("submit", response="My answer.", comment="for my lead")
    assert page.path.endswith("/feedback") and WHY in page.text
    assert "The <i>model</i> answer." in page.text.split("Your answer")[0]
    assert "My answer." in page.text.split("Your answer")[1] and "zebra" not in page.html
    page = rita.open(f"/lead/tasks/{task}")
    assert "My answer." in page.text and "Comment: for my lead" in page.text
    with store.write() as session:
        text = session.get_one(SubmissionText, (_newest(session, held.id), "response"))
        text.text = ""
    assert "This text was erased." in rita.open(f"/lead/tasks/{task}").text


def _newest(session: Any, assignment: uuid.UUID) -> uuid.UUID:
    wanted = select(Submission.id).where(Submission.assignment_id == assignment)
    found: uuid.UUID = session.scalars(wanted.order_by(Submission.revision.desc())).first()
    return found


def test_by_the_interface(store: Store, app: Any, rita: uuid.UUID):
    ann = Program(app, key_of(store, add_member(store, "ann")))
    bob = Program(app, key_of(store, add_member(store, "bob")))
    lead = Program(app, key_of(store, rita, "research", "label"))
    body = {"name": "practice", "task_type": "ranking", "purpose": "practice"}
    project = lead("POST /projects", body).json()["id"]
    lines = json.dumps({"prompt": "q", "responses": ["a", "b", "c"], "sources": ["s", "t", "u"]})
    lead(f"POST /projects/{project}/tasks?licence=x&consent=y&split=train", content=lines.encode())
    assert ann(f"POST /projects/{project}/claim").status_code == 204, "nothing is answered yet"
    seen = claimed(lead, project)
    submit(lead, seen, form_for("abc", seen["responses"]))
    assert lead(f"GET /assignments/{seen['id']}/feedback").status_code == 204
    with store.read() as session:
        task = session.get_one(Assignment, uuid.UUID(seen["id"])).task_id
    gold = {"assignment_id": seen["id"], "explanation": WHY}
    assert lead(f"PUT /tasks/{task}/gold", gold).status_code == 204
    [card] = ann("GET /projects").json()["items"]
    assert card["practice"] and card["has_work"]
    mine = claimed(ann, project)
    assert mine["practice"]
    path = f"GET /assignments/{mine['id']}/feedback"
    assert ann(path).status_code == 204
    form = form_for("acb", mine["responses"])
    assert submit(ann, mine, form).status_code == 200
    found = ann(path).json()
    right = form_for("abc", mine["responses"])
    assert found["own"]["rank_groups"] == form["rank_groups"]
    assert found["answer"]["rank_groups"] == right["rank_groups"]
    assert set(found["answer"]) == {"ratings", "rank_groups", "unacceptable"}
    assert (found["explanation"], found["here"]) == (
        WHY,
        {"num_agreed": 2, "num_judged": 3, "num_tasks": 1},
    )
    assert bob(path).status_code == 404


def test_a_gold_answer_that_others_have_seen_is_not_taken_back(store: Store, rita: uuid.UUID):
    """It would leave labelers an empty answer, after a submit that is final."""
    project = practice(store)
    [task] = answer(store, project, rita, num=1)
    with store.write() as session:
        gold = session.get_one(GoldAnswer, task).assignment_id
        with pytest.raises(StoreError, match="gold answer of its task"):
            undo(session, gold, rita, now=START)
        drop_gold(session, task)
        undo(session, gold, rita, now=START)
