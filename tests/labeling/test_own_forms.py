"""A form of a lead's own on the pages, in the interface and with simulated labelers."""

import json
import uuid
from typing import Any

import pytest
from browsers import Browser, Enter, add_member, make_project
from live import Program, claimed, error_of, form_of, key_of, served, submit
from people import add_prompt
from sqlalchemy import select
from test_tasks import begin, labels

from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.evaluation.labelers import Labeler
from preceptor.labeling.client import Client
from preceptor.simulation.answers import Knowledge, Worker
from preceptor.simulation.work import SignedIn, work_until_done
from preceptor.store.database import Store
from preceptor.store.projects import Candidate, add_tasks
from preceptor.store.questions import PAPER, PAPER_FILE, Questions, questions_of, read_questions
from preceptor.store.tables import Project

ATTACK = '"><script>alert(1)</script>'
OWN = json.dumps(
    {
        "quality": {"text": "How helpful?", "low": "no use", "high": "solves it"},
        "flags_text": "What is the matter?",
        "flags": [
            {"name": "rude", "text": f"Rude {ATTACK}"},
            {"name": "cites", "text": "Cites its sources", "none": "Nothing to cite"},
            {"name": "too_long", "text": "Too long"},
        ],
        "use_case": False,
        "prompt_labels": [{"name": "legal", "text": "About the law"}],
    }
)


def own(**more: Any) -> Questions:
    return read_questions(json.dumps(json.loads(OWN) | more), "own")


@pytest.fixture
def lead(enter: Enter) -> Browser:
    return enter("lea", role="researcher", group="researcher")


def test_the_pages_ask_what_the_form_says_and_keep_what_was_said(store: Store, enter: Enter):
    page = begin(enter(), make_project(store, form=own()))
    for words in ("How helpful?", "no use", "solves it", "What is the matter?", "Too long"):
        assert words in page.text
    assert "Makes something up" not in page.text and "<script>alert" not in page.html
    assert {name for name in page.work["choices"] if name.startswith("flag_")} == {
        "flag_rude",
        "flag_cites",
        "flag_too_long",
    }
    page = page.press("next", likert="6", flag_rude="on", flag_cites="yes")
    back = page.press("back")
    fields = back.work["fields"]
    assert (fields["likert"], fields["flag_rude"], fields["flag_cites"]) == ("6", "on", "yes")
    page = back.press("next").press("next", likert="3", flag_cites="no").press("next", likert="1")
    assert page.path.endswith("/rank")
    assert [name for name in page.work["fields"] if name.startswith("label_")] == ["label_legal"]
    page.press("stop", rank_1="1", rank_2="2", rank_3="2", label_legal="yes")
    [label] = labels(store)
    assert label["prompt_labels"] == {"legal": True}
    assert sorted(
        [list(rating["flags"].items()) for rating in label["ratings"].values()], key=str
    ) == [
        [("rude", False), ("cites", False), ("too_long", False)],
        [("rude", False), ("cites", None), ("too_long", False)],
        [("rude", True), ("cites", True), ("too_long", False)],
    ]


def test_a_demonstration_and_a_comparison_ask_by_their_form_too(store: Store, enter: Enter):
    browser = enter()
    page = begin(browser, make_project(store, "demonstration", name="d", form=own()))
    assert [name for name in page.work["fields"] if name.startswith("label_")] == ["label_legal"]
    page.press("stop", response="so", label_legal="no")
    bare = own(compare={"ratings": False, "confidence": False})
    page = begin(
        browser, make_project(store, "evaluation_ab", name="ab", purpose="eval", form=bare)
    )
    asked = {*page.work["fields"], *page.work["choices"]}
    assert not [name for name in asked if name.startswith(("flag_", "likert", "confidence"))]
    assert page.press("stop", choice="tie").path == "/"
    assert [label.get("prompt_labels") for label in labels(store)] == [{"legal": False}, None]


def test_a_form_without_flags_or_labels_is_a_page_of_quality_alone(store: Store, enter: Enter):
    bare = own(flags=[], prompt_labels=[])
    page = begin(enter(), make_project(store, form=bare))
    assert "What is the matter?" not in page.text
    while "/rate/" in page.path:
        page = page.press("next", likert="4")
    assert "About the prompt" not in page.text
    assert page.press("stop", rank_1="1", rank_2="1", rank_3="1").path == "/"


# Leads


FIELDS = {
    "name": "own questions",
    "task_type": "demonstration",
    "purpose": "train",
    "split": "train",
    "num_tasks": "1",
    "overlap": "1",
    "pool": "0",
    "lease": "60",
    "group_training": "1",
}


def test_a_lead_writes_a_form_and_reads_it_again(store: Store, lead: Browser):
    assert lead.get("/lead/form").text == PAPER_FILE.read_text(encoding="utf-8")
    with store.write() as session:
        add_prompt(session, "q")
    broken = OWN.replace('"too_long"', '"Too long"')
    answer = lead.submit("/lead/projects", **FIELDS, form=broken)
    assert answer.status_code == 400
    assert "The form: flags.3.name: &#39;Too long&#39;: small letters" in answer.text
    assert "Cites its sources" in answer.text, "what was typed stays"
    with store.read() as session:
        assert session.scalars(select(Project)).all() == []
    assert lead.submit("/lead/projects", **FIELDS, form=OWN).status_code == 303
    with store.read() as session:
        [project] = session.scalars(select(Project))
        assert questions_of(project) == own()
    assert f"/lead/form?project={project.id}" in lead.get("/lead/projects").text
    shown = lead.get(f"/lead/form?project={project.id}")
    assert shown.headers["content-type"].startswith("text/plain")
    assert read_questions(shown.text, "shown") == own()
    assert lead.get(f"/lead/form?project={uuid.uuid4()}").status_code == 404


def test_agreement_names_the_flags_by_their_words(store: Store, enter: Enter, lead: Browser):
    project = make_project(store, form=own(), overlap=2)
    for name in ("ann", "bob"):
        page = begin(enter(name), project)
        while "/rate/" in page.path:
            page = page.press("next", likert="4", flag_too_long="on")
        page.press("stop", rank_1="1", rank_2="2", rank_3="3")
    page = lead.get(f"/lead/agreement?project={project}").text
    assert "Too long" in page and "Cites its sources" in page
    assert "Makes something up" not in page and "<script>alert" not in page


# Programs


def test_a_program_sends_a_form_and_labelers_programs_see_it(app: Any, store: Store):
    lead = Program(
        app,
        key_of(store, add_member(store, "lea", role="researcher", group="researcher"), "research"),
    )
    ann = Program(app, key_of(store, add_member(store, "ann")))
    body = {"name": "p", "task_type": "ranking", "calibration_fraction": 0}
    form = own().as_json()
    made = lead("POST /projects", body | {"form": form}).json()
    assert made["form"]["flags"][1] == {
        "name": "cites",
        "text": "Cites its sources",
        "none": "Nothing to cite",
        "sensitive": False,
    }
    assert lead("POST /projects", body | {"form": form}).json() == made
    assert lead("POST /projects", body).json() == made, "what is not said is not asked for"
    few = {"flags": [{"name": "rude", "text": "Rude"}], "quality": {"text": "How helpful?"}}
    part = lead("POST /projects", body | {"name": "part", "form": few}).json()["form"]
    assert [flag["name"] for flag in part["flags"]] == ["rude"]
    assert part["quality"]["low"] == PAPER.quality.low, "the rest is the paper's"
    other = error_of(lead("POST /projects", body | {"form": PAPER.as_json()}))
    assert "a form of fingerprint" in other["message"]
    wrong = error_of(lead("POST /projects", body | {"name": "q", "form": form | {"flags": 3}}))
    assert "form.flags" in wrong["param"]
    with store.write() as session:
        prompt = add_prompt(session, "q")
        add_tasks(session, uuid.UUID(made["id"]), {prompt: [Candidate("a"), Candidate("b")]})
    view = claimed(ann, made["id"])
    assert view["form"] == made["form"]
    refused = error_of(submit(ann, view, form_of(view, 1)))
    assert "no flag" in refused["message"], "the paper's flags are not this form's"
    ratings = {p: {"likert": 4, "flags": {"rude": True}} for p in "12"}
    whole = {"ratings": ratings, "rank_groups": [["1", "2"]]}
    assert submit(ann, view, whole).status_code == 200


@pytest.mark.parametrize("habit", ["honest", "random", "flag_everything"])
def test_simulated_labelers_answer_what_a_form_asks(app: Any, store: Store, habit: Any):

    def judge(prompt: Prompt, response: str) -> Judgement:
        return Judgement(0.1, {"truth": 0.1, "task": 0.1})

    form = own(
        flags=[{"name": "hallucination", "text": "Made up"}, {"name": "rude", "text": "Rude"}],
        compare={"ratings": False, "confidence": False},
    )
    everybody = {"groups": ("training",), "form": form}
    projects = [
        make_project(store, "ranking", name="r", **everybody),
        make_project(store, "evaluation_ab", name="ab", purpose="eval", **everybody),
        make_project(store, "demonstration", name="d", **everybody),
    ]
    known = Knowledge(
        judge,
        0,
        {"demonstration prompt": Prompt("demonstration prompt", use_case="chat")},
        {"demonstration prompt": "so"},
    )
    with served(app) as url:
        client = Client(url, key_of(store, add_member(store, "sim")))
        worker = SignedIn(
            Worker(Labeler("sim", temperature=0.1), habit, draft_rate=1, undo_rate=1), client
        )
        for project in projects:
            assert work_until_done(worker, str(project), known)["counted"] == 1
        client.close()
    ranking = next(label for label in labels(store) if len(label.get("ratings", {})) == 3)
    flags = {name for r in ranking["ratings"].values() for name, said in r["flags"].items() if said}
    assert flags <= {"hallucination", "rude"}
    assert habit == "random" or "hallucination" in flags
