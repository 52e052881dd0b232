"""How long people wait with a million prompts and 100,000 labels on SQLite.

    python benchmarks/store.py [FOLDER]

Makes the store in FOLDER (1.4 GB; a temporary folder by default) unless it is there. Then 40
labelers take turns at ranking tasks of two labels each, two look at their start page, and a lead
opens every page. The first labeler has done all 20,000 tasks that are partly filled, so that their
claims look past them; 500 tasks are of the pool, and all 40 have done each.
"""

import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, select
from starlette.testclient import TestClient

from preceptor.labeling.app import create_app
from preceptor.labeling.results import read_results
from preceptor.labeling.security import hash_password
from preceptor.store import tables
from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store, create_store, open_store
from preceptor.store.forms import USE_CASES, groups_of
from preceptor.store.inbox import inbox
from preceptor.store.judgements import in_short
from preceptor.store.labels import save_draft, submit
from preceptor.store.names import identify
from preceptor.store.projects import (
    SLOTS,
    Candidate,
    ProjectOptions,
    create_project,
    response_rows,
    task_row,
)
from preceptor.store.questions import PAPER
from preceptor.store.queue import AssignmentView, claim
from preceptor.store.status import project_status

NUM_PROMPTS = 1_000_000
NUM_RANKED = 200_000  # have a ranking task of K responses; the others wait for a demonstration
K = 4
POOL = 500  # tasks that all labelers have done: 20,000 labels
FULL, PARTLY = 30_000, 20_000  # tasks with two labels, and with one: 80,000 labels
NUM_LABELERS = 40
LOGINS = [f"l{number}" for number in range(NUM_LABELERS)]
TURNS = 2_000
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 60
LEAD, PASSWORD = "lead", "a password of the benchmark alone"
PAGES = (
    "/lead",
    "/lead/queue",
    "/lead/projects",
    "/lead/prompts",
    "/lead/agreement",
    "/lead/disagreements",
    "/lead/comments",
    "/lead/positions",
    "/lead/gold",
    "/lead/labelers",
    "/lead/screening",
    "/lead/exports",
    "/lead/guidelines",
    "/lead/accounts",
    "/lead/access",
)


def main() -> None:
    """Make the store, then measure."""
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def measure(folder: Path) -> None:
    """Print the median and the 99th percentile of what a labeler waits for."""
    where = str(folder / "labels.db")
    new = not Path(where).exists()
    create_store(where)
    store = open_store(where)
    began = time.perf_counter()
    if new:
        fill(store)
    size = Path(where).stat().st_size / 1e9
    print(f"made in {time.perf_counter() - began:,.0f} s, {size:.1f} GB", flush=True)
    ranking = identify("project", "rankings")
    with store.read() as session:
        labelers = [
            session.scalars(select(tables.Account.id).where(tables.Account.login == login)).one()
            for login in LOGINS
        ]
    seconds: dict[str, list[float]] = {}
    for turn in range(TURNS):
        account = labelers[turn % NUM_LABELERS]
        now = datetime.now(UTC)
        name = "claim, one who did all partly filled" if account == labelers[0] else "claim"
        held = timed(store, seconds, name, lambda s, a=account, n=now: claim(s, ranking, a, now=n))
        form = filled_in(held)
        timed(
            store,
            seconds,
            "save draft",
            lambda s, h=held, a=account, f=form, n=now: save_draft(s, h.id, a, f, version=0, now=n),
        )
        timed(
            store,
            seconds,
            "submit",
            lambda s, h=held, a=account, f=form, n=now: submit(
                s, h.id, a, key=h.key, form=f, now=n
            ),
        )
    began = time.perf_counter()
    with store.read() as session:
        statuses = project_status(session)
    print(f"label status {1000 * (time.perf_counter() - began):8.1f} ms, {len(statuses)} projects")
    began = time.perf_counter()
    with store.read() as session:
        found = read_results(session, "rankings", "train", now=now)
    print(f"label results {time.perf_counter() - began:.1f} s, of {found.num_labels:,} labels")
    for number in (0, 1):
        name = "start page" + (", one who did all partly filled" if number == 0 else "")
        for _ in range(50):
            timed(store, seconds, name, lambda s, a=labelers[number]: inbox(s, a, now=now))
    pages = open_pages(store)
    store.close()
    print(f"{'':38}{'n':>6}{'median':>10}{'99 %':>10}{'worst':>10}   ms")
    for name, times in seconds.items():
        median, late, worst = np.quantile(1000 * np.array(times), [0.5, 0.99, 1.0])
        print(f"{name:38}{len(times):6}{median:10.2f}{late:10.2f}{worst:10.2f}")
    for name, times in pages.items():
        first, median = 1000 * times[0], 1000 * float(np.median(times))
        print(f"page {name:33}{median:10.1f} ms, the first time {first:.1f}")


def open_pages(store: Store) -> dict[str, list[float]]:
    """Every page of the lead four times, as the app makes it."""
    with TestClient(
        create_app(store),
        base_url="http://localhost",
        headers={"Sec-Fetch-Site": "same-origin"},
        follow_redirects=False,
    ) as browser:
        entered = browser.post("/login", data={"login": LEAD, "password": PASSWORD})
        assert entered.status_code == 303, entered.text
        seconds: dict[str, list[float]] = {}
        for name in PAGES:
            for _ in range(4):
                began = time.perf_counter()
                answer = browser.get(name)
                seconds.setdefault(name, []).append(time.perf_counter() - began)
                assert answer.status_code == 200, answer.text
    return seconds


def timed(store: Store, seconds: dict[str, list[float]], name: str, call: Any) -> Any:
    """One transaction, from its beginning to its being on the disk."""
    began = time.perf_counter()
    with store.write() as session:
        done = call(session)
    seconds.setdefault(name, []).append(time.perf_counter() - began)
    return done


def filled_in(view: AssignmentView) -> dict[str, Any]:
    """A whole form."""
    positions = [str(i + 1) for i in range(len(view.responses))]
    return {
        "ratings": {p: {"likert": 4, "flags": {"hallucination": False}} for p in positions},
        "rank_groups": [[p] for p in positions],
        "unacceptable": [],
        "comment": "not easy",
    }


def fill(store: Store) -> None:
    """All rows, in batches."""
    user = identify("user", "usr_benchmark")
    with store.write() as session:
        labelers = []
        for login in LOGINS:
            _, token = invite(session, store.site_key, login, now=START)
            account = accept_invitation(session, token, password_hash="", now=START, screened=True)
            labelers.append(account)
        _, token = invite(
            session, store.site_key, LEAD, now=START, role="admin", group="researcher"
        )
        hidden = hash_password(PASSWORD, LEAD)
        accept_invitation(session, token, password_hash=hidden, now=START, screened=True)
        options = ProjectOptions(overlap=2, calibration_fraction=0.0)
        ranking = create_project(session, "rankings", "ranking", options, now=START)
        writing = create_project(session, "writing", "demonstration", options, now=START)
        projects = [session.get_one(tables.Project, id) for id in (ranking, writing)]
        session.add(
            tables.PromptUser(
                id=user, pseudonym="usr_benchmark", split="train", policy="opt_in", first_seen=START
            )
        )
        session.flush()
        session.add(
            tables.Consent(
                user_id=user,
                scope="train",
                channel="declared",
                event="given",
                text_sha256="",
                at=START,
            )
        )
        policies = [
            tables.Policy(id=uuid.uuid4(), name=name, run="r", weights_sha256="")
            for name in ("sft", "ppo")
        ]
        session.add_all(policies)
    rows: dict[Any, list[dict[str, Any]]] = {}
    for number in range(NUM_PROMPTS):
        ranked = number < NUM_RANKED
        prompt = identify("prompt", number)
        rows.setdefault(tables.Prompt, []).append(
            {
                "id": prompt,
                "user_id": user,
                "origin": "import",
                "content": f"Please tell me about {number}, " + "and then about it again. " * 8,
                "use_case": USE_CASES[number % len(USE_CASES)],
                "split": "train",
                "status": "active",
                "reason": "",
                "received_at": START,
                "meta": {},
            }
        )
        candidates = [
            Candidate(f"Answer {i} to {number}. " * 10, policy_id=policies[i % 2].id, finished=True)
            for i in range(K if ranked else 0)
        ]
        responses = response_rows(prompt, candidates)
        rows.setdefault(tables.Response, []).extend(responses)
        task = task_row(projects[0 if ranked else 1], prompt, [row["id"] for row in responses])
        done = 2 if number < FULL else 1 if number < FULL + PARTLY else 0
        is_pool = FULL + PARTLY <= number < FULL + PARTLY + POOL
        if is_pool:
            done = NUM_LABELERS
            task |= {"kind": "calibration", "target": None}
        task |= {"taken": done, "state": "full" if done == 2 else "open"}
        rows.setdefault(tables.Task, []).append(task)
        rows.setdefault(tables.TaskResponse, []).extend(
            {"task_id": task["id"], "slot": SLOTS[i], "response_id": row["id"]}
            for i, row in enumerate(responses)
        )
        for label in range(done):
            # All that is partly filled is the first labeler's.
            who = 0 if done == 1 else (label if is_pool else (2 * number + label) % NUM_LABELERS)
            add_label(rows, task, labelers[who], number)
        if number % 20_000 == 19_999 or number == NUM_PROMPTS - 1:
            with store.write() as session:
                for table, new in rows.items():
                    if new:
                        session.execute(insert(table), new)
            rows = {}


def add_label(
    rows: dict[Any, list[dict[str, Any]]], task: dict[str, Any], account: uuid.UUID, number: int
) -> None:
    """An assignment with its label: noise around a worth that the number of the task decides."""
    assignment = identify("assignment", task["id"], account)
    draws = np.random.default_rng([number, int(account.int % 2**31)])
    slots, flags = list(SLOTS[:K]), PAPER.flag_names
    seen = np.sin(number + np.arange(K)) + 0.6 * draws.normal(size=K)
    ranks = np.argsort(np.argsort(-seen)) + 1
    body = {
        "rank_groups": groups_of(ranks.tolist(), slots),
        "unacceptable": [],
        "ratings": {
            slot: {
                "likert": int(np.clip(np.round(4 + 1.5 * value), 1, 7)),
                "flags": dict(zip(flags, (draws.random(len(flags)) < 0.05).tolist(), strict=True)),
            }
            for slot, value in zip(slots, seen, strict=True)
        },
    }
    order = draws.permutation(slots).tolist()
    at = START + timedelta(days=int(draws.integers(DAYS)), seconds=int(draws.integers(36_000)))
    texts = {slot: f"Answer {i} to {number}. " * 10 for i, slot in enumerate(slots)}
    seconds = float(60 * np.exp(0.4 * draws.normal()))
    rows.setdefault(tables.Assignment, []).append(
        {
            "id": assignment,
            "task_id": task["id"],
            "account_id": account,
            "state": "submitted",
            "counted": True,
            "lease_expires": at,
            "display_order": order,
            "display_seed": 0,
            "started_at": at,
            "last_seen": at,
        }
    )
    rows.setdefault(tables.Submission, []).append(
        {
            "id": identify("submission", assignment, 1),
            "assignment_id": assignment,
            "revision": 1,
            "kind": "submitted",
            "key": identify("form", assignment, 1),
            "form_sha256": "",
            "body": body,
            "active_seconds": seconds,
            "at": at,
        }
    )
    if number % 20 == 0:
        rows.setdefault(tables.SubmissionText, []).append(
            {
                "submission_id": identify("submission", assignment, 1),
                "field": "comment",
                "text": f"Of {number} I am not sure.",
            }
        )
    rows.setdefault(tables.Judgement, []).append(
        {
            "assignment_id": assignment,
            "project_id": task["project_id"],
            "task_id": task["id"],
            "account_id": account,
            "task_kind": task["kind"],
            "use_case": USE_CASES[number % len(USE_CASES)],
            "counted": True,
            "num_chars": sum(map(len, texts.values())) + 250,
            "active_seconds": seconds,
            "at": at,
            **in_short(body, order, texts, flags),
        }
    )


if __name__ == "__main__":
    main()
