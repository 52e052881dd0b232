"""What those who lead say of a prompt: its use case and Table 7 of the paper, added, never changed.

Labelers say the same in their forms; that stays with their labels. An export of prompts has the
newest of each label, and an import adds what is newer than what is there.
"""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.forms import prompt_labels_of
from preceptor.store.projects import chunks
from preceptor.store.questions import PAPER
from preceptor.store.tables import Account, Prompt, PromptLabel


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


@dataclass(frozen=True)
class Said:
    """One label of a prompt, by whom and when."""

    value: Any
    labeler: str
    labeler_group: str
    at: datetime


def said_in(session: Session, split: str) -> dict[uuid.UUID, dict[str, Said]]:
    """The newest of each label of the split's prompts; not what was taken back."""
    found: dict[uuid.UUID, dict[str, Said]] = defaultdict(dict)
    rows = session.execute(
        select(PromptLabel, Account.pseudonym, Account.labeler_group)
        .join(Prompt, Prompt.id == PromptLabel.prompt_id)
        .join(Account, Account.id == PromptLabel.account_id)
        .where(Prompt.split == split)
        .order_by(PromptLabel.id)
    )
    for row, labeler, group in rows:
        found[row.prompt_id][row.key] = Said(row.value, labeler, group, row.at)
    return {
        id: {key: said for key, said in labels.items() if said.value is not None}
        for id, labels in found.items()
    }


def said_as_meta(said: Mapping[str, Said]) -> dict[str, Any]:
    """As it stands in an exported line; nothing if nothing was said."""
    if not said:
        return {}
    return {
        "prompt_labels": {key: one.value for key, one in said.items()},
        "prompt_labels_by": {
            key: {
                "labeler": one.labeler,
                "labeler_group": one.labeler_group,
                "at": one.at.isoformat(),
            }
            for key, one in said.items()
        },
    }


def said_of_meta(own: Mapping[str, Any]) -> dict[str, Said]:
    """The other way round, of a line that an export wrote.

    Raises:
        StoreError: a label or value is none, or it is not said whose it is.
    """
    labels = prompt_labels_of(own.get("prompt_labels", {}), PAPER)
    by = own.get("prompt_labels_by", {})
    if unsigned := sorted(labels.keys() - by.keys()):
        raise StoreError(f"meta.prompt_labels_by does not say whose {unsigned[0]} is.")
    return {
        key: Said(
            value,
            by[key]["labeler"],
            by[key].get("labeler_group", "imported"),
            datetime.fromisoformat(by[key]["at"]),
        )
        for key, value in labels.items()
    }


def add_newer(
    session: Session, said: Mapping[tuple[uuid.UUID, str], tuple[Said, uuid.UUID]]
) -> None:
    """Note what an import says of prompts, by whose account, unless as new a word is there."""
    there: dict[tuple[uuid.UUID, str], datetime] = {}
    prompts: dict[uuid.UUID, Prompt] = {}
    for chunk in chunks(sorted({prompt for prompt, _ in said})):
        rows = select(PromptLabel).where(PromptLabel.prompt_id.in_(chunk)).order_by(PromptLabel.id)
        there |= {(row.prompt_id, row.key): row.at for row in session.scalars(rows)}
        asked = select(Prompt).where(Prompt.id.in_(chunk), Prompt.status != "erased")
        prompts |= {row.id: row for row in session.scalars(asked)}
    for (id, key), (one, account) in sorted(said.items(), key=lambda item: item[0]):
        known = there.get((id, key))
        if id not in prompts or (known is not None and known >= one.at):
            continue
        session.add(
            PromptLabel(prompt_id=id, key=key, value=one.value, account_id=account, at=one.at)
        )
        if key == "use_case":
            prompts[id].use_case = one.value
    session.flush()


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
