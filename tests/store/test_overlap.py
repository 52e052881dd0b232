"""A share of tasks with more labels: which, how many, and that no task gets more than it wants."""

import random
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import START, add_labeler, add_prompt, at, fill_in
from scipy.stats import binom
from sqlalchemy import select

from preceptor.errors import StoreError
from preceptor.store.database import Store
from preceptor.store.labels import submit
from preceptor.store.names import identify
from preceptor.store.projects import (
    ProjectOptions,
    add_tasks,
    create_project,
    labels_wanted,
)
from preceptor.store.queue import claim
from preceptor.store.status import project_status
from preceptor.store.tables import Project, Prompt, Task

IDS = [identify("task", number) for number in range(4000)]


def project_of(seed: int, fraction: float, more: int | None = 3) -> Project:
    return Project(overlap=1, overlap_more=more, overlap_fraction=fraction, seed=seed)


@given(st.integers(0, 2**62), st.floats(0.01, 1))
def test_the_share_is_what_was_asked_within_what_chance_allows(seed: int, fraction: float):
    project = project_of(seed, fraction)
    wanted = Counter(labels_wanted(project, id) for id in IDS)
    assert set(wanted) <= {1, 3}
    low, high = binom.interval(1 - 1e-9, len(IDS), fraction)
    assert low <= wanted[3] <= high


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.floats(0.1, 0.9))
def test_another_seed_draws_other_tasks_and_a_larger_share_the_same_and_more(
    seed: int, other: int, fraction: float
):
    def chosen(seed: int, fraction: float) -> set[uuid.UUID]:
        return {id for id in IDS[:400] if labels_wanted(project_of(seed, fraction), id) == 3}

    assert chosen(seed, fraction) <= chosen(seed, min(1, 1.5 * fraction))
    assert (seed == other) == (chosen(seed, fraction) == chosen(other, fraction))


def targets(store: Store, project: uuid.UUID) -> dict[Any, int | None]:
    with store.read() as session:
        rows = session.execute(
            select(Prompt.content, Task.target)
            .join(Prompt, Prompt.id == Task.prompt_id)
            .where(Task.project_id == project)
        )
        return dict(rows.all())


def made(store: Store, **options: Any) -> uuid.UUID:
    more = {"overlap_more": 3, "overlap_fraction": 0.4, "calibration_fraction": 0.0} | options
    with store.write() as session:
        return create_project(
            session, "answers", "demonstration", ProjectOptions(**more), now=START
        )


@pytest.fixture(scope="module")
def in_one_go(fresh: Any) -> dict[Any, int | None]:
    """What 40 tasks want that were added at once."""
    store = fresh()
    project = made(store)
    with store.write() as session:
        add_tasks(session, project, {add_prompt(session, f"p{i}"): [] for i in range(40)})
    found = targets(store, project)
    store.close()
    assert set(found.values()) == {1, 3}
    return found


@pytest.mark.parametrize("seed", range(3))
def test_what_a_task_wants_is_the_same_whatever_the_order_of_adding(
    store: Store, in_one_go: dict[Any, int | None], seed: int
):
    project, draws = made(store), random.Random(seed)
    texts = sorted(in_one_go)
    draws.shuffle(texts)
    while texts:
        batch = [texts.pop() for _ in range(min(len(texts), draws.randint(1, 15)))]
        with store.write() as session:
            add_tasks(session, project, {add_prompt(session, text): [] for text in batch})
    assert targets(store, project) == in_one_go


def test_each_task_gets_what_it_wants_and_progress_counts_so(store: Store):
    project = made(store)
    with store.write() as session:
        add_tasks(session, project, {add_prompt(session, f"p{i}"): [] for i in range(12)})
        people = [add_labeler(session, store, name) for name in "abcd"]
    wanted = targets(store, project)
    got: Counter[Any] = Counter()
    with store.read() as session:
        [status] = project_status(session)
    assert (status.num_wanted, status.num_labels) == (sum(filter(None, wanted.values())), 0)
    assert status.num_wanted > status.num_tasks == 12
    waiting = list(people)
    while waiting:
        who = waiting.pop(0)
        with store.write() as session:
            view = claim(session, project, who, now=at(len(got)))
            if view is None:
                continue
            form = fill_in(view)
            receipt = submit(session, view.id, who, key=view.key, form=form, now=at(len(got)))
        assert receipt.outcome == "counted"
        got[view.prompt] += 1
        waiting.append(who)
    assert got == wanted
    with store.read() as session:
        [status] = project_status(session)
    assert (status.num_full, status.num_labels) == (12, status.num_wanted)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"overlap_more": None}, "need both"),
        ({"overlap_fraction": 0.0}, "need both"),
        ({"overlap": 3}, "3 labels of a share of tasks are not more than the 3 of each"),
        ({"overlap_fraction": 1.5}, "0 to 1, not 1.5"),
        ({"overlap_fraction": float("nan")}, "0 to 1, not nan"),
    ],
)
def test_half_a_wish_is_refused(store: Store, options: dict[str, Any], told: str):
    with pytest.raises(StoreError, match=told):
        made(store, **options)


def test_tasks_that_every_labeler_gets_want_no_number(store: Store):
    project = made(store, overlap_fraction=1.0)
    with store.write() as session:
        prompts = {add_prompt(session, f"p{i}"): [] for i in range(6)}
        add_tasks(session, project, prompts, num_calibration=2)
    assert Counter(targets(store, project).values()) == {None: 2, 3: 4}
