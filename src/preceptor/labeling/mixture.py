"""What prompts there are: by use case and split, and why others are left out."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session

from preceptor.data.records import text_of
from preceptor.store.status import made_up_prompts
from preceptor.store.tables import Ingest, LeftOut, Project, Prompt

ACTIVE = literal("active", literal_execute=True)
PAPER_SHARES = {  # of the reward model's prompts: InstructGPT, Table 1
    "generation": 0.456,
    "open_qa": 0.124,
    "brainstorming": 0.112,
    "chat": 0.084,
    "rewriting": 0.066,
    "summarization": 0.042,
    "classification": 0.035,
    "other": 0.035,
    "closed_qa": 0.026,
    "extraction": 0.019,
}


@dataclass(frozen=True)
class Mixture:
    """Prompts that are asked about, by use case and split; and the others by reason.

    `num_made_up` were made up for attention tasks; no other number counts them.
    """

    use_cases: tuple[tuple[str, dict[str, int]], ...]  # the most frequent first
    splits: tuple[str, ...]
    statuses: dict[str, int]
    reasons: tuple[tuple[str, str, int], ...]  # (status, reason, prompts)
    left_out: tuple[tuple[str, str, int], ...]  # (project, reason, prompts)
    ingests: tuple["Import", ...]
    num_made_up: int

    @property
    def num_active(self) -> int:
        return sum(sum(by.values()) for _, by in self.use_cases)


@dataclass(frozen=True)
class Import:
    """A file of prompts or labels that was taken in."""

    file_name: str
    kind: str
    licence: str
    counts: dict[str, int]
    at: datetime


@dataclass(frozen=True)
class Sample:
    """A prompt that is not asked about."""

    id: uuid.UUID
    text: str
    use_case: str
    split: str


def read_mixture(session: Session) -> Mixture:
    """From indexes alone, so that a million prompts are counted in a moment."""
    use_cases: dict[str, dict[str, int]] = {}
    statuses: dict[str, int] = {}
    made_up = made_up_prompts(session)
    for status, split, use_case, num in session.execute(
        select(Prompt.status, Prompt.split, Prompt.use_case, func.count()).group_by(
            Prompt.status, Prompt.split, Prompt.use_case
        )
    ):
        num -= made_up.get((status, split, use_case), 0)
        if not num:
            continue
        statuses[status] = statuses.get(status, 0) + num
        if status == "active":
            of = use_cases.setdefault(use_case, {})
            of[split] = of.get(split, 0) + num
    reasons = session.execute(
        select(Prompt.status, Prompt.reason, func.count())
        .where(Prompt.status != ACTIVE)
        .group_by(Prompt.status, Prompt.reason)
        .order_by(func.count().desc(), Prompt.reason)
    ).all()
    left_out = session.execute(
        select(Project.name, LeftOut.reason, func.count())
        .join(Project, Project.id == LeftOut.project_id)
        .group_by(Project.name, LeftOut.reason)
        .order_by(Project.name, LeftOut.reason)
    ).all()
    ingests = session.scalars(select(Ingest).order_by(Ingest.at.desc(), Ingest.id).limit(50))
    return Mixture(
        use_cases=tuple(sorted(use_cases.items(), key=lambda i: (-sum(i[1].values()), i[0]))),
        splits=tuple(sorted({split for by in use_cases.values() for split in by})),
        statuses=statuses,
        reasons=tuple((status, reason, num) for status, reason, num in reasons),
        left_out=tuple((name, reason, num) for name, reason, num in left_out),
        ingests=tuple(
            Import(i.file_name, i.kind, i.licence, dict(i.counts), i.at) for i in ingests
        ),
        num_made_up=sum(made_up.values()),
    )


def most_wanted(written: Mapping[str, int], limit: int = 3) -> list[str]:
    """Use cases that are the furthest below the paper's share, the most wanted first."""
    total = sum(written.values()) + 1
    missing = {name: share * total - written.get(name, 0) for name, share in PAPER_SHARES.items()}
    wanted = [name for name in sorted(missing, key=lambda n: -missing[n]) if missing[name] > 0]
    return wanted[:limit]


def read_samples(session: Session, reason: str, *, limit: int = 20) -> list[Sample]:
    """Some prompts that are left out for a reason, to judge it by."""
    rows = session.execute(
        select(Prompt.id, Prompt.content, Prompt.use_case, Prompt.split)
        .where(Prompt.status != ACTIVE, Prompt.status != "erased", Prompt.reason == reason)
        .limit(limit)
    )
    return [Sample(id, text_of(content), use_case, split) for id, content, use_case, split in rows]
