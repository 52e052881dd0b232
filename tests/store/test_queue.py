"""The queue: who gets what, and what becomes of leases that run out."""

import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from people import START, add_labeler, add_project, add_prompt, at, fill_in, say
from sqlalchemy import event, select

from preceptor.errors import StoreError
from preceptor.store import next_task
from preceptor.store.accounts import acknowledge, newest_guideline, publish_guideline
from preceptor.store.database import Store
from preceptor.store.inbox import set_accepts_sensitive
from preceptor.store.labels import save_draft, submit
from preceptor.store.names import identify
from preceptor.store.projects import Candidate, add_tasks, leave_out, prompts_without_task
from preceptor.store.queue import AssignmentView, claim, expire, heartbeat, release, skip, view
from preceptor.store.standing import set_state
from preceptor.store.tables import Assignment, Project, Prompt, Task


def take(
    store: Store, project: uuid.UUID, account: uuid.UUID, seconds: float = 0
) -> AssignmentView | None:
    with store.write() as session:
        return claim(session, project, account, now=at(seconds))


def finish(store: Store, account: uuid.UUID, held: AssignmentView, seconds: float = 1) -> Any:
    with store.write() as session:
        return submit(session, held.id, account, key=held.key, form=fill_in(held), now=at(seconds))


def people(store: Store, *names: str, **options: Any) -> list[uuid.UUID]:
    with store.write() as session:
        return [add_labeler(session, store, name, **options) for name in names]


def project_of(store: Store, *arguments: Any, **options: Any) -> uuid.UUID:
    with store.write() as session:
        return add_project(session, *arguments, **options)


def test_a_labeler_gets_each_task_once_and_then_nothing(store: Store):
    project, [ann] = project_of(store, num_tasks=4, overlap=3), people(store, "ann")
    prompts = []
    while held := take(store, project, ann):
        prompts.append(held.prompt)
        finish(store, ann, held)
    assert sorted(prompts) == ["p0", "p1", "p2", "p3"]


def test_a_task_goes_to_as_many_labelers_as_it_wants(store: Store):
    project = project_of(store, num_tasks=3, overlap=2)
    asked = Counter()
    for labeler in people(store, "ann", "bob", "cem", "dee"):
        while held := take(store, project, labeler):
            asked[held.prompt] += 1
            finish(store, labeler, held)
    assert asked == {"p0": 2, "p1": 2, "p2": 2}


def test_a_reload_and_a_second_tab_get_the_task_that_is_held(store: Store):
    project, [ann] = project_of(store), people(store, "ann")
    first, second = take(store, project, ann), take(store, project, ann, 100)
    assert first is not None
    assert second is not None
    assert (first.id, first.key, first.responses) == (second.id, second.key, second.responses)


def test_what_is_partly_done_comes_first(store: Store):
    project = project_of(store, num_tasks=5, overlap=2)
    ann, bob = people(store, "ann", "bob")
    held = take(store, project, ann)
    other = take(store, project, bob)
    assert held is not None
    assert other is not None
    assert held.prompt == other.prompt


def test_higher_priority_comes_before_the_drawn_order(store: Store):
    project, [ann] = project_of(store, num_tasks=5), people(store, "ann")
    with store.write() as session:
        last = session.scalars(select(Task).order_by(Task.draw.desc())).first()
        assert last is not None
        last.priority = 7
        wanted = last.id
    held = take(store, project, ann)
    with store.read() as session:
        assert session.get_one(Assignment, held.id).task_id == wanted


def test_a_lease_that_ran_out_goes_to_others_and_its_work_still_counts_while_there_is_room(
    store: Store,
):
    project = project_of(store, num_tasks=1, overlap=1, lease_seconds=60)
    ann, bob = people(store, "ann", "bob")
    held = take(store, project, ann)
    assert take(store, project, bob, 59) is None
    stolen = take(store, project, bob, 60)
    assert stolen is not None
    assert finish(store, ann, held, 61).outcome == "surplus"
    assert finish(store, bob, stolen, 62).outcome == "counted"


def test_a_late_submit_counts_if_nobody_else_has_the_task(store: Store):
    project, [ann] = project_of(store, num_tasks=1, lease_seconds=60), people(store, "ann")
    held = take(store, project, ann)
    with store.write() as session:
        assert expire(session, project, now=at(3600)) == 1
    assert finish(store, ann, held, 3601).outcome == "counted"


def test_a_heartbeat_keeps_the_lease_and_takes_it_up_again_while_there_is_room(store: Store):
    project = project_of(store, num_tasks=1, lease_seconds=60)
    ann, bob = people(store, "ann", "bob")
    held = take(store, project, ann)
    with store.write() as session:
        assert heartbeat(session, held.id, ann, now=at(59))
    assert take(store, project, bob, 100) is None
    with store.write() as session:
        assert expire(session, project, now=at(200)) == 1
        assert heartbeat(session, held.id, ann, now=at(201))
    assert take(store, project, bob, 202) is None
    assert take(store, project, bob, 300) is not None
    with store.write() as session:
        assert not heartbeat(session, held.id, ann, now=at(301))


def test_what_was_skipped_goes_to_another_and_never_back(store: Store):
    project = project_of(store, num_tasks=1)
    ann, bob = people(store, "ann", "bob")
    held = take(store, project, ann)
    with store.write() as session:
        skip(session, held.id, ann, reason="unclear_task", now=at(1))
    assert take(store, project, ann, 2) is None
    assert take(store, project, bob, 3) is not None


@pytest.mark.parametrize(
    ("reason", "comment", "words"),
    [("bored", "", "bored: no such reason. There are unclear_task"), ("other", " ", "a few words")],
)
def test_a_skip_needs_a_reason(store: Store, reason: str, comment: str, words: str):
    project, [ann] = project_of(store), people(store, "ann")
    held = take(store, project, ann)
    with pytest.raises(StoreError, match=words), store.write() as session:
        skip(session, held.id, ann, reason=reason, comment=comment, now=at(1))
    assert take(store, project, ann, 2).id == held.id


def test_what_was_submitted_is_not_skipped_by_another_tab(store: Store):
    project, [ann] = project_of(store), people(store, "ann")
    held = take(store, project, ann)
    finish(store, ann, held)
    with pytest.raises(StoreError, match="Undo that first"), store.write() as session:
        skip(session, held.id, ann, reason="broken", now=at(2))


def test_a_lead_frees_a_lease_and_the_task_is_there_for_all_again(store: Store):
    project = project_of(store, num_tasks=1)
    ann, bob = people(store, "ann", "bob")
    held = take(store, project, ann)
    with store.write() as session:
        release(session, held.id, None)
    assert take(store, project, bob, 1) is not None


def test_nobody_judges_their_own_prompt_or_response(store: Store):
    ann, bob = people(store, "ann", "bob")
    project = project_of(store, num_tasks=0)
    with store.write() as session:
        own_prompt = add_prompt(session, "by ann", author=ann)
        other = add_prompt(session, "by a customer")
        add_tasks(
            session,
            project,
            {
                own_prompt: [Candidate("x"), Candidate("y")],
                other: [Candidate("of a model"), Candidate("of ann", author_id=ann)],
            },
        )
    assert take(store, project, ann) is None
    held = take(store, project, bob)
    finish(store, bob, held)
    assert {held.prompt, take(store, project, bob, 2).prompt} == {"by ann", "by a customer"}


def test_sensitive_tasks_go_to_those_who_accept_them(store: Store):
    project, [ann] = project_of(store, num_tasks=1), people(store, "ann")
    with store.write() as session:
        session.scalars(select(Task)).one().sensitive = True
    assert take(store, project, ann) is None
    with store.write() as session:
        from preceptor.store.accounts import account_of

        account_of(session, ann).accepts_sensitive = True
    assert take(store, project, ann) is not None


def test_who_no_longer_accepts_sensitive_tasks_need_not_finish_one(store: Store):
    with store.write() as session:
        project = add_project(session, num_tasks=1)
        session.query(Task).update({"sensitive": True})
        ann = add_labeler(session, store, "ann")
        set_accepts_sensitive(session, ann, True)
        held = claim(session, project, ann, now=START)
        assert held.sensitive
        set_accepts_sensitive(session, ann, False)
        assert claim(session, project, ann, now=START) is None
        assert view(session, held.id, ann).state == "released"
        assert session.query(Task).one().taken == 0


def test_everybody_gets_the_calibration_pool_in_about_its_share(store: Store):
    project = project_of(store, num_tasks=100, num_calibration=25, calibration_fraction=0.2)
    shares = []
    for labeler in people(store, "ann", "bob", "cem"):
        seen = []
        for turn in range(25):
            held = take(store, project, labeler, turn)
            finish(store, labeler, held, turn)
            with store.read() as session:
                task = session.get_one(Task, session.get_one(Assignment, held.id).task_id)
                seen.append((task.kind, held.prompt))
        shares.append({prompt for kind, prompt in seen if kind == "calibration"})
    counts = [len(share) for share in shares]
    assert all(1 <= count <= 11 for count in counts), counts  # 5 expected, 2 the deviation
    # The same pool in the same order for all, so that two labelers meet.
    assert all(a <= b or b <= a for a in shares for b in shares)


def test_held_out_labelers_make_no_training_data(store: Store):
    project, [eve] = project_of(store), people(store, "eve", group="heldout")
    with pytest.raises(StoreError, match="not for the group heldout"):
        take(store, project, eve)
    with store.write() as session:
        session.get_one(Project, project).groups = ["training", "heldout"]
    with pytest.raises(StoreError, match="make no training data"):
        take(store, project, eve)
    evaluation = project_of(store, "evaluation", purpose="eval", groups=("heldout",), num_tasks=0)
    assert take(store, evaluation, eve) is None


def test_only_active_accounts_claim_and_only_open_projects_give(store: Store):
    project, [ann] = project_of(store), people(store, "ann")
    with store.write() as session:
        set_state(session, ann, "paused", now=START)
    with pytest.raises(StoreError, match="Your account is paused"):
        take(store, project, ann)
    with store.write() as session:
        set_state(session, ann, "active", now=START)
        session.get_one(Project, project).state = "closed"
    with pytest.raises(StoreError, match="is closed. Your drafts and labels are kept"):
        take(store, project, ann)


def test_a_new_guideline_is_read_before_the_next_task_and_a_label_keeps_its_version(store: Store):
    project, [ann] = project_of(store, guideline="ranking"), people(store, "ann")
    with pytest.raises(StoreError, match="has no guideline ranking yet"):
        take(store, project, ann)
    versions = []
    for text in ("Be kind.", "Be true."):
        with store.write() as session:
            assert publish_guideline(session, "ranking", text, now=START).startswith("ranking@")
        with pytest.raises(StoreError, match=r"Read ranking@\d and confirm it"):
            take(store, project, ann)
        with store.write() as session:
            acknowledge(session, ann, newest_guideline(session, "ranking").id, now=START)
        held = take(store, project, ann)
        versions.append(held.guideline)
        finish(store, ann, held)
    assert versions == ["ranking@1", "ranking@2"]


def test_a_task_that_is_taken_up_again_is_under_the_guideline_of_now(store: Store):
    project = project_of(store, num_tasks=1, guideline="ranking", lease_seconds=60)
    [ann] = people(store, "ann")
    for turn, text in enumerate(["Be kind.", "Be true."], 1):
        with store.write() as session:
            publish_guideline(session, "ranking", text, now=START)
            acknowledge(session, ann, newest_guideline(session, "ranking").id, now=START)
        held = take(store, project, ann, 100 * turn)
        assert held.guideline == f"ranking@{turn}"


def test_nobody_is_asked_about_prompts_whose_users_said_no_meanwhile(store: Store):
    project, [ann, bob] = project_of(store, num_tasks=3, overlap=2), people(store, "ann", "bob")
    held = take(store, project, ann)
    user = identify("user", "usr_testsaaaaaaaaaaaaaaaaaaaaa")
    with store.write() as session:
        say(session, user, "withdrawn", ["evaluate"])
    assert take(store, project, ann, 1).id == held.id  # another use than this one
    with store.write() as session:
        say(session, user, "withdrawn", ["train"])
    assert take(store, project, bob, 2) is None
    assert take(store, project, ann, 2) is None, "not even the one that is held"
    with store.write() as session:
        assert session.scalars(select(Task.taken)).all() == [0, 0, 0]
        say(session, user, "given")
    assert take(store, project, bob, 3) is not None


def test_what_was_given_back_is_not_taken_up_by_an_old_page(store: Store):
    project = project_of(store, num_tasks=2)
    [ann] = people(store, "ann")
    held = take(store, project, ann)
    with store.write() as session:
        release(session, held.id, ann)
        assert not heartbeat(session, held.id, ann, now=at(1))
        save_draft(session, held.id, ann, {"comment": "so far"}, version=0, now=at(2))
        assert view(session, held.id, ann).state == "released"
        assert view(session, held.id, ann).draft == {"comment": "so far"}
    assert finish(store, ann, held, 3).outcome == "counted"  # but finished work counts


def test_the_same_guideline_published_twice_is_one_version(store: Store):
    with store.write() as session:
        names = [publish_guideline(session, "r", t, now=START) for t in ("a", "a", "b", "a")]
    assert names == ["r@1", "r@1", "r@2", "r@3"]


def test_a_clock_that_is_set_back_locks_no_task_for_longer_than_a_lease(store: Store):
    project = project_of(store, num_tasks=1, lease_seconds=60)
    ann, bob = people(store, "ann", "bob")
    take(store, project, ann, 86_400)
    assert take(store, project, bob, 0) is None
    assert take(store, project, bob, 61) is not None


def test_a_clock_that_jumps_ahead_loses_nothing(store: Store):
    project = project_of(store, num_tasks=1, overlap=2, lease_seconds=60)
    ann, bob = people(store, "ann", "bob")
    held = take(store, project, ann)
    other = take(store, project, bob, 10**8)
    assert finish(store, bob, other, 10**8).outcome == "counted"
    assert finish(store, ann, held, 5).outcome == "counted"


def test_a_page_knows_texts_by_position_and_nothing_of_models(store: Store):
    project, [ann] = project_of(store, num_tasks=0), people(store, "ann")
    with store.write() as session:
        from preceptor.store.projects import add_policy

        policy = add_policy(session, "secret-model", run="secret-run", weights_sha256="ab" * 32)
        tasks = {
            add_prompt(session, "q"): [
                Candidate(t, policy_id=policy, finished=True, sampling={"seed": 77})
                for t in ("one", "two  \n", "\n one", " three")
            ]
        }
        add_tasks(session, project, tasks)
    held = take(store, project, ann)
    assert sorted(held.responses) == ["one", "three", "two"]  # equal once, no space around them
    shown = repr(held)
    assert "a ranking project" not in shown  # a lead may have named it after the models
    assert not [s for s in ("secret", "77", "abab", str(policy), "slot") if s in shown]


def test_a_response_that_no_database_holds_leaves_its_prompt_out(store: Store):
    with store.write() as session:
        project = add_project(session, num_tasks=0)
        prompt, other = add_prompt(session, "q"), add_prompt(session, "r")
        tasks = {prompt: [Candidate("a\0b"), Candidate("c")]}
        counts = add_tasks(session, project, tasks | {other: [Candidate("a"), Candidate("b")]})
    reason = "a response with a character that no text has"
    assert (counts["added"], counts[reason]) == (1, 1)


def test_what_was_left_out_is_not_chosen_again(store: Store):
    with store.write() as session:
        project = add_project(session, num_tasks=0)
        prompts = [add_prompt(session, text) for text in "qrs"]

        def left() -> list[uuid.UUID]:
            found = prompts_without_task(session, project, split="train", limit=None, seed=0)
            return [prompt.id for prompt in found]

        assert sorted(left()) == sorted(prompts)
        add_tasks(session, project, {prompts[0]: [Candidate("same"), Candidate("same ")]})
        leave_out(session, project, {prompts[1]: "too long"})
        leave_out(session, project, {prompts[1]: "too long"})
        assert left() == prompts[2:]


def test_what_a_labeler_has_done_is_not_in_the_way_of_what_is_left(store: Store):
    """More of their own half-done tasks than are looked at one by one, then unsuitable ones."""
    num = next_task.WINDOW + 20
    project = project_of(store, num_tasks=num, overlap=3)
    ann, bob = people(store, "ann", "bob")
    with store.write() as session:
        tasks = session.scalars(select(Task).order_by(Task.draw)).all()
        rows = [
            Assignment(
                id=identify("assignment", task.id, ann),
                task_id=task.id,
                account_id=ann,
                state="submitted",
                counted=True,
                lease_expires=START,
                display_order=["A", "B", "C"],
                display_seed=0,
                started_at=START,
                last_seen=START,
            )
            for task in tasks[:-1]
        ]
        session.add_all(rows)
        for task in tasks:
            task.taken = 1
    last = take(store, project, ann)
    with store.read() as session:
        assert session.get_one(Assignment, last.id).task_id == tasks[-1].id
    finish(store, ann, last)
    assert counted_statements(store, lambda: take(store, project, ann)) < 25
    assert take(store, project, ann, 2) is None
    with store.write() as session:  # as many that are not for bob, then one that is
        for task in session.scalars(select(Task).order_by(Task.draw)).all()[:-1]:
            session.get_one(Prompt, task.prompt_id).author_id = bob
    other = take(store, project, bob)
    with store.read() as session:
        assert session.get_one(Assignment, other.id).task_id == tasks[-1].id


def test_who_has_done_what_is_looked_at_first_gets_a_fresh_task_and_in_the_end_all(
    store: Store, monkeypatch
):
    """A claim looks at two partly filled tasks at most, and then for a fresh one."""
    for name, num in {"GLANCE": 1, "LOOK": 2, "WINDOW": 1}.items():
        monkeypatch.setattr(next_task, name, num)
    project = project_of(store, num_tasks=7, overlap=3)
    ann, bob = people(store, "ann", "bob")

    def do_next(account: uuid.UUID) -> uuid.UUID | None:
        held = take(store, project, account)
        if held is None:
            return None
        finish(store, account, held)
        with store.read() as session:
            return session.get_one(Assignment, held.id).task_id

    hers = [do_next(ann) for _ in range(3)]
    his = [do_next(bob) for _ in range(5)]
    # Two of hers, which are what is looked at from then on, and after them fresh ones.
    assert set(his[:2]) < set(hers)
    assert not set(his[2:]) & set(hers)
    fourth = do_next(ann)
    assert fourth not in {*hers, *his}
    rest = []
    while task := do_next(ann):
        rest.append(task)
    assert set(rest) == set(his[2:])


def test_a_claim_does_not_look_through_all_tasks_for_leases_that_ran_out(store: Store):
    project, [ann] = project_of(store, num_tasks=3), people(store, "ann")
    take(store, project, ann)
    if store.engine.dialect.name != "sqlite":
        return  # a server's plan for so few rows says nothing
    seen: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[2:4])

    event.listen(store.engine, "before_cursor_execute", note)
    take(store, project, ann, 4000)
    event.remove(store.engine, "before_cursor_execute", note)
    [leases] = [
        s for s in seen if "lease_expires <= ?" in s[0] and "WHERE assignment.id" not in s[0]
    ]
    with store.read() as session:
        statement = f"EXPLAIN QUERY PLAN {leases[0]}"
        plan = session.connection().exec_driver_sql(statement, leases[1]).all()
    assert all("ix_assignment_expiry" in str(row) or "OR" in str(row) for row in plan), plan


def counted_statements(store: Store, function: Callable[[], Any]) -> int:
    seen = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[2])

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        function()
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    return len(seen)


def test_display_orders_differ_between_labelers_and_are_kept(store: Store):
    project = project_of(store, num_tasks=1, num_responses=6, overlap=9)
    labelers = people(store, *"abcdefghi")
    held = [take(store, project, labeler) for labeler in labelers]
    assert len({tuple(h.responses) for h in held}) > 5
    with store.read() as session:
        again = [view(session, h.id, a) for h, a in zip(held, labelers, strict=True)]
    assert [h.responses for h in held] == [a.responses for a in again]


def test_a_labeler_reaches_own_assignments_only(store: Store):
    project = project_of(store)
    ann, bob = people(store, "ann", "bob")
    held = take(store, project, ann)
    words = "There is no such task among yours"
    for attempt in (
        lambda s: view(s, held.id, bob),
        lambda s: submit(s, held.id, bob, key=held.key, form=fill_in(held), now=at(1)),
        lambda s: heartbeat(s, held.id, bob, now=at(1)),
        lambda s: skip(s, held.id, bob, reason="broken", now=at(1)),
        lambda s: release(s, held.id, bob),
        lambda s: release(s, uuid.uuid4(), bob),
    ):
        with pytest.raises(StoreError, match=words), store.write() as session:
            attempt(session)
    assert take(store, project, ann, 2).id == held.id


def test_times_without_a_zone_are_refused(store: Store):
    project, [ann] = project_of(store), people(store, "ann")
    with pytest.raises(Exception, match="has no time zone"), store.write() as session:
        claim(session, project, ann, now=START.replace(tzinfo=None) + timedelta(1))
