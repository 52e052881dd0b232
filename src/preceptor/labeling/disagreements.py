"""Tasks that labelers see differently, to talk about: what was asked, and who ranked how."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.data.records import Messages, text_of
from preceptor.errors import StoreError
from preceptor.labeling.agreement import NEWEST, compare
from preceptor.labeling.judgements import YES, Judgements, id_of, read_judgements
from preceptor.store.questions import questions_of
from preceptor.store.tables import (
    Account,
    Assignment,
    GoldAnswer,
    Judgement,
    Project,
    Prompt,
    Response,
    Submission,
    SubmissionText,
    Task,
    TaskResponse,
)


@dataclass(frozen=True)
class Disputed:
    """One task of the list. `reversed` pairs are those that two labelers order in opposite ways."""

    task_id: uuid.UUID
    prompt: str
    use_case: str
    num_labels: int
    num_reversed: int
    num_judged: int
    likert_range: int

    @property
    def share(self) -> float:
        return self.num_reversed / self.num_judged if self.num_judged else 0.0


@dataclass(frozen=True)
class Opinion:
    """One labeler's answer to the task."""

    assignment_id: uuid.UUID
    labeler: str
    group: str
    is_researcher: bool
    ranks: dict[str, int]  # by slot
    unacceptable: bool
    likert: dict[str, int]
    flags: dict[str, tuple[str, ...]]
    input_toxicity: int | None  # where toxicity was asked, and of each response the same
    toxicity: dict[str, dict[str, int]]
    response: str  # that was written, in a demonstration; nothing once it was erased
    comment: str
    at: datetime


@dataclass(frozen=True)
class Discussion:
    """A task as it is talked about: responses by slot A, B, ..; of models nothing."""

    task_id: uuid.UUID
    project_id: uuid.UUID
    project: str
    state: str
    target: int | None
    use_case: str
    prompt: str | Messages
    is_written: bool  # labelers write the response, and there is none to judge
    responses: dict[str, str]
    opinions: tuple[Opinion, ...]
    gold: uuid.UUID | None  # the assignment whose label is the gold answer
    explanation: str


def most_disputed(
    session: Session, labels: Judgements, *, limit: int = 50, offset: int = 0
) -> tuple[list[Disputed], int]:
    """The tasks with the largest share of reversed pairs, and how many have any."""
    pairs = compare(labels)
    num = len(labels.tasks)
    judged = np.bincount(pairs.task, pairs.strict, num)
    reversed_pairs = np.bincount(pairs.task, pairs.strict - pairs.strict_agreed, num)
    share = np.divide(reversed_pairs, judged, out=np.zeros(num), where=judged > 0)
    disputed = np.nonzero(reversed_pairs > 0)[0]
    keys = [str(labels.tasks[i]) for i in disputed.tolist()]
    order = np.lexsort((np.array(keys), -judged[disputed], -share[disputed]))
    chosen = disputed[order][offset : offset + limit]
    prompts = _prompts(session, [id_of(labels.tasks[i]) for i in chosen.tolist()])
    sizes = np.bincount(labels.task, minlength=num)
    found = []
    for i in chosen.tolist():
        id = id_of(labels.tasks[i])
        found.append(
            Disputed(
                task_id=id,
                prompt=prompts[id][0],
                use_case=prompts[id][1],
                num_labels=int(sizes[i]),
                num_reversed=int(reversed_pairs[i]),
                num_judged=int(judged[i]),
                likert_range=_widest(labels.likert[labels.task == i]),
            )
        )
    return found, len(disputed)


def read_discussion(session: Session, task_id: uuid.UUID) -> Discussion:
    """A task with everybody's newest answer.

    Raises:
        StoreError: there is no such task.
    """
    task = session.get(Task, task_id)
    if task is None or task.prompt_id is None:
        raise StoreError("There is no such task, or one in which a prompt is written.")
    project, prompt = (
        session.get_one(Project, task.project_id),
        session.get_one(Prompt, task.prompt_id),
    )
    responses = dict(
        session.execute(
            select(TaskResponse.slot, Response.text)
            .join(Response)
            .where(TaskResponse.task_id == task_id)
            .order_by(TaskResponse.slot)
        ).all()
    )
    gold = session.get(GoldAnswer, task_id)
    rows = session.execute(
        select(Judgement, Account, Assignment.id)
        .join(Account, Account.id == Judgement.account_id)
        .join(Assignment, Assignment.id == Judgement.assignment_id)
        .where(Judgement.project_id == project.id, Judgement.task_id == task_id)
        .order_by(Account.pseudonym)
    ).all()
    said = _said(session, [row.id for row in rows])
    flags = questions_of(project).flag_names
    return Discussion(
        task_id=task_id,
        project_id=project.id,
        project=project.name,
        state=task.state,
        target=task.target,
        use_case=prompt.use_case,
        prompt=prompt.content,
        is_written=project.task_type == "demonstration",
        responses=responses,
        opinions=tuple(
            _opinion(row.Judgement, row.Account, *said[row.id], list(responses), flags)
            for row in rows
        ),
        gold=gold.assignment_id if gold else None,
        explanation=gold.explanation if gold else "",
    )


def read_disputed(
    session: Session, project_id: uuid.UUID, **page: int
) -> tuple[list[Disputed], int]:
    return most_disputed(session, read_judgements(session, project_id, newest=NEWEST), **page)


def _opinion(
    label: Judgement,
    account: Account,
    body: dict[str, Any],
    texts: dict[str, str],
    slots: Sequence[str],
    asked: Sequence[str],
) -> Opinion:
    ranks = {slot: int(rank) for slot, rank in zip(slots, label.ranks, strict=False)}
    likert = {s: int(c) for s, c in zip(slots, label.likert, strict=False) if c.isdigit()}
    num = len(asked)
    flags = {
        slot: tuple(
            name
            for name, code in zip(asked, label.flags[i * num : (i + 1) * num], strict=False)
            if code == chr(YES)
        )
        for i, slot in enumerate(slots)
    }
    return Opinion(
        assignment_id=label.assignment_id,
        labeler=account.pseudonym,
        group=account.labeler_group,
        is_researcher=account.labeler_group == "researcher",
        ranks=ranks,
        unacceptable=label.num_unacceptable > 0,
        likert=likert,
        flags={slot: names for slot, names in flags.items() if names},
        input_toxicity=body.get("input_toxicity"),
        toxicity=body["ratings"] if "input_toxicity" in body else {},
        response=texts.get("response", ""),
        comment=texts.get("comment", ""),
        at=label.at,
    )


def _said(
    session: Session, assignments: Sequence[uuid.UUID]
) -> dict[uuid.UUID, tuple[dict[str, Any], dict[str, str]]]:
    """The newest revision's choices, by slot, and its texts, of each assignment."""
    labels = session.execute(
        select(Submission.assignment_id, Submission.id, Submission.body)
        .where(Submission.assignment_id.in_(assignments))
        .order_by(Submission.revision)
    )
    newest = {assignment: (id, body) for assignment, id, body in labels}
    texts: dict[uuid.UUID, dict[str, str]] = {id: {} for id, _ in newest.values()}
    for id, field, words in session.execute(
        select(SubmissionText.submission_id, SubmissionText.field, SubmissionText.text).where(
            SubmissionText.submission_id.in_(list(texts))
        )
    ):
        texts[id][field] = words
    return {assignment: (body, texts[id]) for assignment, (id, body) in newest.items()}


def _prompts(session: Session, tasks: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[str, str]]:
    rows = session.execute(
        select(Task.id, Prompt.content, Prompt.use_case).join(Prompt).where(Task.id.in_(tasks))
    )
    return {id: (text_of(content), use_case) for id, content, use_case in rows}


def _widest(likert: Any) -> int:
    """The largest difference of quality that any one response got."""
    given = np.where(likert > 0, likert, np.nan).astype(np.float64)
    return max(
        (int(np.nanmax(slot) - np.nanmin(slot)) for slot in given.T if np.isfinite(slot).sum() > 1),
        default=0,
    )
