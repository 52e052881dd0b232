"""Who may label: accounts by invitation, and the guidelines that they have read."""

import hashlib
import secrets
import unicodedata
import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.names import NAME, SiteKey, identify, sha256_of
from preceptor.store.tables import (
    Account,
    Acknowledgement,
    Assignment,
    Guideline,
    Invitation,
    LoginSession,
)

INVITATION_DAYS = 14
GROUPS = ("training", "heldout", "researcher", "simulated")


def normal_login(login: str) -> str:
    """A login as it is compared and kept: Ann@X.org, pasted with a space, is ann@x.org."""
    composed = unicodedata.normalize("NFC", login.strip())
    return unicodedata.normalize("NFC", composed.casefold())


def invite(
    session: Session,
    site_key: SiteKey,
    login: str,
    *,
    now: datetime,
    role: str = "labeler",
    group: str = "training",
    screened: bool = False,
) -> tuple[uuid.UUID, str]:
    """A new account, and the token that its owner accepts the invitation with, told only here.

    `screened` says that the account needs no screening here and begins active.
    """
    typed, login = login.strip(), normal_login(login)
    if not login:
        raise StoreError("An account needs a login, an e-mail address perhaps.")
    if group not in GROUPS:
        raise StoreError(f"group {group}: no such group. There are {', '.join(GROUPS)}.")
    account = account_with_login(session, typed)
    taken_back = account is not None and never_came(account)
    if account is not None and not taken_back:
        raise StoreError(f"{login}: there is such an account. Invite it again, or take another.")
    # Labels of an account that was made before logins were compared so are under what was typed.
    for spelling in () if taken_back else (typed, login):
        pseudonym = site_key.labeler(f"login:{spelling}")
        id = identify("account", pseudonym)
        if (account := session.get(Account, id)) is not None:
            break
    if account is not None and account.erased_at is not None:
        raise StoreError(
            f"{login}: whoever had this login was erased on {account.erased_at:%Y-%m-%d}. Their "
            "labels would be theirs again: invite another login."
        )
    if account is None:
        account = Account(
            id=id, pseudonym=pseudonym, accepts_sensitive=False, created_at=now, labeler_group=group
        )
    # Their labels came back from an export before they did: the account is theirs again.
    elif (
        "heldout" in (account.labeler_group, group)
        and account.labeler_group != group
        and not (taken_back and _has_no_label(session, account.id))
    ):
        raise StoreError(
            f"{login}: labels of this person are of the group {account.labeler_group}. Held-out "
            "labelers and others do not change places: name that group, or take another login."
        )
    account.login, account.role, account.labeler_group = login, role, group
    account.state = "invited"
    session.add(account)
    session.flush()
    return account.id, invite_again(session, account.id, now=now, screened=screened)


def invite_again(
    session: Session,
    account_id: uuid.UUID,
    *,
    now: datetime,
    role: str | None = None,
    group: str | None = None,
    screened: bool = False,
) -> str:
    """A fresh token; the older ones of the account end. Who was screened stays so.

    A role or group that is named has to be the one that they were invited with.
    """
    account = account_of(session, account_id)
    if never_came(account):
        raise StoreError(f"{account.login}: the invitation was taken back. Invite them anew.")
    if account.state != "invited":
        raise StoreError(f"{account.login}: the invitation was accepted already.")
    if role not in (None, account.role) or group not in (None, account.labeler_group):
        named = ", ".join(word for word in (role, group) if word)
        raise StoreError(
            f"{account.login}: invited as {account.role}, {account.labeler_group}, not as "
            f"{named}. Leave role and group as they are, or take the invitation back "
            f"(`preceptor label account {account.login} --state left`) and invite them anew."
        )
    for old in session.scalars(select(Invitation).where(Invitation.account_id == account_id)):
        screened = screened or old.screened
    return _new_link(session, account_id, now=now, screened=screened)


def invite_to_reset(session: Session, account_id: uuid.UUID, *, now: datetime) -> str:
    """The token of a link to choose a new password with; until it is used the old one holds.

    Role, group, state and pseudonym stay as they are.
    """
    account = account_of(session, account_id)
    if account.login is None:
        raise StoreError("Nobody signs in to this account: it is known from its labels alone.")
    if account.state == "invited":
        raise StoreError(
            f"{account.login}: the invitation was not accepted yet. Send a new invitation instead."
        )
    if never_came(account):
        raise StoreError(
            f"{account.login}: the invitation was taken back before anybody accepted it, so there "
            "is no password. Invite them anew."
        )
    if account.state == "left":
        raise StoreError(f"{account.login}: this account is ended. Activate it first.")
    return _new_link(session, account_id, now=now, screened=False)


def invite_or_again(
    session: Session, site_key: SiteKey, login: str, *, now: datetime, **options: Any
) -> tuple[uuid.UUID, str]:
    """`invite`, or a fresh token for somebody who did not use theirs."""
    known = account_with_login(session, login)
    if known is None or known.state != "invited":
        return invite(session, site_key, login, now=now, **options)
    return known.id, invite_again(session, known.id, now=now, **options)


def open_invitation(session: Session, token: str, *, now: datetime) -> Invitation:
    """The invitation of a token that can still be used.

    Raises:
        StoreError: it was used, has run out, or is none.
    """
    invitation = session.get(Invitation, _token_hash(token), with_for_update=True)
    if invitation is None or invitation.used_at is not None:
        raise StoreError("This invitation was used, or is none. Ask for a new one.")
    if now >= invitation.expires:
        raise StoreError("This invitation has run out. Ask for a new one.")
    return invitation


def accept_invitation(
    session: Session, token: str, *, password_hash: str, now: datetime, screened: bool = False
) -> uuid.UUID:
    """Use a token, once; the account begins in screening unless it was screened elsewhere.

    Of an account that has begun, only the password is new; its sign-ins end.
    """
    invitation = open_invitation(session, token, now=now)
    invitation.used_at = now
    account = account_of(session, invitation.account_id)
    account.password_hash = password_hash
    session.execute(delete(LoginSession).where(LoginSession.account_id == account.id))
    if account.state == "invited":
        account.state = "active" if screened or invitation.screened else "screening"
    return account.id


def set_password(session: Session, account_id: uuid.UUID, password_hash: str) -> None:
    """The links to choose one with end: whoever knows the password needs none."""
    account_of(session, account_id).password_hash = password_hash
    end_links(session, account_id)


def end_links(session: Session, account_id: uuid.UUID) -> None:
    """Nobody comes in any more by a link that was made until now."""
    session.execute(delete(Invitation).where(Invitation.account_id == account_id))


def account_of(session: Session, account_id: uuid.UUID) -> Account:
    account = session.get(Account, account_id)
    if account is None:
        raise StoreError("There is no such account.")
    return account


def has_accounts(session: Session) -> bool:
    """Whether anybody can sign in, or was invited to."""
    return session.scalar(select(Account.id).where(Account.login.is_not(None)).limit(1)) is not None


def never_came(account: Account) -> bool:
    """Whether the invitation was taken back before anybody accepted it."""
    return account.login is not None and account.state == "left" and account.password_hash is None


def account_named(session: Session, login: str) -> Account:
    account = account_with_login(session, login)
    if account is None:
        raise StoreError(f"{login}: no such account. `preceptor label invite {login}` makes one.")
    return account


def account_with_login(session: Session, login: str) -> Account | None:
    """The account of a login, in whatever spelling.

    Older accounts keep their login as it was typed, and two may differ in spelling alone: then
    the exact one is meant. SQLite lowers ASCII only, so they are compared here: there are few.
    """
    wanted = normal_login(login)
    kept = session.execute(select(Account.login, Account.id).where(Account.login.is_not(None)))
    found = {name: id for name, id in kept if name is not None and normal_login(name) == wanted}
    if not found:
        return None
    exact = found.get(login, found.get(login.strip(), found.get(wanted)))
    return session.get_one(Account, exact or found[min(found)])


def all_accounts(session: Session) -> list[Account]:
    """Everybody who can sign in or was invited, by login; not those only known from an import."""
    known = select(Account).where(Account.login.is_not(None))
    return list(session.scalars(known.order_by(Account.login)))


def publish_guideline(session: Session, name: str, markdown: str, *, now: datetime) -> str:
    """Add a version, and return what labels call it; the same text again changes nothing.

    Raises:
        StoreError: a new name that is none, or a text of nothing.
    """
    newest = newest_guideline(session, name)
    if newest is None and not NAME.fullmatch(name):  # one of before this rule stays
        raise StoreError(
            f"guideline {name!r}: a name has small letters, digits, dots, dashes and underscores, "
            "begins with a letter or digit, and is at most 64 long: labels hold it."
        )
    if not markdown.strip():
        raise StoreError(f"guideline {name}: the text is empty. Labelers need something to go by.")
    if newest is not None and newest.markdown == markdown:
        return guideline_name(newest)
    last = session.scalar(select(func.max(Guideline.version)).where(Guideline.name == name)) or 0
    added = Guideline(
        id=identify("guideline", name, last + 1),
        name=name,
        version=last + 1,
        markdown=markdown,
        sha256=sha256_of(markdown),
        imported=False,
        at=now,
    )
    session.add(added)
    session.flush()
    return guideline_name(added)


def newest_guideline(session: Session, name: str) -> Guideline | None:
    """The version that is shown: published here, whatever labels from elsewhere were made under."""
    return session.scalar(
        select(Guideline)
        .where(Guideline.name == name, Guideline.imported.is_(False))
        .order_by(Guideline.version.desc())
        .limit(1)
    )


def shown_guideline(session: Session, guideline_id: uuid.UUID) -> Guideline | None:
    """A version that was published here; those that came with labels are never shown."""
    found = session.get(Guideline, guideline_id)
    return None if found is None or found.imported else found


def acknowledge(
    session: Session, account_id: uuid.UUID, guideline_id: uuid.UUID, *, now: datetime
) -> None:
    """The labeler says that they have read this version."""
    if not session.get(Acknowledgement, (account_id, guideline_id)):
        session.add(Acknowledgement(account_id=account_id, guideline_id=guideline_id, at=now))


def guideline_name(guideline: Guideline) -> str:
    return f"{guideline.name}@{guideline.version}"


def _has_no_label(session: Session, account_id: uuid.UUID) -> bool:
    held = select(Assignment.id).where(Assignment.account_id == account_id).limit(1)
    return session.scalar(held) is None


def _new_link(session: Session, account_id: uuid.UUID, *, now: datetime, screened: bool) -> str:
    end_links(session, account_id)
    token = secrets.token_urlsafe(32)
    session.add(
        Invitation(
            token_sha256=_token_hash(token),
            account_id=account_id,
            expires=now + timedelta(days=INVITATION_DAYS),
            screened=screened,
        )
    )
    return token


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
