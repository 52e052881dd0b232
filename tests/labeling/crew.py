"""A crew whose labels are known: honest labelers who see a hidden worth with noise, and others."""

import random
import shutil
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from people import START, add_prompt, say
from sqlalchemy import insert
from sqlalchemy.orm import Session

from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store, create_store, open_store
from preceptor.store.labels import submit
from preceptor.store.names import identify
from preceptor.store.projects import (
    Candidate,
    ProjectOptions,
    add_policy,
    add_tasks,
    create_project,
)
from preceptor.store.questions import PAPER
from preceptor.store.queue import AssignmentView, claim, skip
from preceptor.store.tables import Prompt, PromptUser

USE_CASES = ("generation", "chat", "open_qa")
Ranker = Callable[[AssignmentView, random.Random], list[list[str]]]


def worth(text: str) -> float:
    """What a response is worth to everybody: a number that its words decide."""
    return random.Random(f"worth {text}").gauss(0, 1)


def honest(noise: float) -> Ranker:
    """Ranks by worth and noise; what is near is tied."""

    def rank(view: AssignmentView, draws: random.Random) -> list[list[str]]:
        seen = {
            str(i): worth(text) + noise * draws.gauss(0, 1)
            for i, text in enumerate(view.responses, 1)
        }
        groups: list[list[str]] = []
        last = None
        for position in sorted(seen, key=lambda p: -seen[p]):
            if last is not None and last - seen[position] < 0.15:
                groups[-1].append(position)
            else:
                groups.append([position])
            last = seen[position]
        return groups

    return rank


def straight(view: AssignmentView, draws: random.Random) -> list[list[str]]:
    return [[str(i)] for i in range(1, len(view.responses) + 1)]


def by_lot(view: AssignmentView, draws: random.Random) -> list[list[str]]:
    positions = [str(i) for i in range(1, len(view.responses) + 1)]
    return [[p] for p in draws.sample(positions, len(positions))]


def fill(view: AssignmentView, groups: list[list[str]], draws: random.Random) -> dict[str, Any]:
    """A form with these ranks; quality and flags follow the worth."""
    ratings = {}
    for i, text in enumerate(view.responses, 1):
        likert = min(7, max(1, round(4 + 1.5 * worth(text) + 0.7 * draws.gauss(0, 1))))
        flags = {flag: draws.random() < 0.05 for flag in draws.sample(PAPER.flag_names, 4)}
        ratings[str(i)] = {"likert": likert, "flags": flags}
    bad = groups[-1] if len(groups) > 1 and draws.random() < 0.3 else []
    form = {"ratings": ratings, "rank_groups": groups, "unacceptable": bad}
    return form | ({"comment": "not easy"} if draws.random() < 0.2 else {})


def add_tasks_of(
    session: Session,
    project: uuid.UUID,
    num: int,
    *,
    num_calibration: int = 0,
    sizes: tuple[int, ...] = (3, 4),
    name: str = "p",
) -> None:
    """Prompts of three use cases, with as many responses as `sizes` says in turn."""
    policy = add_policy(session, "ppo_ptx", run="runs/secret", weights_sha256="f" * 64)
    tasks = {}
    for i in range(num):
        prompt = add_prompt(session, f"{name}{i} tell me of it")
        session.get_one(Prompt, prompt).use_case = USE_CASES[i % 3]
        tasks[prompt] = [
            Candidate(f"{name}{i} {letter} " * (1 + (i % 5)), policy, finished=True)
            for letter in "abcdefghi"[: sizes[i % len(sizes)]]
        ]
    session.flush()
    add_tasks(session, project, tasks, num_calibration=num_calibration)


def add_member_of(session: Session, store: Store, name: str, **options: Any) -> uuid.UUID:
    _, token = invite(session, store.site_key, name, now=START, **options)
    return accept_invitation(session, token, password_hash="x", now=START, screened=True)


def let_work(
    store: Store,
    project: uuid.UUID,
    crew: dict[uuid.UUID, Ranker],
    *,
    turns: int = 1_000,
    seed: int = 0,
    skips: float = 0.0,
    seconds: Callable[[uuid.UUID, AssignmentView, random.Random], float] | None = None,
) -> int:
    """In turn, until nobody gets a task any more; says how many labels there are."""
    draws = random.Random(seed)
    done = turn = 0
    waiting = list(crew)
    while waiting and turn < turns:
        who = waiting[turn % len(waiting)]
        now = START + timedelta(hours=turn)
        turn += 1
        with store.write() as session:
            view = claim(session, project, who, now=now)
            if view is None:
                waiting.remove(who)
                continue
            if draws.random() < skips:
                skip(session, view.id, who, reason="needs_expertise", now=now)
                continue
            form = fill(view, crew[who](view, draws), draws)
            active = seconds(who, view, draws) if seconds else 30 + 60 * draws.random()
            submit(session, view.id, who, key=view.key, form=form, now=now, active_seconds=active)
        done += 1
    return done


def ranking_store(
    store: Store,
    crew: dict[str, tuple[Ranker, dict[str, Any]]],
    *,
    num_tasks: int = 24,
    num_calibration: int = 6,
    name: str = "comparisons",
    skips: float = 0.05,
    **options: Any,
) -> tuple[uuid.UUID, dict[str, uuid.UUID]]:
    """A project that a crew has worked through; the people by name."""
    options.setdefault("overlap", 2)
    options.setdefault("calibration_fraction", 0.3)
    groups = ("training", "researcher") + (("heldout",) if options.get("purpose") == "eval" else ())
    options.setdefault("groups", groups)
    with store.write() as session:
        chosen = ProjectOptions(**options)
        task_type = "evaluation" if chosen.purpose == "eval" else "ranking"
        project = create_project(session, name, task_type, chosen, now=START)
        add_tasks_of(session, project, num_tasks, num_calibration=num_calibration, name=name[0])
        people = {
            login: add_member_of(session, store, login, **details)
            for login, (_, details) in crew.items()
        }
    let_work(store, project, {people[n]: ranker for n, (ranker, _) in crew.items()}, skips=skips)
    return project, people


def copy_of(worked: Path, folder: Path) -> Store:
    """A store of one test's own, without doing the work again."""
    shutil.copy(worked, folder / "labels.db")
    return open_store(str(folder / "labels.db"))


def worked_store(
    folder: Path, crew: dict[str, tuple[Ranker, dict[str, Any]]], **options: Any
) -> tuple[Path, uuid.UUID]:
    """The file of a store that a crew has worked in, to be copied, and its project."""
    path = folder / "worked.db"
    create_store(str(path))
    store = open_store(str(path))
    project, _ = ranking_store(store, crew, **options)
    store.close()
    return path, project


def add_rejected(session: Session, num: int) -> None:
    """Prompts that are not asked about, with a reason each."""
    user = identify("user", "usr_othersaaaaaaaaaaaaaaaaaaa")
    session.add(
        PromptUser(
            id=user,
            pseudonym="usr_othersaaaaaaaaaaaaaaaaaaa",
            split="valid",
            policy="opt_in",
            first_seen=START,
        )
    )
    session.flush()
    say(session, user, "given")
    rows = [
        {
            "id": identify("prompt", "rejected", i),
            "user_id": user,
            "origin": "import",
            "content": f"again {i}",
            "use_case": "chat",
            "split": "valid",
            "status": "rejected",
            "reason": "the same as another" if i % 3 else "over the cap",
            "received_at": START,
            "meta": {},
        }
        for i in range(num)
    ]
    session.execute(insert(Prompt), rows)
