"""A labeler's work through the REST interface: what comes, what is kept, what is refused."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from browsers import Clock, add_member, make_project
from live import Program, claimed, error_of, form_of, key_of, submit
from sqlalchemy import func, select

from preceptor.store.accounts import publish_guideline
from preceptor.store.database import Store
from preceptor.store.projects import set_project_state
from preceptor.store.tables import Assignment, Submission, Task

NOBODY = uuid.UUID(int=7)


@pytest.fixture
def ann(app: Any, store: Store) -> Program:
    return Program(app, key_of(store, add_member(store, "ann")))


@pytest.fixture
def ben(app: Any, store: Store) -> Program:
    return Program(app, key_of(store, add_member(store, "ben")))


def num_labels(store: Store) -> int:
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(Submission)) or 0


def test_a_task_from_claim_to_label(ann: Program, store: Store):
    project = make_project(store)
    [card] = ann("GET /projects").json()["items"]
    assert (card["id"], card["task_type"], card["num_done"]) == (str(project), "ranking", 0)
    view = claimed(ann, project)
    assert ann(f"GET /assignments/{view['id']}").json() == view
    assert sorted(view["responses"]) == ["one", "three", "two"]
    receipt = submit(ann, view, form_of(view), active_seconds=12.5).json()
    assert receipt["outcome"] == "counted" and receipt["revision"] == 1
    assert ann(f"POST /projects/{project}/claim").status_code == 204
    [mine] = ann("GET /me/submissions").json()["items"]
    assert mine["submission_id"] == receipt["submission_id"]
    assert (mine["state"], mine["is_surplus"], mine["has_draft"]) == ("submitted", False, False)
    with store.read() as session:
        assert session.scalar(select(Submission.active_seconds)) == 12.5


def test_nothing_tells_the_model(ann: Program, store: Store):
    """No name, id, slot, hash or seed of a response in any byte a labeler's program receives."""
    project = make_project(store, tasks={"p": ["one", "two", "three"], "q": ["four", "five"]})
    view = claimed(ann, project)
    receipt = submit(ann, view, form_of(view)).json()
    answers = [
        ann("GET /me"),
        ann("GET /projects"),
        ann(f"GET /assignments/{view['id']}"),
        ann("GET /me/submissions"),
        ann(f"POST /submissions/{receipt['submission_id']}/revise"),
        ann(f"POST /submissions/{receipt['submission_id']}/undo"),
        ann(f"POST /projects/{project}/claim"),
    ]
    with store.read() as session:
        tasks = [str(id) for id in session.scalars(select(Task.id))]
    for answer in answers:
        assert answer.status_code == 200
        for secret in ("ppo_ptx", "runs/secret", "f" * 64, "sampling", "finish", "slot", *tasks):
            assert secret not in answer.text, (answer.url, secret)
        assert not {'"A"', '"B"', '"C"'} & set(json.dumps(answer.json()).split())


def test_a_submit_that_is_repeated_is_one_label(ann: Program, store: Store):
    view = claimed(ann, make_project(store))
    form = form_of(view)
    first, again = submit(ann, view, form).json(), submit(ann, view, form).json()
    assert (first["outcome"], again["outcome"]) == ("counted", "repeated")
    assert first["submission_id"] == again["submission_id"]
    assert num_labels(store) == 1


def test_another_form_under_the_same_key_is_a_conflict_and_is_kept_as_a_draft(
    ann: Program, store: Store
):
    view = claimed(ann, make_project(store))
    submit(ann, view, form_of(view))
    other = form_of(view, seed=5)
    answer = submit(ann, view, other)
    assert answer.status_code == 409 and "kept as a draft" in error_of(answer)["message"]
    assert num_labels(store) == 1
    assert ann(f"GET /assignments/{view['id']}").json()["draft"] == other


def test_drafts_have_versions_and_a_stale_one_loses_nothing(ann: Program, store: Store):
    view = claimed(ann, make_project(store))
    path = f"PUT /assignments/{view['id']}/draft"
    first = ann(path, {"body": {"ratings": {}}}, if_match='"0"')
    assert first.json() == {"version": 1} and first.headers["etag"] == '"1"'
    stale = ann(path, {"body": {"ratings": {"1": {"likert": 3}}}}, if_match='"0"')
    assert stale.status_code == 412 and error_of(stale)["type"] == "conflict_error"
    assert ann(path, {"body": {"comment": "x"}}, if_match='"1"').json() == {"version": 2}
    shown = ann(f"GET /assignments/{view['id']}").json()
    assert (shown["draft"], shown["draft_version"]) == ({"comment": "x"}, 2)
    # What was saved and not seen again says so, whatever If-Match is missing.
    assert ann(path, {"body": {"comment": "y"}}).status_code == 412
    assert error_of(ann(path, {"body": {}}, if_match="latest"))["message"].startswith("If-Match")
    assert ann(f"DELETE /assignments/{view['id']}/draft/2").status_code == 204
    assert ann(f"GET /assignments/{view['id']}").json()["draft"] is None


def test_what_is_wrong_with_a_form_is_said_by_position_and_nothing_is_stored(
    ann: Program, store: Store
):
    view = claimed(ann, make_project(store))
    form = form_of(view) | {"rank_groups": [["1"], ["2"]], "unacceptable": []}
    answer = submit(ann, view, form)
    assert answer.status_code == 400
    assert error_of(answer)["message"].startswith("Response 3 has no rank yet")
    assert num_labels(store) == 0


def test_undo_and_revise_go_by_the_label_s_id(ann: Program, store: Store, clock: Clock):
    view = claimed(ann, make_project(store))
    form = form_of(view)
    label = submit(ann, view, form).json()["submission_id"]
    undone = ann(f"POST /submissions/{label}/undo").json()
    assert undone["form"]["rank_groups"] == form["rank_groups"]
    assert ann(f"POST /submissions/{label}/undo").json() == undone, "a repetition changes nothing"
    new = form_of(view, seed=3)
    answer = submit(ann, view | {"key": undone["key"]}, new).json()
    assert (answer["outcome"], answer["revision"]) == ("counted", 3)
    gone = ann(f"POST /submissions/{label}/undo")
    assert gone.status_code == 409 and "changed or taken back" in error_of(gone)["message"]
    clock.pass_(seconds=61)
    late = ann(f"POST /submissions/{answer['submission_id']}/undo")
    assert late.status_code == 400 and "Undo is possible for 60 seconds" in late.text
    again = ann(f"POST /submissions/{answer['submission_id']}/revise").json()
    assert again["form"]["rank_groups"] == new["rank_groups"]
    assert submit(ann, view | {"key": again["key"]}, form).json()["revision"] == 4


def test_a_skipped_task_goes_to_somebody_else_and_never_back(
    ann: Program, ben: Program, store: Store
):
    project = make_project(store)
    view = claimed(ann, project)
    path = f"POST /assignments/{view['id']}/skip"
    assert "no such reason" in error_of(ann(path, {"reason": "tired"}))["message"]
    assert error_of(ann(path, {"reason": "other"}))["message"].startswith("Say in a few words")
    for _ in range(2):  # the same again changes nothing
        assert ann(path, {"reason": "unclear_task"}).status_code == 204
    assert ann(f"POST /projects/{project}/claim").status_code == 204
    assert claimed(ben, project)["prompt"] == view["prompt"]


def test_a_released_task_may_come_again(ann: Program, store: Store):
    project = make_project(store)
    view = claimed(ann, project)
    assert ann(f"POST /assignments/{view['id']}/release").status_code == 204
    assert claimed(ann, project)["id"] == view["id"]


def test_work_after_the_lease_counts_or_is_kept_as_an_extra(
    ann: Program, ben: Program, store: Store, clock: Clock
):
    project = make_project(store, lease_seconds=600)
    late = claimed(ann, project)
    clock.pass_(seconds=599)
    held = ann(f"POST /assignments/{late['id']}/heartbeat").json()
    assert held["held"] and held["lease_expires"] > late["lease_expires"]
    clock.pass_(seconds=601)
    other = claimed(ben, project)
    assert ann(f"POST /assignments/{late['id']}/heartbeat").json()["held"] is False
    assert submit(ben, other, form_of(other)).json()["outcome"] == "counted"
    answer = submit(ann, late, form_of(late)).json()
    assert answer["outcome"] == "surplus" and "kept as an extra" in answer["message"]


def test_a_clock_that_jumps_locks_nothing_and_loses_nothing(
    ann: Program, ben: Program, store: Store, clock: Clock
):
    project = make_project(store, tasks={"p": ["a", "b"], "q": ["a", "b"]}, lease_seconds=600)
    clock.pass_(days=30)
    held = claimed(ann, project)
    clock.pass_(days=-30)
    # Back: the lease is cut to a whole one from now, and then ends like any other.
    other = claimed(ben, project)
    assert other["prompt"] != held["prompt"]
    submit(ben, other, form_of(other))
    clock.pass_(seconds=601)
    assert claimed(ben, project)["prompt"] == held["prompt"]
    # Its labeler's work is not lost for it.
    assert submit(ann, held, form_of(held)).json()["outcome"] == "surplus"


def test_what_is_another_s_is_not_there(ann: Program, ben: Program, store: Store):
    project = make_project(store)
    view = claimed(ann, project)
    label = submit(ann, view, form_of(view)).json()["submission_id"]
    for id in (view["id"], NOBODY):
        requests: list[tuple[str, Any]] = [
            (f"GET /assignments/{id}", None),
            (f"POST /assignments/{id}/heartbeat", None),
            (f"PUT /assignments/{id}/draft", {"body": {}}),
            (f"DELETE /assignments/{id}/draft/1", None),
            (f"POST /assignments/{id}/submit", {"key": view["key"], "body": {}}),
            (f"POST /assignments/{id}/skip", {"reason": "broken"}),
            (f"POST /assignments/{id}/release", None),
        ]
        for request, body in requests:
            answer = ben(request, body)
            assert (request, answer.status_code) == (request, 404)
            assert error_of(answer)["type"] == "not_found_error"
    for id in (label, NOBODY):
        for verb in ("undo", "revise"):
            assert ben(f"POST /submissions/{id}/{verb}").status_code == 404
    assert num_labels(store) == 1


def test_pages_of_one_s_own_tasks_hold_each_once(ann: Program, store: Store, clock: Clock):
    project = make_project(store, tasks={f"p{i}": ["a", "b"] for i in range(7)})
    for _ in range(7):
        view = claimed(ann, project)
        submit(ann, view, form_of(view))
        clock.pass_(seconds=1)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = ann(f"GET /me/submissions?limit=3&cursor={cursor.replace('+', '%2B')}").json()
        seen += [item["assignment_id"] for item in page["items"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 7
    starts = [ann(f"GET /assignments/{id}").json()["prompt"] for id in seen]
    assert starts == sorted(starts, key=starts.index) and len(starts) == 7
    for wrong in ("x", "2026-01-01/x", f"2026-01-01T00:00:00/{NOBODY}"):
        assert ann(f"GET /me/submissions?cursor={wrong}").status_code == 400


def test_a_new_guideline_is_read_before_the_next_task(ann: Program, store: Store, clock: Clock):
    project = make_project(store, guideline="ranking")
    with store.write() as session:
        publish_guideline(session, "ranking", "Help *first*.", now=clock())
    [card] = ann("GET /projects").json()["items"]
    assert card["unread"] == "ranking@1"
    refused = ann(f"POST /projects/{project}/claim")
    assert refused.status_code == 400 and "Read ranking@1" in refused.text
    text = ann(f"GET /projects/{project}/guideline").json()
    assert (text["name"], text["markdown"]) == ("ranking@1", "Help *first*.")
    assert ann(f"POST /guidelines/{text['id']}/acknowledge").status_code == 204
    assert claimed(ann, project)["guideline"] == "ranking@1"
    assert ann(f"POST /guidelines/{NOBODY}/acknowledge").status_code == 404


def test_a_closed_project_takes_no_claim_and_gives_no_label_back(ann: Program, store: Store):
    project = make_project(store)
    view = claimed(ann, project)
    label = submit(ann, view, form_of(view)).json()["submission_id"]
    with store.write() as session:
        set_project_state(session, project, "closed")
    assert ann("GET /projects").json()["items"] == []
    assert "closed" in error_of(ann(f"POST /projects/{project}/claim"))["message"]
    assert "closed" in error_of(ann(f"POST /submissions/{label}/undo"))["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"key": "x", "body": {}}, "key"),
        ({"body": {}}, "key"),
        ({"key": str(NOBODY), "body": []}, "body"),
        ({"key": str(NOBODY), "body": {}, "draft_version": 10**30}, "draft_version"),
        ({"key": str(NOBODY), "body": {}, "active_seconds": -1}, "active_seconds"),
        ({"key": str(NOBODY), "body": {}, "slot": "A"}, "slot"),
        ([], None),
    ],
)
def test_a_wrong_request_names_the_field(ann: Program, store: Store, body: Any, param: Any):
    view = claimed(ann, make_project(store))
    answer = ann(f"POST /assignments/{view['id']}/submit", body)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param


def test_a_key_for_something_else_opens_nothing(app: Any, store: Store):
    program = Program(app, key_of(store, add_member(store, "ann", role="admin"), "research"))
    assert error_of(program("GET /projects"))["message"] == "This key is not for label."


def test_a_state_that_was_left_claims_nothing(ann: Program, store: Store, clock: Clock):
    view = claimed(ann, make_project(store))
    with store.read() as session:
        lease = session.get_one(Assignment, uuid.UUID(view["id"])).lease_expires
    assert lease - clock() == timedelta(seconds=3600)
