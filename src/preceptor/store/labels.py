"""Drafts, submits, undo: a labeler's work is kept, whatever came between.

A submission is added, never changed. The newest revision of an assignment is its label.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.examples import prompt_in
from preceptor.store.forms import (
    PROMPT_TYPES,
    check_form,
    form_of,
    in_whole_numbers,
    relabel,
    require_storable,
)
from preceptor.store.judgements import note_labels
from preceptor.store.names import identify, sha256_of
from preceptor.store.next_task import gets_feedback
from preceptor.store.questions import questions_of
from preceptor.store.queue import (
    NoSuchTask,
    drafts_of,
    equal_slots,
    keep_lease,
    last_revision,
    lock,
    next_key,
    require_kept,
    take_place,
)
from preceptor.store.tables import (
    Account,
    Assignment,
    Draft,
    GoldAnswer,
    Project,
    Submission,
    SubmissionText,
)
from preceptor.store.writing import note_written, require_impersonal, require_new


class StaleDraft(StoreError):
    """Another tab or device saved a newer draft; both are offered, none is overwritten.

    `version` is the stored draft's: saving with it says that the labeler saw it and decided.
    """

    def __init__(self, stored: Any, version: int) -> None:
        super().__init__(
            "A newer draft was saved elsewhere. Yours is still on this page: keep it, or take the "
            "other one."
        )
        self.stored = stored
        self.version = version


class Outdated(StoreError):
    """The label was changed since, from another page."""

    def __init__(self) -> None:
        super().__init__(
            "This label was changed or taken back since. Open the task again to see how it stands."
        )


@dataclass(frozen=True)
class Receipt:
    """What became of a submit.

    counted   it is the task's label
    surplus   kept, but the task had enough labels by then
    repeated  the same form came before; nothing was added
    draft     kept as a draft only: another tab submitted this task first
    withdrawn kept as a draft only: the label was taken back after this page was made
    """

    outcome: Literal["counted", "surplus", "repeated", "draft", "withdrawn"]
    submission_id: uuid.UUID
    revision: int
    at: datetime

    @property
    def message(self) -> str:
        """For the labeler: what happened to the work, and what to do next."""
        if self.outcome == "surplus":
            return "Saved. Others had finished this task meanwhile, so it is kept as an extra."
        if self.outcome == "draft":
            return (
                f"This task was submitted at {self.at:%H:%M} UTC from another page, with other "
                "answers. Those count. Yours are kept as a draft: open the task again to use them."
            )
        if self.outcome == "withdrawn":
            return (
                f"This task's answers were taken back at {self.at:%H:%M} UTC, so none count now. "
                "These are kept as a draft: open the task again to send them."
            )
        return f"Saved {self.at:%H:%M} UTC."


def save_draft(
    session: Session,
    assignment_id: uuid.UUID,
    account_id: uuid.UUID,
    form: Any,
    *,
    version: int,
    now: datetime,
) -> int:
    """Keep the form as it stands and the lease with it; returns the draft's version.

    `version` is that of the draft that the page began with or saved last; 0 if there was none.

    Raises:
        StaleDraft: the stored draft is not of the version that the page began with.
    """
    if form is None:
        raise StoreError("A draft is a form as it stands; this is none.")
    require_storable(form, "The draft")
    assignment, task, project = lock(session, assignment_id, account_id)
    require_kept(session, assignment, task)
    stored = next(iter(drafts_of(session, assignment_id)), None)
    if stored is not None and stored.version != version and stored.body != form:
        raise StaleDraft(stored.body, stored.version)
    keep_lease(assignment, task, project, now)
    if stored is not None and stored.body == form:
        return stored.version
    return _keep_draft(session, assignment, form, now, seen=version)


def discard_draft(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID, version: int
) -> None:
    """The labeler does not want this one; others stay."""
    lock(session, assignment_id, account_id)
    if draft := session.get(Draft, (assignment_id, version)):
        session.delete(draft)


def submit(
    session: Session,
    assignment_id: uuid.UUID,
    account_id: uuid.UUID,
    *,
    key: uuid.UUID,
    form: Any,
    now: datetime,
    draft_version: int = 0,
    active_seconds: float | None = None,
) -> Receipt:
    """Add the form as the assignment's label; the same key and form again are one label.

    The draft of `draft_version`, which the page began with or saved last, has become the label and
    goes. Another one, saved elsewhere meanwhile, stays.

    A lease that ran out is no obstacle: the label counts if the task has room, and is kept as
    surplus if not.

    Raises:
        StoreError: the form is not complete; it says what is missing, and nothing is stored.
    """
    require_storable(form, "The form")
    # 1. A repeat gets the answer of the first time; another form under its key is a second tab.
    assignment, task, project = lock(session, assignment_id, account_id)
    require_kept(session, assignment, task)
    sent = sha256_of(form)
    first = session.scalar(
        select(Submission).where(Submission.assignment_id == assignment_id, Submission.key == key)
    )
    newest = _newest(session, assignment_id)
    taken_back = newest is not None and newest.kind == "withdrawn"
    if first is not None and first.form_sha256 == sent and not taken_back:
        return Receipt("repeated", first.id, first.revision, first.at)
    revision = last_revision(session, assignment_id) + 1
    if first is not None or key != identify("form", assignment_id, revision):
        if newest is None:
            raise StoreError("This form is of another task. Open the task again; a draft is kept.")
        _keep_draft(session, assignment, form, now, seen=draft_version)
        outcome: Literal["withdrawn", "draft"] = "withdrawn" if taken_back else "draft"
        return Receipt(outcome, newest.id, newest.revision, newest.at)
    if assignment.state == "submitted":
        _require_changeable(session, assignment, project)
    # 2. What is wrong is told by position; what is right is kept by slot.
    positions = [str(i + 1) for i in range(len(assignment.display_order))]
    choices, texts = check_form(project.task_type, form, positions, questions_of(project))
    if project.task_type in PROMPT_TYPES:
        require_impersonal(texts)
        require_new(session, assignment, prompt_in(project.task_type, texts))
    slots = dict(zip(positions, _slots_shown(session, assignment), strict=True))
    # 3. The label, and its place among the labels of the task.
    counted = take_place(task, assignment)
    assignment.state = "submitted"
    assignment.last_seen = now
    label = _add_revision(
        session,
        assignment,
        revision=revision,
        kind="submitted",
        form_sha256=sent,
        body=relabel(choices, slots),
        active_seconds=active_seconds,
        at=now,
    )
    session.add_all(
        SubmissionText(submission_id=label.id, field=field, text=text)
        for field, text in texts.items()
    )
    for draft in drafts_of(session, assignment_id):
        if draft.version == draft_version or draft.body == form:
            session.delete(draft)
    _note(session, assignment, project)
    return Receipt("counted" if counted else "surplus", label.id, revision, now)


def undo(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID, *, now: datetime
) -> uuid.UUID:
    """Take the newest label back while that is allowed: its form is a draft again.

    What was before it is so again: an earlier label counts, or none does and the task is held.
    Returns the key of the next form. Later a label can still be revised: submitting the form that
    `reopen` gives supersedes it.
    """
    assignment, task, project = lock(session, assignment_id, account_id)
    require_kept(session, assignment, task)
    label = _newest(session, assignment_id)
    if assignment.state != "submitted" or label is None:
        raise StoreError("There is nothing to undo: this task is not submitted.")
    _require_changeable(session, assignment, project)
    if session.scalar(select(GoldAnswer).where(GoldAnswer.assignment_id == assignment_id)):
        raise StoreError(
            "This is the gold answer of its task, and others have seen it. Open the task again to "
            "revise it, or let the lead choose another answer first."
        )
    # A clock that was set back must not end the time.
    if now - label.at > timedelta(seconds=project.undo_seconds):
        raise StoreError(
            f"Undo is possible for {project.undo_seconds} seconds. Open the task again to revise "
            "it; the label counts until the new one is sent."
        )
    _keep_draft(session, assignment, _form_of(session, assignment, project, label), now)
    assignment.last_seen = now
    revision = label.revision + 1
    before = session.scalar(
        select(Submission).where(
            Submission.assignment_id == assignment_id,
            Submission.revision == (label.restores or label.revision) - 1,
            Submission.kind == "submitted",
        )
    )
    if before is not None:
        again = _add_revision(
            session,
            assignment,
            revision=revision,
            kind="submitted",
            form_sha256=before.form_sha256,
            body=before.body,
            active_seconds=before.active_seconds,
            restores=before.restores or before.revision,
            at=before.at,
        )
        session.add_all(
            SubmissionText(submission_id=again.id, field=field, text=text)
            for field, text in _texts_of(session, before).items()
        )
    else:
        _add_revision(
            session,
            assignment,
            revision=revision,
            kind="withdrawn",
            form_sha256=sha256_of(None),
            body={},
            at=now,
        )
        assignment.state = "leased"
        assignment.lease_expires = now + timedelta(seconds=project.lease_seconds)
    _note(session, assignment, project)
    return next_key(session, assignment_id)


def reopen(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID
) -> tuple[Any, uuid.UUID]:
    """A submitted form for revision, and the key that supersedes it; the label counts until then.

    Raises:
        StoreError: the project is closed, or nothing was submitted.
    """
    assignment, task, project = lock(session, assignment_id, account_id)
    require_kept(session, assignment, task)
    label = _newest(session, assignment_id)
    if assignment.state != "submitted" or label is None:
        raise StoreError("This task is not submitted; it is among your open ones.")
    _require_changeable(session, assignment, project)
    form = _form_of(session, assignment, project, label)
    return form, next_key(session, assignment_id)


@dataclass(frozen=True)
class FormAgain:
    """A form that can be sent again, and the key that it goes under."""

    assignment_id: uuid.UUID
    form: Any
    key: uuid.UUID


def undo_submission(
    session: Session, submission_id: uuid.UUID, account_id: uuid.UUID, *, now: datetime
) -> FormAgain:
    """Take this very label back; the same again changes nothing and gives the same answer.

    Raises:
        NoSuchTask: it is not this account's; whether it exists is not told.
        Outdated: another revision came after it.
    """
    label = _own_label(session, submission_id, account_id)
    newest = _newest(session, label.assignment_id)
    assert newest is not None
    undone = newest.kind == "withdrawn" or newest.restores is not None
    if newest.revision == label.revision + 1 and undone:
        key = next_key(session, label.assignment_id)
    elif newest.id == label.id and label.kind == "submitted":
        key = undo(session, label.assignment_id, account_id, now=now)
    else:
        raise Outdated
    assignment, _, project = lock(session, label.assignment_id, account_id)
    return FormAgain(label.assignment_id, _form_of(session, assignment, project, label), key)


def reopen_submission(
    session: Session, submission_id: uuid.UUID, account_id: uuid.UUID
) -> FormAgain:
    """The form of this very label for revision; it counts until the new one is sent.

    Raises:
        NoSuchTask: it is not this account's; whether it exists is not told.
        Outdated: another revision came after it.
    """
    label = _own_label(session, submission_id, account_id)
    newest = _newest(session, label.assignment_id)
    if newest is None or newest.id != label.id:
        raise Outdated
    form, key = reopen(session, label.assignment_id, account_id)
    return FormAgain(label.assignment_id, form, key)


def _own_label(session: Session, submission_id: uuid.UUID, account_id: uuid.UUID) -> Submission:
    label = session.get(Submission, submission_id)
    if label is None:
        raise NoSuchTask
    lock(session, label.assignment_id, account_id)  # refuses what is somebody else's
    return label


def _require_changeable(session: Session, assignment: Assignment, project: Project) -> None:
    if project.state == "closed":
        raise StoreError("This project is closed; its labels stay as they are.")
    if gets_feedback(project, session.get_one(Account, assignment.account_id)):
        raise StoreError(
            "This is practice: your first answer stays, because the researchers' was shown after "
            "it. Take the next task."
        )


def _newest(session: Session, assignment_id: uuid.UUID) -> Submission | None:
    return session.scalar(
        select(Submission)
        .where(Submission.assignment_id == assignment_id)
        .order_by(Submission.revision.desc())
        .limit(1)
    )


def _add_revision(
    session: Session, assignment: Assignment, *, revision: int, **values: Any
) -> Submission:
    label = Submission(
        id=identify("submission", assignment.id, revision),
        assignment_id=assignment.id,
        revision=revision,
        key=identify("form", assignment.id, revision),
        guideline_id=assignment.guideline_id,
        **values,
    )
    session.add(label)
    session.flush()
    return label


def _keep_draft(
    session: Session, assignment: Assignment, form: Any, now: datetime, *, seen: int | None = None
) -> int:
    """Make the form the newest draft. Of the others only the one that was seen is replaced."""
    for draft in drafts_of(session, assignment.id):
        if draft.version == seen or draft.body == form:
            session.delete(draft)
    assignment.draft_version += 1
    session.add(
        Draft(
            assignment_id=assignment.id, version=assignment.draft_version, body=form, saved_at=now
        )
    )
    session.flush()
    return assignment.draft_version


def _slots_shown(session: Session, assignment: Assignment) -> list[list[str]]:
    """For each position the slots that it stands for: more than one where texts are equal."""
    equal = {slots[0]: slots for slots in equal_slots(session, assignment.task_id)}
    return [equal[slot] for slot in assignment.display_order]


def _note(session: Session, assignment: Assignment, project: Project) -> None:
    """What is made of the newest revision: the label in short, and the prompt that was written."""
    note_labels(session, [assignment.id])
    if project.task_type in PROMPT_TYPES:
        note_written(session, assignment, project.task_type)


def _form_of(
    session: Session, assignment: Assignment, project: Project, label: Submission
) -> dict[str, Any]:
    """The form as the labeler had it: by position, with its texts."""
    positions = {slot: [str(i + 1)] for i, slot in enumerate(assignment.display_order)}
    choices = relabel(in_whole_numbers(label.body), positions)
    return form_of(project.task_type, choices, _texts_of(session, label))


def _texts_of(session: Session, label: Submission) -> dict[str, str]:
    texts = session.execute(
        select(SubmissionText.field, SubmissionText.text).where(
            SubmissionText.submission_id == label.id
        )
    )
    return dict(texts.all())
