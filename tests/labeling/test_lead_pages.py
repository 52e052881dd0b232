"""The lead's pages: what stands on them, what their buttons do, and that no text breaks out."""

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browsers import PASSWORD, Browser, Clock, Enter, add_member, make_project
from crew import (
    add_member_of,
    add_rejected,
    add_tasks_of,
    copy_of,
    honest,
    let_work,
    ranking_store,
    worked_store,
)
from fastapi import FastAPI
from people import START, add_prompt, say
from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.labeling import charts
from preceptor.labeling.app import create_app, lay_over
from preceptor.labeling.charts import Mark
from preceptor.labeling.settings import Settings
from preceptor.statistics import Estimate
from preceptor.statistics.quality import Pace
from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store, create_store, open_store
from preceptor.store.erase import Wanted, erase
from preceptor.store.labels import reopen, submit
from preceptor.store.names import identify
from preceptor.store.projects import (
    Candidate,
    ProjectOptions,
    add_tasks,
    create_project,
    leave_out,
)
from preceptor.store.queue import claim, skip
from preceptor.store.tables import (
    AccessLog,
    Account,
    Assignment,
    Export,
    GoldAnswer,
    Guideline,
    Invitation,
    Project,
    Prompt,
    PromptUser,
    ScreeningScore,
    Task,
)

CREW = {
    "ann": (honest(0.4), {}),
    "bob": (honest(0.6), {}),
    "rita": (honest(0.5), {"group": "researcher", "role": "researcher"}),
}
PAGES = (
    "/lead",
    "/lead/queue",
    "/lead/agreement",
    "/lead/labelers",
    "/lead/positions",
    "/lead/disagreements",
    "/lead/comments",
    "/lead/gold",
    "/lead/prompts",
    "/lead/projects",
    "/lead/screening",
    "/lead/guidelines",
    "/lead/exports",
    "/lead/accounts",
    "/lead/access",
    "/lead/erase",
)


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, uuid.UUID]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEPTOR_SITE_KEY", "a key that is only known to tests")
        yield worked_store(tmp_path_factory.mktemp("worked"), CREW)


@pytest.fixture
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """Empty, unless the test asks for the project that a crew has worked through."""
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", "a key that is only known to tests")
    if "project" in request.fixturenames:
        opened = copy_of(request.getfixturevalue("worked")[0], tmp_path)
    else:
        create_store(str(tmp_path / "labels.db"))
        opened = open_store(str(tmp_path / "labels.db"))
    yield opened
    opened.close()


@pytest.fixture
def project(worked: tuple[Path, uuid.UUID]) -> uuid.UUID:
    return worked[1]


@pytest.fixture
def app(routes: FastAPI, store: Store, clock: Clock, tmp_path: Path) -> FastAPI:
    clock.at = START + timedelta(days=300)
    lay_over(routes, store, Settings(now=clock, exports=tmp_path / "exports"))
    return routes


@pytest.fixture
def admin(enter: Enter) -> Browser:
    return enter("the-admin", role="admin", group="researcher")


class Markup(HTMLParser):
    """Tags with their attributes, so that what a browser would make of a page can be asked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""  # but for what stands in a choice or a field, where no mark can
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("option", "textarea", "title"):
            self.text += data


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_with_labels(project: uuid.UUID, admin: Browser, path: str):
    look_at(admin.get(path))


def test_every_page_opens_without_labels(admin: Browser):
    for path in PAGES:
        look_at(admin.get(path))


def look_at(answer: Any) -> None:
    assert answer.status_code == 200
    page = Markup(answer.text)
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert "nan" not in re.findall(r"\bnan\b", page.text.lower())
    assert not [1 for tag, attributes in page.tags if "style" in attributes or tag == "style"]
    # Each chart is named, and has its figures as a table on the page.
    charts_here = [a for tag, a in page.tags if tag == "svg" and a["class"] == "chart"]
    assert all(a["role"] == "img" and a["aria-label"] for a in charts_here)
    tables = [tag for tag, _ in page.tags].count("table")
    assert tables >= len(charts_here)
    for tag, attributes in page.tags:
        if tag in ("input", "select", "textarea") and attributes.get("type") != "hidden":
            assert (
                attributes.get("name")
                or attributes.get("readonly") is not None
                or "id" in attributes
            )
    forms = [attributes for tag, attributes in page.tags if tag == "form"]
    tokens = [a for tag, a in page.tags if tag == "input" and a.get("name") == "csrf"]
    assert len(tokens) == len([f for f in forms if f.get("method") == "post"])


@pytest.mark.parametrize("path", PAGES)
def test_no_page_tells_a_model_and_only_one_a_login(
    store: Store, admin: Browser, project: uuid.UUID, path: str
):
    text = admin.get(path).text
    for secret in ("ppo_ptx", "runs/secret", "f" * 64, "weights"):
        assert secret not in text
    if path not in ("/lead/accounts", "/lead/access"):
        assert not re.search(r"\b(ann|bob)\b", text)


def test_a_task_shows_who_ranked_how_and_no_model(store: Store, admin: Browser, project: uuid.UUID):
    link = re.search(r'href="(/lead/tasks/[^"]+)"', admin.get("/lead/disagreements").text)
    assert link is not None
    page = admin.get(link[1]).text
    with store.read() as session:
        task = session.get_one(Task, uuid.UUID(link[1].split("/")[-1]))
        prompt = session.get_one(Prompt, task.prompt_id).content
        people = session.scalars(
            select(Account.pseudonym)
            .join(Assignment, Assignment.account_id == Account.id)
            .where(Assignment.task_id == task.id, Assignment.state == "submitted")
        ).all()
        noted = session.scalars(select(AccessLog.what)).all()
    assert prompt in page and len(people) >= 2
    assert all(name in page for name in people)
    assert "ppo_ptx" not in page and "policy" not in page
    assert noted == ["prompts of disagreements", "task with its answers"]
    assert "task with its answers" in admin.get("/lead/access").text
    assert admin.get(f"/lead/tasks/{uuid.uuid4()}").status_code == 404


def test_comments_and_skips_are_read_with_their_task_the_newest_first(store: Store, admin: Browser):
    project = make_project(store, tasks={f"p{i}": ["a", "b"] for i in range(3)}, name="talk")
    ann = add_member(store, "ann")

    def send(at: int, words: str, again: uuid.UUID | None = None) -> uuid.UUID:
        now = START + timedelta(minutes=at)
        with store.write() as session:
            if again is None:
                held = claim(session, project, ann, now=now)
                assert held is not None
                again, key = held.id, held.key
            else:
                _, key = reopen(session, again, ann)
            ratings = {p: {"likert": 4} for p in "12"}
            form = {"ratings": ratings, "rank_groups": [["1"], ["2"]], "comment": words}
            submit(session, again, ann, key=key, form=form, now=now)
            return again

    first = send(1, "hard to tell")
    send(2, "<b>odd</b>")
    send(3, "easy, after all", again=first)
    with store.write() as session:
        held = claim(session, project, ann, now=START + timedelta(minutes=4))
        assert held is not None
        skip(session, held.id, ann, reason="other", comment="a riddle", now=held.lease_expires)
    text = admin.get("/lead/comments").text
    places = [text.index(w) for w in ("a riddle", "easy, after all", "&lt;b&gt;odd&lt;/b&gt;")]
    assert places == sorted(places)
    assert "hard to tell" not in text and "skipped: other" in text
    assert ">ann<" not in text and text.count('href="/lead/tasks/') == 3 and "talk" in text
    with store.read() as session:
        assert "comments of labelers" in session.scalars(select(AccessLog.what)).all()
    assert "There are no older ones" in admin.get("/lead/comments?page=2").text


def test_comments_are_of_a_project_a_labeler_a_kind_as_chosen(store: Store, admin: Browser):
    said: dict[tuple[str, str, str], str] = {}
    names = {login: add_member(store, login) for login in ("ann", "bob", "cyd")}
    for name in ("one", "two"):
        tasks = {f"{name} {i}": ["a", "b"] for i in range(6)}
        project = make_project(store, tasks=tasks, name=name)
        for login in ("ann", "bob"):
            for kind in ("labels", "skips"):
                words = said[name, login, kind] = f"{name} {login} {kind} <i>"
                with store.write() as session:
                    held = claim(session, project, names[login], now=START)
                    assert held is not None
                    if kind == "skips":
                        skip(
                            session, held.id, names[login], reason="other", comment=words, now=START
                        )
                        continue
                    ratings = {p: {"likert": 4} for p in "12"}
                    form = {"ratings": ratings, "rank_groups": [["1"], ["2"]], "comment": words}
                    submit(session, held.id, names[login], key=held.key, form=form, now=START)
    with store.read() as session:
        projects = {row.name: row.id for row in session.scalars(select(Project))}
        pseudonyms = {login: session.get_one(Account, id).pseudonym for login, id in names.items()}

    def shown(**chosen: str) -> set[tuple[str, str, str]]:
        page = admin.get("/lead/comments", params=chosen)
        assert page.status_code == 200 and "<i>" not in page.text
        return {
            key for key, words in said.items() if words.replace("<i>", "&lt;i&gt;") in page.text
        }

    assert shown() == shown(project="", labeler="", kind="") == set(said)
    for name, login, kind in said:
        project, labeler = str(projects[name]), pseudonyms[login]
        assert shown(project=project) == {key for key in said if key[0] == name}
        assert shown(labeler=labeler) == {key for key in said if key[1] == login}
        assert shown(kind=kind) == {key for key in said if key[2] == kind}
        assert shown(project=project, labeler=labeler, kind=kind) == {(name, login, kind)}
    page = admin.open("/lead/comments")
    assert page.form("/comments")["choices"] == {
        "project": ["", *(str(projects[name]) for name in ("one", "two"))],
        "labeler": ["", *sorted(pseudonyms[login] for login in ("ann", "bob"))],
        "kind": ["", "labels", "skips"],
    }
    nobody = admin.get("/lead/comments", params={"labeler": pseudonyms["cyd"]}).text
    assert "There is none like that" in nobody
    for wrong in ({"project": "x"}, {"labeler": "x' OR 1"}, {"kind": "all"}):
        assert admin.get("/lead/comments", params=wrong).status_code == 400
    with store.read() as session:
        noted = session.scalars(select(AccessLog.object)).all()
    assert f"project={projects['two']}&labeler={pseudonyms['bob']}&kind=skips" in noted


def test_pages_of_comments_are_in_one_order_with_what_is_chosen_kept(
    store: Store, admin: Browser, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("preceptor.labeling.comments.PAGE", 3)
    project = make_project(store, tasks={f"p{i}": ["a", "b"] for i in range(14)})
    ann = add_member(store, "ann")
    for i in range(14):  # all at one time, so that the order is settled by more than that
        with store.write() as session:
            held = claim(session, project, ann, now=START)
            assert held is not None
            if i % 2:
                skip(session, held.id, ann, reason="other", comment=f"word {i}.", now=START)
                continue
            ratings = {p: {"likert": 4} for p in "12"}
            words = {"comment": f"word {i}."} if i else {}
            form = {"ratings": ratings, "rank_groups": [["1"], ["2"]], **words}
            submit(session, held.id, ann, key=held.key, form=form, now=START)
    for query, expected in (("", set(range(1, 14))), ("?kind=skips", set(range(1, 14, 2)))):
        seen: list[int] = []
        page = admin.open(f"/lead/comments{query}")
        while True:
            seen += map(int, re.findall(r"word (\d+)\.", page.text))
            if "Older" not in page.text:
                break
            [*_, older] = (link for link in page.links if "page=" in link)
            assert ("kind=skips" in older) == bool(query)
            page = admin.open(older)
        assert len(seen) == len(set(seen)) and set(seen) == expected


def test_erased_comments_are_not_there_and_cost_no_place(
    store: Store, admin: Browser, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("preceptor.labeling.comments.PAGE", 1)
    project = make_project(store, tasks={f"p{i}": ["a", "b"] for i in range(4)})
    for login in ("bob", "ann"):
        who = add_member(store, login)
        with store.write() as session:
            held = claim(session, project, who, now=START)
            assert held is not None
            ratings = {p: {"likert": 4} for p in "12"}
            form = {"ratings": ratings, "rank_groups": [["1"], ["2"]], "comment": f"of {login}."}
            now = START + timedelta(minutes=login == "ann")
            submit(session, held.id, who, key=held.key, form=form, now=now)
    assert "of ann." in admin.get("/lead/comments").text
    with store.write() as session:
        erase(session, store.site_key, Wanted(labeler="ann"), by=None, now=START)
    page = admin.get("/lead/comments").text
    assert "of bob." in page and "of ann." not in page and "Older" not in page


@pytest.mark.parametrize("names", [("ann",), ("ann", "bob")])
def test_agreement_that_nothing_tells_of_is_one_sentence(
    store: Store, admin: Browser, names: tuple[str, ...]
):
    ranking_store(store, {name: (honest(0.5), {}) for name in names}, num_tasks=4)
    page = admin.get("/lead/agreement").text
    is_told = len(names) > 1
    assert ("needs tasks with two labels" in page) != is_told
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    parts = ["Over time", "By group of labelers", "By use case", "Labeler by labeler"]
    assert headings[-5:] == [*parts, "Flags"] if is_told else set(parts).isdisjoint(headings)
    assert "Set</th>" in page  # how often a flag is set, one label each tells


def test_a_project_is_chosen_by_its_id_alone(store: Store, admin: Browser, project: uuid.UUID):
    assert admin.get(f"/lead/agreement?project={project}").status_code == 200
    assert admin.get(f"/lead/agreement?project={uuid.uuid4()}").status_code == 404
    assert admin.get("/lead/agreement?project=x' OR 1=1").status_code == 400


def test_another_opinion_and_a_gold_answer(store: Store, admin: Browser, project: uuid.UUID):
    with store.read() as session:
        task, researcher = session.execute(
            select(Assignment.task_id, Assignment.id)
            .join(Account, Account.id == Assignment.account_id)
            .join(Task, Task.id == Assignment.task_id)
            .where(
                Account.labeler_group == "researcher",
                Assignment.state == "submitted",
                Task.kind == "normal",
                Task.state == "full",
            )
        ).first()
    answer = admin.submit(f"/lead/tasks/{task}/again")
    assert answer.headers["location"].endswith("said=again")
    assert "One more labeler is asked" in admin.get(answer.headers["location"]).text
    with store.read() as session:
        assert session.get_one(Task, task).state == "open"
    admin.submit(f"/lead/tasks/{task}/gold", assignment=str(researcher), explanation="see page 3")
    page = admin.get(f"/lead/tasks/{task}").text
    assert "see page 3" in page and "gold" in page
    assert "yes" in admin.get(f"/lead/gold?project={project}").text
    with store.read() as session:
        assert session.get_one(GoldAnswer, task).assignment_id == researcher
    admin.submit(f"/lead/tasks/{task}/gold", assignment="")
    with store.read() as session:
        assert session.get(GoldAnswer, task) is None
    assert admin.submit(f"/lead/tasks/{task}/gold", assignment="nonsense").status_code == 400


def test_a_lease_is_freed(store: Store, admin: Browser, project: uuid.UUID):
    with store.write() as session:
        name = "zoe"
        zoe = add_member_of(session, store, name)
        view = claim(session, project, zoe, now=START + timedelta(days=300))
    assert view is not None
    assert str(view.id) in admin.get("/lead/queue").text
    answer = admin.submit(f"/lead/leases/{view.id}/free")
    assert "free again" in admin.get(answer.headers["location"]).text
    with store.read() as session:
        assert session.get_one(Assignment, view.id).state == "released"


def test_a_project_of_demonstrations_and_one_of_another_s_responses(
    store: Store, admin: Browser, project: uuid.UUID
):
    wanted = {
        "name": "answers",
        "task_type": "demonstration",
        "purpose": "train",
        "split": "train",
        "num_tasks": "10",
        "overlap": "1",
        "pool": "20",
        "lease": "30",
        "group_training": "1",
    }
    answer = admin.submit("/lead/projects", **wanted)
    assert answer.headers["location"] == "/lead/projects?said=10"
    screening = wanted | {
        "name": "first test",
        "task_type": "ranking",
        "purpose": "screening",
        "source": "comparisons",
        "num_tasks": "7",
        "group_researcher": "1",
    }
    assert admin.submit("/lead/projects", **screening).headers["location"].endswith("said=7")
    with store.read() as session:
        found = {p.name: p for p in session.scalars(select(Project))}
        assert found["answers"].lease_seconds == 1800
        assert found["answers"].calibration_fraction == 0.2
        made = session.scalars(select(Task).where(Task.project_id == found["first test"].id)).all()
        assert [(task.kind, task.target) for task in made] == [("calibration", None)] * 7
        assert found["first test"].groups == ["training", "researcher"]
        texts = {
            session.get_one(Prompt, task.prompt_id).content
            for task in session.scalars(select(Task).where(Task.project_id == project))
        }
        assert {session.get_one(Prompt, task.prompt_id).content for task in made} <= texts
    practice = screening | {"name": "first steps", "purpose": "practice"}
    assert admin.submit("/lead/projects", **practice).headers["location"].endswith("said=7")
    shared = wanted | {"name": "shared", "overlap_more": "3", "overlap_share": "100"}
    assert admin.submit("/lead/projects", **shared).headers["location"].endswith("said=10")
    with store.read() as session:
        [id] = session.scalars(select(Project.id).where(Project.name == "shared"))
        made = session.scalars(select(Task.target).where(Task.project_id == id)).all()
        assert sorted(map(str, made)) == ["3"] * 8 + ["None"] * 2
    page = admin.get("/lead/projects").text
    assert '1<br><span class="soft small">3 of 100%</span>' in page
    more = admin.submit("/lead/projects", **(screening | {"num_tasks": "100"}))
    assert more.headers["location"].endswith("said=17")  # those that it did not have
    again = admin.submit("/lead/projects", **screening)
    assert again.status_code == 400 and "Nothing is left" in again.text
    admin.submit(f"/lead/projects/{found['answers'].id}/state", state="paused")
    assert "paused" in admin.get("/lead/projects").text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": " "}, "needs a name"),
        ({"overlap": "0"}, "from 1 to 100"),
        ({"overlap": "1e3"}, "whole number"),
        ({"pool": "101"}, "from 0 to 100"),
        ({"overlap_more": "3"}, "need both"),
        ({"overlap_share": "5"}, "need both"),
        ({"overlap_more": "1", "overlap_share": "5"}, "More labels: a whole number from 2 to 100"),
        ({"group_training": ""}, "at least one group"),
        ({"purpose": "gain"}, "train, eval, screening or practice"),
        (
            {"purpose": "practice", "group_researcher": "1", "group_heldout": "1"},
            "judge as they come",
        ),
        ({"split": "all"}, "train, valid or test"),
        ({"task_type": "quiz"}, "no such type"),
        ({"task_type": "ranking"}, "another project, or a file"),
        ({"guideline": "unheard"}, "no such guideline"),
        ({"purpose": "practice"}, "tick researcher, too"),
        ({"purpose": "screening"}, "tick researcher, too"),
        ({"group_heldout": "1"}, "no training data"),
    ],
)
def test_an_impossible_project_is_refused_and_what_was_typed_stays(
    store: Store, admin: Browser, change: dict[str, str], told: str
):
    with store.write() as session:
        add_prompt(session, "q")
    wanted = {
        "name": "answers",
        "task_type": "demonstration",
        "purpose": "train",
        "split": "train",
        "num_tasks": "77",
        "overlap": "1",
        "pool": "15",
        "lease": "60",
        "group_training": "1",
    }
    answer = admin.submit("/lead/projects", **(wanted | change))
    assert answer.status_code == 400 and told in answer.text
    assert 'value="77"' in answer.text
    with store.read() as session:
        assert session.scalars(select(Project)).all() == []


def test_a_file_of_responses_is_looked_at_and_then_asked_about(store: Store, admin: Browser):
    fields = {
        "name": "from a file",
        "task_type": "ranking",
        "purpose": "train",
        "split": "train",
        "num_tasks": "9",
        "overlap": "1",
        "pool": "0",
        "lease": "60",
        "group_training": "1",
    }
    assert "another project, or a file" in admin.submit("/lead/projects", **fields).text
    made = admin.submit("/lead/projects", **fields, source=" file")
    assert made.status_code == 303
    with store.read() as session:
        [project] = session.scalars(select(Project.id))
    rows = [
        {"prompt": "<b>how?</b>", "user": "u1", "responses": ["one", "two"], "sources": ["a", "b"]},
        {"prompt": "why?", "responses": ["x", "y", "z"]},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    about = {"project": str(project), "licence": "ours", "consent": "asked", "split": "valid"}

    def send(action: str, lines: bytes = lines, **more: str) -> Any:
        data = {"csrf": admin.token(), "action": action} | about | more
        return admin.post("/lead/tasks", data=data, files={"file": ("f.jsonl", lines)})

    seen = send("look")
    assert seen.status_code == 200 and "2 lines, not added yet" in seen.text
    assert "1 with 2 responses, 1 with 3 responses." in seen.text
    assert "&lt;b&gt;how?&lt;/b&gt;" in seen.text and 'value="ours"' in seen.text
    with store.read() as session:
        assert session.scalars(select(Task)).all() == []
    for lines_sent, change, told in (
        (lines + b"{", {}, "line 3: not JSON"),
        (b"", {}, "Choose a file"),
        (lines, {"consent": " "}, "under what consent"),
        (lines, {"project": "x"}, "Choose the project"),
        (json.dumps({"prompt": "p"}).encode(), {}, "needs responses to rank"),
    ):
        refused = send("add", lines_sent, **change)
        assert refused.status_code == 400 and told in refused.text, refused.text
        assert refused.text.index('id="file"') < refused.text.index(told), "it stands at the form"
    with store.read() as session:
        assert session.scalars(select(Task)).all() == []
    assert send("add").headers["location"] == "/lead/projects?said=2"
    assert send("add").headers["location"] == "/lead/projects?said=0"
    with store.read() as session:
        prompts = session.scalars(select(Prompt)).all()
        assert {(p.content, p.split) for p in prompts} == {
            ("<b>how?</b>", "valid"),
            ("why?", "valid"),
        }


@pytest.mark.parametrize(
    ("task_type", "purposes"), [("prompt_user_based", ""), ("prompt_plain", "plan a meal")]
)
def test_a_fold_with_something_wrong_in_it_is_open(admin: Browser, task_type: str, purposes: str):
    """Purposes that are missing, and such as do not belong there, are seen at once."""
    fold = re.compile(r"<details([^>]*)><summary>Purposes")
    [untouched] = fold.findall(admin.get("/lead/projects").text)
    wanted = {"name": "p", "task_type": task_type, "purpose": "train", "split": "train"}
    numbers = {"num_tasks": "2", "overlap": "1", "pool": "0", "lease": "60"}
    answer = admin.submit(
        "/lead/projects", **wanted, **numbers, group_training="1", descriptions=purposes
    )
    [refused] = fold.findall(answer.text)
    assert answer.status_code == 400 and "descriptions" in answer.text
    assert purposes in answer.text
    assert (untouched.strip(), refused.strip()) == ("", "open")


@pytest.mark.parametrize(
    ("z", "said"), [(-0.04, "0.0"), (-0.0, "0.0"), (0.04, "0.0"), (-0.06, "-0.1"), (-2.5, "-2.5")]
)
def test_no_pace_is_less_than_nothing(
    admin: Browser, project: uuid.UUID, monkeypatch: pytest.MonkeyPatch, z: float, said: str
):
    def paces(labelers: Sequence[int], *_: object) -> dict[int, Pace]:
        return {i: Pace(z, 0.0, 9) for i in set(labelers)}

    monkeypatch.setattr("preceptor.labeling.labelers.paces", paces)
    page = admin.get(f"/lead/labelers?project={project}").text
    row = page.split("<h2>Attention</h2>")[1].split("<tbody>")[1].split("</tr>")[0]
    cells = re.findall(r'<td class="number">(.*?)</td>', row)
    assert cells[1] == said


def test_where_nothing_is_yet_the_page_says_what_brings_it(admin: Browser, tmp_path: Path):
    """An empty queue and an empty screening lead on, each to pages that there are."""
    create_store(str(tmp_path / "new.db"))
    opened = open_store(str(tmp_path / "new.db"))
    app = create_app(opened, Settings(exports=tmp_path / "exports"))
    add_member(opened, "boss", role="admin", group="researcher")
    boss = Browser(app)
    boss.post("/login", data={"login": "boss", "password": PASSWORD, "next": "/"})
    for path, num in (("/lead/queue", 1), ("/lead/screening", 2)):
        page = boss.get(path).text
        boxes = re.findall(r'<div class="nothing">(.*?)</div>', page, re.DOTALL)
        assert len(boxes) == num and "<svg" not in page
        for box in boxes:
            links = re.findall(r'href="(.*?)"', box)
            assert links and all(boss.get(link).status_code == 200 for link in links)
    opened.close()


def test_an_export_is_run_listed_and_taken(
    store: Store, admin: Browser, project: uuid.UUID, tmp_path: Path
):
    answer = admin.submit("/lead/exports", kind="rankings", split="train", project="comparisons")
    assert answer.status_code == 200
    [file] = (tmp_path / "exports").glob("rankings-train-*.jsonl")
    assert file.name in answer.text
    with store.read() as session:
        [row] = session.scalars(select(Export)).all()
    taken = admin.get(f"/lead/exports/{row.id}/file")
    assert taken.content == file.read_bytes()
    assert f'filename="{file.name}"' in taken.headers["content-disposition"]
    nothing = admin.submit("/lead/exports", kind="demonstrations", split="valid")
    assert nothing.status_code == 400 and "There are none yet" in nothing.text
    for wrong in ({"kind": "../x", "split": "train"}, {"kind": "rankings", "split": ".."}):
        assert admin.submit("/lead/exports", **wrong).status_code == 400
    file.unlink()
    assert admin.get(f"/lead/exports/{row.id}/file").status_code == 404
    assert "elsewhere" in admin.get("/lead/exports").text


def test_only_files_of_the_export_folder_are_given_out(
    store: Store, admin: Browser, tmp_path: Path
):
    (tmp_path / "secret.jsonl").write_text("a secret")
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with store.write() as session:
        for name in ("../secret.jsonl", "link.jsonl", "", ".", "exports/x", str(tmp_path)):
            values = {"kind": "rankings", "filters": {}, "num_rows": 1, "sha256": "0"}
            session.add(Export(file_name=name, at=START, **values))
    for number in range(1, 7):
        assert admin.get(f"/lead/exports/{number}/file").status_code == 404


def test_a_guideline_is_published_in_versions(store: Store, admin: Browser):
    for text in ("Be *helpful*.", "Be **true**.", "Be **true**."):
        answer = admin.submit("/lead/guidelines", name="ranking", markdown=text)
        assert answer.status_code == 303
    with store.read() as session:
        found = session.scalars(select(Guideline).order_by(Guideline.version)).all()
    assert [(g.name, g.version) for g in found] == [("ranking", 1), ("ranking", 2)]
    assert "<strong>true</strong>" in admin.get(f"/lead/guidelines/{found[1].id}").text
    page = admin.get("/lead/guidelines").text
    assert "ranking@2" in page and page.count(">shown<") == 1
    names = ("a b", "Upper", "", "-x", "y" * 65)
    for wrong in (*({"name": n, "markdown": "x"} for n in names), {"name": "a", "markdown": " "}):
        assert admin.submit("/lead/guidelines", **wrong).status_code == 400


def test_an_admin_invites_pauses_and_ends(store: Store, app: Any, admin: Browser):
    answer = admin.submit(
        "/lead/accounts", login="new@example.org", role="labeler", group="heldout"
    )
    link = re.search(r'value="(http://localhost/invitation/[^"]+)"', answer.text)
    assert link is not None
    guest = Browser(app)
    assert "new@example.org" in guest.get(link[1]).text
    assert link[1] not in admin.get("/lead/accounts").text
    with store.read() as session:
        made = session.scalars(select(Account).where(Account.login == "new@example.org")).one()
        assert (made.state, made.labeler_group, made.role) == ("invited", "heldout", "labeler")
        assert session.scalars(select(Invitation.screened)).all()[-1] is True
    fresh = admin.submit(f"/lead/accounts/{made.id}/invitation")
    again = re.search(r'value="(http://localhost/invitation/[^"]+)"', fresh.text)
    assert again is not None and again[1] != link[1]
    assert guest.get(link[1]).status_code == 410
    guest.post(again[1], data={"password": "quite another long secret"})
    for state in ("paused", "left", "active"):
        admin.submit(f"/lead/accounts/{made.id}/state", state=state)
        with store.read() as session:
            assert session.get_one(Account, made.id).state == state
    own = admin.account  # type: ignore[attr-defined]
    assert admin.submit(f"/lead/accounts/{own}/state", state="left").status_code == 400
    for wrong in ({"login": ""}, {"login": "x", "role": "king"}, {"login": "new@example.org"}):
        assert admin.submit("/lead/accounts", **wrong).status_code == 400


def test_an_admin_helps_who_forgot_their_password(
    store: Store, app: Any, admin: Browser, enter: Enter
):
    ann = enter("ann")
    account = ann.account  # type: ignore[attr-defined]
    assert "New password link" in admin.get("/lead/accounts").text
    page = admin.submit(f"/lead/accounts/{account}/password").text
    link = re.search(r'value="(http://localhost/invitation/[^"]+)"', page)
    assert link is not None and link[1] not in admin.get("/lead/accounts").text
    assert ann.get("/profile").status_code == 200
    guest, new = Browser(app), "quite another long secret"
    assert guest.post(link[1], data={"password": new}).status_code == 303
    assert guest.get("/profile").status_code == 200
    assert ann.get("/profile").status_code == 303, "the old cookie is dead"
    statuses = [
        Browser(app).post("/login", data={"login": "ann", "password": password}).status_code
        for password in (PASSWORD, new)
    ]
    assert statuses == [401, 303]
    with store.read() as session:
        found = session.get_one(Account, account)
        assert (found.state, found.role, found.labeler_group) == ("active", "labeler", "training")


def add_candidate(store: Store, name: str) -> uuid.UUID:
    with store.write() as session:
        _, token = invite(session, store.site_key, name, now=START)
        return accept_invitation(session, token, password_hash="x", now=START)


def test_a_screening_from_first_answer_to_decision(store: Store, enter: Enter, admin: Browser):
    rita = enter("rita", role="researcher", group="researcher")
    candidate = add_candidate(store, "newcomer")
    options = {
        "purpose": "screening",
        "calibration_fraction": 1.0,
        "groups": ("training", "researcher"),
    }
    with store.write() as session:
        made = ProjectOptions(**options)  # type: ignore[arg-type]
        ranking = create_project(session, "test", "ranking", made, now=START)
        add_tasks_of(session, ranking, 8, num_calibration=8)
        writing = create_project(session, "writing", "demonstration", made, now=START)
        add_tasks(session, writing, {add_prompt(session, "a cruel joke"): []}, num_calibration=1)
    researcher = rita.account  # type: ignore[attr-defined]
    let_work(store, ranking, {researcher: honest(0.2), candidate: honest(0.2)}, seed=4)
    with store.write() as session:
        view = claim(session, writing, candidate, now=START)
        assert view is not None
        form = {"response": "I would rather not."}
        submit(session, view.id, candidate, key=view.key, form=form, now=START)
    with store.read() as session:
        own = session.execute(
            select(Assignment.id, Assignment.task_id).where(Assignment.account_id == researcher)
        ).all()
    for assignment, task in own:
        rita.submit(f"/lead/tasks/{task}/gold", assignment=str(assignment))
    page = rita.get("/lead/screening").text
    assert str(candidate) in page and "1 to score" in page and "newcomer" not in page
    card = rita.get(f"/lead/screening/{candidate}").text
    assert "I would rather not." in card and "a cruel joke" in card
    score = f"/lead/screening/{candidate}/score"
    rita.submit(score, assignment=str(view.id), value="7")
    admin.submit(score, assignment=str(view.id), value="6")
    rita.submit(score, value="5")
    card = rita.get(f"/lead/screening/{candidate}").text
    assert "<b>6.50</b>" in card and "<b>5</b>" in card
    for value in ("", "8", "seven"):
        assert rita.submit(score, value=value).status_code == 400
    assert rita.submit(f"/lead/screening/{candidate}/decision", decision="maybe").status_code == 400
    rita.submit(f"/lead/screening/{candidate}/decision", decision="accept")
    with store.read() as session:
        assert session.get_one(Account, candidate).state == "active"
        kept = session.scalars(
            select(ScreeningScore).where(ScreeningScore.part == "decision")
        ).one()
    assert kept.decided_by == researcher
    assert kept.card["demonstrations"]["mean"] == 6.5
    assert kept.card["rankings"]["n"] > 20 and kept.card["cut_offs"]["rankings"] == 0.75
    assert "accepted" in rita.get("/lead/screening").text
    assert rita.get(f"/lead/screening/{uuid.uuid4()}").status_code == 404


def test_held_out_labelers_stand_apart(store: Store, admin: Browser):
    crew = {
        "ann": (honest(0.4), {}),
        "bob": (honest(0.4), {}),
        "hal": (honest(0.4), {"group": "heldout"}),
        "hue": (honest(0.4), {"group": "heldout"}),
    }
    ranking_store(store, crew, purpose="eval", overlap=4, num_calibration=0)
    page = Markup(admin.get("/lead/screening").text).text
    assert "Held-out labelers" in page
    assert "heldout and training" in page


ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}",
    "\u202egnp.exe\u200b",
    "</title><script>alert(1)</script>",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_breaks_out_of_any_page(store: Store, admin: Browser, attack: str):
    """In a prompt, a response, a comment, names of projects, files, reasons, logins, guidelines."""
    with store.write() as session:
        options = ProjectOptions(overlap=2, calibration_fraction=0.0, groups=("training",))
        project = create_project(session, f"p {attack}", "ranking", options, now=START)
        prompt = add_prompt(session, f"q {attack}")
        row = session.get_one(Prompt, prompt)
        row.use_case = f"u {attack}"
        add_tasks(session, project, {prompt: [Candidate(f"a {attack}"), Candidate(f"b {attack}")]})
        add_rejected(session, 1)
        left = session.scalars(select(Prompt).where(Prompt.status == "rejected")).one()
        left.reason = f"r {attack}"
        values = {"name": f"g {attack}", "version": 1, "markdown": f"# {attack}\n\n[x]({attack})"}
        id = identify("guideline", values["name"], 1)  # of before names had a rule
        session.add(Guideline(id=id, **values, sha256="", imported=False, at=START))
        people = [add_member_of(session, store, name) for name in (f"l {attack}", "other")]
        for i, who in enumerate(people):
            view = claim(session, project, who, now=START)
            assert view is not None
            first = "1" if view.responses[0].startswith("ab"[i]) else "2"
            groups = [[first], ["21"[int(first) - 1]]]
            form = {
                "ratings": {p: {"likert": 1 + 6 * i, "flags": {}} for p in ("1", "2")},
                "rank_groups": groups,
                "comment": f"c {attack}",
            }
            submit(session, view.id, who, key=view.key, form=form, now=START)
        held = create_project(session, f"h {attack}", "ranking", options, now=START)
        add_tasks(session, held, {prompt: [Candidate("a"), Candidate("b")]})
        claim(session, held, people[0], now=START + timedelta(days=300))
        [task] = session.scalars(select(Task.id).where(Task.project_id == project)).all()
        guideline = session.scalars(select(Guideline.id)).one()
        reason = left.reason
    admin.submit("/lead/exports", kind="rankings", split="train", project=f"p {attack}")
    paths = [
        *PAGES,
        f"/lead/tasks/{task}",
        f"/lead/guidelines/{guideline}",
        f"/lead/agreement?project={project}",
        f"/lead/disagreements?project={project}",
    ]
    plain = Browser.get(admin, "/lead/prompts", params={"reason": reason})
    for answer in [plain, *(admin.get(path) for path in paths)]:
        assert answer.status_code == 200, answer.url
        page = Markup(answer.text)
        for tag, attributes in page.tags:
            own_script = tag == "script" and (attributes["src"] or "").startswith("/static/")
            assert tag not in ("script", "img") or own_script, answer.url
            assert not [name for name in attributes if name.startswith("on")], answer.url
            assert not (attributes.get("href") or "").startswith("javascript:"), answer.url
        assert "\u202e" not in page.text and "\u200b" not in page.text, answer.url
        assert not re.findall(r"\b[pqabclgr] 49\b", page.text), answer.url
    # What was typed comes back into the form as text.
    again = admin.submit("/lead/guidelines", name=f"x {attack}", markdown=f"m {attack}")
    assert again.status_code == 400
    assert not [t for t, a in Markup(again.text).tags if t == "img" or a.get("onload")]
    assert "<script>" not in again.text


def test_charts_escape_their_words_and_need_no_style():
    nasty = "</text><script>alert(1)</script>"
    estimate = Estimate(0.5, 0.4, 0.6, 10, 5)
    none = Estimate.undefined("nothing")
    drawn = [
        charts.intervals(nasty, [(nasty, estimate), ("n", none)], marks=[Mark(0.5, nasty)]),
        charts.over_time(nasty, [(nasty, estimate), ("n", none)], marks=[Mark(0.5, nasty)]),
        charts.columns(nasty, [nasty], [(nasty, [3])], expected=[2]),
        charts.bars(nasty, [(nasty, 3.0)]),
        charts.matrix(nasty, [nasty, "b"], {(nasty, "b"): estimate}, low=0.5),
        charts.share_bar(nasty, 2.0),
    ]
    for chart in drawn:
        assert "<script" not in chart and "style=" not in chart and "nan" not in chart.lower()
        assert chart.count("<svg") == chart.count("</svg>") == 1 + ("chart narrow" in chart)


@pytest.mark.parametrize("draw", [charts.intervals, charts.over_time])
@pytest.mark.parametrize(
    ("least", "begins"), [(0.62, "40%"), (0.41, "40%"), (0.38, "20%"), (0.2, "20%"), (0.0, "0%")]
)
def test_a_scale_reaches_down_to_the_lowest_interval(draw: Any, least: float, begins: str):
    """The lowest end lies on the chart where its value is, between two lines of the grid."""
    rows = [
        ("sure", Estimate(0.9, 0.85, 0.95, 10, 5)),
        ("unsure", Estimate(max(least, 0.7), least, 0.95, 10, 5)),
        ("none", Estimate.undefined("nothing")),
    ]
    for chart in draw("c", rows, low=0.4).split("</svg>")[:2]:
        check_scale(draw, chart, least, begins)


def check_scale(draw: Any, chart: str, least: float, begins: str) -> None:
    along = ("x1", "x2") if draw is charts.intervals else ("y1", "y2")
    lines = {
        kind: [
            tuple(float(re.search(rf'{end}="([\d.-]+)"', line)[1]) for end in along)
            for line in re.findall(rf'<line class="{kind}"[^>]*>', chart)
        ]
        for kind in ("grid", "reach")
    }
    ticks = [float(t) for t in re.findall(r'class="tick"[^>]*>([\d.]+)%<', chart)]
    assert f"{ticks[0]:g}%" == begins and ticks[-1] == 100
    assert all(tick % 20 == 0 for tick in ticks)
    first, last = lines["grid"][0][0], lines["grid"][-1][0]
    share = (lines["reach"][1][0] - first) / (last - first)
    assert 100 * least == pytest.approx(ticks[0] + share * (100 - ticks[0]), abs=0.05)


def test_counts_are_written_out():
    drawn = {
        "columns": charts.columns("c", ["a"], [("s", [12_345.0])]),
        "bars": charts.bars("c", [("a", 12_345.0), ("b", 1_234_567.0)]),
    }
    for name, chart in drawn.items():
        assert "12,345" in chart and "e+" not in chart, name
    # Of four steps to 20,000, and to 2.
    assert re.findall(r'class="tick"[^>]*>([\d.,]+)<', drawn["columns"])[:5] == [
        "0", "5,000", "10,000", "15,000", "20,000",
    ]  # fmt: skip
    small = charts.columns("c", ["a"], [("s", [2.0])])
    assert re.findall(r'class="tick"[^>]*>([\d.,]+)<', small)[:5] == ["0", "0.5", "1", "1.5", "2"]


@pytest.mark.parametrize("num", [1, 9, 30])
def test_names_below_a_chart_do_not_run_into_each_other(num: int):
    """Of seven units a character at the most."""
    names = [f"11-{day:02d}" for day in range(1, num + 1)]
    estimate = Estimate(0.5, 0.4, 0.6, 10, 5)
    for chart in (
        charts.columns("c", names, [("s", [1.0] * num)]),
        charts.over_time("c", [(name, estimate) for name in names]),
    ):
        for drawing in chart.split("</svg>")[:2]:
            found = re.findall(r'x="([\d.]+)"[^>]*text-anchor="middle">11-', drawing)
            places = [float(place) for place in found]
            assert places and all(b - a > 5 * 7 for a, b in pairwise(places))


def test_no_rows_no_chart():
    none = [("a", Estimate.undefined("nothing")), ("b", Estimate.undefined("nothing"))]
    for rows in ([], none):
        assert charts.intervals("c", rows) == charts.over_time("c", rows) == ""


@pytest.mark.parametrize("values", [[0.0], [1e-9], [7.0, 3.0], [123_456.0], [10.0]])
def test_a_column_chart_has_room_for_its_columns(values: list[float]):
    chart = charts.columns("c", [str(v) for v in values], [("s", values)])
    for top, height in re.findall(r'y="([\d.-]+)" width="[\d.]+" height="([\d.]+)"', chart):
        assert float(top) >= 13.9 and float(top) + float(height) <= 204.1


AGAIN = {
    "name": "once more",
    "task_type": "ranking",
    "purpose": "train",
    "split": "train",
    "source": "a project named ppo_ptx",
    "num_tasks": "10",
    "overlap": "1",
    "pool": "0",
    "lease": "30",
    "group_training": "1",
}


def sensitive_of(store: Store, name: str) -> dict[str, bool]:
    with store.read() as session:
        rows = session.execute(
            select(Prompt.content, Task.sensitive)
            .join(Task, Task.prompt_id == Prompt.id)
            .join(Project, Project.id == Task.project_id)
            .where(Project.name == name)
        )
        return {prompt: sensitive for prompt, sensitive in rows}


def test_what_may_disturb_may_in_another_project_as_well(store: Store, admin: Browser):
    make_project(store, tasks={"grim": ["a", "b"]}, sensitive=True)
    make_project(store, tasks={"mild": ["a", "b"]})
    assert admin.submit("/lead/projects", **AGAIN).headers["location"].endswith("said=2")
    assert sensitive_of(store, "once more") == {"grim": True, "mild": False}
    with store.write() as session:
        who = add_member_of(session, store, "ann")
        assert not session.get_one(Account, who).accepts_sensitive
        project = session.scalars(select(Project.id).where(Project.name == "once more")).one()
        view = claim(session, project, who, now=START)
        assert view is not None and view.prompt == "mild"
        skip(session, view.id, who, reason="needs_expertise", now=START)
        assert claim(session, project, who, now=START) is None
        session.get_one(Account, who).accepts_sensitive = True
        view = claim(session, project, who, now=START)
        assert view is not None and view.prompt == "grim" and view.sensitive


def test_the_project_form_can_say_that_all_may_disturb(store: Store, admin: Browser):
    make_project(store, tasks={"mild": ["a", "b"]})
    admin.submit("/lead/projects", **AGAIN, sensitive="1")
    written = AGAIN | {"name": "written", "task_type": "demonstration", "sensitive": "1"}
    admin.submit("/lead/projects", **written)
    for name in ("once more", "written"):
        assert sensitive_of(store, name) == {"mild": True}
    typed = admin.submit("/lead/projects", **AGAIN | {"overlap": "0", "sensitive": "1"}).text
    assert re.search(r'name="sensitive" value="1" checked', typed)


def prompt_named(session: Session, content: str) -> Prompt:
    [found] = [p for p in session.scalars(select(Prompt)) if p.content == content]
    return found


def user_of(session: Session, name: str, content: str) -> uuid.UUID:
    """Makes the prompt another user's, who has not said anything yet."""
    user = identify("user", name)
    pseudonym = f"usr_{name:a<26}"
    session.add(
        PromptUser(id=user, pseudonym=pseudonym, split="train", policy="opt_in", first_seen=START)
    )
    session.flush()
    prompt_named(session, content).user_id = user
    return user


def test_only_prompts_whose_users_consent_are_asked_about_once_more(store: Store, admin: Browser):
    names = ("free", "silent", "withdrawn", "measured")
    make_project(store, tasks={name: ["a", "b"] for name in names})
    with store.write() as session:
        users = {name: user_of(session, name, name) for name in names[1:]}
        say(session, users["withdrawn"], "given")
        say(session, users["withdrawn"], "withdrawn")
        say(session, users["measured"], "given", ["evaluate"])
    assert admin.submit("/lead/projects", **AGAIN).headers["location"].endswith("said=1")
    measuring = AGAIN | {"name": "measuring", "task_type": "evaluation", "purpose": "eval"}
    assert admin.submit("/lead/projects", **measuring).headers["location"].endswith("said=2")
    assert sensitive_of(store, "once more").keys() == {"free"}
    assert sensitive_of(store, "measuring").keys() == {"free", "measured"}


def test_the_chosen_split_holds_for_responses_of_another_project(store: Store, admin: Browser):
    make_project(store, tasks={name: ["a", "b"] for name in ("seen", "unseen", "odd")})
    with store.write() as session:
        prompt_named(session, "unseen").split = "valid"
        prompt_named(session, "odd").split = "valid"
        options = ProjectOptions(calibration_fraction=0.0, lease_seconds=1800, groups=("training",))
        project = create_project(session, "once more", "ranking", options, now=START)
        leave_out(session, project, {prompt_named(session, "odd").id: "too long"})
    valid = AGAIN | {"split": "valid"}
    assert admin.submit("/lead/projects", **valid).headers["location"].endswith("said=1")
    assert sensitive_of(store, "once more").keys() == {"unseen"}
    other = admin.submit("/lead/projects", **valid | {"lease": "60"})
    assert other.status_code == 400 and "a lease of seconds 1800, not 3600" in other.text
    none = admin.submit("/lead/projects", **AGAIN | {"split": "test"})
    assert none.status_code == 400 and "Nothing is left to ask about in test" in none.text


def test_an_admin_looks_what_would_go_and_erases_a_person(store: Store, admin: Browser):
    make_project(store, tasks={"<b>secret</b>": ["a", "b"]})
    with store.read() as session:
        pseudonym = session.scalars(select(PromptUser.pseudonym)).one()
    who = {"who": "pseudonym", "name": pseudonym}
    page = admin.submit("/lead/erase", **who, action="look").text
    assert "What would go" in page
    careless = admin.submit("/lead/erase", **who, action="erase")
    assert careless.status_code == 400 and "nothing was erased" in careless.text
    with store.read() as session:
        assert prompt_named(session, "<b>secret</b>").status == "active"
    done = admin.submit("/lead/erase", **who, action="erase", confirmed="1").text
    assert f"Erased: {pseudonym}" in done and "What went" in done
    with store.read() as session:
        assert [p.content for p in session.scalars(select(Prompt))] == [""]
    assert "erased a user" in admin.get("/lead/access").text
    assert "their user was erased" in admin.get("/lead/prompts").text
    assert (
        "own account"
        in admin.submit("/lead/erase", who="labeler", name="the-admin", action="look").text
    )
    for odd in ({"who": "labeler", "name": " "}, {"who": "x", "name": "y"}, {**who, "name": "a\0"}):
        assert admin.submit("/lead/erase", **odd, action="look").status_code == 400
