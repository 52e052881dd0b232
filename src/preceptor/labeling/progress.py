"""How far the work is: projects, days, leases. Counted in the database, whatever its size."""

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, literal, select
from sqlalchemy.orm import Session

from preceptor.labeling.judgements import day_of
from preceptor.store.queue import LEASED
from preceptor.store.status import tasks_done
from preceptor.store.tables import Account, Assignment, Draft, Judgement, Project, Task

# SQLite takes a partial index only for a value that stands in the statement itself.
SKIPPED = literal("skipped", literal_execute=True)
TASK_COUNTS = ("num_tasks", "num_full", "num_pool", "num_wanted")
LABEL_COUNTS = ("num_counted", "num_pool_labels", "num_surplus")


@dataclass(frozen=True)
class ProjectProgress:
    """One project. `num_wanted` counts labels of all tasks but the pool's, which everybody gets."""

    id: uuid.UUID
    name: str
    task_type: str
    purpose: str
    state: str
    groups: tuple[str, ...]
    guideline: str | None
    overlap: int
    overlap_more: int | None
    overlap_fraction: float
    num_tasks: int
    num_full: int
    num_pool: int
    num_wanted: int
    num_counted: int  # labels that count, outside of the pool
    num_pool_labels: int
    num_surplus: int
    num_labelers: int
    num_leased: int
    num_skipped: int

    @property
    def share(self) -> float:
        return min(1.0, self.num_counted / self.num_wanted) if self.num_wanted else 0.0


@dataclass(frozen=True)
class Progress:
    projects: tuple[ProjectProgress, ...]
    days: tuple[tuple[str, dict[str, int]], ...]  # (day, labels by project), the oldest first
    skips: tuple[tuple[str, int], ...]  # (reason, how often), the most frequent first

    @property
    def num_today(self) -> int:
        return sum(self.days[-1][1].values()) if self.days else 0


@dataclass(frozen=True)
class Lease:
    """A task in somebody's hands."""

    assignment_id: uuid.UUID
    project: str
    labeler: str
    group: str
    started_at: datetime
    last_seen: datetime
    expires: datetime
    has_draft: bool


def read_progress(session: Session, *, num_days: int = 30) -> Progress:
    """All projects by name, and the labels of the last days on which there were any.

    Attention tasks are no part of the work, and stand with each labeler instead.
    """
    tasks: dict[uuid.UUID, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rows = session.execute(
        select(Task.project_id, Task.kind, func.count(), func.sum(Task.target))
        .where(Task.kind != "attention")
        .group_by(Task.project_id, Task.kind)
    )
    for project, kind, num, target in rows:
        found = tasks[project]
        found["num_tasks"] += num
        found["num_pool"] += num if kind == "calibration" else 0
        found["num_wanted"] += target or 0
    for project, num in tasks_done(session).items():
        tasks[project]["num_full"] = num
    # One pass over the labels for all that is counted of them.
    labels: dict[uuid.UUID, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    labelers: dict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
    days: dict[str, dict[uuid.UUID, int]] = defaultdict(lambda: defaultdict(int))
    day = day_of(session, Judgement.at)
    keys = (Judgement.project_id, Judgement.account_id, Judgement.task_kind, Judgement.counted, day)
    for project, account, kind, counted, on, num in session.execute(
        select(*keys, func.count()).where(Judgement.task_kind != "attention").group_by(*keys)
    ):
        is_pool = kind == "calibration"
        name = "num_surplus" if not counted else "num_pool_labels" if is_pool else "num_counted"
        labels[project][name] += num
        labelers[project].add(account)
        days[on][project] += num
    held = _held(session)
    skipped: dict[uuid.UUID, int] = defaultdict(int)
    skips: dict[str, int] = defaultdict(int)
    for project, reason, num in session.execute(
        select(Task.project_id, Assignment.skip_reason, func.count())
        .select_from(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .where(Assignment.state == SKIPPED, Task.kind != "attention")
        .group_by(Task.project_id, Assignment.skip_reason)
    ):
        skipped[project] += num
        skips[reason or ""] += num
    projects = session.scalars(select(Project).order_by(Project.name)).all()
    names = {project.id: project.name for project in projects}
    return Progress(
        projects=tuple(
            ProjectProgress(
                id=p.id,
                name=p.name,
                task_type=p.task_type,
                purpose=p.purpose,
                state=p.state,
                groups=tuple(p.groups),
                guideline=p.guideline,
                overlap=p.overlap,
                overlap_more=p.overlap_more,
                overlap_fraction=p.overlap_fraction,
                num_labelers=len(labelers[p.id]),
                num_leased=held.get(p.id, 0),
                num_skipped=skipped[p.id],
                **{name: tasks[p.id][name] for name in TASK_COUNTS},
                **{name: labels[p.id][name] for name in LABEL_COUNTS},
            )
            for p in projects
        ),
        days=tuple(
            (on, {names[project]: num for project, num in sorted(days[on].items(), key=str)})
            for on in sorted(days)[-num_days:]
        ),
        skips=tuple(sorted(skips.items(), key=lambda item: (-item[1], item[0]))),
    )


def read_leases(session: Session, *, limit: int = 500) -> list[Lease]:
    """Tasks in hands, the one that was touched longest ago first."""
    has_draft = exists().where(Draft.assignment_id == Assignment.id)
    rows = session.execute(
        select(Assignment, Project.name, Account.pseudonym, Account.labeler_group, has_draft)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .join(Account, Account.id == Assignment.account_id)
        .where(Assignment.state == LEASED)
        .order_by(Assignment.last_seen, Assignment.id)
        .limit(limit)
    )
    return [
        Lease(
            a.id, project, labeler, group, a.started_at, a.last_seen, a.lease_expires, bool(draft)
        )
        for a, project, labeler, group, draft in rows
    ]


def _held(session: Session) -> dict[uuid.UUID, int]:
    rows = session.execute(
        select(Task.project_id, func.count())
        .select_from(Assignment)
        .join(Task, Task.id == Assignment.task_id)
        .where(Assignment.state == LEASED, Task.kind != "attention")
        .group_by(Task.project_id)
    )
    return {project: num for project, num in rows}
