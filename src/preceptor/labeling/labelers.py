"""Each labeler's record, and where on the page the first places fall.

Numbers and their alerts are shown to a person; nobody is excluded by them. In Stiennon et al.
(arXiv:2009.01325) leaving out labels of "weak" labelers hurt the reward model.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from preceptor.labeling.agreement import NEWEST, Person, compare, pairs_of, people_of
from preceptor.labeling.judgements import NO, YES, Judgements, Whole, id_of, read_judgements
from preceptor.statistics.clusters import mean_of_clusters, sum_by
from preceptor.statistics.estimate import Estimate
from preceptor.statistics.position import PositionBias, first_places, position_bias_of_tables
from preceptor.statistics.quality import (
    Pace,
    StraightLining,
    paces,
    proportion,
    straight_lining_of_counts,
)
from preceptor.statistics.rankings import midranks_of_rows, pair_counts
from preceptor.store.next_task import SKIPPED
from preceptor.store.tables import Assignment, GoldAnswer, Judgement, Task

Floats = NDArray[np.float64]
SURE = 0.001
"""An alert's chance to be false, for each labeler and each figure."""
LOWEST = {"gold": 0.65, "attention": 0.8}
"""Limits that are not the crew's own; whoever fails two of two attention tasks is below theirs."""


@dataclass(frozen=True)
class Record:
    """One labeler in one project.

    consensus    of the pairs that they and the others' mean place order, the share alike
    pool         agreement with the others on the pool that every labeler gets
    gold         agreement with the researchers' answers
    attention    of the attention tasks that they did, the share with the right answer
    ties         of the response pairs, the share that they tied
    median_seconds  of active time, None without JavaScript
    alerts       what to look at, each with its number
    """

    person: Person
    num_labels: int
    num_skips: int
    skips: Estimate
    consensus: Estimate
    pool: Estimate
    gold: Estimate
    attention: Estimate
    ties: Estimate
    flagged: Estimate
    unacceptable: Estimate
    likert_mean: float | None
    median_seconds: float | None
    pace: Pace | None
    straight: StraightLining
    position_p: float | None
    alerts: tuple[str, ...]


def read_skips(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, int]:
    """Tasks of a project that each account skipped."""
    asked = (
        Task.id == Assignment.task_id,
        Task.project_id == project_id,
        Task.kind != "attention",
    )
    rows = session.execute(
        select(Assignment.account_id, func.count())
        # Not a join, which a planner of queries may begin with the project's many tasks.
        .where(Assignment.state == SKIPPED, exists().where(*asked))
        .group_by(Assignment.account_id)
    )
    return {account: num for account, num in rows}


def read_gold(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, str]:
    """The researchers' places of each task with a gold answer, "1224"."""
    rows = session.execute(
        select(GoldAnswer.task_id, Judgement.ranks)
        .join(Judgement, Judgement.assignment_id == GoldAnswer.assignment_id)
        .where(Judgement.project_id == project_id)
    )
    return {task: ranks for task, ranks in rows}


def read_attention(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, tuple[int, int]]:
    """(passed, done) of each account's attention tasks in a project."""
    own, gold = aliased(Judgement), aliased(Judgement)
    # By its few tasks: the project's labels are many.
    tasks = select(Task.id).where(Task.project_id == project_id, Task.kind == "attention")
    rows = session.execute(
        select(own.account_id, own.ranks, gold.ranks)
        .join(GoldAnswer, GoldAnswer.task_id == own.task_id)
        .join(gold, gold.assignment_id == GoldAnswer.assignment_id)
        .where(own.task_id.in_(tasks), own.assignment_id != gold.assignment_id)
    )
    found: dict[uuid.UUID, tuple[int, int]] = {}
    for account, ranks, right in rows:
        passed, done = found.get(account, (0, 0))
        found[account] = passed + passes(ranks, right), done + 1
    return found


def passes(ranks: str, right: str) -> bool:
    """Whether "213" orders every pair as "212" does; what the answer ties may stand as it likes."""
    a, b = (np.array([[int(digit) for digit in text]], dtype=np.float64) for text in (ranks, right))
    counts = pair_counts(a, b)
    return bool(counts.strict_agreed[0] == counts.untied[0, 1])


def read_records(session: Session, project_id: uuid.UUID) -> list[Record]:
    """A record of each labeler of a project, from its newest labels, by pseudonym."""
    labels = read_judgements(session, project_id, with_flags=True, newest=NEWEST)
    skips, gold = read_skips(session, project_id), read_gold(session, project_id)
    attention = read_attention(session, project_id)
    return records_of(
        labels,
        people_of(session, labels.accounts),
        [skips.get(id_of(account), 0) for account in labels.accounts],
        [gold.get(id_of(task), "") for task in labels.tasks],
        [attention.get(id_of(account), (0, 0)) for account in labels.accounts],
    )


def records_of(
    labels: Judgements,
    people: Sequence[Person],
    skips: Sequence[int],
    gold: Sequence[str],
    attention: Sequence[tuple[int, int]],
) -> list[Record]:
    """A record of each of `people` (labels.accounts), by pseudonym.

    `skips[i]` is of labels.accounts[i], and so is `attention[i]`, (passed, done). `gold[t]` is of
    labels.tasks[t], "" where there is none.
    """
    num = len(people)
    consensus = consensus_counts(labels)
    gold_agreed, gold_judged = gold_counts(labels, gold)
    pace = paces(labels.account.tolist(), labels.seconds, labels.num_chars.astype(float))
    k = labels.num_slots
    num_pairs = k * (k - 1) / 2
    tied = np.zeros(len(labels))
    for size in np.unique(k[k > 1]).tolist():
        rows = k == size
        ranks = labels.ranks[rows, :size].astype(np.float64)
        first, second = np.triu_indices(size, 1)
        tied[rows] = (ranks[:, first] == ranks[:, second]).sum(axis=1)
    rated = labels.likert > 0
    flagged = (labels.flags == YES).sum(axis=(1, 2)).astype(np.float64)
    asked = ((labels.flags == YES) | (labels.flags == NO)).sum(axis=(1, 2)).astype(np.float64)
    pool = pool_counts(labels)
    found = []
    for i, person in enumerate(people):
        own = labels.account == i
        total = int(own.sum())
        places = labels.positions[own], labels.ranks[own]
        tables = tables_by_position(*places)
        straight = straight_of(tables)
        seconds = labels.seconds[own & np.isfinite(labels.seconds)]
        record = Record(
            person=person,
            num_labels=total,
            num_skips=skips[i],
            skips=proportion(skips[i], total + skips[i]),
            consensus=_share(consensus[0][own], consensus[1][own], labels.task[own]),
            pool=pool[i],
            gold=_share(gold_agreed[own], gold_judged[own], labels.task[own]),
            attention=proportion(*attention[i]),
            ties=_share(tied[own], num_pairs[own], labels.task[own]),
            flagged=_share(flagged[own], asked[own], labels.task[own]),
            unacceptable=_share(
                labels.num_unacceptable[own].astype(np.float64), k[own], labels.task[own]
            ),
            likert_mean=float(labels.likert[own][rated[own]].mean()) if rated[own].any() else None,
            median_seconds=float(np.median(seconds)) if len(seconds) else None,
            pace=pace.get(i),
            straight=straight,
            position_p=first_places(tables, num_permutations=2_000)[3],
            alerts=(),
        )
        found.append(record)
    usual = _usual(found)
    with_alerts = [_with_alerts(record, usual, num) for record in found]
    return sorted(with_alerts, key=lambda record: record.person.pseudonym)


def bias_of(labels: Judgements) -> PositionBias:
    """Of all labels of a project whose display order is known."""
    return position_bias_of_tables(tables_by_position(labels.positions, labels.ranks))


def tables_by_position(positions: NDArray[np.uint8], ranks: NDArray[np.uint8]) -> list[Floats]:
    """Ranks by position on the page, a table [N, K] for each K; equal texts stood there once."""
    known = (positions > 0).any(axis=1)
    positions, ranks = positions[known], ranks[known]
    shown = positions.max(axis=1, initial=0)
    by_position = np.zeros(ranks.shape)
    row, slot = np.nonzero(positions)
    by_position[row, positions[row, slot].astype(np.int64) - 1] = ranks[row, slot]
    return [by_position[shown == size, :size] for size in sorted(set(shown.tolist())) if size > 1]


def straight_of(tables: Sequence[Floats]) -> StraightLining:
    observed = sum(int((np.diff(table, axis=1) > 0).all(axis=1).sum()) for table in tables)
    return straight_lining_of_counts(observed, {table.shape[1]: len(table) for table in tables})


def consensus_counts(labels: Judgements) -> tuple[Floats, Floats]:
    """Of each label [N]: pairs ordered as the others' mean place, and pairs that both order."""
    agreed, judged = np.zeros(len(labels)), np.zeros(len(labels))
    k = labels.num_slots
    size = np.bincount(labels.task, minlength=len(labels.tasks))[labels.task]
    for num_slots in np.unique(k[k > 1]).tolist():
        rows = np.nonzero((k == num_slots) & (size > 1))[0]
        if not len(rows):
            continue
        places = midranks_of_rows(labels.ranks[rows, :num_slots].astype(np.float64))
        sums = np.zeros((len(labels.tasks), num_slots))
        np.add.at(sums, labels.task[rows], places)
        others = (sums[labels.task[rows]] - places) / (size[rows] - 1)[:, None]
        counts = pair_counts(places, others.round(9))
        agreed[rows], judged[rows] = counts.strict_agreed, counts.strict
    return agreed, judged


def gold_counts(labels: Judgements, gold: Sequence[str]) -> tuple[Floats, Floats]:
    """Of each label [N]: pairs ordered as the gold answer, and pairs that both order."""
    agreed, judged = np.zeros(len(labels)), np.zeros(len(labels))
    of_label = np.array(gold, dtype=object)[labels.task] if len(labels) else np.zeros(0, object)
    for row in np.nonzero(of_label != "")[0].tolist():
        size = int(labels.num_slots[row])
        ranks = np.array([[int(digit) for digit in of_label[row]]], dtype=np.float64)
        if size > 1 and ranks.shape[1] == size:
            counts = pair_counts(labels.ranks[row, :size].astype(np.float64)[None], ranks)
            agreed[row], judged[row] = counts.strict_agreed[0], counts.strict[0]
    return agreed, judged


def pool_counts(labels: Judgements) -> list[Estimate]:
    """Each account's agreement with all others on the tasks of the pool."""
    rows = np.nonzero(labels.is_pool)[0]
    a, b = pairs_of(labels.task[rows])
    pairs = compare(labels) if len(a) else None
    if pairs is None:
        nothing = Estimate.undefined("no two labelers did the same task of the pool")
        return [nothing] * len(labels.accounts)
    of_pool = labels.is_pool[pairs.a]
    found = []
    for i in range(len(labels.accounts)):
        mine = of_pool & ((labels.account[pairs.a] == i) | (labels.account[pairs.b] == i))
        found.append(_share(pairs.strict_agreed[mine], pairs.strict[mine], pairs.task[mine]))
    return found


def _share(agreed: NDArray[np.float64], judged: NDArray[np.generic], task: Whole) -> Estimate:
    used, place = np.unique(task, return_inverse=True)
    sums, counts = sum_by(place, agreed, len(used)), sum_by(place, judged, len(used))
    if not counts.any():
        return Estimate.undefined("nothing to count yet")
    return mean_of_clusters(sums, counts, resample=False)


def _usual(records: Sequence[Record]) -> dict[str, float]:
    """The median labeler's shares, which alerts are held against."""
    found = {}
    for name in ("consensus", "ties", "skips", "flagged"):
        values = [value for r in records if (value := getattr(r, name).mean) is not None]
        found[name] = float(np.median(values)) if values else 0.0
    return found


def _with_alerts(record: Record, usual: dict[str, float], num: int) -> Record:
    """What stands out, in words with its number. `num` labelers share the chance of an error."""
    sure = SURE / max(1, num)
    alerts = []
    if record.straight.p is not None and record.straight.p < sure:
        alerts.append(
            f"{record.straight.observed} of {record.straight.n} rankings are the display order; "
            f"chance gives {record.straight.expected:.1f}"
        )
    if record.position_p is not None and record.position_p < max(sure, 1 / 1_000):
        alerts.append(f"first places depend on the position (p {record.position_p:.4f})")
    if record.pace is not None and record.pace.is_hasty and record.pace.n >= 5:
        alerts.append(f"much quicker than others on tasks of that length (z {record.pace.z:.1f})")
    for name, words in (
        (
            "consensus",
            "agrees with the others' order in {own:.0%}, the median labeler in {usual:.0%}",
        ),
        ("gold", "agrees with the gold answers in {own:.0%}"),
        ("attention", "passes {own:.0%} of the attention tasks"),
    ):
        estimate: Estimate = getattr(record, name)
        limit = usual.get(name, LOWEST.get(name, 0.0)) - 0.05
        if estimate.mean is not None and estimate.high is not None and estimate.high < limit:
            alerts.append(words.format(own=estimate.mean, usual=usual.get(name, 0.0)))
    for name, words in (
        ("ties", "ties {own:.0%} of pairs, the median labeler {usual:.0%}"),
        ("skips", "skips {own:.0%} of tasks, the median labeler {usual:.0%}"),
        ("flagged", "sets {own:.0%} of flags, the median labeler {usual:.0%}"),
    ):
        estimate = getattr(record, name)
        if estimate.low is not None and estimate.low > max(2 * usual[name], usual[name] + 0.1):
            alerts.append(words.format(own=estimate.mean, usual=usual[name]))
    return replace(record, alerts=tuple(alerts))
