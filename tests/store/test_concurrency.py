"""Many labelers at once, and processes that are killed: no label is lost, none counts twice."""

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from people import START, add_labeler, add_project, at, fill_in
from sqlalchemy import func, select, text
from working import work

from preceptor.data.records import Demonstration
from preceptor.store import queue
from preceptor.store.database import Store
from preceptor.store.ingest import import_labels, read_file
from preceptor.store.labels import save_draft, submit
from preceptor.store.queue import claim, expire
from preceptor.store.rows import Provenance
from preceptor.store.tables import Assignment, Submission, Task


def prepare(store: Store, num_labelers: int, **options: Any) -> tuple[uuid.UUID, list[uuid.UUID]]:
    with store.write() as session:
        project = add_project(session, num_responses=2, **options)
        return project, [add_labeler(session, store, f"l{i}") for i in range(num_labelers)]


def at_once(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(function, items))


def assert_all_is_there_once(
    store: Store, saved: list[uuid.UUID], tasks: int, overlap: int
) -> None:
    with store.read() as session:
        labels = session.execute(
            select(Submission.id, Assignment.task_id, Assignment.account_id).join(
                Assignment, Assignment.id == Submission.assignment_id
            )
        ).all()
        taken = session.scalars(select(Task.taken)).all()
        states = Counter(session.scalars(select(Assignment.state)))
    assert set(saved) <= {label.id for label in labels}, "a label that was saved is lost"
    assert len({(label.task_id, label.account_id) for label in labels}) == len(labels)
    assert list(Counter(label.task_id for label in labels).values()) == [overlap] * tasks
    assert list(taken) == [overlap] * tasks
    assert states == {"submitted": tasks * overlap}


def finish_all(store: Store, num_labelers: int, tasks: int, overlap: int) -> None:
    project, labelers = prepare(store, num_labelers, num_tasks=tasks, overlap=overlap)

    def until_nothing_is_left(account: uuid.UUID) -> list[uuid.UUID]:
        done = []
        while label := work(store, project, account):
            done.append(label)
        return done

    saved = sum(at_once(until_nothing_is_left, labelers), [])
    assert len(saved) == len(set(saved)) == tasks * overlap
    assert_all_is_there_once(store, saved, tasks, overlap)


def test_labelers_at_once_lose_and_double_nothing(store: Store):
    finish_all(store, num_labelers=32, tasks=20, overlap=2)


@pytest.mark.slow
def test_32_labelers_and_20_000_labels(store: Store):
    finish_all(store, num_labelers=32, tasks=10_000, overlap=2)


def test_one_account_in_many_tabs_holds_one_task_and_makes_one_label(store: Store):
    project, [ann] = prepare(store, 1, num_tasks=9)

    def take(_: int) -> Any:
        with store.write() as session:
            return claim(session, project, ann, now=START)

    views = at_once(take, list(range(8)))
    assert len({view.id for view in views}) == 1
    held = views[0]

    def send(_: int) -> Any:
        with store.write() as session:
            return submit(session, held.id, ann, key=held.key, form=fill_in(held), now=at(1))

    receipts = at_once(send, list(range(8)))
    assert Counter(r.outcome for r in receipts) == {"counted": 1, "repeated": 7}
    assert len({r.submission_id for r in receipts}) == 1


def test_the_last_place_goes_to_one_of_those_who_ask_at_once(store: Store):
    project, labelers = prepare(store, 8, num_tasks=1, overlap=1)

    def take(account: uuid.UUID) -> Any:
        with store.write() as session:
            return claim(session, project, account, now=START)

    assert sum(view is not None for view in at_once(take, labelers)) == 1


def test_submits_after_an_expiry_that_come_at_once_fill_the_task_and_no_more(store: Store):
    project, labelers = prepare(store, 6, num_tasks=1, overlap=3, lease_seconds=60)
    held = []
    for turn, account in enumerate(labelers):  # three at a time: the others' leases have run out
        with store.write() as session:
            held.append((account, claim(session, project, account, now=at(100 * (turn // 3)))))
    assert all(view for _, view in held)

    def send(pair: Any) -> str:
        account, view = pair
        with store.write() as session:
            form = fill_in(view)
            return submit(session, view.id, account, key=view.key, form=form, now=at(300)).outcome

    assert Counter(at_once(send, held)) == {"counted": 3, "surplus": 3}
    with store.read() as session:
        assert session.scalar(select(func.count()).select_from(Submission)) == 6


def test_a_task_that_an_old_page_submits_during_a_claim_is_not_handed_out_again(store: Store):
    """The page's submit is not yet committed when the claim looks for a task."""
    project, [ann] = prepare(store, 1, num_tasks=1, overlap=2)
    with store.write() as session:
        held = claim(session, project, ann, now=START)
        expire(session, project, now=at(4000))
    assert held is not None
    began = threading.Event()

    def send(_: int) -> Any:
        with store.write() as session:
            key, form = held.key, fill_in(held)
            receipt = submit(session, held.id, ann, key=key, form=form, now=at(4001))
            began.set()
            time.sleep(0.5)
            return receipt.outcome

    def take(_: int) -> Any:
        began.wait()
        with store.write() as session:
            return claim(session, project, ann, now=at(4002))

    assert at_once(lambda job: job(0), [send, take]) == ["counted", None]
    with store.read() as session:
        assert session.get_one(Assignment, held.id).state == "submitted"
        assert session.scalars(select(Task.taken)).all() == [1]


@pytest.mark.parametrize("what", ["submit", "draft"])
def test_a_claim_and_an_old_page_of_the_same_task_wait_for_each_other_in_one_order(
    store: Store, monkeypatch: pytest.MonkeyPatch, what: str
):
    project, [ann, bob] = prepare(store, 2, num_tasks=1, overlap=2)
    with store.write() as session:
        held = claim(session, project, ann, now=START)
        assert claim(session, project, bob, now=at(500))
        expire(session, project, now=at(3700))
    assert held is not None
    began, real = threading.Event(), queue.take_place

    def slow(task: Task, assignment: Assignment) -> bool:
        if threading.current_thread().name.endswith("_1"):
            return real(task, assignment)
        began.set()
        time.sleep(0.5)  # the claim holds the task, and has not written its assignment
        return real(task, assignment)

    monkeypatch.setattr(queue, "take_place", slow)

    def take(_: int) -> Any:
        with store.write() as session:
            view = claim(session, project, ann, now=at(3800))
            return view and view.state

    def page(_: int) -> Any:
        began.wait()
        with store.write() as session:
            if what == "submit":
                key, form = held.key, fill_in(held)
                return submit(session, held.id, ann, key=key, form=form, now=at(3801)).outcome
            return save_draft(session, held.id, ann, ["x"], version=0, now=at(3801))

    expected = {"submit": "counted", "draft": 1}[what]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(take, 0), pool.submit(page, 0)]
        assert [job.result(60) for job in jobs] == ["leased", expected]


def test_the_same_file_imported_twice_at_once_adds_its_rows_once(store: Store, tmp_path: Path):
    rows = [{"prompt": f"q {i}", "response": "r", "user": "u"} for i in range(50)]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = read_file(Provenance(path, "CC0", "yes", START), Demonstration)

    def bring(_: int) -> Counter[str]:
        with store.write() as session:
            return import_labels(session, store.site_key, file)

    counts = at_once(bring, [0, 1])
    assert sorted(counts, key=str) == [{"added": 50}, {"there already": 50}]


def test_a_process_that_is_killed_again_and_again_loses_nothing_that_was_saved(store: Store):
    project, labelers = prepare(store, 3, num_tasks=36, overlap=2)
    where = store.engine.url.render_as_string(hide_password=False)
    script = Path(__file__).parent / "working.py"
    arguments = [sys.executable, str(script), where, str(project), *map(str, labelers)]
    saved: list[uuid.UUID] = []
    for lines in (1, 6, 4, None):  # at the end nobody is killed
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for number, line in enumerate(process.stdout, 1):
                saved.append(uuid.UUID(line.strip()))
                if number == lines:
                    process.send_signal(signal.SIGKILL)
        assert process.returncode == (0 if lines is None else -signal.SIGKILL)
        if store.engine.dialect.name == "sqlite":
            with store.read() as session:
                assert session.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    assert len(saved) == len(set(saved))
    assert_all_is_there_once(store, saved, tasks=36, overlap=2)
