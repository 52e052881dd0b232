"""Tasks whose responses say what they are worth, so that it is known what labelers make of them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.simulation.answers import Knowledge
from preceptor.store.asking import Question, ask
from preceptor.store.database import Store
from preceptor.store.forms import ranks_of
from preceptor.store.projects import ProjectOptions, create_project
from preceptor.store.rows import Provenance
from preceptor.store.tables import (
    Account,
    Assignment,
    Policy,
    Response,
    Submission,
    Task,
    TaskResponse,
)


def worth_judge(prompt: Prompt, response: str) -> Judgement:
    """The response says first what it is worth."""
    score = float(response.split()[0])
    return Judgement(score, {"task": score})


def known(seed: int = 0) -> Knowledge:
    return Knowledge(worth_judge, seed, {}, {})


def ask_for(
    store: Store, questions: Sequence[Question], overlap: int, task_type: str = "evaluation"
) -> uuid.UUID:
    now = datetime.now(UTC)
    options = ProjectOptions(
        purpose="eval", overlap=overlap, calibration_fraction=0.0, groups=("simulated",)
    )
    provenance = Provenance(Path("truth"), "ours", "ours", now)
    with store.write() as session:
        project = create_project(session, "truth", task_type, options, now=now)
        ask(
            session,
            store.site_key,
            project,
            questions,
            provenance,
            sha256="truth",
            split="test",
            in_order=True,
        )
    return project


def question(
    number: int, worths: Sequence[float], sources: Sequence[str] | None = None
) -> Question:
    texts = tuple(f"{worth} response {place}" for place, worth in enumerate(worths))
    return Question(Prompt(f"prompt {number}"), texts, tuple(sources) if sources else None)


@dataclass(frozen=True)
class Label:
    """One labeler's ranking of a task, by slot; `sources` are the models that wrote the texts."""

    task_id: uuid.UUID
    labeler: str
    ranks: list[int]
    sources: list[str | None]


def labels_in(store: Store, project: uuid.UUID) -> list[Label]:
    """The newest revisions in a project, as they stand in the tables."""
    found: dict[uuid.UUID, Label] = {}
    with store.read() as session:
        places: dict[uuid.UUID, list[tuple[str, str | None]]] = {}
        for task, slot, name in session.execute(
            select(TaskResponse.task_id, TaskResponse.slot, Policy.name)
            .join(Response, Response.id == TaskResponse.response_id)
            .outerjoin(Policy, Policy.id == Response.policy_id)
            .order_by(TaskResponse.task_id, TaskResponse.slot)
        ):
            places.setdefault(task, []).append((slot, name))
        for label, assignment, account in session.execute(
            select(Submission, Assignment, Account)
            .join(Assignment, Assignment.id == Submission.assignment_id)
            .join(Task, Task.id == Assignment.task_id)
            .join(Account, Account.id == Assignment.account_id)
            .where(Task.project_id == project, Submission.kind == "submitted")
            .order_by(Submission.assignment_id, Submission.revision)
        ):
            ranks, of_task = ranks_of(label.body["rank_groups"]), places[assignment.task_id]
            found[assignment.id] = Label(
                assignment.task_id,
                account.pseudonym,
                [ranks[slot] for slot, _ in of_task],
                [name for _, name in of_task],
            )
    return list(found.values())
