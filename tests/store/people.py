"""A small store to test with: prompts, labelers, projects, and forms that are filled in."""

import random
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store
from preceptor.store.names import identify
from preceptor.store.projects import Candidate, ProjectOptions, add_tasks, create_project
from preceptor.store.questions import PAPER
from preceptor.store.queue import AssignmentView
from preceptor.store.tables import Consent, Prompt, PromptUser
from preceptor.store.toxicity import QUESTIONS, TOXICITY

Fresh = Callable[[], Store]
"""Makes an empty store."""

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def add_labeler(session: Session, store: Store, name: str, **options: Any) -> uuid.UUID:
    _, token = invite(session, store.site_key, name, now=START, **options)
    return accept_invitation(session, token, password_hash="x", now=START, screened=True)


def say(
    session: Session, user: uuid.UUID, event: str, scopes: Sequence[str] = ("train", "evaluate")
) -> None:
    """The user's word on the use of their prompts."""
    rows = [
        {
            "user_id": user,
            "scope": scope,
            "channel": "declared",
            "event": event,
            "text_sha256": "",
            "at": START,
        }
        for scope in scopes
    ]
    session.execute(insert(Consent), rows)


def add_prompt(session: Session, text: str, *, author: uuid.UUID | None = None) -> uuid.UUID:
    user = identify("user", "usr_testsaaaaaaaaaaaaaaaaaaaaa")
    if session.get(PromptUser, user) is None:
        session.add(
            PromptUser(
                id=user,
                pseudonym="usr_testsaaaaaaaaaaaaaaaaaaaaa",
                split="train",
                policy="opt_in",
                first_seen=START,
            )
        )
        session.flush()
        say(session, user, "given")
    id = identify("prompt", "usr_testsaaaaaaaaaaaaaaaaaaaaa", text)
    session.add(
        Prompt(
            id=id,
            user_id=user,
            author_id=author,
            origin="import",
            content=text,
            use_case="chat",
            split="train",
            status="active",
            reason="",
            received_at=START,
            meta={},
        )
    )
    session.flush()
    return id


def add_project(
    session: Session,
    task_type: str = "ranking",
    *,
    num_tasks: int = 3,
    num_responses: int = 3,
    num_calibration: int = 0,
    **options: Any,
) -> uuid.UUID:
    """A project whose prompts are "p0", "p1", .. with the responses "p0 a", "p0 b", .."""
    options.setdefault("calibration_fraction", 0.0)
    project = create_project(
        session, f"a {task_type} project", task_type, ProjectOptions(**options), now=START
    )
    letters = "abcdefghi"[: 0 if task_type == "demonstration" else num_responses]
    tasks = {
        add_prompt(session, f"p{i}"): [Candidate(f"p{i} {letter}") for letter in letters]
        for i in range(num_tasks)
    }
    add_tasks(session, project, tasks, num_calibration=num_calibration)
    return project


def fill_in(view: AssignmentView, seed: int = 0) -> dict[str, Any]:
    """A complete form: any ratings, any groups, drawn from the seed."""
    draws = random.Random(f"{seed} {view.id}")
    if view.task_type == "demonstration":
        return {"response": f"What {view.prompt} asks for. {draws.random()}"}
    positions = [str(i + 1) for i in range(len(view.responses))]
    groups: list[list[str]] = [[] for _ in positions]
    for position in positions:
        draws.choice(groups).append(position)
    groups = [sorted(group) for group in groups if group]
    if view.task_type == "toxicity":
        ratings = {
            p: {name: draws.choice(allowed) for name, allowed in QUESTIONS.items()}
            for p in positions
        }
        given = draws.choice(TOXICITY)
        return {"input_toxicity": given, "ratings": ratings, "rank_groups": groups}
    return {
        "ratings": {
            p: {"likert": draws.randint(1, 7), "flags": {draws.choice(PAPER.flag_names): True}}
            for p in positions
        },
        "rank_groups": groups,
        "unacceptable": draws.choice([[], groups[-1]]),
    }
