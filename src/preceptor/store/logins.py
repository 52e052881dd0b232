"""Who is at the door: signed-in people and programs' keys, both kept as hashes only.

A token is random, so a plain SHA-256 hides it; passwords, which are not, are the app's to hash.
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.accounts import account_of, account_with_login
from preceptor.store.tables import Account, ApiKey, LoginSession

IDLE = timedelta(hours=12)
"""A login that nobody uses for so long ends: longer than a working day, shorter than a night
and a day."""
LONGEST = timedelta(days=7)
"""A login ends after so long, used or not."""
NOTED = timedelta(minutes=5)
"""How exactly the last use is noted: a write for each page would hold others up."""

SCOPES = ("label", "research", "admin")
"""What a key may be for: its owner's own labels, a lead's figures and files, accounts and keys.
A key never allows what its owner's role does not."""

PREFIX = "preceptor_"


@dataclass(frozen=True)
class Member:
    """An account as the app needs it; its row is the database's."""

    id: uuid.UUID
    login: str
    pseudonym: str
    role: str
    group: str
    state: str
    accepts_sensitive: bool


@dataclass(frozen=True)
class KeyView:
    """A key as its owner may see it again: without the secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires: datetime | None
    last_used: datetime | None
    revoked: bool


def open_login(session: Session, account_id: uuid.UUID, *, now: datetime) -> str:
    """Sign an account in; the token is told only here. Logins that are over go."""
    account = account_of(session, account_id)
    if account.state in ("invited", "left"):
        raise StoreError(f"This account is {account.state}; it cannot sign in.")
    over = (LoginSession.last_seen <= now - IDLE) | (LoginSession.created_at <= now - LONGEST)
    session.execute(delete(LoginSession).where(LoginSession.account_id == account_id, over))
    token = secrets.token_urlsafe(32)
    session.add(
        LoginSession(
            token_sha256=_sha256(token), account_id=account_id, created_at=now, last_seen=now
        )
    )
    return token


def login_of(session: Session, token: str, *, now: datetime) -> tuple[Member, bool] | None:
    """Whose token it is, and whether `note_login` is due; None if the login is over or is none."""
    login = session.get(LoginSession, _sha256(token))
    if login is None or now - login.last_seen >= IDLE or now - login.created_at >= LONGEST:
        return None
    account = session.get_one(Account, login.account_id)
    if account.state in ("invited", "left"):
        return None
    return _member(account), now - login.last_seen >= NOTED


def note_login(session: Session, token: str, *, now: datetime) -> None:
    """The login is in use, so it does not end by idleness."""
    if login := session.get(LoginSession, _sha256(token)):
        login.last_seen = max(login.last_seen, now)


def close_login(session: Session, token: str) -> None:
    session.execute(delete(LoginSession).where(LoginSession.token_sha256 == _sha256(token)))


def close_logins(session: Session, account_id: uuid.UUID, *, keep: str | None = None) -> None:
    """End all logins of an account, but for the one of a token: after a new password."""
    ended = delete(LoginSession).where(LoginSession.account_id == account_id)
    if keep is not None:
        ended = ended.where(LoginSession.token_sha256 != _sha256(keep))
    session.execute(ended)


def make_key(
    session: Session,
    account_id: uuid.UUID,
    name: str,
    scopes: Sequence[str],
    *,
    now: datetime,
    days: int | None = None,
) -> tuple[str, str]:
    """The id of a new key, and the whole key, told only here."""
    if not name.strip():
        raise StoreError("A key needs a name that tells later what it is for.")
    if not scopes or set(scopes) - set(SCOPES):
        raise StoreError(f"A key is for one or more of {', '.join(SCOPES)}.")
    if days is not None and days < 1:
        raise StoreError("A key lasts for a day or more, or without an end.")
    id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    session.add(
        ApiKey(
            id=id,
            secret_sha256=_sha256(secret),
            account_id=account_of(session, account_id).id,
            name=name.strip(),
            scopes=sorted(set(scopes)),
            created_at=now,
            expires=None if days is None else now + timedelta(days=days),
            last_used=None,
            revoked_at=None,
        )
    )
    return id, f"{PREFIX}{id}_{secret}"


def key_owner(
    session: Session, key: str, *, now: datetime
) -> tuple[Member, list[str], bool] | None:
    """Whose key it is, its scopes, and whether `note_key` is due; None if it opens nothing."""
    id, _, secret = key.removeprefix(PREFIX).partition("_")
    row = session.get(ApiKey, id) if key.startswith(PREFIX) else None
    if row is None or not hmac.compare_digest(row.secret_sha256, _sha256(secret)):
        return None
    if row.revoked_at is not None or (row.expires is not None and now >= row.expires):
        return None
    account = session.get_one(Account, row.account_id)
    if account.state in ("invited", "left"):
        return None
    return _member(account), list(row.scopes), not row.last_used or now - row.last_used >= NOTED


def note_key(session: Session, key: str, *, now: datetime) -> None:
    if row := session.get(ApiKey, key.removeprefix(PREFIX).partition("_")[0]):
        row.last_used = now


def keys_of(session: Session, account_id: uuid.UUID) -> list[KeyView]:
    """An account's keys, the newest first."""
    rows = session.scalars(
        select(ApiKey)
        .where(ApiKey.account_id == account_id)
        .order_by(ApiKey.created_at.desc(), ApiKey.id)
    )
    return [
        KeyView(
            row.id,
            row.name,
            list(row.scopes),
            row.created_at,
            row.expires,
            row.last_used,
            row.revoked_at is not None,
        )
        for row in rows
    ]


def revoke_key(session: Session, account_id: uuid.UUID | None, id: str, *, now: datetime) -> None:
    """End a key of an account; an admin ends anybody's: account None."""
    row = session.get(ApiKey, id)
    if row is None or account_id not in (None, row.account_id):
        raise StoreError("There is no such key.")
    row.revoked_at = row.revoked_at or now


def member(session: Session, account_id: uuid.UUID) -> Member:
    return _member(account_of(session, account_id))


def member_named(session: Session, login: str) -> tuple[Member, str] | None:
    """The account of a login and its password hash, if it has one."""
    account = account_with_login(session, login)
    if account is None or account.password_hash is None or account.state in ("invited", "left"):
        return None
    return _member(account), account.password_hash


def _member(account: Account) -> Member:
    return Member(
        account.id,
        account.login or "",
        account.pseudonym,
        account.role,
        account.labeler_group,
        account.state,
        account.accepts_sensitive,
    )


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
