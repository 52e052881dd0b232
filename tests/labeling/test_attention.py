"""Who passed attention tasks, as the lead's page and the interface say it; by command, whole."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from browsers import Browser, Clock, Enter, Page, add_member, make_project
from people import fill_in
from sqlalchemy import select
from test_tasks import begin, rate_all
from typer.testing import CliRunner

from preceptor.cli import app as command
from preceptor.labeling.judgements import read_judgements
from preceptor.labeling.labelers import passes, read_attention, read_records, read_skips
from preceptor.labeling.progress import read_progress
from preceptor.store.attention import set_attention_fraction
from preceptor.store.database import Store
from preceptor.store.inbox import inbox
from preceptor.store.labels import submit
from preceptor.store.queue import AssignmentView, claim, skip
from preceptor.store.status import project_status
from preceptor.store.tables import Account, Assignment, Project, Response, Task


@pytest.mark.parametrize(
    ("ranks", "right", "passed"),
    [
        ("123", "122", True),
        ("132", "122", True),
        ("122", "122", True),
        ("213", "122", False),
        ("111", "122", False),
        ("112", "122", False),
        ("123", "123", True),
        ("124", "123", True),
        ("132", "123", False),
    ],
)
def test_who_orders_what_the_answer_orders_passes(ranks: str, right: str, passed: bool):
    assert passes(ranks, right) is passed


def add(store: Store, folder: Path, project: str, *more: str) -> str:
    rows = [
        {"prompt": f"What is {i} + 1?", "responses": ["right", "wrong"], "ranks": [1, 2]}
        for i in range(4)
    ]
    path = folder / "attention.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = ("--store", str(store.engine.url.database))
    done = CliRunner().invoke(command, ["label", "attention", project, str(path), *more, *where])
    assert done.exit_code == 0, done.output
    assert "of each labeler's tasks, while any is left" in done.stderr
    return done.stdout


def work(browser: Browser, project: object, *, passing: bool) -> None:
    """All tasks of the project: "right" first, or last."""
    page = begin(browser, project)  # type: ignore[arg-type]
    while page.path.startswith("/tasks"):
        page = rate_all(page)
        first = page.html.index(">right<") < page.html.index(">wrong<")
        best = first == passing
        page = page.press("submit", rank_1="1" if best else "2", rank_2="2" if best else "1")


def test_the_lead_sees_who_passed_and_nothing_else_counts_them(
    store: Store, enter: Enter, clock: Clock, tmp_path: Path
):
    tasks = {f"p{i}": ("right", "wrong") for i in range(3)}
    project = make_project(store, tasks=tasks, name="answers", overlap=2)
    assert add(store, tmp_path, "answers", "--fraction", "1") == f"{4:>8,}  added\n"
    ann, bob = enter("ann"), enter("bob")
    work(ann, project, passing=True)
    work(bob, project, passing=False)
    with store.read() as session:
        names = dict(session.execute(select(Account.id, Account.login)).all())
        found = read_attention(session, project)
        records = read_records(session, project)
        labels = read_judgements(session, project)
    assert {names[id]: counts for id, counts in found.items()} == {"ann": (4, 4), "bob": (0, 4)}
    assert len(labels) == 6 and len(records) == 2  # the account with the answers is none
    assert sorted(record.num_labels for record in records) == [3, 3]
    [failing] = [record for record in records if record.attention.mean == 0]
    assert "passes 0% of the attention tasks" in failing.alerts
    assert failing.attention.high == pytest.approx(0.4899, abs=1e-4)  # Wilson, 0 of 4
    lead = enter("ada", role="researcher", group="researcher")
    page = lead.open("/lead/labelers")
    assert "4 of 4 51 to 100%" in page.text and "0 of 4 0 to 49%" in page.text
    shown = lead.get(f"/api/v1/projects/{project}/labelers").json()["items"]
    assert {item["attention"]["mean"] for item in shown} == {0.0, 1.0}
    assert {item["attention"]["n"] for item in shown} == {4}
    progress = lead.get(f"/api/v1/projects/{project}/progress").json()
    assert (progress["num_tasks"], progress["num_labels"], progress["num_labelers"]) == (3, 6, 2)
    assert "What is" not in lead.open("/lead/disagreements").text
    assert "What is" not in lead.open("/lead/gold").text
    page = lead.open("/lead/prompts")
    assert "Asked about 3 For attention tasks 4" in page.text and "chat 3 100.0%" in page.text


def test_leases_and_skips_of_them_are_no_work(store: Store, clock: Clock, tmp_path: Path):
    """One in hands, one skipped, one done: of the project nothing is in hands, skipped or done."""
    ranked = {f"p{i}": ("one", "two") for i in range(3)}
    project = make_project(store, tasks=ranked, name="answers", attention_fraction=1.0)
    add(store, tmp_path, "answers")
    ann = add_member(store, "ann")

    def counted() -> tuple[Any, Any, Any]:
        with store.read() as session:
            progress, [status] = read_progress(session), project_status(session)
            skips = read_skips(session, project)
            [label] = [label for label in inbox(session, ann, now=clock.at)]
        [found] = progress.projects
        work = (found.num_leased, found.num_skipped, found.num_counted, found.num_labelers)
        told = (status.num_leased, status.num_skipped, status.num_labels, status.num_labelers)
        assert told == work and label.has_work
        assert (found.num_tasks, status.num_tasks) == (3, 3)
        return work, (progress.days, progress.skips), skips

    def next_task(kind: str) -> AssignmentView:
        with store.write() as session:
            held = claim(session, project, ann, now=clock.at)
            assert held is not None
            task = session.get_one(Assignment, held.id).task_id
            assert session.get_one(Task, task).kind == kind
        return held

    nothing = (0, 0, 0, 0), ((), ()), {}
    held = next_task("attention")
    assert counted() == nothing
    with store.write() as session:
        skip(session, held.id, ann, reason="broken", now=clock.at)
    assert counted() == nothing
    held = next_task("attention")
    with store.write() as session:
        submit(session, held.id, ann, key=held.key, form=fill_in(held), now=clock.at)
    assert counted() == nothing
    # The same of the project's own tasks is counted.
    with store.write() as session:
        set_attention_fraction(session, project, 0)
    held = next_task("normal")
    with store.write() as session:
        skip(session, held.id, ann, reason="broken", now=clock.at)
    held = next_task("normal")
    assert counted() == ((1, 1, 0, 0), ((), (("broken", 1),)), {ann: 1})
    with store.write() as session:
        submit(session, held.id, ann, key=held.key, form=fill_in(held), now=clock.at)
    work, (days, _), _ = counted()
    assert work == (0, 1, 1, 1) and [num for _, by in days for num in by.values()] == [1]


def test_they_come_by_the_interface_and_errors_name_the_line(store: Store, enter: Enter):
    project = make_project(store, name="answers")
    lead = enter("ada", role="researcher", group="researcher")
    path = f"/api/v1/projects/{project}/attention?fraction=0.5"
    headers = {"X-CSRF-Token": lead.token()}
    line = {"prompt": "What is 1 + 1?", "responses": ["2", "3"], "ranks": [1, 2]}
    done = lead.post(path, content=json.dumps(line), headers=headers)
    assert (done.status_code, done.json()) == (200, {"counts": {"added": 1}})
    done = lead.post(path, content=json.dumps(line | {"ranks": [1, 1]}), headers=headers)
    assert done.status_code == 400
    assert done.json()["error"]["message"].startswith("upload.jsonl:1: all ranks are equal")
    with store.read() as session:
        assert session.get_one(Project, project).attention_fraction == 0.5
    gone = path.replace(str(project), str(uuid.uuid4()))
    assert lead.post(gone, content=json.dumps(line), headers=headers).status_code == 404


def test_a_labeler_reads_nothing_that_tells(store: Store, enter: Enter, tmp_path: Path):
    project = make_project(store, tasks={"p": ("right", "wrong")}, name="answers")
    add(store, tmp_path, "answers", "--fraction", "1")
    ann = enter()
    pages, seen = [], set()
    for path in ("/", "/recent"):
        pages.append(ann.get(path).text)
    headers = {"X-CSRF-Token": ann.token()}
    while (
        held := ann.post(f"/api/v1/projects/{project}/claim", headers=headers)
    ).status_code == 200:
        view = held.json()
        seen.add((view["prompt"].split()[0], tuple(sorted(view.keys()))))
        ratings = {p: {"likert": 4} for p in "12"}
        form = {"ratings": ratings, "rank_groups": [["1", "2"]], "unacceptable": []}
        path = f"/api/v1/assignments/{view['id']}/submit"
        sent = ann.post(path, json={"key": view["key"], "body": form}, headers=headers)
        pages += [held.text, sent.text, ann.get(f"/tasks/{view['id']}").text]
    assert {first for first, _ in seen} == {"What", "p"} and len({keys for _, keys in seen}) == 1
    pages += [ann.get(path).text for path in ("/", "/recent", "/api/v1/me/submissions")]
    assert not [page for page in pages if "attention" in page.lower()]
    # What a labeler has done counts all of it: a number that left some out would tell.
    assert "5 done by you" in ann.get("/").text


def test_the_wrong_words_are_told(store: Store, tmp_path: Path):
    make_project(store, name="answers")
    path = tmp_path / "attention.jsonl"
    path.write_text('{"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1]}\n')
    where = ("--store", str(store.engine.url.database))
    for project, told in (("answers", "all ranks are equal"), ("none", "no such project")):
        done = CliRunner().invoke(command, ["label", "attention", project, str(path), *where])
        assert done.exit_code == 2 and told in done.stderr
    with store.read() as session:
        assert session.scalars(select(Task.kind)).all() == ["normal"]
        assert session.scalars(select(Response.text)).all().count("a") == 0


LINE = b'{"prompt": "What is 1 + 1?", "responses": ["2", "3"], "ranks": [1, 2]}\n'


def send(lead: Browser, fields: dict[str, str], lines: bytes | None, name: str = "file") -> Page:
    """The form as a browser sends it: of a field without a file an empty one."""
    file = ("", b"") if lines is None else ("mine.jsonl", lines)
    data = {"csrf": lead.token(), **fields}
    return lead.follow(lead.post("/lead/attention", data=data, files={name: file}))


def two_projects(store: Store) -> list[uuid.UUID]:
    names = ("answers", "others")
    return [make_project(store, name=name, tasks={name: ("one", "two")}) for name in names]


def shares(store: Store) -> dict[str, float]:
    with store.read() as session:
        return dict(session.execute(select(Project.name, Project.attention_fraction)).all())


def test_a_lead_adds_them_by_a_form(store: Store, enter: Enter):
    first, second = two_projects(store)
    make_project(store, "demonstration", name="writing")
    lead = enter("ada", role="researcher", group="researcher")
    form = lead.open("/lead/projects").form("/attention")
    assert form["choices"]["project"] == [str(first), str(second)]  # writing has no right answer
    page = send(lead, {"project": str(second), "share": "10"}, LINE)
    assert (page.path, page.status) == ("/lead/projects", 200)
    assert "1 new task." in page.text and "others 1 10%" in page.text
    assert shares(store) == {"answers": 0.02, "others": 0.1, "writing": 0.02}
    with store.read() as session:
        found = session.execute(select(Task.project_id).where(Task.kind == "attention")).all()
    assert found == [(second,)]
    page = send(lead, {"project": str(second), "share": ""}, LINE)  # again, the share as it is
    assert "0 new tasks." in page.text and shares(store)["others"] == 0.1
    page = send(lead, {"project": str(first), "share": "0"}, None)  # the share alone
    assert "Changed." in page.text and shares(store)["answers"] == 0


@pytest.mark.parametrize(
    ("lines", "share", "told"),
    [
        (None, "", "Choose a file of attention tasks, or say their share."),
        (LINE, "101", "The share of attention tasks: a whole number from 0 to 100."),
        (LINE.replace(b"[1, 2]", b"[1, 1]"), "7", "upload.jsonl:1: all ranks are equal"),
        (LINE + b"{", "7", "upload.jsonl:2"),
        (LINE + b'{"prompt": "\xff"}', "7", "upload.jsonl:2"),
        (LINE + LINE.replace(b"[1, 2]", b"[2, 1]"), "7", "upload.jsonl:2: the task of"),
    ],
)
def test_a_wrong_file_changes_nothing_and_what_was_typed_stays(
    store: Store, enter: Enter, lines: bytes | None, share: str, told: str
):
    projects = two_projects(store)
    lead = enter("ada", role="researcher", group="researcher")
    page = send(lead, {"project": str(projects[1]), "share": share}, lines)
    assert page.status == 400 and page.alerts[0].startswith(told)
    fields = page.form("/attention")["fields"]
    assert (fields["project"], fields["share"]) == (str(projects[1]), share)
    assert set(shares(store).values()) == {0.02}
    with store.read() as session:
        assert "attention" not in session.scalars(select(Task.kind)).all()


def test_a_file_comes_with_the_form_that_asks_for_one_alone(store: Store, enter: Enter):
    project = str(make_project(store, name="answers"))
    lead, ann = enter("ada", role="researcher", group="researcher"), enter("ann")
    fields = {"csrf": lead.token(), "project": project, "share": "5"}
    two = [("file", ("a", LINE)), ("file", ("b", LINE))]
    one = {"file": ("a", LINE)}
    for path, files in (("/lead/attention", two), ("/lead/projects", one)):
        answer = lead.post(path, data=fields, files=files)
        assert answer.status_code == 400 and "Too many files" in answer.text
    forged = fields | {"csrf": ann.token()}
    assert lead.post("/lead/attention", data=forged, files=one).status_code == 403
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = lead.post("/lead/attention", data=fields, files=one, headers=headers)
    assert answer.status_code == 403
    assert lead.post("/lead/attention", data=fields | {"project": "x"}).status_code == 400
    gone = fields | {"project": str(uuid.uuid4())}
    assert "no such project" in lead.post("/lead/attention", data=gone).text
    mine = {"csrf": ann.token(), "project": project}
    assert ann.post("/lead/attention", data=mine, files=one).status_code == 403
    assert set(shares(store).values()) == {0.02}
