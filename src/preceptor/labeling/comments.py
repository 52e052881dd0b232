"""What labelers say to the lead, with labels and with tasks that they skip, the newest first."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Select, String, exists, literal, or_, select, union_all
from sqlalchemy.orm import Session

from preceptor.store.next_task import SKIPPED
from preceptor.store.tables import (
    Account,
    Assignment,
    Judgement,
    Project,
    Submission,
    SubmissionText,
    Task,
)

PAGE = 50
# As the index has it: SQLite takes a partial one only for a value that stands in the statement.
NOTHING = literal("", literal_execute=True)


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


@dataclass(frozen=True)
class Choice:
    """Whose, of which project, with labels or with skips; all where nothing is chosen."""

    project_id: uuid.UUID | None = None
    labeler: str = ""  # a pseudonym
    kind: Literal["", "labels", "skips"] = ""


ALL = Choice()


def read_comments(
    session: Session, choice: Choice = ALL, *, page: int = 1
) -> tuple[list[Comment], bool]:
    """A page of them, and whether there are more; of a label that was revised the newest word."""
    parts = {"labels": _of_labels, "skips": _of_skips}
    # Each kind is walked from its newest comment on, so far as the page needs it.
    walked = [
        of_kind(choice).limit(PAGE * page + 1).subquery()
        for kind, of_kind in parts.items()
        if choice.kind in ("", kind)
    ]
    both = union_all(*map(select, walked)).subquery()
    newest = (
        select(both)
        .order_by(both.c.at.desc(), both.c.assignment_id.desc())
        .limit(PAGE + 1)
        .offset(PAGE * (page - 1))
        .subquery()
    )
    rows = session.execute(
        select(
            newest,
            Account.pseudonym,
            Account.labeler_group,
            Project.name,
            Task.id.label("task_id"),
            Task.prompt_id,
        )
        .join(Assignment, Assignment.id == newest.c.assignment_id)
        .join(Account, Account.id == Assignment.account_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .order_by(newest.c.at.desc(), newest.c.assignment_id.desc())
    ).all()
    found = [
        Comment(
            at=row.at,
            text=row.text,
            skip_reason=row.skip_reason,
            labeler=row.pseudonym,
            group=row.labeler_group,
            project=row.name,
            task_id=row.task_id if row.prompt_id else None,
        )
        for row in rows
    ]
    return found[:PAGE], len(found) > PAGE


def read_commenting(session: Session) -> tuple[list[tuple[uuid.UUID, str]], list[str]]:
    """Projects by name, and the pseudonyms of those who said something."""
    projects = session.execute(select(Project.id, Project.name).order_by(Project.name)).all()
    with_label = exists().where(Judgement.account_id == Account.id, Judgement.commented)
    with_skip = exists().where(Assignment.account_id == Account.id, *_COMMENTED_SKIP)
    said = select(Account.pseudonym).where(or_(with_label, with_skip)).order_by(Account.pseudonym)
    return [(id, name) for id, name in projects], list(session.scalars(said))


def _of_labels(choice: Choice) -> Select[*tuple[Any, ...]]:
    words = (
        select(SubmissionText.text)
        .join(Submission, Submission.id == SubmissionText.submission_id)
        .where(
            Submission.assignment_id == Judgement.assignment_id, SubmissionText.field == "comment"
        )
        .order_by(Submission.revision.desc())
        .limit(1)
        .correlate(Judgement)
        .scalar_subquery()
    )
    wanted = (
        select(
            Judgement.at,
            words.label("text"),
            Judgement.assignment_id,
            literal(None, String).label("skip_reason"),
        )
        .where(Judgement.commented, words != "")  # an erased one is empty
        .order_by(Judgement.at.desc(), Judgement.assignment_id.desc())
    )
    if choice.project_id is not None:
        wanted = wanted.where(Judgement.project_id == choice.project_id)
    if choice.labeler:
        wanted = wanted.where(Judgement.account_id == _account(choice))
    return wanted


_COMMENTED_SKIP = (Assignment.state == SKIPPED, Assignment.skip_comment != NOTHING)


def _of_skips(choice: Choice) -> Select[*tuple[Any, ...]]:
    wanted = (
        select(
            Assignment.last_seen.label("at"),
            Assignment.skip_comment.label("text"),
            Assignment.id.label("assignment_id"),
            Assignment.skip_reason,
        )
        .where(*_COMMENTED_SKIP)
        .order_by(Assignment.last_seen.desc(), Assignment.id.desc())
    )
    if choice.project_id is not None:
        of_project = (Task.id == Assignment.task_id, Task.project_id == choice.project_id)
        wanted = wanted.where(exists().where(*of_project))
    if choice.labeler:
        wanted = wanted.where(Assignment.account_id == _account(choice))
    return wanted


def _account(choice: Choice) -> Any:
    return select(Account.id).where(Account.pseudonym == choice.labeler).scalar_subquery()
