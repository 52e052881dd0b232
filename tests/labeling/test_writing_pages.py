"""Writing prompts on the pages, without JavaScript; and how a lead asks for them."""

import uuid
from typing import Any

import pytest
from browsers import Browser, Enter, add_member, make_project
from live import Program, claimed, error_of, key_of, submit
from sqlalchemy import select
from test_tasks import begin, labels, texts_of

from preceptor.labeling.mixture import PAPER_SHARES, most_wanted
from preceptor.store.database import Store
from preceptor.store.tables import Prompt, Task


def prompts(store: Store) -> list[tuple[Any, str, str]]:
    with store.read() as session:
        rows = session.execute(select(Prompt.content, Prompt.use_case, Prompt.status))
        return sorted(map(tuple, rows), key=str)


def test_a_prompt_is_written_and_what_is_missing_is_told(store: Store, enter: Enter):
    page = begin(enter(), make_project(store, "prompt_plain"))
    assert "More wanted now: Generation, Open question, Brainstorming." in page.text
    page = page.press("submit", prompt="Write a limerick.\n<b>Now</b>", comment="hm")
    assert page.status == 400
    assert page.alerts == ["Choose the kind of task that the prompt is."]
    assert page.work["fields"]["prompt"] == "Write a limerick.\n<b>Now</b>"
    page = page.press("submit", use_case="generation")
    assert page.path.endswith("/write") and "Submitted" in page.text
    assert prompts(store) == [("Write a limerick.\n<b>Now</b>", "generation", "active")]
    assert labels(store) == [{"use_case": "generation", "kind": "submitted"}]
    assert sorted(texts_of(store)) == ["Write a limerick.\n<b>Now</b>", "hm"]
    # The same again is told, and kept on the page; the list of recent tasks shows what was written.
    page = page.press("submit", prompt="write a limerick. <b>now</b>", use_case="chat")
    assert "in the same words but for case and spacing" in page.alerts[0]
    assert page.work["fields"]["prompt"] == "write a limerick. <b>now</b>"
    assert "Write a limerick. <b>Now</b>" in page.browser.open("/recent").text


def test_pairs_are_added_kept_and_given_back_by_an_undo(store: Store, enter: Enter):
    page = begin(enter(), make_project(store, "prompt_few_shot"))
    assert [n for n in page.work["fields"] if n.startswith("query")] == ["query_1", "query_2"]
    first = {"instruction": "Opposites.", "query_1": "hot", "response_1": "cold"}
    answer = page.browser.post(
        page.work["action"], data=page.work["fields"] | first | {"action": "pair"}
    )
    assert answer.headers["location"].endswith("/write#pair-3")
    page = page.browser.follow(answer)
    assert page.work["fields"].items() >= (first | {"query_3": "", "response_3": ""}).items()
    page = page.press("submit", query_3="up", use_case="other")
    assert page.alerts == ["Pair 3 has no response. Write it, or empty the pair."]
    page = page.press("stop", response_3="down")
    assert prompts(store) == [("Opposites.\n\nhot\ncold\n\nup", "other", "active")]
    page = page.press(ending="/undo")
    assert page.work["fields"].items() >= {"query_1": "hot", "query_2": "up"}.items()
    assert page.work["fields"]["use_case"] == "other"
    assert prompts(store)[0][2] == "rejected"
    for _ in range(6):
        page = page.press("pair")
    assert ("action", "pair") not in page.work["buttons"]  # eight at most


def test_a_purpose_is_shown_beside_and_two_tabs_are_offered(store: Store, enter: Enter):
    project = make_project(store, "prompt_user_based", {"Sort the <i>feedback</i> of guests": []})
    page = begin(enter(), project)
    assert "What somebody wants to do Sort the <i>feedback</i> of guests" in page.text
    other = page.browser.open(page.path)
    page.press("save", prompt="mine, of one tab")
    both = other.press("save", prompt="mine, of another tab", use_case="chat")
    assert both.status == 409
    assert "mine, of one tab" in both.text and "mine, of another tab" in both.text
    assert "Kind of task: Chat" in both.text
    page = both.press(ending="/choose").press("stop")
    assert prompts(store) == [("mine, of another tab", "chat", "active")]
    forms = page.browser.open("/").forms
    assert not any(form["action"].endswith("/claim") for form in forms)  # it was the only one


def test_what_is_furthest_below_the_paper_s_share_is_wanted():
    assert most_wanted({}) == ["generation", "open_qa", "brainstorming"]
    exact = {name: round(1000 * share) for name, share in PAPER_SHARES.items()}
    assert most_wanted(exact | {"chat": 10, "extraction": 0}, 2) == ["chat", "extraction"]
    assert "generation" not in most_wanted({"generation": 9, "chat": 1})


@pytest.fixture
def lead(app: Any, store: Store) -> Program:
    account = add_member(store, "lea", role="researcher", group="researcher")
    return Program(app, key_of(store, account, "research", "label"))


def test_a_lead_asks_for_prompts_on_the_page(store: Store, enter: Enter):
    lead: Browser = enter("lea", role="researcher", group="researcher")
    wanted = {
        "name": "purposes",
        "task_type": "prompt_user_based",
        "num_tasks": "5",
        "overlap": "2",
        "pool": "0",
        "lease": "60",
        "group_training": "1",
        "descriptions": "Plan meals\r\n\r\nSort feedback\r\n",
    }
    assert lead.submit("/lead/projects", **wanted).headers["location"].endswith("said=2")
    assert lead.submit("/lead/projects", **wanted).headers["location"].endswith("said=0")
    answer = lead.submit("/lead/projects", **wanted | {"name": "more", "descriptions": " "})
    assert answer.status_code == 400 and "after descriptions of use cases" in answer.text
    plain = {key: value for key, value in wanted.items() if key != "descriptions"}
    plain |= {"name": "any", "task_type": "prompt_plain"}
    assert lead.submit("/lead/projects", **plain).headers["location"].endswith("said=5")
    assert lead.submit("/lead/projects", **plain).headers["location"].endswith("said=5")  # more
    with store.read() as session:
        briefs = session.execute(select(Task.brief, Task.target).where(Task.brief.is_not(None)))
        assert sorted(map(tuple, briefs)) == [("Plan meals", 2), ("Sort feedback", 2)]
        [task, *_] = session.scalars(select(Task.id))
    assert lead.get(f"/lead/tasks/{task}").status_code == 404  # nothing to compare there


def test_a_program_asks_for_prompts_and_writes_one(lead: Program, app: Any, store: Store):
    body = {"name": "few", "task_type": "prompt_few_shot"}
    project = lead("POST /projects", body).json()["id"]
    counts = lead(f"POST /projects/{project}/writing", {"num_tasks": 2}).json()
    assert counts == {"counts": {"added": 2, "there already": 0}}
    ann = Program(app, key_of(store, add_member(store, "ann")))
    task = claimed(ann, uuid.UUID(project))
    pairs = [{"query": "hot", "response": "cold"}, {"query": "up", "response": "down"}]
    form = {"instruction": "Opposites.", "pairs": pairs, "use_case": "other"}
    receipt = submit(ann, task, form).json()
    again = ann(f"POST /submissions/{receipt['submission_id']}/revise").json()
    assert again["form"] == form
    line = b'{"prompt": "why?"}\n'
    refused = lead(f"POST /projects/{project}/tasks?licence=x&consent=y", content=line)
    assert "prompts are written there, none is asked about" in error_of(refused)["message"]
    assert ann(f"POST /projects/{project}/writing", {"num_tasks": 2}).status_code == 403
