"""Labels in short, a row an assignment, so that pages count over all of them within a second.

A projection: all of it can be made again from the submissions (`note_labels`), and a test does.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from preceptor.data.records import text_of
from preceptor.store.forms import in_whole_numbers, ranks_of
from preceptor.store.projects import SLOTS, chunks
from preceptor.store.questions import questions_of
from preceptor.store.tables import (
    Assignment,
    Judgement,
    Project,
    Prompt,
    Response,
    Submission,
    SubmissionText,
    Task,
    TaskResponse,
)

UNKNOWN = "-"
"""Of a rating or flag that was not given."""


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
            .outerjoin(Prompt, Prompt.id == Task.prompt_id)
            .where(Submission.kind == "submitted")
        ).all()
        texts = _texts(session, {row.Task.id for row in rows})
        commented = set(
            session.scalars(
                select(SubmissionText.submission_id).where(
                    SubmissionText.submission_id.in_([row.Submission.id for row in rows]),
                    SubmissionText.field == "comment",
                )
            )
        )
        flags = {
            id: questions_of(session.get_one(Project, id)).flag_names
            for id in {row.Task.project_id for row in rows}
        }
        found = [
            {
                "assignment_id": row.Assignment.id,
                "project_id": row.Task.project_id,
                "task_id": row.Task.id,
                "account_id": row.Assignment.account_id,
                "task_kind": row.Task.kind,
                # Of a prompt that was written the label itself says it.
                "use_case": row.use_case or row.Submission.body.get("use_case", ""),
                "counted": row.Assignment.counted,
                "num_chars": _length(row.content) + sum(map(len, texts[row.Task.id].values())),
                "active_seconds": row.Submission.active_seconds,
                "commented": row.Submission.id in commented,
                "at": row.Submission.at,
                **in_short(
                    in_whole_numbers(row.Submission.body),
                    row.Assignment.display_order,
                    texts[row.Task.id],
                    flags[row.Task.project_id],
                ),
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
    body: dict[str, Any],
    display_order: Sequence[str],
    texts: dict[str, str],
    flags: Sequence[str],
) -> dict[str, Any]:
    """A label's choices, a character a slot; `texts` are the task's, by slot.

    Of `flags`, those of the project's form in its order, a character each and slot.
    """
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
            for flag in flags
        ),
        "num_unacceptable": len(body.get("unacceptable", [])),
    }


def _length(content: Any) -> int:
    return 0 if content is None else len(text_of(content))


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
