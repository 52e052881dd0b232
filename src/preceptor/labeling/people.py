"""Accounts, guidelines and the log of who read what, as a lead's pages list them."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from preceptor.labeling.agreement import NEWEST as NEWEST_LABELS
from preceptor.labeling.agreement import Row, agreement_by_group, people_of
from preceptor.labeling.judgements import read_judgements
from preceptor.store.accounts import never_came
from preceptor.store.tables import (
    AccessLog,
    Account,
    Acknowledgement,
    Guideline,
    Judgement,
    Project,
)

NEWEST = 200


@dataclass(frozen=True)
class Version:
    """A version of a guideline. `num_read` people said that they have read it."""

    id: uuid.UUID
    name: str
    version: int
    imported: bool
    at: datetime
    num_read: int
    is_newest: bool


@dataclass(frozen=True)
class Member:
    """An account, for admins: the only page with logins."""

    id: uuid.UUID
    login: str | None
    pseudonym: str
    role: str
    group: str
    state: str
    num_labels: int
    created_at: datetime
    never_came: bool  # the invitation was taken back
    erased_at: datetime | None


@dataclass(frozen=True)
class Entry:
    """Somebody read texts outside of their own tasks, or erased them."""

    login: str | None
    pseudonym: str | None  # none: it was done by a command
    what: str
    object: str
    at: datetime


def read_guidelines(session: Session) -> list[Version]:
    """Every version by name, the newest first."""
    read = dict(
        session.execute(
            select(Acknowledgement.guideline_id, func.count()).group_by(
                Acknowledgement.guideline_id
            )
        ).all()
    )
    found = session.scalars(
        select(Guideline).order_by(Guideline.name, Guideline.version.desc())
    ).all()
    shown = {g.name: g.id for g in reversed(found) if not g.imported}
    return [
        Version(
            g.id, g.name, g.version, g.imported, g.at, read.get(g.id, 0), shown.get(g.name) == g.id
        )
        for g in found
    ]


def read_accounts(session: Session) -> list[Member]:
    """Everybody; people who are only known from imported labels come last."""
    labels = dict(
        session.execute(
            select(Judgement.account_id, func.count()).group_by(Judgement.account_id)
        ).all()
    )
    found = session.scalars(
        select(Account).order_by(Account.login.is_(None), Account.login, Account.pseudonym)
    )
    return [
        Member(
            a.id,
            a.login,
            a.pseudonym,
            a.role,
            a.labeler_group,
            a.state,
            labels.get(a.id, 0),
            a.created_at,
            never_came(a),
            a.erased_at,
        )
        for a in found
    ]


def read_access(session: Session, *, limit: int = NEWEST) -> list[Entry]:
    """The newest first."""
    rows = session.execute(
        select(AccessLog, Account.login, Account.pseudonym)
        .outerjoin(Account, Account.id == AccessLog.account_id)
        .order_by(AccessLog.id.desc())
        .limit(limit)
    )
    return [Entry(login, name, log.what, log.object, log.at) for log, login, name in rows]


def read_groups_agreement(session: Session) -> list[tuple[str, tuple[Row, ...]]]:
    """Of each evaluation project: how groups agree, so that held-out labelers stand apart."""
    found = []
    for project in session.scalars(
        select(Project).where(Project.purpose == "eval").order_by(Project.name)
    ):
        labels = read_judgements(session, project.id, newest=NEWEST_LABELS)
        if len(labels):
            rows = agreement_by_group(labels, people_of(session, labels.accounts))
            found.append((project.name, rows))
    return found
