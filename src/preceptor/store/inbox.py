"""What a labeler sees of their work as a whole: projects with something for them, recent tasks.

As everywhere before labelers, nothing here tells a project's name, which may name a model.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from preceptor.data.records import Messages
from preceptor.errors import StoreError
from preceptor.store.accounts import account_of, guideline_name, newest_guideline
from preceptor.store.next_task import LEASED, gets_feedback, has_work
from preceptor.store.queue import may_claim
from preceptor.store.tables import (
    Account,
    Acknowledgement,
    Assignment,
    Draft,
    Guideline,
    Judgement,
    Project,
    Prompt,
    Submission,
    Task,
    Written,
)


@dataclass(frozen=True)
class ProjectCard:
    """A project that an account may claim from today."""

    id: uuid.UUID
    task_type: str
    screening: bool
    practice: bool
    feedback: bool  # there, after each submit: for those who learn, not for those who answer first
    number: int  # among those of its type, by age: 1, 2, ..
    num_done: int  # by this account
    held: uuid.UUID | None  # the task in hand
    unread: str | None  # the guideline that is to be read first
    has_work: bool  # a task in hand, or one to be had


@dataclass(frozen=True)
class ShownGuideline:
    """A version of a guideline, and whether the account has confirmed it."""

    id: uuid.UUID
    name: str
    markdown: str
    confirmed: bool


@dataclass(frozen=True)
class RecentTask:
    """A task that an account had in hand."""

    id: uuid.UUID
    task_type: str
    state: str
    prompt: str | Messages  # or the one that was written; before that what the lead describes
    at: datetime  # when it was last touched
    has_draft: bool
    surplus: bool
    sensitive: bool  # its texts may disturb
    skip_reason: str | None


@dataclass(frozen=True)
class LabelState:
    """What can be done with the newest label of a task."""

    at: datetime
    undo_seconds: float  # that are left
    may_undo: bool
    may_revise: bool
    surplus: bool


def inbox(session: Session, account_id: uuid.UUID, *, now: datetime) -> list[ProjectCard]:
    """The projects that the account may claim from, oldest first."""
    account = account_of(session, account_id)
    projects = select(Project).order_by(Project.created_at, Project.id)
    open_projects = session.scalars(projects.where(Project.state == "open")).all()
    # An index has them by project and labeler; a labeler's tasks, of all time, are many.
    done = dict(
        session.execute(
            select(Judgement.project_id, func.count())
            .where(Judgement.project_id.in_([project.id for project in open_projects]))
            .where(Judgement.account_id == account_id)
            .group_by(Judgement.project_id)
        ).all()
    )
    held = dict(
        session.execute(
            select(Task.project_id, Assignment.id)
            .join(Assignment, Assignment.task_id == Task.id)
            .where(Assignment.account_id == account_id, Assignment.state == LEASED)
            .order_by(Assignment.last_seen)
        ).all()
    )
    cards: list[ProjectCard] = []
    for project in open_projects:
        if not _allowed(project, account):
            continue
        guideline = project_guideline(session, project.id, account_id)
        cards.append(
            ProjectCard(
                id=project.id,
                task_type=project.task_type,
                screening=project.purpose == "screening",
                practice=project.purpose == "practice",
                feedback=gets_feedback(project, account),
                number=1 + sum(card.task_type == project.task_type for card in cards),
                num_done=done.get(project.id, 0),
                held=held.get(project.id),
                unread=guideline.name if guideline and not guideline.confirmed else None,
                has_work=project.id in held or has_work(session, project, account, now=now),
            )
        )
    return cards


def project_guideline(
    session: Session, project_id: uuid.UUID, account_id: uuid.UUID
) -> ShownGuideline | None:
    """The guideline that the next task of a project is done under.

    Raises:
        StoreError: the account may not see the project, or there is none.
    """
    project = session.get(Project, project_id)
    if project is None or not _allowed(project, account_of(session, account_id)):
        raise StoreError("There is no such project for you.")
    found = project.guideline and newest_guideline(session, project.guideline)
    return _shown(session, found, account_id) if found else None


def assignment_guideline(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID
) -> ShownGuideline | None:
    """The version that a task in hand is done under, whatever came later."""
    assignment = session.get(Assignment, assignment_id)
    if assignment is None or assignment.account_id != account_id or not assignment.guideline_id:
        return None
    return _shown(session, session.get_one(Guideline, assignment.guideline_id), account_id)


def recent_tasks(
    session: Session, account_id: uuid.UUID, *, before: datetime | None = None, limit: int = 30
) -> list[RecentTask]:
    """What the account had in hand, the last first; `before` gives the next page."""
    has_draft = exists().where(Draft.assignment_id == Assignment.id)
    query = (
        select(Assignment, Project.task_type, Prompt.content, Task, has_draft)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .outerjoin(Written, Written.assignment_id == Assignment.id)
        .outerjoin(Prompt, Prompt.id == func.coalesce(Task.prompt_id, Written.prompt_id))
        .where(Assignment.account_id == account_id)
        .order_by(Assignment.last_seen.desc(), Assignment.id)
        .limit(limit)
    )
    if before is not None:
        query = query.where(Assignment.last_seen < before)
    return [
        RecentTask(
            id=assignment.id,
            task_type=task_type,
            state=assignment.state,
            prompt=content or task.brief or "",
            at=assignment.last_seen,
            has_draft=drafted,
            surplus=assignment.state == "submitted" and not assignment.counted,
            sensitive=task.sensitive,
            skip_reason=assignment.skip_reason,
        )
        for assignment, task_type, content, task, drafted in session.execute(query)
    ]


def label_state(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID, *, now: datetime
) -> LabelState | None:
    """Whether the label of a task can be undone or revised; None if it has none."""
    row = session.execute(
        select(Assignment, Project)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .where(Assignment.id == assignment_id, Assignment.account_id == account_id)
    ).one_or_none()
    if row is None or row[0].state != "submitted":
        return None
    assignment, project = row
    at = session.scalars(
        select(Submission.at)
        .where(Submission.assignment_id == assignment_id)
        .order_by(Submission.revision.desc())
        .limit(1)
    ).one()
    left = project.undo_seconds - (now - at).total_seconds()
    account = session.get_one(Account, account_id)
    open_still = project.state != "closed" and not gets_feedback(project, account)
    return LabelState(
        at=at,
        undo_seconds=left,
        may_undo=open_still and left >= 0,
        may_revise=open_still,
        surplus=not assignment.counted,
    )


def set_accepts_sensitive(session: Session, account_id: uuid.UUID, accepts: bool) -> None:
    """Whether tasks that may disturb are given to this labeler; their own word only."""
    account_of(session, account_id).accepts_sensitive = accepts


def _allowed(project: Project, account: Account) -> bool:
    try:
        may_claim(project, account)
    except StoreError:
        return False
    return True


def _shown(session: Session, found: Guideline, account_id: uuid.UUID) -> ShownGuideline:
    confirmed = session.get(Acknowledgement, (account_id, found.id)) is not None
    return ShownGuideline(found.id, guideline_name(found), found.markdown, confirmed)
