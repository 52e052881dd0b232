"""The lead's figures, each made again from exported records by loops over them."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crew import (
    add_rejected,
    by_lot,
    copy_of,
    honest,
    ranking_store,
    straight,
    worked_store,
)
from people import START
from sqlalchemy import select

from preceptor.labeling.agreement import agreement_of, people_of
from preceptor.labeling.disagreements import read_discussion, read_disputed
from preceptor.labeling.judgements import id_of, read_judgements
from preceptor.labeling.labelers import (
    bias_of,
    read_attention,
    read_gold,
    read_skips,
    records_of,
    tables_by_position,
)
from preceptor.labeling.mixture import read_mixture, read_samples
from preceptor.labeling.progress import read_leases, read_progress
from preceptor.statistics import (
    consensus_agreement,
    flag_agreement,
    krippendorff_alpha,
    mean_tau_b,
    pairwise_agreement,
    pairwise_agreement_with_ties,
    position_bias,
    rank_shares,
    straight_lining,
)
from preceptor.store.database import Store, create_store, open_store
from preceptor.store.export import Filter, export_records
from preceptor.store.questions import PAPER
from preceptor.store.queue import claim
from preceptor.store.tables import Account, Assignment, Judgement, Task

CREW = {
    "ann": (honest(0.4), {}),
    "bob": (honest(0.4), {}),
    "cyd": (honest(0.8), {}),
    "dan": (honest(0.6), {"group": "researcher", "role": "researcher"}),
}
LATER = START + timedelta(days=400)


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEPTOR_SITE_KEY", "a key that is only known to tests")
        yield worked_store(tmp_path_factory.mktemp("worked"), CREW)


@pytest.fixture
def store(worked: tuple[Path, Any], tmp_path: Path) -> Iterator[Store]:
    opened = copy_of(worked[0], tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    create_store(str(tmp_path / "empty.db"))
    opened = open_store(str(tmp_path / "empty.db"))
    yield opened
    opened.close()


@pytest.fixture
def project(worked: tuple[Path, Any]) -> Any:
    return worked[1]


@pytest.fixture
def records(store: Store, project: Any, tmp_path: Path) -> list[dict[str, Any]]:
    """What an export says of the same labels."""
    wanted = Filter("rankings", include_surplus=True)
    done = export_records(store, wanted, tmp_path / "out", now=LATER)
    return [json.loads(line) for line in done.path.read_text().splitlines()]


def as_rankings(records: list[dict[str, Any]]) -> list[tuple[str, str, list[int]]]:
    return [(r["meta"]["task_id"], r["labeler"], r["ranks"]) for r in records]


def read(store: Store, project: Any) -> Any:
    with store.read() as session:
        labels = read_judgements(session, project, with_flags=True)
        return labels, people_of(session, labels.accounts)


def test_agreement_is_that_of_the_exported_rankings(store: Store, project: Any, records: Any):
    found = agreement_of(*read(store, project))
    rankings = as_rankings(records)
    strict, loose = pairwise_agreement(rankings), pairwise_agreement_with_ties(rankings)
    assert (found.strict.mean, found.strict.n) == (pytest.approx(strict.mean), strict.n)
    assert (found.with_ties.mean, found.with_ties.n) == (pytest.approx(loose.mean), loose.n)
    assert found.strict.clusters == strict.clusters
    assert (found.strict.low, found.strict.high) == pytest.approx(
        (strict.low, strict.high), abs=0.03
    )
    tau, undefined = mean_tau_b(rankings)
    assert found.tau.mean == pytest.approx(tau.mean)
    assert found.tau_undefined == pytest.approx(undefined)
    assert found.num_labels == len(records)


def units_of(records: list[dict[str, Any]], value: Any) -> tuple[list[list[Any]], list[str]]:
    """What each response of each task got from its labelers, and the task of each."""
    units: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for record in records:
        for slot, got in enumerate(value(record)):
            units[record["meta"]["task_id"], slot].append(got)
    return list(units.values()), [task for task, _ in units]


def rating(record: dict[str, Any], slot: int) -> dict[str, Any]:
    return record["meta"]["ratings"]["ABCDEFGHI"[slot]]


def test_alphas_are_those_of_the_exported_labels(store: Store, project: Any, records: Any):
    found = agreement_of(*read(store, project))
    slots = [range(len(r["ranks"])) for r in records]
    likert, tasks = units_of(
        records, lambda r: [rating(r, i)["likert"] for i in range(len(r["ranks"]))]
    )
    again = krippendorff_alpha(likert, "ordinal", clusters=tasks)
    assert found.likert.mean == pytest.approx(again.mean)
    assert (found.likert.low, found.likert.high) == pytest.approx((again.low, again.high), abs=0.05)
    shares, tasks = units_of(records, lambda r: [round(s, 9) for s in rank_shares(r["ranks"])])
    assert found.ranks.mean == pytest.approx(krippendorff_alpha(shares, "ordinal").mean)
    assert len(slots) == len(records)


def test_flags_are_those_of_the_exported_labels(store: Store, project: Any, records: Any):
    found = agreement_of(*read(store, project)).flags
    assert list(found) == list(PAPER.flag_names)
    for name in PAPER.flag_names:
        units, tasks = units_of(
            records,
            lambda r, name=name: [rating(r, i)["flags"][name] for i in range(len(r["ranks"]))],
        )
        again = flag_agreement(units, tasks)
        for part in ("base_rate", "raw", "positive", "ac1", "alpha"):
            mine, theirs = getattr(found[name], part), getattr(again, part)
            assert mine.mean == (None if theirs.mean is None else pytest.approx(theirs.mean)), part
            assert mine.n == theirs.n, (name, part)


def test_breakdowns_are_those_of_the_parts(store: Store, project: Any, records: Any):
    found = agreement_of(*read(store, project))
    by_use_case = defaultdict(list)
    for record in records:
        by_use_case[record["use_case"]].append(record)
    assert [row.name for row in found.by_use_case] == sorted(by_use_case)
    for row in found.by_use_case:
        again = pairwise_agreement(as_rankings(by_use_case[row.name]))
        assert (row.strict.mean, row.strict.n) == (pytest.approx(again.mean), again.n)
    assert found.by_pair
    for one, other, share in found.by_pair:
        both = [r for r in records if r["labeler"] in (one, other)]
        again = pairwise_agreement(as_rankings(both))
        assert share.mean == (None if again.mean is None else pytest.approx(again.mean))
    groups = {r["labeler"]: r["meta"]["labeler_group"] for r in records}
    training = [r for r in records if groups[r["labeler"]] == "training"]
    [row] = [row for row in found.by_group if row.name == "training"]
    assert row.strict.mean == pytest.approx(pairwise_agreement(as_rankings(training)).mean)
    assert {row.name for row in found.by_group} == {"training", "researcher and training"}
    assert sum(row.with_ties.n for row in found.by_time) == found.with_ties.n
    assert sum(row.with_ties.n for row in found.by_group) == found.with_ties.n


def records_by_name(store: Store, project: Any) -> dict[str, Any]:
    with store.read() as session:
        labels = read_judgements(session, project, with_flags=True)
        people = people_of(session, labels.accounts)
        skips, gold = read_skips(session, project), read_gold(session, project)
        attention = read_attention(session, project)
        found = records_of(
            labels,
            people,
            [skips.get(id_of(account), 0) for account in labels.accounts],
            [gold.get(id_of(task), "") for task in labels.tasks],
            [attention.get(id_of(account), (0, 0)) for account in labels.accounts],
        )
        logins = dict(session.execute(select(Account.pseudonym, Account.login)).all())
    return {logins[record.person.pseudonym]: record for record in found}


def by_position(record: dict[str, Any]) -> list[int]:
    slots = "ABCDEFGHI"
    return [record["ranks"][slots.index(slot)] for slot in record["meta"]["display_order"]]


def test_labelers_records_are_those_of_the_exported_labels(
    store: Store, project: Any, records: Any
):
    found = records_by_name(store, project)
    consensus = consensus_agreement(as_rankings(records))
    for record in found.values():
        own = [r for r in records if r["labeler"] == record.person.pseudonym]
        assert record.num_labels == len(own)
        again = consensus[record.person.pseudonym]
        assert (record.consensus.mean, record.consensus.n) == (pytest.approx(again.mean), again.n)
        pairs = [
            r["ranks"][i] == r["ranks"][j]
            for r in own
            for i in range(len(r["ranks"]))
            for j in range(i)
        ]
        assert record.ties.mean == pytest.approx(np.mean(pairs))
        likert = [rating(r, i)["likert"] for r in own for i in range(len(r["ranks"]))]
        assert record.likert_mean == pytest.approx(np.mean(likert))
        flags = [v for r in own for s in r["meta"]["ratings"].values() for v in s["flags"].values()]
        given = [v for v in flags if v is not None]
        assert record.flagged.mean == pytest.approx(np.mean(given))
        bad = sum(len(r["meta"]["unacceptable"]) for r in own)
        assert record.unacceptable.mean == pytest.approx(bad / sum(len(r["ranks"]) for r in own))
        seconds = [r["meta"]["active_seconds"] for r in own]
        assert record.median_seconds == pytest.approx(np.median(seconds))
        assert record.straight == straight_lining([by_position(r) for r in own])
    pool = [r for r in records if r["meta"]["task_kind"] == "calibration"]
    for record in found.values():
        mine = {r["meta"]["task_id"] for r in pool if r["labeler"] == record.person.pseudonym}
        agreed = judged = 0
        for one in (r for r in pool if r["labeler"] == record.person.pseudonym):
            for other in pool:
                if other["meta"]["task_id"] != one["meta"]["task_id"] or other is one:
                    continue
                for i in range(len(one["ranks"])):
                    for j in range(i):
                        a = np.sign(one["ranks"][i] - one["ranks"][j])
                        b = np.sign(other["ranks"][i] - other["ranks"][j])
                        judged += a != 0 and b != 0
                        agreed += a == b != 0
        assert record.pool.mean == pytest.approx(agreed / judged), mine


def test_skips_are_counted_and_cost_nothing(store: Store, project: Any):
    with store.read() as session:
        skipped = Counter(
            session.scalars(
                select(Account.login)
                .join(Assignment, Assignment.account_id == Account.id)
                .where(Assignment.state == "skipped")
            )
        )
    found = records_by_name(store, project)
    assert sum(skipped.values()) > 0
    assert {name: r.num_skips for name, r in found.items()} == {n: skipped[n] for n in found}


def test_position_bias_is_that_of_the_exported_orders(store: Store, project: Any, records: Any):
    labels, _ = read(store, project)
    found, again = bias_of(labels), position_bias([by_position(r) for r in records])
    assert found.observed == pytest.approx(again.observed)
    assert found.expected == pytest.approx(again.expected)
    assert found.statistic == pytest.approx(again.statistic)
    assert [m.mean for m in found.midrank] == pytest.approx([m.mean for m in again.midrank])
    assert found.p > 0.01
    rows = sorted(tuple(r) for t in tables_by_position(labels.positions, labels.ranks) for r in t)
    assert rows == sorted(tuple(map(float, by_position(r))) for r in records)


def test_bad_actors_are_noticed_and_the_honest_are_not(worked: Any, empty: Store):
    crew = {name: (honest(0.35), {}) for name in ("ann", "bob", "cyd", "eve")}
    crew |= {"straight": (straight, {}), "lots": (by_lot, {})}
    store = empty
    project, _ = ranking_store(
        store, crew, num_tasks=50, num_calibration=50, calibration_fraction=1.0, skips=0.0
    )
    found = records_by_name(store, project)
    assert {name for name, record in found.items() if record.alerts} == {"straight", "lots"}
    assert "are the display order" in " ".join(found["straight"].alerts)
    assert "agrees with the others" in " ".join(found["lots"].alerts)
    assert found["ann"].consensus.low > found["lots"].consensus.high
    assert bias_of(read(store, project)[0]).observed[0] > 50


def test_gold_accuracy_is_agreement_with_the_researcher(store: Store, project: Any):
    from preceptor.store.screening import set_gold

    with store.write() as session:
        own = session.execute(
            select(Judgement.assignment_id, Judgement.task_id, Judgement.ranks, Account.id)
            .join(Account, Account.id == Judgement.account_id)
            .where(Account.labeler_group == "researcher")
        ).all()
        for assignment, _, _, researcher in own:
            set_gold(session, assignment, researcher, now=START)
        gold = {task: ranks for _, task, ranks, _ in own}
        others = session.execute(
            select(Judgement.task_id, Judgement.ranks, Account.login)
            .join(Account, Account.id == Judgement.account_id)
            .where(Judgement.task_id.in_(list(gold)))
        ).all()
    assert len(gold) > 3
    found = records_by_name(store, project)
    for name in ("ann", "bob"):
        rows = [
            (str(task), who, [int(c) for c in r])
            for task, ranks, login in others
            if login == name
            for who, r in ((name, ranks), ("gold", gold[task]))
        ]
        again = pairwise_agreement(rows)
        assert (found[name].gold.mean, found[name].gold.n) == (pytest.approx(again.mean), again.n)


def test_the_most_disputed_task_is_the_one_with_most_reversed_pairs(
    store: Store, project: Any, records: Any
):
    judged: Counter[str] = Counter()
    reversed_pairs: Counter[str] = Counter()
    apart: dict[str, int] = defaultdict(int)
    by_task = defaultdict(list)
    for record in records:
        by_task[record["meta"]["task_id"]].append(record)
    for task, same in by_task.items():
        for a, b in ((x, y) for i, x in enumerate(same) for y in same[:i]):
            for i in range(len(a["ranks"])):
                apart[task] = max(apart[task], abs(rating(a, i)["likert"] - rating(b, i)["likert"]))
                for j in range(i):
                    sign = (a["ranks"][i] - a["ranks"][j]) * (b["ranks"][i] - b["ranks"][j])
                    judged[task] += sign != 0
                    reversed_pairs[task] += sign < 0
    share = {task: reversed_pairs[task] / judged[task] for task in judged if reversed_pairs[task]}
    with store.read() as session:
        rows, total = read_disputed(session, project, limit=1000)
        first, rest = (
            read_disputed(session, project, limit=3)[0],
            read_disputed(session, project, limit=1000, offset=3)[0],
        )
        talk = read_discussion(session, rows[0].task_id)
    assert total == len(rows) == len(share)
    assert [*first, *rest] == rows
    assert [row.share for row in rows] == pytest.approx(sorted(share.values(), reverse=True))
    for row in rows:
        assert (row.num_reversed, row.num_judged) == (
            reversed_pairs[str(row.task_id)],
            judged[str(row.task_id)],
        )
        assert row.likert_range == apart[str(row.task_id)]
        assert row.num_labels == len(by_task[str(row.task_id)])
    same = by_task[str(talk.task_id)]
    assert [o.labeler for o in talk.opinions] == sorted(r["labeler"] for r in same)
    for opinion in talk.opinions:
        [record] = [r for r in same if r["labeler"] == opinion.labeler]
        assert list(opinion.ranks.values()) == record["ranks"]
        assert opinion.likert == {s: r["likert"] for s, r in record["meta"]["ratings"].items()}
        assert opinion.comment == (record["meta"]["comment"] or "")
        for slot, kept in record["meta"]["ratings"].items():
            assert set(opinion.flags.get(slot, ())) == {k for k, v in kept["flags"].items() if v}
    assert list(talk.responses.values()) == same[0]["responses"]


def test_progress_counts_what_there_is(store: Store, project: Any, records: Any):
    with store.write() as session:
        held = session.execute(select(Account.id).where(Account.login == "ann")).scalar_one()
        claim(session, project, held, now=LATER)
    with store.read() as session:
        [found] = read_progress(session).projects
        days = read_progress(session, num_days=10**6).days
        tasks = session.scalars(select(Task)).all()
        leases = read_leases(session)
    kinds = Counter("surplus" if r["meta"]["surplus"] else r["meta"]["task_kind"] for r in records)
    assert found.num_counted == kinds["normal"]
    assert found.num_pool_labels == kinds["calibration"]
    assert found.num_surplus == kinds["surplus"]
    assert found.num_tasks == len(tasks) == 24
    done = Counter(r["meta"]["task_id"] for r in records if not r["meta"]["surplus"])
    wanted = {str(task.id): task.target for task in tasks if task.target}
    assert found.num_full == sum(done[task] >= target for task, target in wanted.items())
    assert (found.num_pool, found.num_wanted) == (6, 18 * 2)
    assert found.num_labelers == len({r["labeler"] for r in records})
    assert found.num_leased == len(leases)
    assert 0 < found.share <= 1
    by_day = Counter(r["meta"]["submitted_at"][:10] for r in records)
    assert {day: by["comparisons"] for day, by in days} == by_day


def test_the_mixture_counts_prompts_by_use_case_and_reason(store: Store, project: Any):
    with store.write() as session:
        add_rejected(session, 30)
    with store.read() as session:
        found = read_mixture(session)
        samples = read_samples(session, "over the cap")
    assert found.num_active == 24 and found.statuses == {"active": 24, "rejected": 30}
    assert dict(found.use_cases) == {
        "generation": {"train": 8},
        "chat": {"train": 8},
        "open_qa": {"train": 8},
    }
    assert found.reasons == (
        ("rejected", "the same as another", 20),
        ("rejected", "over the cap", 10),
    )
    assert len(samples) == 10 and all(sample.text.startswith("again") for sample in samples)


def test_an_empty_project_has_no_figures_but_reasons(worked: Any, empty: Store):
    store = empty
    project, _ = ranking_store(store, {}, num_tasks=1, num_calibration=0)
    found = agreement_of(*read(store, project))
    assert found.strict.mean is None and found.strict.reason
    assert found.likert.mean is None and found.by_time == () and found.flags == {}
    assert bias_of(read(store, project)[0]).n == 0
    assert records_by_name(store, project) == {}
    assert math.isfinite(found.num_labels)


def test_the_newest_labels_are_the_newest(store: Store, project: Any, records: Any):
    with store.read() as session:
        labels = read_judgements(session, project, newest=10)
        every = read_judgements(session, project, newest=len(records) + 1)
    times = sorted((r["meta"]["submitted_at"] for r in records), reverse=True)[:10]
    days = sorted(labels.days[day] for day in labels.day.tolist())
    assert days == sorted(time[:10] for time in times)
    assert len(every) == len(records)
