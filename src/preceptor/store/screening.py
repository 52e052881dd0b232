"""Gold answers, what researchers say of somebody in screening, and who read people's texts."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.accounts import account_of
from preceptor.store.forms import LIKERT, require_storable
from preceptor.store.standing import set_state
from preceptor.store.tables import (
    AccessLog,
    Account,
    Assignment,
    GoldAnswer,
    Judgement,
    Project,
    ScreeningScore,
    Task,
)
from preceptor.store.toxicity import is_answer


def set_gold(
    session: Session,
    assignment_id: uuid.UUID,
    by: uuid.UUID,
    *,
    explanation: str = "",
    now: datetime,
) -> None:
    """Make a researcher's label the answer that others are held against; its revisions count, too.

    Raises:
        StoreError: it is not a researcher's, or nothing is submitted.
    """
    require_storable(explanation, "The explanation")
    label = session.get(Judgement, assignment_id)
    if label is None:
        raise StoreError("There is no submitted label to make the gold answer of.")
    _require_own_answer(label.task_kind)
    if account_of(session, label.account_id).labeler_group != "researcher":
        raise StoreError("A gold answer is a researcher's label; this is a labeler's.")
    gold = session.get(GoldAnswer, label.task_id)
    if gold is None:
        gold = GoldAnswer(task_id=label.task_id)
        session.add(gold)
    gold.assignment_id, gold.account_id = assignment_id, by
    gold.explanation, gold.at = explanation, now
    session.flush()


def drop_gold(session: Session, task_id: uuid.UUID) -> None:
    """The task is like any other again."""
    if gold := session.get(GoldAnswer, task_id):
        _require_own_answer(session.get_one(Task, task_id).kind)
        session.delete(gold)


def _require_own_answer(task_kind: str) -> None:
    if task_kind == "attention":
        raise StoreError("The answer of an attention task came with it, and stays.")


def score_demonstration(
    session: Session, assignment_id: uuid.UUID, by: uuid.UUID, value: int, *, now: datetime
) -> None:
    """A researcher's 1 to 7 for a demonstration of a screening; the newest of each one counts.

    Raises:
        StoreError: it is no demonstration of a screening project, or the value is another.
    """
    if not is_answer(value, LIKERT):
        raise StoreError(f"A demonstration is scored 1 to 7, not {value}.")
    found = session.execute(
        select(Assignment.account_id, Project.task_type, Project.purpose)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .where(Assignment.id == assignment_id)
    ).first()
    if found is None or (found.task_type, found.purpose) != ("demonstration", "screening"):
        raise StoreError("That is no demonstration of a screening project.")
    _add(session, found.account_id, "demonstration", value, by, now, assignment_id=assignment_id)


def score_competence(
    session: Session, account_id: uuid.UUID, by: uuid.UUID, value: int, *, now: datetime
) -> None:
    """How well the areas that they say they know cover what is asked, 1 to 7."""
    if not is_answer(value, LIKERT):
        raise StoreError(f"Competence is 1 to 7, not {value}.")
    _add(session, account_of(session, account_id).id, "competence", value, by, now)


def decide(
    session: Session,
    account_id: uuid.UUID,
    by: uuid.UUID,
    accept: bool,
    *,
    card: Mapping[str, Any],
    now: datetime,
) -> None:
    """A person decides: the account becomes active, or leaves. The figures are kept with it.

    Raises:
        StoreError: the account is not in screening.
    """
    account = account_of(session, account_id)
    if account.state != "screening":
        raise StoreError(f"This account is {account.state}, not in screening.")
    _add(session, account_id, "decision", float(accept), by, now, card=card)
    set_state(session, account_id, "active" if accept else "left", now=now)


def note_access(
    session: Session, account_id: uuid.UUID | None, what: str, of: object, *, now: datetime
) -> None:
    """Somebody read texts outside of their own tasks, or erased them; None: by a command."""
    session.add(AccessLog(account_id=account_id, what=what, object=str(of), at=now))


def _add(
    session: Session,
    account_id: uuid.UUID,
    part: str,
    value: float,
    by: uuid.UUID,
    now: datetime,
    *,
    assignment_id: uuid.UUID | None = None,
    card: Mapping[str, Any] | None = None,
) -> None:
    if session.get_one(Account, by).role == "labeler":
        raise StoreError("Only a researcher scores and decides.")
    session.add(
        ScreeningScore(
            account_id=account_id,
            part=part,
            assignment_id=assignment_id,
            value=float(value),
            card=dict(card or {}),
            decided_by=by,
            at=now,
        )
    )
    session.flush()
