"""Which task a labeler gets: of the pool, a partly filled one or a fresh one, if any is left.

A part of `claim` (preceptor.store.queue), which leases what is found here.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased

from preceptor.store.consent import still_willing
from preceptor.store.forms import EVALUATIONS, PROMPT_TYPES
from preceptor.store.tables import (
    Account,
    Assignment,
    GoldAnswer,
    Project,
    Prompt,
    Response,
    Task,
    TaskResponse,
)

# SQLite takes a partial index only for a value that stands in the statement itself.
OPEN = literal("open", literal_execute=True)
LEASED = literal("leased", literal_execute=True)
SKIPPED = literal("skipped", literal_execute=True)

# After an expiry or a release the same labeler may have a task again.
DONE = ("submitted", "skipped", "leased")

LOOK = 500
"""Open tasks looked at before others: by a claim the partly filled ones before a fresh one,
by the start page those that tell whether there is work.

A labeler who has done most of them would otherwise walk over all of their own work."""

GLANCE = 20
"""The same for a claim that finds one among the first, as nearly all do."""

WINDOW = 100
"""Of those, so many are tried that the labeler has not done, one by one."""

# Statements are made once for each sort of labeler and project: it takes ten times as long as the
# database takes to answer one.
PROJECT: BindParameter[uuid.UUID] = bindparam("project")
ACCOUNT: BindParameter[uuid.UUID] = bindparam("account")
IN_PROJECT = (Task.project_id == PROJECT, Task.state == OPEN)
PARTLY = (Task.kind == "normal", Task.taken > 0)
IN_ORDER = (Task.taken.desc(), Task.priority.desc(), Task.draw)
WHICH = {
    "calibration": (Task.kind == "calibration",),
    "attention": (Task.kind == "attention",),
    "named": (Task.kind == "normal", Task.id == bindparam("task")),
    "fresh": (Task.kind == "normal", Task.taken == 0),
    "partly": PARTLY,
}


def gets_feedback(project: Project, account: Account) -> bool:
    """In a practice labelers see the researchers' answer after each submit; who answers does not.

    So a label of theirs stays as it was sent, and they get only tasks that have an answer.
    """
    return project.purpose == "practice" and account.labeler_group != "researcher"


@dataclass(frozen=True)
class _Suits:
    """What decides, beside ids, whether a task is for a labeler of a project."""

    scope: str | None  # what its prompt's user must agree to; None where prompts are written
    sensitive: bool  # it may disturb
    answered: bool  # only one with a gold answer


def _suits(project: Project, account: Account) -> _Suits:
    return _Suits(
        None if project.task_type in PROMPT_TYPES else scope_of(project),
        account.accepts_sensitive,
        gets_feedback(project, account),
    )


def next_calibration(session: Session, project: Project, account: Account) -> Task | None:
    return _first(session, project, account, "calibration")


def next_attention(session: Session, project: Project, account: Account) -> Task | None:
    return _first(session, project, account, "attention")


def next_normal(session: Session, project: Project, account: Account) -> Task | None:
    # Two steps, so that no planner of queries sorts everything that is partly filled, and no
    # labeler walks past all of their own work while there is a fresh task to be had.
    ids = {"project": project.id, "account": account.id}
    for num in (GLANCE, LOOK):
        left = session.scalars(_left(num, WINDOW, _suits(project, account)), ids).all()
        first = (_first(session, project, account, "named", task=id) for id in left)
        if (task := next(filter(None, first), None)) is not None:
            return task
    return _first(session, project, account, "fresh") or _first(session, project, account, "partly")


def _first(
    session: Session, project: Project, account: Account, which: str, **more: uuid.UUID
) -> Task | None:
    """The first open task that is for this labeler."""
    ids = {"project": project.id, "account": account.id, **more}
    return session.scalar(_first_of(which, _suits(project, account)), ids)


@cache
def _first_of(which: str, suits: _Suits) -> Select[Task]:
    in_pool = which in ("calibration", "attention")
    return (
        select(Task)
        .where(*IN_PROJECT, *WHICH[which], *_is_for(suits))
        .order_by(*((Task.draw,) if in_pool else IN_ORDER))
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


@cache
def _left(num: int, most: int, suits: _Suits) -> Select[uuid.UUID]:
    """Of the first `num` partly filled tasks those, `most` at most, that the labeler has left."""
    partly = select(Task.id).where(*IN_PROJECT, *PARTLY).order_by(*IN_ORDER).limit(num).subquery()
    return (
        select(Task.id)
        .join(partly, partly.c.id == Task.id)
        .where(*_undone(suits))
        .order_by(*IN_ORDER)
        .limit(most)
    )


def _undone(suits: _Suits) -> list[ColumnElement[bool]]:
    done = exists().where(
        Assignment.task_id == Task.id,
        Assignment.account_id == ACCOUNT,
        Assignment.state.in_(DONE),
    )
    return [~done, *([] if suits.sensitive else [Task.sensitive.is_(False)])]


@cache
def _is_for(suits: _Suits) -> tuple[ColumnElement[bool], ...]:
    """Of an open task, that it is for this labeler: not sensitive, not done, not their own."""
    own_response = aliased(Response)
    written = (
        TaskResponse.task_id == Task.id,
        TaskResponse.response_id == own_response.id,
        own_response.author_id == ACCOUNT,
    )
    found = [*_undone(suits), ~exists().where(*written)]
    if suits.answered:
        found.append(exists().where(GoldAnswer.task_id == Task.id))
    if suits.scope is not None:
        others = or_(Prompt.author_id.is_(None), Prompt.author_id != ACCOUNT)
        found.append(exists().where(Prompt.id == Task.prompt_id, askable(suits.scope), others))
    return tuple(found)


def has_work(session: Session, project: Project, account: Account, *, now: datetime) -> bool:
    """Whether a claim would find something, by a look that is short however many tasks there are.

    Of more than LOOK open tasks that are all done by this labeler, or not for them, it says yes:
    there may be others behind them.
    """
    is_for, ids = _is_for(_suits(project, account)), {"account": account.id}
    for which in ("calibration", "fresh", "partly"):
        first = select(Task.id).where(*IN_PROJECT, *WHICH[which]).order_by(*IN_ORDER).limit(LOOK)
        tasks = session.scalars(first, {"project": project.id}).all()
        for_them = select(Task.id).where(Task.id.in_(tasks), *is_for).limit(1)
        if len(tasks) == LOOK or (tasks and session.scalar(for_them, ids) is not None):
            return True
    # A lease that ran out gives its place back with the next claim, whoever's.
    over = select(Assignment.task_id).where(
        Assignment.state == LEASED, Assignment.lease_expires <= now
    )
    tasks = session.scalars(over).all()
    back = select(Task.id).where(
        Task.id.in_(tasks),
        Task.project_id == project.id,
        Task.kind != "attention",
        *is_for,
    )
    return bool(tasks) and session.scalar(back.limit(1), ids) is not None


def scope_of(project: Project) -> str:
    """What a prompt's user must agree to, so that it is asked about in a project."""
    return "evaluate" if project.task_type in EVALUATIONS else "train"


def askable(scope: str) -> ColumnElement[bool]:
    """Whether a prompt may be asked about today: its user may have said no since it was added."""
    return and_(Prompt.status == "active", still_willing(scope))
