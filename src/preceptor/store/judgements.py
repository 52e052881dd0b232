"""Labels in short, a row an assignment, so that pages count over all of them within a second.

A projection: all of it can be made again from the submissions (`note_labels`), and a test does.
Read as arrays, [N] labels with a column a slot, 0 where a task has fewer responses.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, String, delete, func, insert, select, type_coerce
from sqlalchemy.orm import Session

from preceptor.data.records import text_of
from preceptor.store.forms import FLAGS, ranks_of
from preceptor.store.projects import SLOTS, chunks
from preceptor.store.tables import (
    Assignment,
    Judgement,
    Prompt,
    Response,
    Submission,
    Task,
    TaskResponse,
)

Whole = NDArray[np.int64]
Digits = NDArray[np.uint8]
UNKNOWN = "-"
NO, YES, NOT_ASKED, NO_SLOT = 48, 49, 45, 0
"""What `Judgements.flags` holds: the characters 0, 1 and -, and nothing beyond the last slot."""


@dataclass(frozen=True)
class Judgements:
    """The labels of a project. `task[i]` is the place of label i's task in `tasks`, and so on.

    ranks      [N, 9] places, 1 the best, competition ranks; 0 beyond the last slot
    positions  [N, 9] where on the page the slot stood, 1 first; 0 where that is not known
    likert     [N, 9] quality 1 to 7; 0 where it was not given
    flags      [N, 9, 11] characters, in the order of `FLAGS`
    seconds    [N] active seconds, nan where not known
    """

    tasks: list[Any]
    accounts: list[Any]
    use_cases: list[str]
    days: list[str]
    task: Whole
    account: Whole
    use_case: Whole
    day: Whole
    is_pool: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    num_unacceptable: Whole
    num_chars: Whole
    seconds: NDArray[np.float64]
    ranks: Digits
    positions: Digits
    likert: Digits
    flags: Digits

    def __len__(self) -> int:
        return len(self.task)

    @property
    def num_slots(self) -> Whole:
        """K of each label [N]; 0 for a demonstration."""
        return np.asarray((self.ranks > 0).sum(axis=1), dtype=np.int64)


def note_labels(session: Session, assignment_ids: Sequence[uuid.UUID]) -> None:
    """Make the short rows of these assignments anew, from their newest submissions."""
    session.flush()
    for chunk in chunks(assignment_ids):
        session.execute(delete(Judgement).where(Judgement.assignment_id.in_(chunk)))
        newest = (
            select(Submission.assignment_id, func.max(Submission.revision).label("revision"))
            .where(Submission.assignment_id.in_(chunk))
            .group_by(Submission.assignment_id)
            .subquery()
        )
        rows = session.execute(
            select(Submission, Assignment, Task, Prompt.use_case, Prompt.content)
            .join(
                newest,
                (newest.c.assignment_id == Submission.assignment_id)
                & (newest.c.revision == Submission.revision),
            )
            .join(Assignment, Assignment.id == Submission.assignment_id)
            .join(Task, Task.id == Assignment.task_id)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(Submission.kind == "submitted")
        ).all()
        texts = _texts(session, {row.Task.id for row in rows})
        found = [
            {
                "assignment_id": row.Assignment.id,
                "project_id": row.Task.project_id,
                "task_id": row.Task.id,
                "account_id": row.Assignment.account_id,
                "task_kind": row.Task.kind,
                "use_case": row.use_case,
                "counted": row.Assignment.counted,
                "num_chars": len(text_of(row.content)) + sum(map(len, texts[row.Task.id].values())),
                "active_seconds": row.Submission.active_seconds,
                "at": row.Submission.at,
                **in_short(row.Submission.body, row.Assignment.display_order, texts[row.Task.id]),
            }
            for row in rows
        ]
        if found:
            session.execute(insert(Judgement), found)


def note_all_labels(session: Session) -> None:
    """For a store whose labels are older than this table."""
    ids = select(Submission.assignment_id).distinct()
    note_labels(session, session.scalars(ids).all())


def in_short(
    body: dict[str, Any], display_order: Sequence[str], texts: dict[str, str]
) -> dict[str, Any]:
    """A label's choices, a character a slot; `texts` are the task's, by slot."""
    if "rank_groups" not in body:
        return {"ranks": "", "positions": "", "likert": "", "flags": "", "num_unacceptable": 0}
    ranks = ranks_of(body["rank_groups"])
    slots = [slot for slot in SLOTS if slot in ranks]
    # Equal texts were shown once: they share a position.
    place = {texts.get(slot, slot).strip(): i for i, slot in enumerate(display_order, 1)}
    positions = [place.get(texts.get(slot, slot).strip(), 0) for slot in slots]
    ratings = body.get("ratings", {})
    rated = [ratings.get(slot, {}) for slot in slots]
    return {
        "ranks": "".join(str(ranks[slot]) for slot in slots),
        "positions": "" if 0 in positions else "".join(map(str, positions)),
        "likert": "".join(str(rating.get("likert", UNKNOWN)) for rating in rated),
        "flags": "".join(
            {True: "1", False: "0"}.get(rating.get("flags", {}).get(flag), UNKNOWN)
            for rating in rated
            for flag in FLAGS
        ),
        "num_unacceptable": len(body.get("unacceptable", [])),
    }


def read_judgements(
    session: Session,
    project_id: uuid.UUID,
    *,
    with_flags: bool = False,
    newest: int | None = None,
) -> Judgements:
    """All labels of a project, or its newest, surplus ones too: somebody judged."""
    table = Judgement.__table__.c  # rows as they are: an object each takes as long as all the rest
    columns: list[Any] = [
        # Ids are only compared here; a hundred thousand of them as UUIDs would take half a second.
        type_coerce(table.task_id, String),
        type_coerce(table.account_id, String),
        table.use_case,
        day_of(session, table.at),
        table.task_kind == "calibration",
        table.counted,
        table.num_unacceptable,
        table.num_chars,
        table.active_seconds,
        table.ranks,
        table.positions,
        table.likert,
    ]
    columns += [table.flags] if with_flags else []
    chosen = select(*columns).where(table.project_id == project_id)
    if newest is not None:
        chosen = chosen.order_by(table.at.desc(), table.assignment_id).limit(newest)
    rows = session.execute(chosen).all()
    by_column = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    tasks, task = _places(by_column[0])
    accounts, account = _places(by_column[1])
    use_cases, use_case = _places(by_column[2])
    days, day = _places(by_column[3])
    return Judgements(
        tasks=tasks,
        accounts=accounts,
        use_cases=use_cases,
        days=days,
        task=task,
        account=account,
        use_case=use_case,
        day=day,
        is_pool=np.array(by_column[4], dtype=np.bool_),
        counted=np.array(by_column[5], dtype=np.bool_),
        num_unacceptable=np.array(by_column[6], dtype=np.int64),
        num_chars=np.array(by_column[7], dtype=np.int64),
        seconds=np.array(by_column[8], dtype=np.float64),  # None becomes nan
        ranks=_digits(by_column[9], len(SLOTS)),
        positions=_digits(by_column[10], len(SLOTS)),
        likert=_digits(by_column[11], len(SLOTS)),
        flags=_characters(
            by_column[12] if with_flags else [""] * len(rows), len(SLOTS) * len(FLAGS)
        ).reshape(-1, len(SLOTS), len(FLAGS)),
    )


def day_of(session: Session, column: Any) -> ColumnElement[str]:
    """A time's day, UTC, as 2026-11-27."""
    if session.get_bind().dialect.name == "sqlite":
        return func.substr(type_coerce(column, String), 1, 10)
    return func.to_char(func.timezone("UTC", column), "YYYY-MM-DD")


def id_of(key: Any) -> uuid.UUID:
    """An id as `Judgements` holds it (text from SQLite) as the one that it is."""
    return key if isinstance(key, uuid.UUID) else uuid.UUID(key)


def _texts(session: Session, tasks: set[uuid.UUID]) -> dict[uuid.UUID, dict[str, str]]:
    found: dict[uuid.UUID, dict[str, str]] = {id: {} for id in tasks}
    rows = session.execute(
        select(TaskResponse.task_id, TaskResponse.slot, Response.text)
        .join(Response)
        .where(TaskResponse.task_id.in_(tasks))
    )
    for task, slot, text in rows:
        found[task][slot] = text
    return found


def _places(values: Sequence[Any]) -> tuple[list[Any], Whole]:
    place = {value: i for i, value in enumerate(dict.fromkeys(values))}
    found = np.fromiter(map(place.__getitem__, values), dtype=np.int64, count=len(values))
    return list(place), found


def _characters(texts: Sequence[str], width: int) -> Digits:
    """[N, width] codes, 0 beyond a text's end."""
    return np.array(texts, dtype=f"S{width}").view(np.uint8).reshape(len(texts), width)


def _digits(texts: Sequence[str], width: int) -> Digits:
    """The same as numbers; what is no digit is 0."""
    codes = _characters(texts, width)
    found: Digits = np.where(codes >= ord("0"), codes - ord("0"), 0).astype(np.uint8)
    return found
