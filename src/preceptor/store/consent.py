"""Whose prompts may be used, and for what."""

import uuid

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from preceptor.store.tables import Account, Consent, Ingest, Prompt, PromptUser


def willing_users(scope: str) -> Select[uuid.UUID]:
    """Users whose newest word on this use (train, evaluate, publish) is yes."""
    newest = select(func.max(Consent.id)).where(Consent.scope == scope).group_by(Consent.user_id)
    return (
        select(Consent.user_id)
        .join(PromptUser)
        .where(
            Consent.id.in_(newest),
            Consent.event == "given",
            PromptUser.policy == "opt_in",
            PromptUser.erased_at.is_(None),
        )
    )


def covered(scope: str) -> ColumnElement[bool]:
    """Whether the file that a prompt came with was declared to be for this use."""
    may = {"train": Ingest.may_train, "evaluate": Ingest.may_evaluate}[scope]
    return or_(Prompt.ingest_id.is_(None), exists().where(Ingest.id == Prompt.ingest_id, may))


def still_willing(scope: str) -> ColumnElement[bool]:
    """The same as `willing_users` and `covered` for one prompt, without a list of all users."""
    newest = (
        select(func.max(Consent.id))
        .where(Consent.user_id == Prompt.user_id, Consent.scope == scope)
        .correlate(Prompt)
        .scalar_subquery()
    )
    user = exists().where(
        PromptUser.id == Prompt.user_id,
        PromptUser.policy == "opt_in",
        PromptUser.erased_at.is_(None),
    )
    given = exists().where(Consent.id == newest, Consent.event == "given")
    return and_(user, given, covered(scope))


def erased_people(session: Session) -> set[uuid.UUID]:
    """Users and accounts who were erased: nothing of theirs comes in again."""
    found: set[uuid.UUID] = set()
    for table in (PromptUser, Account):
        found |= set(session.scalars(select(table.id).where(table.erased_at.is_not(None))))
    return found
