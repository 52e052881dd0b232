"""How far the work is: counts for the command line and the lead's pages."""

import uuid
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from preceptor.store.queue import LEASED
from preceptor.store.tables import Assignment, Project, Prompt, Task


@dataclass(frozen=True)
class ProjectStatus:
    """How far a project is: `num_wanted` labels in all, of which `num_labels` are there."""

    name: str
    task_type: str
    state: str
    num_tasks: int
    num_full: int
    num_wanted: int
    num_labels: int
    num_labelers: int
    num_leased: int
    num_skipped: int
    num_surplus: int


def prompt_status(session: Session) -> dict[str, int]:
    """Prompts by split, and by status where they are not active.

    Those that were made up for attention tasks stand by themselves: no user wrote them.
    """
    rows = session.execute(
        select(Prompt.status, Prompt.split, func.count())
        .group_by(Prompt.status, Prompt.split)
        .order_by(Prompt.status, Prompt.split)
    )
    made_up: Counter[tuple[str, str]] = Counter()
    for (status, split, _), count in made_up_prompts(session).items():
        made_up[status, split] += count
    found = {
        split if status == "active" else f"{split}, {status}": count - made_up[status, split]
        for status, split, count in rows
    }
    found["made up for attention tasks"] = made_up.total()
    return {name: count for name, count in found.items() if count}


def made_up_prompts(session: Session) -> dict[tuple[str, str, str], int]:
    """Prompts of attention tasks by status, split and use case; read from these tasks alone."""
    rows = session.execute(
        select(Prompt.status, Prompt.split, Prompt.use_case, func.count(Prompt.id.distinct()))
        .join(Task, Task.prompt_id == Prompt.id)
        # With the project, so that an index tells these tasks from a million others.
        .where(Task.project_id.in_(select(Project.id)), Task.kind == "attention")
        .group_by(Prompt.status, Prompt.split, Prompt.use_case)
    )
    return {(status, split, use_case): count for status, split, use_case, count in rows}


def project_status(session: Session) -> list[ProjectStatus]:
    """Every project by name, without its attention tasks. Labels are those that count.

    `num_full` are tasks that have all their labels: one in somebody's hands is not there yet.
    `num_wanted` are labels in all; of the pool that every labeler gets no number is wanted.
    """
    found = []
    done = tasks_done(session)
    tasks = {
        id: (num, done.get(id, 0), wanted or 0)
        for id, num, wanted in session.execute(
            select(Task.project_id, func.count(), func.sum(Task.target))
            .where(Task.kind != "attention")
            .group_by(Task.project_id)
        )
    }

    def number(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.sum(case((condition, 1), else_=0))

    submitted = Assignment.state == "submitted"
    counts = {
        row[0]: row[1:]
        for row in session.execute(
            select(
                Task.project_id,
                number(submitted & Assignment.counted),
                func.count(func.distinct(case((submitted, Assignment.account_id)))),
                number(Assignment.state == "leased"),
                number(Assignment.state == "skipped"),
                number(submitted & ~Assignment.counted),
            )
            .join(Task, Task.id == Assignment.task_id)
            .where(Task.kind != "attention")
            .group_by(Task.project_id)
        )
    }
    for project in session.scalars(select(Project).order_by(Project.name)):
        found.append(
            ProjectStatus(
                project.name,
                project.task_type,
                project.state,
                *tasks.get(project.id, (0, 0, 0)),
                *counts.get(project.id, (0,) * 5),
            )
        )
    return found


def tasks_done(session: Session) -> dict[uuid.UUID, int]:
    """Tasks by project that have all their labels; those of the pool never do, all may label them.

    One in somebody's hands is not there yet, though its places may all be taken.
    """
    full = dict(
        session.execute(
            select(Task.project_id, func.count())
            .where(Task.kind != "attention", Task.taken >= Task.target)
            .group_by(Task.project_id)
        ).all()
    )
    # Leases are few, so that they are looked at one by one, and a million labels are not.
    in_hand = session.execute(
        select(Task.project_id, func.count(Task.id.distinct()))
        .join(Assignment, Assignment.task_id == Task.id)
        .where(Assignment.state == LEASED, Assignment.counted, Task.taken >= Task.target)
        .group_by(Task.project_id)
    )
    for project, num in in_hand:
        full[project] -= num
    return {project: num for project, num in full.items() if num}
