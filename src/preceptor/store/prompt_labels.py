"""What those who lead say of a prompt: its use case and Table 7 of the paper, added, never changed.

Labelers say the same in their forms; that stays with their labels.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.forms import prompt_labels_of
from preceptor.store.questions import PAPER
from preceptor.store.tables import Prompt, PromptLabel


def label_prompt(
    session: Session,
    prompt_id: uuid.UUID,
    labels: Mapping[str, Any],
    by: uuid.UUID,
    *,
    now: datetime,
) -> dict[str, Any]:
    """Note what is new, None takes one back; returns all that holds. The use case is the prompt's.

    Raises:
        StoreError: there is no such prompt, or a label or value is none.
    """
    prompt_labels_of(labels, PAPER)
    prompt = session.get(Prompt, prompt_id, with_for_update={"key_share": True})
    if prompt is None or prompt.status == "erased":
        raise StoreError("There is no such prompt.")
    there = labels_of(session, [prompt_id]).get(prompt_id, {})
    for key, value in labels.items():
        if there.get(key) == value:
            continue
        session.add(PromptLabel(prompt_id=prompt_id, key=key, value=value, account_id=by, at=now))
        if key == "use_case" and value is not None:
            prompt.use_case = value
    session.flush()
    return labels_of(session, [prompt_id]).get(prompt_id, {})


def labels_of(session: Session, prompts: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
    """The newest of each label, by prompt; not what was taken back."""
    found: dict[uuid.UUID, dict[str, Any]] = {}
    rows = select(PromptLabel).where(PromptLabel.prompt_id.in_(prompts)).order_by(PromptLabel.id)
    for row in session.scalars(rows):
        found.setdefault(row.prompt_id, {})[row.key] = row.value
    return {
        id: {key: value for key, value in labels.items() if value is not None}
        for id, labels in found.items()
    }
