"""How far the work is: counts for the command line and the lead's pages."""

import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from preceptor.store.next_task import LEASED, SKIPPED
from preceptor.store.tables import Assignment, Judgement, Project, Prompt, Task

SPLITS = ("train", "valid", "test")


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


def empty_splits(session: Session) -> list[str]:
    """Splits without an active prompt of a user; none of a store that has no prompts at all."""
    rows = session.execute(
        select(Prompt.split, func.count()).where(Prompt.status == "active").group_by(Prompt.split)
    )
    found = Counter({split: count for split, count in rows})
    for (status, split, _), count in made_up_prompts(session).items():
        found[split] -= count if status == "active" else 0
    return [split for split in SPLITS if not found[split]] if found.total() else []


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
    tasks = task_counts(session)
    leased, skipped = leases_held(session), Counter[uuid.UUID]()
    for project, _, num in skips(session):
        skipped[project] += num
    counted, surplus = Counter[uuid.UUID](), Counter[uuid.UUID]()
    labelers: dict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
    for found in label_counts(session):
        (counted if found.counted else surplus)[found.project_id] += found.num
        labelers[found.project_id].add(found.account_id)
    return [
        ProjectStatus(
            name=project.name,
            task_type=project.task_type,
            state=project.state,
            num_tasks=tasks[project.id].num_tasks,
            num_full=tasks[project.id].num_full,
            num_wanted=tasks[project.id].num_wanted,
            num_labels=counted[project.id],
            num_labelers=len(labelers[project.id]),
            num_leased=leased.get(project.id, 0),
            num_skipped=skipped[project.id],
            num_surplus=surplus[project.id],
        )
        for project in session.scalars(select(Project).order_by(Project.name))
    ]


@dataclass(frozen=True)
class TaskCounts:
    """The tasks of a project. Of those of the pool, which all may label, none is ever full."""

    num_tasks: int = 0
    num_pool: int = 0
    num_wanted: int = 0
    num_full: int = 0


def task_counts(session: Session) -> defaultdict[uuid.UUID, TaskCounts]:
    """The tasks of every project; one pass over an index, and no label is read."""
    found: defaultdict[uuid.UUID, TaskCounts] = defaultdict(TaskCounts)
    rows = session.execute(
        select(
            Task.project_id,
            func.sum(case((Task.kind == "calibration", 1), else_=0)),
            func.coalesce(func.sum(Task.target), 0),
            func.sum(case((Task.taken >= Task.target, 1), else_=0)),
            func.count(),
        )
        .where(Task.kind != "attention")
        .group_by(Task.project_id)
    )
    # Leases are few, so that they are looked at one by one, and a million labels are not.
    in_hand = dict(
        session.execute(
            select(Task.project_id, func.count(Task.id.distinct()))
            .join(Assignment, Assignment.task_id == Task.id)
            .where(Assignment.state == LEASED, Assignment.counted, Task.taken >= Task.target)
            .group_by(Task.project_id)
        ).all()
    )
    for project, num_pool, num_wanted, num_taken, num_tasks in rows:
        num_full = num_taken - in_hand.get(project, 0)
        found[project] = TaskCounts(num_tasks, num_pool, num_wanted, num_full)
    return found


@dataclass(frozen=True)
class LabelCount:
    """Labels of one labeler in one project, of one kind of task."""

    project_id: uuid.UUID
    account_id: uuid.UUID
    kind: str
    counted: bool
    num: int


def label_counts(session: Session) -> list[LabelCount]:
    """The newest labels, those of attention tasks left out; one pass over an index."""
    keys = (Judgement.project_id, Judgement.account_id, Judgement.task_kind, Judgement.counted)
    rows = session.execute(
        select(*keys, func.count()).where(Judgement.task_kind != "attention").group_by(*keys)
    )
    return [LabelCount(*row) for row in rows]


def leases_held(session: Session) -> dict[uuid.UUID, int]:
    """Tasks in hands, by project."""
    rows = session.execute(
        select(Task.project_id, func.count())
        .select_from(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .where(Assignment.state == LEASED, Task.kind != "attention")
        .group_by(Task.project_id)
    )
    return {project: num for project, num in rows}


def skips(session: Session) -> list[tuple[uuid.UUID, str, int]]:
    """(project, reason, how often), those of attention tasks left out."""
    rows = session.execute(
        select(Task.project_id, Assignment.skip_reason, func.count())
        .select_from(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .where(Assignment.state == SKIPPED, Task.kind != "attention")
        .group_by(Task.project_id, Assignment.skip_reason)
    )
    return [(project, reason or "", num) for project, reason, num in rows]
