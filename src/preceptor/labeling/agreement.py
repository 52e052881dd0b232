"""How far labelers agree: of the pairs that two of them judged, of ratings, of flags.

Everything is counted over arrays of labels (preceptor.labeling.judgements); a task with labels of m
labelers has m (m - 1) / 2 pairs of labels, and intervals are clustered by task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.labeling.judgements import NO, YES, Judgements, Whole, id_of
from preceptor.statistics.alpha import alpha_of_counts
from preceptor.statistics.clusters import (
    POWER,
    estimate_of_sums,
    mean_of_clusters,
    sum_by,
    two_way_mean,
)
from preceptor.statistics.estimate import Estimate
from preceptor.statistics.flags import FlagAgreement, flag_agreement_of_counts
from preceptor.statistics.rankings import midranks_of_rows, pair_counts
from preceptor.store.forms import LIKERT
from preceptor.store.tables import Account

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
TWO_WAY_UP_TO = 5_000
"""Pairs of labels; beyond it drawing labelers and tasks again takes too long for a page."""
MOST_PAIRS = 400
NEWEST = 20_000
"""A page's figures are of so many labels at most, so that it opens within a second; they say so."""


@dataclass(frozen=True)
class Person:
    """A labeler as the pages name them."""

    pseudonym: str
    group: str
    state: str


@dataclass(frozen=True)
class Compared:
    """All pairs of labels [P] of one task by different labelers, `a` and `b` rows of the labels."""

    a: Whole
    b: Whole
    task: Whole
    strict: Floats
    strict_agreed: Floats
    all: Floats
    all_agreed: Floats
    tau: Floats


@dataclass(frozen=True)
class Row:
    """A group's agreement."""

    name: str
    strict: Estimate
    with_ties: Estimate


@dataclass(frozen=True)
class Agreement:
    """What the page shows of a project.

    strict      of the response pairs that two labelers both order, the share ordered alike
    with_ties   of all response pairs, the share judged alike, a tie being a judgement
    both_ways   `strict` for other labelers and other tasks than these: both are drawn again
    detectable  the smallest difference of `strict` that so many labels show, 80 times of 100
    """

    num_labels: int
    num_tasks: int  # with two labels or more
    strict: Estimate
    with_ties: Estimate
    both_ways: Estimate
    detectable: float | None
    tau: Estimate
    tau_undefined: float | None
    likert: Estimate
    ranks: Estimate
    flags: dict[str, FlagAgreement]
    by_group: tuple[Row, ...]
    by_use_case: tuple[Row, ...]
    by_time: tuple[Row, ...]
    by_pair: tuple[tuple[str, str, Estimate], ...]  # the pseudonyms in alphabetical order


def people_of(session: Session, keys: Sequence[Any]) -> list[Person]:
    """Who these accounts are, in their order."""
    ids = [id_of(key) for key in keys]
    columns = (Account.id, Account.pseudonym, Account.labeler_group, Account.state)
    found = {
        id: Person(pseudonym, group, state)
        for id, pseudonym, group, state in session.execute(
            select(*columns).where(Account.id.in_(ids))
        )
    }
    return [found[id] for id in ids]


def agreement_of(labels: Judgements, people: Sequence[Person]) -> Agreement:
    """All of it; `people[i]` is the labeler `labels.accounts[i]`."""
    pairs = compare(labels)
    everything = np.ones(len(pairs.a), dtype=np.bool_)
    shared = np.bincount(labels.task, minlength=len(labels.tasks)) > 1
    strict = strict_share(pairs, everything)
    defined = ~np.isnan(pairs.tau)
    return Agreement(
        num_labels=len(labels),
        num_tasks=int(shared.sum()),
        strict=strict,
        with_ties=share_with_ties(pairs, everything),
        both_ways=_both_ways(labels, pairs),
        detectable=None
        if strict.low is None or strict.high is None
        else POWER * (strict.high - strict.low) / (2 * 1.96),
        tau=_mean_by_task(pairs.tau[defined], pairs.task[defined]),
        tau_undefined=float(1 - defined.mean()) if len(defined) else None,
        likert=likert_alpha(labels),
        ranks=rank_alpha(labels),
        flags=flags_of(labels),
        by_group=agreement_by_group(labels, people, pairs),
        by_use_case=_rows(pairs, labels.use_case[pairs.a], labels.use_cases),
        by_time=_rows(pairs, *_times(labels, pairs)),
        by_pair=_by_pair(labels, pairs, people),
    )


def agreement_by_group(
    labels: Judgements, people: Sequence[Person], pairs: Compared | None = None
) -> tuple[Row, ...]:
    """Within each group of labelers, and between two of them."""
    pairs = compare(labels) if pairs is None else pairs
    groups = sorted({person.group for person in people})
    group = np.array([groups.index(person.group) for person in people], dtype=np.int64)
    one, other = group[labels.account[pairs.a]], group[labels.account[pairs.b]]
    names = [a if a == b else f"{a} and {b}" for a in groups for b in groups]
    return _rows(pairs, np.minimum(one, other) * len(groups) + np.maximum(one, other), names)


def compare(labels: Judgements) -> Compared:
    """Pairs of labels, every task's alike many side by side."""
    a, b = pairs_of(labels.task)
    ranked = labels.num_slots[a] > 1
    a, b = a[ranked], b[ranked]
    k = labels.num_slots[a]
    found = np.zeros((4, len(a)))
    tau = np.full(len(a), np.nan)
    for size in np.unique(k).tolist():
        of_size = k == size
        counts = pair_counts(
            labels.ranks[a[of_size], :size].astype(np.int8),
            labels.ranks[b[of_size], :size].astype(np.int8),
        )
        found[:, of_size] = counts.strict, counts.strict_agreed, counts.all, counts.all_agreed
        tau[of_size] = counts.tau_b()
    strict, strict_agreed, all_pairs, all_agreed = found
    return Compared(a, b, labels.task[a], strict, strict_agreed, all_pairs, all_agreed, tau)


def pairs_of(task: Whole) -> tuple[Whole, Whole]:
    """The rows of each two labels of one task."""
    order = np.argsort(task, kind="stable")
    _, starts, sizes = np.unique(task[order], return_index=True, return_counts=True)
    first, second = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for size in np.unique(sizes).tolist():
        rows = order[starts[sizes == size][:, None] + np.arange(size)]
        i, j = np.triu_indices(size, 1)
        first.append(rows[:, i].ravel())
        second.append(rows[:, j].ravel())
    return np.concatenate(first), np.concatenate(second)


def strict_share(pairs: Compared, chosen: Mask, *, resample: bool = True) -> Estimate:
    return _share(pairs.strict_agreed, pairs.strict, pairs.task, chosen, resample)


def share_with_ties(pairs: Compared, chosen: Mask, *, resample: bool = True) -> Estimate:
    return _share(pairs.all_agreed, pairs.all, pairs.task, chosen, resample)


def likert_alpha(labels: Judgements) -> Estimate:
    """Krippendorff's alpha of the quality, ordinal, the response as unit."""
    rated = labels.likert > 0
    return _alpha_of_slots(labels, rated, labels.likert - min(LIKERT), np.arange(1.0, 8.0))


def rank_alpha(labels: Judgements) -> Estimate:
    """The same of places as (midrank - 1) / (K - 1), which any K share."""
    k = labels.num_slots
    places = np.zeros(labels.ranks.shape)
    for size in np.unique(k[k > 1]).tolist():
        rows = k == size
        ranks = labels.ranks[rows, :size].astype(np.float64)
        where = np.nonzero(rows)[0][:, None]
        places[where, np.arange(size)] = (midranks_of_rows(ranks) - 1) / (size - 1)
    ranked = (labels.ranks > 0) & (k > 1)[:, None]
    numbers, code = np.unique(places.round(9), return_inverse=True)
    return _alpha_of_slots(labels, ranked, code.reshape(places.shape), numbers)


def flags_of(labels: Judgements) -> dict[str, FlagAgreement]:
    """Every flag, the response as unit; without any label of flags nothing."""
    if not ((labels.flags == YES) | (labels.flags == NO)).any():
        return {}
    slots = int(labels.num_slots.max())
    unit = (labels.task[:, None] * slots + np.arange(slots)).ravel()
    num = len(labels.tasks) * slots
    found = {}
    for i, name in enumerate(labels.flag_names):
        given = labels.flags[:, :slots, i].ravel()
        yes, no = (sum_by(unit, given == code, num) for code in (YES, NO))
        task = np.arange(num) // slots
        found[name] = flag_agreement_of_counts(yes, no, task, resample=False)
    return found


def _alpha_of_slots(
    labels: Judgements, given: Mask, code: NDArray[Any], numbers: Floats
) -> Estimate:
    """Ordinal alpha of one number a slot, `code` [N, 9] its place in `numbers`."""
    row, slot = np.nonzero(given)
    slots = int(labels.num_slots.max(initial=1))
    unit = labels.task[row] * slots + slot
    num = len(labels.tasks) * slots
    cell = unit * len(numbers) + code[row, slot].astype(np.int64)
    counts = np.bincount(cell, minlength=num * len(numbers)).reshape(num, len(numbers))
    shared = counts.sum(axis=1) > 1
    used = counts[shared].sum(axis=0) > 0  # labels that nobody gave, or nobody beside another
    return alpha_of_counts(
        counts[shared][:, used].astype(np.float64),
        numbers[used],
        "ordinal",
        clusters=np.nonzero(shared)[0] // slots,
        num_resamples=400,
    )


def _share(agreed: Floats, judged: Floats, task: Whole, chosen: Mask, resample: bool) -> Estimate:
    task = task[chosen]
    sums, counts = sum_by(task, agreed[chosen]), sum_by(task, judged[chosen])
    if not counts.any():
        return Estimate.undefined("no two labelers judged the same pair of responses")
    return mean_of_clusters(sums, counts, resample=resample)


def _mean_by_task(values: Floats, task: Whole) -> Estimate:
    vectors = np.stack([sum_by(task, values), sum_by(task, None)], axis=1)
    vectors = vectors[vectors[:, 1] > 0]
    why = "no two labelers ordered the responses of one task"
    return estimate_of_sums(
        lambda s: float(s[0] / s[1]) if s[1] else None,
        vectors,
        n=len(values),
        undefined=why,
        most=1.0,
    )


def _both_ways(labels: Judgements, pairs: Compared) -> Estimate:
    """Each pair of labels once for either labeler."""
    if len(pairs.a) > TWO_WAY_UP_TO:
        return Estimate.undefined(f"only for up to {TWO_WAY_UP_TO:,} pairs of labels", len(pairs.a))
    judged = pairs.strict > 0
    agreed, strict = (np.tile(x[judged], 2) for x in (pairs.strict_agreed, pairs.strict))
    tasks = np.tile(pairs.task[judged], 2).tolist()
    labelers = labels.account[np.concatenate([pairs.a[judged], pairs.b[judged]])].tolist()
    return two_way_mean(agreed, tasks, labelers, strict, num_resamples=400)


def _rows(pairs: Compared, code: Whole, names: Sequence[str]) -> tuple[Row, ...]:
    """A row for each name that has pairs; `code` [P] is the place of each pair's name."""
    found = []
    for place in np.unique(code).tolist():
        chosen = code == place
        row = Row(
            names[place] or "none",
            strict_share(pairs, chosen, resample=False),
            share_with_ties(pairs, chosen, resample=False),
        )
        found.append(row)
    return tuple(sorted(found, key=lambda row: row.name))


def _times(labels: Judgements, pairs: Compared) -> tuple[Whole, list[str]]:
    """The day of a pair's later label; its week's Monday where the work took over three weeks."""
    if not labels.days:
        return pairs.task, []
    order = sorted(range(len(labels.days)), key=lambda i: labels.days[i])
    place = np.argsort(np.array(order, dtype=np.int64))  # of each day among the sorted ones
    days = [date.fromisoformat(labels.days[i]) for i in order]
    later = np.maximum(place[labels.day[pairs.a]], place[labels.day[pairs.b]])
    if days[-1] - days[0] <= timedelta(days=21):
        return later, [day.isoformat() for day in days]
    weeks = [(day - timedelta(days=day.weekday())).isoformat() for day in days]
    names = sorted(set(weeks))
    return np.array([names.index(week) for week in weeks], dtype=np.int64)[later], names


def _by_pair(
    labels: Judgements, pairs: Compared, people: Sequence[Person]
) -> tuple[tuple[str, str, Estimate], ...]:
    """The pairs of labelers with most in common, by name."""
    one, other = labels.account[pairs.a], labels.account[pairs.b]
    code = np.minimum(one, other) * len(people) + np.maximum(one, other)
    used, place, sizes = np.unique(code, return_inverse=True, return_counts=True)
    most = np.sort(np.argsort(-sizes, kind="stable")[:MOST_PAIRS])
    order = np.argsort(place, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    found = []
    for which in most.tolist():
        chosen = order[bounds[which] : bounds[which + 1]]
        names = sorted(people[i].pseudonym for i in divmod(int(used[which]), len(people)))
        share = _share(
            pairs.strict_agreed[chosen],
            pairs.strict[chosen],
            np.unique(pairs.task[chosen], return_inverse=True)[1],  # few of very many tasks
            np.ones(len(chosen), dtype=np.bool_),
            False,
        )
        found.append((names[0], names[1], share))
    return tuple(sorted(found, key=lambda row: row[:2]))
