"""How an account stands; and what ends with it when somebody leaves."""

import uuid
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.accounts import account_of, end_links, never_came
from preceptor.store.logins import close_logins
from preceptor.store.queue import release
from preceptor.store.tables import ApiKey, Assignment

STATES = ("screening", "active", "paused", "left")


def set_state(session: Session, account_id: uuid.UUID, state: str, *, now: datetime) -> None:
    """After screening a person decides; a paused account keeps what it has and claims nothing.

    Whoever left is out: activated again, they sign in anew and make new keys.
    An invitation that nobody accepted is taken back so; the login can be invited anew.
    """
    if state not in STATES:
        raise StoreError(f"{state}: an account is screening, active, paused or left.")
    account = account_of(session, account_id)
    if account.state == "invited" and state != "left":
        raise StoreError(f"{account.login}: the invitation was not accepted yet.")
    if never_came(account) and state != "left":
        raise StoreError(f"{account.login}: the invitation was taken back. Invite them anew.")
    account.state = state
    if state == "left":
        _end(session, account_id, now)


def _end(session: Session, account_id: uuid.UUID, now: datetime) -> None:
    end_links(session, account_id)
    close_logins(session, account_id)
    session.execute(
        update(ApiKey)
        .where(ApiKey.account_id == account_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    held = select(Assignment.id).where(
        Assignment.account_id == account_id, Assignment.state == "leased"
    )
    # In one order for everybody, so that two who end leases do not wait for each other.
    for assignment_id in session.scalars(held.order_by(Assignment.task_id)).all():
        release(session, assignment_id, account_id)
