"""Bad habits are seen in the figures that a lead gets, each in its own; honest labelers are not."""

import itertools
from datetime import UTC, datetime

import numpy as np
from browsers import add_member
from live import Program, key_of
from truth import ask_for, known, question

from preceptor.evaluation.labelers import Labeler
from preceptor.labeling.app import create_app
from preceptor.labeling.labelers import SURE, Record, read_records
from preceptor.simulation.answers import BAD_HABITS, Worker
from preceptor.simulation.work import work_in_turns
from preceptor.store.database import Store
from preceptor.store.names import SiteKey

NUM_HONEST, NUM_TASKS, OVERLAP, K = 15, 84, 5, 5
WORDS = {  # what an alert about this habit says
    "straight_liner": "rankings are the display order",
    "random": "agrees with the others' order in",
    "all_tie": "ties 100% of pairs",
    "speeder": "much quicker than others",
    "flag_everything": "sets 100% of flags",
}


def workers() -> list[Worker]:
    kinds = ["honest"] * NUM_HONEST + list(BAD_HABITS)
    return [
        Worker(
            Labeler(f"{habit}-{i}", 0.12, error_rate=0.05, tie_margin=0.03),
            habit,  # type: ignore[arg-type]
            skip_rate=0.03,
            draft_rate=0.1,
            undo_rate=0.05,
        )
        for i, habit in enumerate(kinds)
    ]


def test_every_bad_habit_is_seen_and_no_honest_labeler_is_blamed(store: Store, enter):
    rng = np.random.default_rng(2)
    questions = [
        question(number, [round(float(x), 3) for x in rng.random(K)]) for number in range(NUM_TASKS)
    ]
    project = ask_for(store, questions, OVERLAP, "ranking")
    people = enter(workers())
    turns = list(itertools.islice(itertools.cycle(range(len(people))), NUM_TASKS * OVERLAP))
    outcomes = work_in_turns(people, str(project), turns, known())
    assert outcomes["counted"] == NUM_TASKS * OVERLAP and outcomes["skipped"] > 0
    with store.read() as session:
        records = {r.person.pseudonym: r for r in read_records(session, project)}
    assert sum(record.num_labels for record in records.values()) == NUM_TASKS * OVERLAP
    blamed = [
        (person.worker.labeler.name, records[pseudonym_of(store, person)].alerts)
        for person in people
        if person.worker.habit == "honest" and records[pseudonym_of(store, person)].alerts
    ]
    # Of fifteen at a thousandth each, none is to be expected.
    assert NUM_HONEST * SURE < 0.05 and not blamed
    for person in people[NUM_HONEST:]:
        habit, record = person.worker.habit, records[pseudonym_of(store, person)]
        assert any(WORDS[habit] in alert for alert in record.alerts), (habit, record.alerts)
    assert_the_interface_says_the_same(store, project, records)


def pseudonym_of(store: Store, person) -> str:
    key: SiteKey = store.site_key
    return key.labeler(f"login:{person.worker.labeler.name}@simulated")


def assert_the_interface_says_the_same(store: Store, project, records: dict[str, Record]) -> None:
    account = add_member(store, "lea", role="researcher", group="researcher")
    lead = Program(create_app(store), key_of(store, account, "research", at=datetime.now(UTC)))
    shown = lead(f"GET /projects/{project}/labelers").json()["items"]
    assert {row["pseudonym"]: tuple(row["alerts"]) for row in shown} == {
        name: record.alerts for name, record in records.items()
    }
