"""Many labelers at a real server that is killed in between: no label is lost, none is doubled."""

import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from browsers import add_member, make_project
from live import key_of
from people import fill_in
from sqlalchemy import func, select

from preceptor.labeling.client import Client
from preceptor.labeling.local import local_app, start, stop
from preceptor.store.database import Store
from preceptor.store.tables import Assignment, Submission, Task


def prepare(store: Store, num_labelers: int, num_tasks: int) -> tuple[str, list[str]]:
    """A project whose tasks want two labels each, and a key for each labeler."""
    project = make_project(store, tasks={f"p{i}": ["a", "b"] for i in range(num_tasks)}, overlap=2)
    keys = [key_of(store, add_member(store, f"l{i}")) for i in range(num_labelers)]
    return str(project), keys


def work(url: str, key: str, project: str) -> list[str]:
    """Until nothing is left, each form sent twice as by a double click; the labels' ids."""
    client, labels = Client(url, key), []
    while task := client.claim(project):
        form = fill_in(task)  # type: ignore[arg-type]
        receipts = [client.submit(task, form) for _ in range(2)]
        assert receipts[0]["submission_id"] == receipts[1]["submission_id"]
        assert receipts[1]["outcome"] == "repeated"
        labels.append(str(receipts[0]["submission_id"]))
    client.close()
    return labels


def assert_each_is_there_once(store: Store, labels: list[str], num_tasks: int) -> None:
    with store.read() as session:
        there = {str(id) for id in session.scalars(select(Submission.id))}
        assert set(labels) <= there, "a label that was answered for is lost"
        assert len(labels) == len(set(labels)) == len(there) == 2 * num_tasks
        assert set(session.scalars(select(Task.taken))) == {2}
        states = Counter(session.scalars(select(Assignment.state)))
        assert states == {"submitted": 2 * num_tasks}
        pairs = select(Assignment.task_id, Assignment.account_id).distinct()
        assert len(session.execute(pairs).all()) == 2 * num_tasks


def all_work(store: Store, where: str, num_labelers: int, num_tasks: int) -> None:
    project, keys = prepare(store, num_labelers, num_tasks)
    with local_app(where) as url, ThreadPoolExecutor(num_labelers) as pool:
        labels = sum(pool.map(lambda key: work(url, key, project), keys), [])
    assert_each_is_there_once(store, labels, num_tasks)


def test_32_labelers_at_once_lose_and_double_nothing(store: Store, tmp_path: Path):
    all_work(store, str(tmp_path / "labels.db"), num_labelers=32, num_tasks=60)


@pytest.mark.slow
def test_32_labelers_and_20_000_labels(store: Store, tmp_path: Path):
    all_work(store, str(tmp_path / "labels.db"), num_labelers=32, num_tasks=10_000)


def test_a_server_that_is_killed_in_the_middle_of_submits_loses_nothing(
    store: Store, tmp_path: Path
):
    """kill -9, three times; the labelers' programs ask again until somebody answers."""
    num_tasks = 60
    project, keys = prepare(store, 8, num_tasks)
    where = str(tmp_path / "labels.db")
    kills = 0

    def count() -> int:
        with store.read() as session:
            return session.scalar(select(func.count()).select_from(Submission)) or 0

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = start(where, listening)
        with ThreadPoolExecutor(len(keys)) as pool:
            jobs = [pool.submit(work, url, key, project) for key in keys]
            # Each time some more labels are in, so that it dies at work.
            for wanted in (10, 50, 90):
                while count() < wanted:
                    time.sleep(0.002)
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                process = start(where, listening)
            labels = sum((job.result() for job in jobs), [])
        stop(process)
    assert kills == 3
    assert_each_is_there_once(store, labels, num_tasks)
