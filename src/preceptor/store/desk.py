"""A labeler's own tasks, for programs: what they hold and have done, with the ids to undo it by."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from preceptor.store.next_task import gets_feedback
from preceptor.store.tables import Account, Assignment, Draft, Project, Submission, Task

MOST_LISTED = 200


@dataclass(frozen=True)
class OwnTask:
    """A task that the labeler holds or has done, with the newest revision of its label."""

    assignment_id: uuid.UUID
    project_id: uuid.UUID
    task_type: str
    state: str
    started_at: datetime
    has_draft: bool
    submission_id: uuid.UUID | None
    revision: int
    submitted_at: datetime | None
    is_withdrawn: bool
    is_surplus: bool
    undo_until: datetime | None


def own_tasks(
    session: Session,
    account_id: uuid.UUID,
    *,
    after: tuple[datetime, uuid.UUID] | None = None,
    limit: int = 50,
) -> list[OwnTask]:
    """What the labeler began, the newest first; `after` is the last one of the page before."""
    wanted = (
        select(Assignment, Project)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .where(Assignment.account_id == account_id)
        .order_by(Assignment.started_at.desc(), Assignment.id.desc())
        .limit(min(limit, MOST_LISTED))
    )
    if after is not None:
        at, id = after
        same = and_(Assignment.started_at == at, Assignment.id < id)
        wanted = wanted.where(or_(Assignment.started_at < at, same))
    rows = session.execute(wanted).all()
    ids = [assignment.id for assignment, _ in rows]
    labels = _newest_of(session, ids)
    drafts = set(session.scalars(select(Draft.assignment_id).where(Draft.assignment_id.in_(ids))))
    account = session.get_one(Account, account_id) if rows else None
    return [
        _own_task(
            assignment,
            project,
            labels.get(assignment.id),
            has_draft=assignment.id in drafts,
            is_final=account is not None and gets_feedback(project, account),
        )
        for assignment, project in rows
    ]


def _newest_of(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Submission]:
    newest: dict[uuid.UUID, Submission] = {}
    for label in session.scalars(
        select(Submission)
        .where(Submission.assignment_id.in_(ids))
        .order_by(Submission.assignment_id, Submission.revision)
    ):
        newest[label.assignment_id] = label
    return newest


def _own_task(
    assignment: Assignment,
    project: Project,
    label: Submission | None,
    *,
    has_draft: bool,
    is_final: bool,
) -> OwnTask:
    withdrawn = label is not None and label.kind == "withdrawn"
    submitted = assignment.state == "submitted"
    can_undo = label is not None and submitted and project.state != "closed" and not is_final
    return OwnTask(
        assignment_id=assignment.id,
        project_id=project.id,
        task_type=project.task_type,
        state=assignment.state,
        started_at=assignment.started_at,
        has_draft=has_draft,
        submission_id=label.id if label else None,
        revision=label.revision if label else 0,
        submitted_at=label.at if label else None,
        is_withdrawn=withdrawn,
        is_surplus=submitted and not assignment.counted,
        undo_until=label.at + timedelta(seconds=project.undo_seconds)
        if label and can_undo
        else None,
    )
