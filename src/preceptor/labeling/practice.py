"""A practice: after each submit labelers see the researchers' answer beside their own, and why.

The paid training round of Stiennon et al. (2020, appendix C), with feedback at once. What is
compared are choices, by the positions of the labeler's own page; nothing of models, no name.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from preceptor.statistics.rankings import pair_counts
from preceptor.store.forms import form_of, relabel
from preceptor.store.next_task import gets_feedback
from preceptor.store.queue import NoSuchTask
from preceptor.store.tables import (
    Account,
    Assignment,
    GoldAnswer,
    Judgement,
    Project,
    Submission,
    SubmissionText,
    Task,
)


@dataclass(frozen=True)
class Alike:
    """Of the pairs of responses that the labeler and the researchers order, how many alike."""

    num_agreed: int
    num_judged: int
    num_tasks: int

    @property
    def share(self) -> float | None:
        return self.num_agreed / self.num_judged if self.num_judged else None


@dataclass(frozen=True)
class Feedback:
    """What a labeler learns of a task that they have submitted; both answers as forms."""

    project_id: uuid.UUID
    own: dict[str, Any]
    answer: dict[str, Any]
    explanation: str
    here: Alike
    so_far: Alike


def has_feedback(session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID) -> bool:
    """Whether `read_feedback` has any to tell; neither answer is read for it.

    Raises:
        NoSuchTask: as there.
    """
    return _answered(session, assignment_id, account_id) is not None


def read_feedback(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID
) -> Feedback | None:
    """The researchers' answer beside the labeler's own; None before they submitted theirs.

    And none outside of a practice, of a task without a gold answer, and for researchers.

    Raises:
        NoSuchTask: it is not this account's; whether it exists is not told.
    """
    found = _answered(session, assignment_id, account_id)
    if found is None:
        return None
    own, project, gold = found
    rows = _pairs(session, project.id, account_id)
    return Feedback(
        project_id=project.id,
        own=_form(session, own.id, project.task_type, own.display_order),
        answer=_form(session, gold.assignment_id, project.task_type, own.display_order),
        explanation=gold.explanation,
        here=_alike([ranks for id, ranks in rows if id == own.id]),
        so_far=_alike([ranks for _, ranks in rows]),
    )


def _answered(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID
) -> tuple[Assignment, Project, GoldAnswer] | None:
    """A submitted task of the account's whose answer they may see."""
    own = session.get(Assignment, assignment_id)
    if own is None or own.account_id != account_id:
        raise NoSuchTask
    task = session.get_one(Task, own.task_id)
    project = session.get_one(Project, task.project_id)
    gold = session.get(GoldAnswer, task.id)
    learns = gets_feedback(project, session.get_one(Account, account_id))
    if not learns or own.state != "submitted" or gold is None:
        return None
    return own, project, gold


def _pairs(
    session: Session, project_id: uuid.UUID, account_id: uuid.UUID
) -> list[tuple[uuid.UUID, tuple[str, str]]]:
    """The labeler's places and the researchers', "1224", of each task with both."""
    mine, theirs = aliased(Judgement), aliased(Judgement)
    rows = session.execute(
        select(mine.assignment_id, mine.ranks, theirs.ranks)
        .join(GoldAnswer, GoldAnswer.task_id == mine.task_id)
        .join(theirs, theirs.assignment_id == GoldAnswer.assignment_id)
        .where(
            mine.project_id == project_id,
            mine.account_id == account_id,
        )
    )
    return [(id, (ranks, right)) for id, ranks, right in rows]


def _alike(rows: Sequence[tuple[str, str]]) -> Alike:
    agreed = judged = 0
    for pair in rows:
        if len(pair[0]) > 1:
            counts = pair_counts(*(np.array([[int(c) for c in ranks]]) for ranks in pair))
            agreed += int(counts.strict_agreed[0])
            judged += int(counts.strict[0])
    return Alike(agreed, judged, len(rows))


def _form(
    session: Session, assignment_id: uuid.UUID, task_type: str, display_order: Sequence[str]
) -> dict[str, Any]:
    """The newest label of an assignment as a form of the page that had this order.

    Without the comment, which is for the lead, and what was said of the prompt.
    """
    label = session.scalars(
        select(Submission)
        .where(Submission.assignment_id == assignment_id)
        .order_by(Submission.revision.desc())
        .limit(1)
    ).one()
    positions = {slot: [str(i)] for i, slot in enumerate(display_order, 1)}
    choices = relabel(label.body, positions)
    choices.pop("prompt_labels", None)
    written = session.get(SubmissionText, (label.id, "response"))
    return form_of(task_type, choices, {"response": written.text} if written else {})
