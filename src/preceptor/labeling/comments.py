"""What labelers say to the lead, with labels and with tasks that they skip, the newest first."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, literal, select, union_all
from sqlalchemy.orm import Session, aliased

from preceptor.store.tables import (
    Account,
    Assignment,
    Project,
    Submission,
    SubmissionText,
    Task,
)

PAGE = 50


@dataclass(frozen=True)
class Comment:
    """One of them. `task_id` is None where a prompt is written: such a task has no page."""

    at: datetime
    text: str
    skip_reason: str | None
    labeler: str
    group: str
    project: str
    task_id: uuid.UUID | None


def read_comments(session: Session, *, page: int = 1) -> tuple[list[Comment], bool]:
    """A page of them, and whether there are more; of a label that was revised the newest word."""
    newer = aliased(Submission)
    said = (
        select(
            Submission.at,
            SubmissionText.text,
            Submission.assignment_id,
            literal(None).label("skip_reason"),
        )
        .join(SubmissionText, SubmissionText.submission_id == Submission.id)
        .where(
            SubmissionText.field == "comment",
            SubmissionText.erased_at.is_(None),
            SubmissionText.text != "",
            ~exists().where(
                newer.assignment_id == Submission.assignment_id,
                newer.revision > Submission.revision,
            ),
        )
    )
    skipped = select(
        Assignment.last_seen, Assignment.skip_comment, Assignment.id, Assignment.skip_reason
    ).where(Assignment.state == "skipped", Assignment.skip_comment != "")
    both = union_all(said, skipped).subquery()
    rows = session.execute(
        select(both, Account.pseudonym, Account.labeler_group, Project.name, Task)
        .join(Assignment, Assignment.id == both.c.assignment_id)
        .join(Account, Account.id == Assignment.account_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .order_by(both.c.at.desc(), both.c.assignment_id)
        .limit(PAGE + 1)
        .offset(PAGE * (page - 1))
    ).all()
    found = [
        Comment(
            at=row.at,
            text=row.text,
            skip_reason=row.skip_reason,
            labeler=row.pseudonym,
            group=row.labeler_group,
            project=row.name,
            task_id=row.Task.id if row.Task.prompt_id else None,
        )
        for row in rows
    ]
    return found[:PAGE], len(found) > PAGE
