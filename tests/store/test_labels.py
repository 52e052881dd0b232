"""Drafts, submits, undo: nothing that a labeler did is lost, and nothing counts twice."""

import uuid
from typing import Any

import pytest
from people import add_labeler, add_project, add_prompt, at, fill_in
from sqlalchemy import func, select

from preceptor.errors import StoreError
from preceptor.store.database import Store
from preceptor.store.labels import (
    Receipt,
    StaleDraft,
    discard_draft,
    reopen,
    save_draft,
    submit,
    undo,
)
from preceptor.store.projects import Candidate, add_tasks
from preceptor.store.queue import AssignmentView, claim, view
from preceptor.store.tables import (
    Assignment,
    Project,
    Response,
    Submission,
    SubmissionText,
    TaskResponse,
)


@pytest.fixture
def held(store: Store) -> tuple[uuid.UUID, AssignmentView]:
    """Ann, and the task of one ranking that she holds."""
    return begin(store, num_tasks=1, num_responses=4)


def begin(store: Store, *arguments: Any, **options: Any) -> tuple[uuid.UUID, AssignmentView]:
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        project = add_project(session, *arguments, **options)
        found = claim(session, project, ann, now=at(0))
    assert found is not None
    return ann, found


def send(
    store: Store,
    ann: uuid.UUID,
    task: AssignmentView,
    form: Any = None,
    *,
    key: uuid.UUID | None = None,
    seconds: float = 10,
) -> Receipt:
    with store.write() as session:
        return submit(
            session,
            task.id,
            ann,
            key=key or task.key,
            form=fill_in(task) if form is None else form,
            now=at(seconds),
        )


def count_labels(store: Store) -> int:
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(Submission)) or 0


def test_a_ranking_is_stored_by_slot_as_it_was_given_by_position(store: Store, held: Any):
    ann, task = held
    form = fill_in(task) | {
        "rank_groups": [["3"], [], ["1", "4"], ["2"]],
        "unacceptable": ["2"],
        "comment": "hard",
    }
    receipt = send(store, ann, task, form)
    with store.read() as session:
        label = session.get_one(Submission, receipt.submission_id)
        slots = session.get_one(Assignment, task.id).display_order
        texts = dict(session.execute(select(TaskResponse.slot, Response.text).join(Response)).all())
        comment = session.get_one(SubmissionText, (label.id, "comment")).text
    by_text = [sorted(texts[slot] for slot in group) for group in label.body["rank_groups"]]
    shown = task.responses
    assert by_text == [[shown[2]], sorted([shown[0], shown[3]]), [shown[1]]]
    assert [texts[slot] for slot in label.body["unacceptable"]] == [shown[1]]
    assert label.body["ratings"][slots[0]]["likert"] == form["ratings"]["1"]["likert"]
    assert "hard" not in str(label.body)  # free text can be erased, choices stay
    assert comment == "hard"


def test_the_same_submit_again_is_one_label(store: Store, held: Any):
    ann, task = held
    receipts = [send(store, ann, task, seconds=s) for s in (10, 11, 5000)]
    assert [r.outcome for r in receipts] == ["counted", "repeated", "repeated"]
    assert len({r.submission_id for r in receipts}) == count_labels(store) == 1


def test_two_tabs_with_different_answers_are_one_label_and_a_draft(store: Store, held: Any):
    ann, task = held
    first = send(store, ann, task)
    other = fill_in(task, seed=1)
    second = send(store, ann, task, other, seconds=20)
    assert second.outcome == "draft"
    assert second.submission_id == first.submission_id
    assert second.message == (
        "This task was submitted at 09:00 UTC from another page, with other answers. Those count. "
        "Yours are kept as a draft: open the task again to use them."
    )
    with store.read() as session:
        assert view(session, task.id, ann).draft == other
    assert count_labels(store) == 1


def test_a_key_of_nothing_that_was_handed_out_is_refused(store: Store, held: Any):
    ann, task = held
    with pytest.raises(StoreError, match="form is of another task"):
        send(store, ann, task, key=uuid.uuid4())
    assert count_labels(store) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank_groups": [["1"], ["2"]]}, "Responses 3 and 4 have no rank yet"),
        ({"rank_groups": [["1", "2", "3", "4", "1"]]}, "Response 1 has two ranks"),
        ({"rank_groups": [["1", "2", "3", "4", "5"]]}, "Response 5: there is no such response"),
        ({"rank_groups": None}, "list of lists"),
        (
            {"rank_groups": [["1"], ["2", "3", "4"]], "unacceptable": ["4"]},
            "the last group together",
        ),
        (
            {"rank_groups": [["1", "2"], ["3", "4"]], "unacceptable": [3, 4]},
            "is a list of responses, each as text",
        ),
        (
            {"ratings": {"1": {"likert": 5}, "3": {"likert": 1}}},
            "Responses 2 and 4 have no quality",
        ),
        ({"ratings": {"1": {"likert": 8}}}, "1 to 7, not 8"),
        ({"ratings": {"1": {"likert": True}}}, "1 to 7, not True"),
        ({"ratings": {"1": {"likert": 1, "flags": {"rude": True}}}}, "Response 1: no flag rude"),
        ({"ratings": {"9": {"likert": 1}}}, "Response 9: there is no such response"),
        ({"prompt_labels": {"odd": True}}, "no label odd"),
        ({"prompt_labels": {"use_case": "Bob, 12 Main St"}}, "use case is one of generation,"),
        ({"modell": "x"}, "modell: no such field here"),
        ({"comment": "a\0b"}, "NUL character"),
        ({"comment": "\ud800"}, "half a surrogate pair"),
        ({"comment": 3}, "must be text, it is int"),
    ],
)
def test_what_is_missing_or_wrong_is_named_and_nothing_is_stored(
    store: Store, held: Any, change: dict[str, Any], words: str
):
    ann, task = held
    with pytest.raises(StoreError, match=words):
        send(store, ann, task, fill_in(task) | change)
    assert count_labels(store) == 0
    assert send(store, ann, task).outcome == "counted"


def test_equal_texts_are_shown_once_and_tied(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        project = add_project(session, num_tasks=0)
        texts = ["same", "other", "same ", "third"]
        prompt = add_prompt(session, "q")
        add_tasks(session, project, {prompt: [Candidate(text) for text in texts]})
        task = claim(session, project, ann, now=at(0))
    assert len(task.responses) == 3
    receipt = send(store, ann, task)
    with store.read() as session:
        body = session.get_one(Submission, receipt.submission_id).body
        slots = dict(session.execute(select(TaskResponse.slot, Response.text).join(Response)).all())
        form, _ = reopen(session, task.id, ann)
    same = sorted(slot for slot, text in slots.items() if text.strip() == "same")
    [group] = [group for group in body["rank_groups"] if same[0] in group]
    assert set(same) <= set(group)
    assert body["ratings"][same[0]] == body["ratings"][same[1]]
    assert sorted(p for group in form["rank_groups"] for p in group) == ["1", "2", "3"]


def test_a_demonstration_keeps_its_text_apart_from_its_choices(store: Store):
    ann, task = begin(store, "demonstration", num_tasks=1)
    assert task.responses == []
    with pytest.raises(StoreError, match="The response is empty"):
        send(store, ann, task, {"response": " \n"})
    labels = {"ambiguous": False, "use_case": "chat", "intent_unclear": None}
    receipt = send(store, ann, task, {"response": " Gladly.\n", "prompt_labels": labels})
    with store.read() as session:
        body = session.get_one(Submission, receipt.submission_id).body
        text = session.get_one(SubmissionText, (receipt.submission_id, "response")).text
    # What was not answered is missing, which is not "no"; the text is as it was written.
    assert body == {"prompt_labels": {"ambiguous": False, "use_case": "chat"}}
    assert text == " Gladly.\n"


def test_undo_gives_the_form_back_and_the_next_submit_counts(store: Store, held: Any):
    ann, task = held
    form = fill_in(task)
    send(store, ann, task, form)
    with store.write() as session:
        key = undo(session, task.id, ann, now=at(70))
    with store.read() as session:
        again = view(session, task.id, ann)
    assert again.state == "leased"
    assert again.key == key != task.key
    assert again.draft["rank_groups"] == form["rank_groups"]
    assert {p: r["likert"] for p, r in again.draft["ratings"].items()} == {
        p: r["likert"] for p, r in form["ratings"].items()
    }
    assert send(store, ann, task, again.draft, key=key, seconds=80).outcome == "counted"


def test_after_the_undo_window_a_label_is_revised_and_counts_until_then(store: Store, held: Any):
    ann, task = held
    first = send(store, ann, task)
    with (
        pytest.raises(StoreError, match="Undo is possible for 60 seconds"),
        store.write() as session,
    ):
        undo(session, task.id, ann, now=at(71))
    with store.write() as session:
        form, key = reopen(session, task.id, ann)
    changed = form | {"rank_groups": [["1", "2", "3", "4"]], "unacceptable": []}
    second = send(store, ann, task, changed, key=key, seconds=90)
    assert (second.outcome, second.revision) == ("counted", first.revision + 1)
    assert count_labels(store) == 2  # the first one stays in the record


@pytest.mark.parametrize("answers", [0, 1])
def test_a_form_sent_again_after_its_undo_is_not_called_saved(
    store: Store, held: Any, answers: int
):
    ann, task = held
    send(store, ann, task, seconds=10)
    with store.write() as session:
        undo(session, task.id, ann, now=at(20))
    form = fill_in(task, answers)
    receipt = send(store, ann, task, form, seconds=90)
    assert receipt.outcome == "withdrawn"
    assert receipt.message == (
        "This task's answers were taken back at 09:00 UTC, so none count now. These are kept as a "
        "draft: open the task again to send them."
    )
    with store.read() as session:
        again = view(session, task.id, ann)
    assert (again.state, again.draft) == ("leased", form)
    assert send(store, ann, again, form, seconds=100).outcome == "counted"


def test_undo_of_a_revision_gives_the_earlier_label_back(store: Store, held: Any):
    ann, task = held
    forms = [fill_in(task, seed) | {"comment": f"thought {seed}"} for seed in range(3)]
    send(store, ann, task, forms[0])
    for seed in (1, 2):
        with store.write() as session:
            _, key = reopen(session, task.id, ann)
        send(store, ann, task, forms[seed], key=key, seconds=9000 + seed)
    for back in (1, 0):  # one after the other
        with store.write() as session:
            undo(session, task.id, ann, now=at(9010))
            assert view(session, task.id, ann).state == "submitted"
            form, _ = reopen(session, task.id, ann)
        assert form["rank_groups"] == forms[back]["rank_groups"]
        assert form["comment"] == forms[back]["comment"]
    with store.read() as session:
        draft = view(session, task.id, ann).draft
        kinds = session.scalars(select(Submission.kind).order_by(Submission.revision)).all()
    assert draft["comment"] == "thought 1"  # what was undone last
    assert kinds == ["submitted"] * 5
    with pytest.raises(StoreError, match="Undo is possible"), store.write() as session:
        undo(session, task.id, ann, now=at(9011))  # the first label was sent long ago


@pytest.mark.parametrize("back", [5, 3600, 10**7])
def test_a_clock_set_back_does_not_end_the_undo_window(store: Store, held: Any, back: int):
    ann, task = held
    send(store, ann, task, seconds=100)
    with store.write() as session:
        undo(session, task.id, ann, now=at(100 - back))


def test_after_an_undo_the_task_comes_before_another_that_is_held(store: Store):
    ann, first = begin(store, num_tasks=2)
    send(store, ann, first, seconds=1)
    with store.write() as session:
        project = session.scalars(select(Project.id)).one()
        second = claim(session, project, ann, now=at(2))
        key = undo(session, first.id, ann, now=at(3))
        assert claim(session, project, ann, now=at(4)).id == first.id
    send(store, ann, first, key=key, seconds=5)
    with store.write() as session:
        assert claim(session, project, ann, now=at(6)).id == second.id


def test_only_what_is_submitted_can_be_undone_or_reopened(store: Store, held: Any):
    ann, task = held
    for attempt in (lambda s: undo(s, task.id, ann, now=at(1)), lambda s: reopen(s, task.id, ann)):
        with pytest.raises(StoreError, match="not submitted"), store.write() as session:
            attempt(session)


def test_a_closed_project_takes_what_is_open_and_changes_no_label(store: Store, held: Any):
    ann, task = held
    with store.write() as session:
        session.scalars(select(Project)).one().state = "closed"
    assert send(store, ann, task).outcome == "counted"
    for attempt in (
        lambda s: reopen(s, task.id, ann),
        lambda s: undo(s, task.id, ann, now=at(11)),
        lambda s: submit(
            s, task.id, ann, key=view(s, task.id, ann).key, form=fill_in(task, 1), now=at(99)
        ),
    ):
        with (
            pytest.raises(StoreError, match="is closed; its labels stay"),
            store.write() as session,
        ):
            attempt(session)


def test_a_draft_comes_back_and_a_stale_one_overwrites_nothing(store: Store, held: Any):
    ann, task = held
    with store.write() as session:
        assert save_draft(session, task.id, ann, {"a": 1}, version=0, now=at(1)) == 1
        assert save_draft(session, task.id, ann, {"a": 2}, version=1, now=at(2)) == 2
    with pytest.raises(StaleDraft, match="newer draft") as stale, store.write() as session:
        save_draft(session, task.id, ann, {"b": 1}, version=1, now=at(3))
    assert (stale.value.stored, stale.value.version) == ({"a": 2}, 2)
    with store.read() as session:
        assert view(session, task.id, ann).draft == {"a": 2}


def keep(store: Store, ann: uuid.UUID, task: AssignmentView, form: Any, version: int) -> int:
    with store.write() as session:
        return save_draft(session, task.id, ann, form, version=version, now=at(5))


def drafts(store: Store, ann: uuid.UUID, task: AssignmentView) -> list[Any]:
    """The newest first."""
    with store.read() as session:
        found = view(session, task.id, ann)
    kept = sorted(found.kept_drafts.items(), reverse=True)
    return ([] if found.draft is None else [found.draft]) + [draft for _, draft in kept]


def test_a_submit_takes_the_draft_that_its_page_saw_and_no_other(store: Store, held: Any):
    ann, task = held
    version = keep(store, ann, task, ["phone: a long text"], 0)
    with store.write() as session:
        submit(session, task.id, ann, key=task.key, form=fill_in(task), now=at(9), draft_version=0)
    assert drafts(store, ann, task) == [["phone: a long text"]]
    with store.write() as session:
        _, key = reopen(session, task.id, ann)
        submit(
            session,
            task.id,
            ann,
            key=key,
            form=fill_in(task, 1),
            now=at(10),
            draft_version=version,
        )
    assert drafts(store, ann, task) == []


def test_undo_and_late_answers_set_a_draft_aside_that_they_did_not_see(store: Store, held: Any):
    ann, task = held
    send(store, ann, task)
    late = fill_in(task, 1)
    assert send(store, ann, task, late).outcome == "draft"
    keep(store, ann, task, ["a revision, an hour of work"], 1)  # of a page that saw the late one
    other = fill_in(task, 2)
    assert send(store, ann, task, other).outcome == "draft"
    assert send(store, ann, task, other).outcome == "draft"  # again: no second copy
    assert drafts(store, ann, task) == [other, ["a revision, an hour of work"]]
    with store.write() as session:
        undo(session, task.id, ann, now=at(20))
    undone, *kept = drafts(store, ann, task)
    assert undone["rank_groups"] == fill_in(task)["rank_groups"]
    assert kept == [other, ["a revision, an hour of work"]]
    with store.write() as session:
        for version in view(session, task.id, ann).kept_drafts:
            discard_draft(session, task.id, ann, version)
    assert drafts(store, ann, task) == [undone]


def test_versions_of_drafts_never_start_again(store: Store, held: Any):
    ann, task = held
    old = keep(store, ann, task, ["an old tab"], 0)
    with store.write() as session:
        submit(
            session, task.id, ann, key=task.key, form=fill_in(task), now=at(9), draft_version=old
        )
    with store.read() as session:
        begun = view(session, task.id, ann).draft_version
    assert keep(store, ann, task, ["a revision"], begun) > old
    with pytest.raises(StaleDraft):
        keep(store, ann, task, ["an old tab, later"], old)
    assert drafts(store, ann, task) == [["a revision"]]


@pytest.mark.parametrize("form", [{"response": "a\0"}, [{"x\0": 1}], ["\udc00"]])
def test_a_draft_that_no_database_holds_is_told(store: Store, held: Any, form: Any):
    ann, task = held
    with pytest.raises(StoreError, match="The draft has"), store.write() as session:
        save_draft(session, task.id, ann, form, version=0, now=at(1))
    with store.write() as session:
        save_draft(session, task.id, ann, ["a \\u0000 in words"], version=0, now=at(1))
