"""Labels in short as arrays, [N] labels with a column a slot, 0 where a task has fewer responses.

The store writes them (preceptor.store.judgements); the lead's pages count over them.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, String, func, select, type_coerce
from sqlalchemy.orm import Session

from preceptor.store.projects import SLOTS
from preceptor.store.questions import questions_of
from preceptor.store.tables import Judgement, Project

Whole = NDArray[np.int64]
Digits = NDArray[np.uint8]
NO, YES, NOT_ASKED, NO_SLOT = 48, 49, 45, 0
"""What `Judgements.flags` holds: the characters 0, 1 and -, and nothing beyond the last slot."""


@dataclass(frozen=True)
class Judgements:
    """The labels of a project. `task[i]` is the place of label i's task in `tasks`, and so on.

    ranks      [N, 9] places, 1 the best, competition ranks; 0 beyond the last slot
    positions  [N, 9] where on the page the slot stood, 1 first; 0 where that is not known
    likert     [N, 9] quality 1 to 7; 0 where it was not given
    flags      [N, 9, F] characters, of the project's flags in their order, `flag_names`
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
    flag_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.task)

    @property
    def num_slots(self) -> Whole:
        """K of each label [N]; 0 for a demonstration."""
        return np.asarray((self.ranks > 0).sum(axis=1), dtype=np.int64)


def read_judgements(
    session: Session,
    project_id: uuid.UUID,
    *,
    with_flags: bool = False,
    newest: int | None = None,
) -> Judgements:
    """All labels of a project, or its newest, surplus ones too: somebody judged.

    Not those of attention tasks, on which everybody agrees.
    """
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
    chosen = select(*columns).where(table.project_id == project_id, table.task_kind != "attention")
    if newest is not None:
        chosen = chosen.order_by(table.at.desc(), table.assignment_id).limit(newest)
    rows = session.execute(chosen).all()
    flags = questions_of(session.get_one(Project, project_id)).flag_names if with_flags else ()
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
            by_column[12] if flags else [""] * len(rows), len(SLOTS) * len(flags)
        ).reshape(len(rows), len(SLOTS), len(flags)),
        flag_names=flags,
    )


def day_of(session: Session, column: Any) -> ColumnElement[str]:
    """A time's day, UTC, as 2026-11-27."""
    if session.get_bind().dialect.name == "sqlite":
        return func.substr(type_coerce(column, String), 1, 10)
    return func.to_char(func.timezone("UTC", column), "YYYY-MM-DD")


def id_of(key: Any) -> uuid.UUID:
    """An id as `Judgements` holds it (text from SQLite) as the one that it is."""
    return key if isinstance(key, uuid.UUID) else uuid.UUID(key)


def _places(values: Sequence[Any]) -> tuple[list[Any], Whole]:
    place = {value: i for i, value in enumerate(dict.fromkeys(values))}
    found = np.fromiter(map(place.__getitem__, values), dtype=np.int64, count=len(values))
    return list(place), found


def _characters(texts: Sequence[str], width: int) -> Digits:
    """[N, width] codes, 0 beyond a text's end."""
    if not width:
        return np.zeros((len(texts), 0), dtype=np.uint8)
    return np.array(texts, dtype=f"S{width}").view(np.uint8).reshape(len(texts), width)


def _digits(texts: Sequence[str], width: int) -> Digits:
    """The same as numbers; what is no digit is 0."""
    codes = _characters(texts, width)
    found: Digits = np.where(codes >= ord("0"), codes - ord("0"), 0).astype(np.uint8)
    return found
