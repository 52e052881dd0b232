"""Whose prompts may be used, and for what."""

import uuid

from sqlalchemy import Select, func, select

from preceptor.store.tables import Consent, PromptUser


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
