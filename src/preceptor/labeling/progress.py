"""How far the work is: projects, days, leases. Counted in the database, whatever its size."""

import uuid
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from preceptor.labeling.judgements import day_of
from preceptor.store.next_task import LEASED
from preceptor.store.status import label_counts, leases_held, skips, task_counts
from preceptor.store.tables import Account, Assignment, Draft, Judgement, Project, Task

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
    has_own_form: bool
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
    tasks, held = task_counts(session), leases_held(session)
    labels: dict[uuid.UUID, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    labelers: dict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
    for found in label_counts(session):
        is_pool = found.kind == "calibration"
        name = "num_pool_labels" if is_pool else "num_counted"
        labels[found.project_id][name if found.counted else "num_surplus"] += found.num
        labelers[found.project_id].add(found.account_id)
    days: dict[str, dict[uuid.UUID, int]] = defaultdict(lambda: defaultdict(int))
    day = day_of(session, Judgement.at)
    for project, on, num in session.execute(
        select(Judgement.project_id, day, func.count())
        .where(Judgement.task_kind != "attention")
        .group_by(Judgement.project_id, day)
    ):
        days[on][project] += num
    skipped, reasons = Counter[uuid.UUID](), Counter[str]()
    for project, reason, num in skips(session):
        skipped[project] += num
        reasons[reason] += num
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
                has_own_form=p.form is not None,
                overlap=p.overlap,
                overlap_more=p.overlap_more,
                overlap_fraction=p.overlap_fraction,
                num_labelers=len(labelers[p.id]),
                num_leased=held.get(p.id, 0),
                num_skipped=skipped[p.id],
                **asdict(tasks[p.id]),
                **{name: labels[p.id][name] for name in LABEL_COUNTS},
            )
            for p in projects
        ),
        days=tuple(
            (on, {names[project]: num for project, num in sorted(days[on].items(), key=str)})
            for on in sorted(days)[-num_days:]
        ),
        skips=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
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
