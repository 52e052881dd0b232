"""Any calls in any order, on a clock that jumps: the queue keeps its promises after each."""

import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from people import START, Fresh, add_labeler, add_project, add_prompt, fill_in
from sqlalchemy import select

from preceptor.errors import StoreError
from preceptor.store.labels import StaleDraft, reopen, save_draft, submit, undo
from preceptor.store.projects import Candidate, add_tasks
from preceptor.store.queue import AssignmentView, claim, expire, heartbeat, release, skip
from preceptor.store.tables import Assignment, Draft, Prompt, Submission, Task

OVERLAP, MORE = 1, 2
LEASE = 100


class Queue(RuleBasedStateMachine):
    """Three labelers, two tasks of a label or two, one of them on a prompt of labeler 0.

    Which of them wants two is drawn by the project's seed: none, one or both.
    """

    def __init__(self, fresh: Fresh) -> None:
        super().__init__()
        self.store = fresh()
        self.now = START
        self.views: list[tuple[int, AssignmentView, int]] = []  # and the revisions before it
        self.labels: dict[uuid.UUID, list[tuple[int, str, Any]]] = {}  # what was told as saved
        self.drafts: dict[uuid.UUID, dict[int, Any]] = {}  # by version
        self.versions: Counter[uuid.UUID] = Counter()
        self.skipped: set[uuid.UUID] = set()
        self.turn = 0

    @initialize(seed=st.integers(0, 9))
    def start(self, seed: int) -> None:
        with self.store.write() as session:
            self.accounts = [add_labeler(session, self.store, name) for name in "abc"]
            self.project = add_project(
                session,
                num_tasks=1,
                num_responses=2,
                overlap=OVERLAP,
                overlap_more=MORE,
                overlap_fraction=0.7,
                seed=seed,
                lease_seconds=LEASE,
            )
            own = add_prompt(session, "own", author=self.accounts[0])
            add_tasks(session, self.project, {own: [Candidate("x"), Candidate("y")]})
        for person in range(3):  # whichever rules an example is made of, there are pages to use
            self.claim(person)

    def teardown(self) -> None:
        self.store.close()

    def chosen(self, which: int) -> tuple[uuid.UUID, AssignmentView]:
        """A page that was once handed out, the newest ones most often; it may be long stale."""
        person, held, _ = self.views[-1 - which % len(self.views)]
        return self.accounts[person], held

    def expected(self, held: AssignmentView, revisions: int, form: Any) -> set[str]:
        """What must become of a submit from a page that was made after so many revisions."""
        known = self.labels.get(held.id, [])
        if len(known) == revisions:
            return {"counted", "surplus"}
        if known[-1][1] == "withdrawn":
            return {"withdrawn"}
        _, kind, first = known[revisions]
        same = kind == "submitted" and first == {"key": held.key, "form": form}
        return {"repeated"} if same else {"draft"}

    def added(self, held: AssignmentView, revision: int, kind: str, form: Any) -> None:
        known = self.labels.setdefault(held.id, [])
        assert revision == len(known) + 1, "a revision was lost or doubled"
        known.append((revision, kind, form))

    def newest_draft(self, id: uuid.UUID) -> tuple[int, Any]:
        return max(self.drafts.get(id, {}).items(), default=(0, None), key=lambda kept: kept[0])

    def forget(self, id: uuid.UUID, form: Any, seen: int) -> None:
        kept = self.drafts.get(id, {})
        self.drafts[id] = {v: d for v, d in kept.items() if v != seen and d != form}

    def keep(self, id: uuid.UUID, form: Any, seen: int = 0) -> None:
        self.forget(id, form, seen)
        self.versions[id] += 1
        self.drafts[id][self.versions[id]] = form

    @rule(seconds=st.sampled_from([1, 50, 101, 101, 10_000, -30, -10_000]))
    def let_time_pass_or_jump(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(person=st.integers(0, 2))
    def claim(self, person: int) -> None:
        with self.store.write() as session:
            held = claim(session, self.project, self.accounts[person], now=self.now)
        if held is None:
            return
        assert held.id not in self.skipped
        newest = self.labels.get(held.id, [(0, "withdrawn", None)])[-1]
        assert newest[1] == "withdrawn", "a task that the labeler has done"
        kept = held.kept_drafts | ({held.draft_version: held.draft} if held.draft else {})
        assert kept == self.drafts.get(held.id, {})
        assert held.draft == self.newest_draft(held.id)[1]
        self.views.append((person, held, len(self.labels.get(held.id, []))))

    @rule(which=st.integers(0, 9), seed=st.sampled_from([0, 0, 0, 1]))
    def submit(self, which: int, seed: int) -> None:
        account, held = self.chosen(which)
        revisions = self.views[-1 - which % len(self.views)][2]
        form = fill_in(held, seed)
        expected = self.expected(held, revisions, form)
        with self.store.write() as session:
            receipt = submit(
                session,
                held.id,
                account,
                key=held.key,
                form=form,
                now=self.now,
                draft_version=held.draft_version,
            )
            task = session.get_one(Task, session.get_one(Assignment, held.id).task_id)
        assert receipt.outcome in expected
        if receipt.outcome in ("counted", "surplus"):
            assert receipt.outcome == "counted" or task.taken == task.target, "there was room"
            self.added(held, receipt.revision, "submitted", {"key": held.key, "form": form})
            self.forget(held.id, form, held.draft_version)
            self.skipped.discard(held.id)
        elif receipt.outcome in ("draft", "withdrawn"):
            self.keep(held.id, form, held.draft_version)

    @rule(person=st.integers(0, 2), seconds=st.sampled_from([1, 59, 61, 101]))
    def finish_a_task_and_pause(self, person: int, seconds: int) -> None:
        before = len(self.views)
        self.claim(person)
        if len(self.views) > before:
            self.submit(0, 0)
        self.now += timedelta(seconds=seconds)

    @rule(which=st.integers(0, 9), seed=st.integers(3, 5))
    def revise(self, which: int, seed: int) -> None:
        account, held = self.chosen(which)
        known = self.labels.get(held.id, [])
        try:
            with self.store.write() as session:
                form, key = reopen(session, held.id, account)
                changed = fill_in(held, seed)
                receipt = submit(session, held.id, account, key=key, form=changed, now=self.now)
        except StoreError:
            assert not known or known[-1][1] == "withdrawn"
            return
        assert form["rank_groups"] == known[-1][2]["form"]["rank_groups"]
        assert receipt.outcome in ("counted", "surplus")
        self.added(held, receipt.revision, "submitted", {"key": key, "form": changed})
        self.forget(held.id, changed, 0)

    @rule(which=st.integers(0, 9))
    def undo(self, which: int) -> None:
        account, held = self.chosen(which)
        known = self.labels.get(held.id, [])
        try:
            with self.store.write() as session:
                undo(session, held.id, account, now=self.now)
        except StoreError:
            return
        assert known[-1][1] == "submitted"
        with self.store.read() as session:
            drafts = select(Draft).where(Draft.assignment_id == held.id)
            draft = session.scalars(drafts.order_by(Draft.version.desc())).first()
            stored = session.scalars(
                select(Submission)
                .where(Submission.assignment_id == held.id)
                .order_by(Submission.revision.desc())
            ).first()
        assert draft.body["rank_groups"] == known[-1][2]["form"]["rank_groups"]
        self.keep(held.id, draft.body)
        undone = known[-1][2].get("restores", len(known))
        if undone < 2 or known[undone - 2][1] == "withdrawn":
            self.added(held, len(known) + 1, "withdrawn", None)
            return
        again = known[undone - 2][2]
        self.added(
            held,
            len(known) + 1,
            "submitted",
            {
                "key": stored.key,
                "form": again["form"],
                "restores": again.get("restores", undone - 1),
            },
        )

    @rule(which=st.integers(0, 9), version=st.integers(0, 3), word=st.sampled_from("xyz"))
    def save_draft(self, which: int, version: int, word: str) -> None:
        account, held = self.chosen(which)
        newest, draft = self.newest_draft(held.id)
        version = newest if version == 3 else version
        try:
            with self.store.write() as session:
                saved = save_draft(session, held.id, account, [word], version=version, now=self.now)
        except StaleDraft as stale:
            assert (stale.stored, stale.version) == (draft, newest)
            assert newest != version
            return
        if draft != [word]:
            assert draft is None or newest == version, "a draft that was not seen is replaced"
            self.keep(held.id, [word], version)
        assert saved == self.newest_draft(held.id)[0]

    @rule(which=st.integers(0, 9))
    def heartbeat(self, which: int) -> None:
        account, held = self.chosen(which)
        with self.store.write() as session:
            heartbeat(session, held.id, account, now=self.now)

    @rule(which=st.integers(0, 9))
    def skip(self, which: int) -> None:
        account, held = self.chosen(which)
        try:
            with self.store.write() as session:
                skip(session, held.id, account, reason="broken", now=self.now)
            self.skipped.add(held.id)
        except StoreError:
            assert self.labels[held.id][-1][1] == "submitted"

    @rule(which=st.integers(0, 9))
    def release(self, which: int) -> None:
        account, held = self.chosen(which)
        with self.store.write() as session:
            release(session, held.id, account)

    @rule()
    def expire(self) -> None:
        with self.store.write() as session:
            expire(session, self.project, now=self.now)

    @invariant()
    def promises_hold(self) -> None:
        with self.store.read() as session:
            tasks = session.scalars(select(Task)).all()
            assignments = session.scalars(select(Assignment)).all()
            labels = session.scalars(select(Submission)).all()
            drafts: dict[uuid.UUID, dict[int, Any]] = {}
            for kept in session.scalars(select(Draft)):
                drafts.setdefault(kept.assignment_id, {})[kept.version] = kept.body
            authors = dict(session.execute(select(Prompt.id, Prompt.author_id)).all())
        counted = Counter(a.task_id for a in assignments if a.counted)
        for task in tasks:
            assert task.target in (OVERLAP, MORE)
            assert task.taken == counted[task.id] <= task.target
            assert task.state == ("full" if task.taken == task.target else "open")
        own = {task.id: authors[task.prompt_id] for task in tasks}
        assert not [a for a in assignments if own[a.task_id] == a.account_id]
        assert len({(a.task_id, a.account_id) for a in assignments}) == len(assignments)
        for a in assignments:
            assert not (a.counted and a.state in ("expired", "released", "skipped"))
        stored: dict[uuid.UUID, list[tuple[int, str]]] = {}
        for label in sorted(labels, key=lambda s: s.revision):
            stored.setdefault(label.assignment_id, []).append((label.revision, label.kind))
        assert stored == {id: [(r, k) for r, k, _ in known] for id, known in self.labels.items()}
        assert drafts == {id: kept for id, kept in self.drafts.items() if kept}
        for a in assignments:
            newest = stored.get(a.id, [(0, "none")])[-1][1]
            assert (a.state == "submitted") == (newest == "submitted")


def test_the_queue_keeps_its_promises_whatever_is_done(fresh: Fresh, num_examples: int):
    def queue() -> Queue:
        return Queue(fresh)

    run_state_machine_as_test(
        queue,
        settings=settings(
            max_examples=num_examples,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.generate],  # a database is too slow to look for the shortest case
            suppress_health_check=list(HealthCheck),
        ),
    )
