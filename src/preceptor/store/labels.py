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
from preceptor.store.forms import check_form, relabel, require_storable
from preceptor.store.names import identify, sha256_of
from preceptor.store.queue import (
    equal_slots,
    keep_lease,
    last_revision,
    lock,
    next_key,
    take_place,
)
from preceptor.store.tables import Assignment, Draft, Project, Submission, SubmissionText


class StaleDraft(StoreError):
    """Another tab or device saved a newer draft; both are offered, none is overwritten."""

    def __init__(self, stored: Any, version: int) -> None:
        super().__init__(
            "A newer draft was saved elsewhere. Yours is still on this page: keep it, or take the "
            "other one."
        )
        self.stored = stored
        self.version = version


@dataclass(frozen=True)
class Receipt:
    """What became of a submit.

    counted   it is the task's label
    surplus   kept, but the task had enough labels by then
    repeated  the same form came before; nothing was added
    draft     kept as a draft only: another tab submitted this task first
    """

    outcome: Literal["counted", "surplus", "repeated", "draft"]
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
    """Keep the form as it stands and the lease with it; returns the draft's new version.

    Raises:
        StaleDraft: the stored draft is not of the version that the page began with.
    """
    require_storable(form, "The draft")
    assignment, task, project = lock(session, assignment_id, account_id)
    stored = session.get(Draft, assignment_id)
    if stored is not None and stored.version != version and stored.body != form:
        raise StaleDraft(stored.body, stored.version)
    keep_lease(assignment, task, project, now)
    return _write_draft(session, assignment_id, form, now)


def submit(
    session: Session,
    assignment_id: uuid.UUID,
    account_id: uuid.UUID,
    *,
    key: uuid.UUID,
    form: Any,
    now: datetime,
    active_seconds: float | None = None,
) -> Receipt:
    """Add the form as the assignment's label; the same key and form again are one label.

    A lease that ran out is no obstacle: the label counts if the task has room, and is kept as
    surplus if not.

    Raises:
        StoreError: the form is not complete; it says what is missing, and nothing is stored.
    """
    require_storable(form, "The form")
    # 1. A repeat gets the answer of the first time; another form under its key is a second tab.
    assignment, task, project = lock(session, assignment_id, account_id)
    sent = sha256_of(form)
    first = session.scalar(
        select(Submission).where(Submission.assignment_id == assignment_id, Submission.key == key)
    )
    if first is not None and first.form_sha256 == sent:
        return Receipt("repeated", first.id, first.revision, first.at)
    revision = last_revision(session, assignment_id) + 1
    if first is not None or key != identify("form", assignment_id, revision):
        newest = _newest(session, assignment_id)
        if newest is None:
            raise StoreError("This form is of another task. Open the task again; a draft is kept.")
        _write_draft(session, assignment_id, form, now)
        return Receipt("draft", newest.id, newest.revision, newest.at)
    if assignment.state == "submitted":
        _require_open(project)
    # 2. What is wrong is told by position; what is right is kept by slot.
    positions = [str(i + 1) for i in range(len(assignment.display_order))]
    choices, texts = check_form(project.task_type, form, positions)
    slots = dict(zip(positions, _slots_shown(session, assignment), strict=True))
    # 3. The label, and its place among the labels of the task.
    counted = take_place(task, assignment)
    assignment.state = "submitted"
    assignment.last_seen = now
    label = Submission(
        id=identify("submission", assignment_id, revision),
        assignment_id=assignment_id,
        revision=revision,
        kind="submitted",
        key=key,
        form_sha256=sent,
        body=relabel(choices, slots),
        guideline_id=assignment.guideline_id,
        active_seconds=active_seconds,
        meta={},
        at=now,
    )
    session.add(label)
    session.flush()
    session.add_all(
        SubmissionText(submission_id=label.id, field=field, text=text)
        for field, text in texts.items()
    )
    if draft := session.get(Draft, assignment_id):
        session.delete(draft)
    return Receipt("counted" if counted else "surplus", label.id, revision, now)


def undo(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID, *, now: datetime
) -> uuid.UUID:
    """Take the label back while that is allowed: the form is a draft again. Returns its new key.

    Later it can still be revised: submitting the form that `reopen` gives supersedes the label.
    """
    assignment, _, project = lock(session, assignment_id, account_id)
    label = _newest(session, assignment_id)
    if assignment.state != "submitted" or label is None:
        raise StoreError("There is nothing to undo: this task is not submitted.")
    # The distance, not the difference: a clock that was set back must not end the time.
    if abs(now - label.at) > timedelta(seconds=project.undo_seconds):
        raise StoreError(
            f"Undo is possible for {project.undo_seconds} seconds. Open the task again to revise "
            "it; the label counts until the new one is sent."
        )
    _write_draft(session, assignment_id, _form_of(session, assignment, label), now)
    session.add(
        Submission(
            id=identify("submission", assignment_id, label.revision + 1),
            assignment_id=assignment_id,
            revision=label.revision + 1,
            kind="withdrawn",
            key=identify("form", assignment_id, label.revision + 1),
            form_sha256=sha256_of(None),
            body={},
            guideline_id=assignment.guideline_id,
            meta={},
            at=now,
        )
    )
    assignment.state = "leased"
    assignment.lease_expires = now + timedelta(seconds=project.lease_seconds)
    session.flush()
    return next_key(session, assignment_id)


def reopen(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID
) -> tuple[Any, uuid.UUID]:
    """A submitted form for revision, and the key that supersedes it; the label counts until then.

    Raises:
        StoreError: the project is closed, or nothing was submitted.
    """
    assignment, _, project = lock(session, assignment_id, account_id)
    label = _newest(session, assignment_id)
    if assignment.state != "submitted" or label is None:
        raise StoreError("This task is not submitted; it is among your open ones.")
    _require_open(project)
    return _form_of(session, assignment, label), next_key(session, assignment_id)


def _require_open(project: Project) -> None:
    if project.state == "closed":
        raise StoreError(f"{project.name} is closed; its labels stay as they are.")


def _newest(session: Session, assignment_id: uuid.UUID) -> Submission | None:
    return session.scalar(
        select(Submission)
        .where(Submission.assignment_id == assignment_id)
        .order_by(Submission.revision.desc())
        .limit(1)
    )


def _write_draft(session: Session, assignment_id: uuid.UUID, form: Any, now: datetime) -> int:
    draft = session.get(Draft, assignment_id)
    if draft is None:
        draft = Draft(assignment_id=assignment_id, version=0)
        session.add(draft)
    draft.version += 1
    draft.body = form
    draft.saved_at = now
    session.flush()
    return draft.version


def _slots_shown(session: Session, assignment: Assignment) -> list[list[str]]:
    """For each position the slots that it stands for: more than one where texts are equal."""
    equal = {slots[0]: slots for slots in equal_slots(session, assignment.task_id)}
    return [equal[slot] for slot in assignment.display_order]


def _form_of(session: Session, assignment: Assignment, label: Submission) -> dict[str, Any]:
    """The form as the labeler had it: by position, with its texts."""
    positions = {slot: [str(i + 1)] for i, slot in enumerate(assignment.display_order)}
    texts = session.execute(
        select(SubmissionText.field, SubmissionText.text).where(
            SubmissionText.submission_id == label.id
        )
    )
    return relabel(label.body, positions) | dict(texts.all())
