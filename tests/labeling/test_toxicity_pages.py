"""How toxic responses are, without JavaScript: the two pages, and what is made of their answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from browsers import Browser, Clock, Enter, Page, make_project
from sqlalchemy import select
from test_tasks import begin, labels

from preceptor.data.records import Ranking
from preceptor.errors import DataError, StoreError
from preceptor.labeling.judgements import read_judgements
from preceptor.store.database import Store
from preceptor.store.export import Filter, export_records
from preceptor.store.inbox import set_accepts_sensitive
from preceptor.store.ingest import import_labels, read_file
from preceptor.store.rows import Provenance
from preceptor.store.tables import Assignment, Task

FIRST = {"toxicity": "0", "relative_toxicity": "-1", "continuity": "6"}
SECOND = {"toxicity": "2", "relative_toxicity": "1", "continuity": "3"}


def accept(store: Store, browser: Browser) -> Browser:
    """The labeler says yes to tasks that may disturb."""
    with store.write() as session:
        set_accepts_sensitive(session, browser.account, True)  # type: ignore[attr-defined]
    return browser


def rated(store: Store, enter: Enter) -> Page:
    """The second page, with both responses rated; one task with two of them."""
    page = begin(accept(store, enter()), make_project(store, "toxicity", purpose="eval"))
    page = page.press("next", input_toxicity="1", **FIRST)
    assert page.path.endswith("/rate/2")
    # What was said of the prompt is there already.
    assert page.work["fields"]["input_toxicity"] == "1"
    page = page.press("next", **SECOND)
    page.work["fields"]["revealed"] = "1"  # the box above the texts
    return page


def test_only_who_accepts_such_tasks_is_given_one(store: Store, enter: Enter):
    project = make_project(store, "toxicity", purpose="eval")
    ann = enter()
    assert "Begin" not in ann.open("/").text
    ann.submit(f"/projects/{project}/claim")
    with store.read() as session:
        assert session.scalars(select(Task.sensitive)).all() == [True]
        assert session.scalars(select(Assignment.id)).all() == []
    page = begin(accept(store, ann), project)
    assert "This task may disturb: the texts are blurred." in page.text


def test_it_is_rated_ranked_undone_and_kept_by_slot(store: Store, enter: Enter):
    page = rated(store, enter)
    assert page.path.endswith("/rank")
    assert "in a respectful, plausible, non-toxic manner" in page.text
    assert "you rated its toxicity: much, its continuity: 3 of 7" in page.text
    assert page.work["choices"]["rank_1"] == ["1", "2"] and "label_ambiguous" not in page.html
    page = page.press("stop", rank_1="1", comment="hm")
    assert page.alerts == ["Response 2 has no rank yet. Give each one a place; ties are welcome."]
    page = page.press("stop", rank_2="2")
    [label] = labels(store)
    with store.read() as session:
        first, second = session.scalars(select(Assignment.display_order)).one()
    assert label == {
        "kind": "submitted",
        "input_toxicity": 1,
        "ratings": {
            first: {"toxicity": 0, "relative_toxicity": -1, "continuity": 6},
            second: {"toxicity": 2, "relative_toxicity": 1, "continuity": 3},
        },
        "rank_groups": [[first], [second]],
    }
    page = page.press(ending="/undo")
    assert page.path.endswith("/rank")
    fields = page.work["fields"]
    assert (fields["rank_1"], fields["rank_2"], fields["comment"]) == ("1", "2", "hm")
    page = page.press("go-2")
    assert page.work["fields"].items() >= {"input_toxicity": "1", **SECOND}.items()
    page = page.press("next", input_toxicity="0", toxicity="1")
    page.press("stop")
    changed = labels(store)[-1]
    assert (changed["input_toxicity"], changed["ratings"][second]["toxicity"]) == (0, 1)


@pytest.mark.parametrize("left", ["input_toxicity", *FIRST])
def test_an_open_question_is_marked_and_the_ranking_stays_shut(
    store: Store, enter: Enter, left: str
):
    page = begin(accept(store, enter()), make_project(store, "toxicity", purpose="eval"))
    said = {"input_toxicity": "2", **FIRST}
    page = page.press("next", **{name: value for name, value in said.items() if name != left})
    assert page.alerts == ["Answer each question of this page. All you entered is kept."]
    assert page.html.count('aria-invalid="true"') == 1
    assert page.work["fields"].keys() & said.keys() == said.keys() - {left}
    shut = page.browser.open(page.path.replace("rate/1", "rank"))
    assert shut.path.endswith("/rate/1")
    assert shut.alerts == ["Rate each response first; then the ranking opens."]


def test_a_page_that_is_sent_twice_is_one_label(store: Store, enter: Enter):
    page = rated(store, enter)
    fields = page.work["fields"] | {"rank_1": "1", "rank_2": "1", "action": "stop"}
    for _ in range(2):
        answer = page.browser.post(page.work["action"], data=fields)
        assert answer.status_code == 303
    [label] = labels(store)
    assert len(label["rank_groups"]) == 1


def test_two_tabs_are_offered_with_their_answers(store: Store, enter: Enter):
    page = rated(store, enter).press("go-1")
    late = page.browser.open(page.path)
    page.press("save", toxicity="1")
    both = late.press("save", toxicity="2", continuity="1")
    assert both.status == 409
    for words in ("Toxicity of the prompt: Some", "1 Much less toxic 1 no rank"):
        assert words in both.text
    assert both.press(ending="/choose").path.endswith("/rank")


def test_the_figures_take_its_ranking_and_it_comes_back_from_an_export(
    store: Store, enter: Enter, clock: Clock, tmp_path: Path
):
    page = rated(store, enter)
    page.press("stop", rank_1="2", rank_2="1", comment="hm")
    with store.read() as session:
        project = session.scalars(select(Task.project_id)).one()
        found = read_judgements(session, project, with_flags=True)
    assert sorted(found.ranks[0, :2].tolist()) == [1, 2] and not found.likert.any()
    clock.pass_(seconds=100)
    wanted = Filter("toxicity", split="train")
    exported = export_records(store, wanted, tmp_path, now=clock.at)
    assert exported.path.name.startswith("toxicity-train-")
    [row] = map(json.loads, exported.path.read_text().splitlines())
    meta: dict[str, Any] = row["meta"]
    assert (meta["task_type"], meta["input_toxicity"]) == ("toxicity", 1)
    assert meta["ratings"] == labels(store)[0]["ratings"] and meta["unacceptable"] == []
    with pytest.raises(StoreError, match="No evaluations to export"):
        export_records(store, Filter("evaluations", split="train"), tmp_path, now=clock.at)
    file = read_file(Provenance(exported.path, "CC0", "contract", clock.at), Ranking)
    with store.write() as session:
        assert import_labels(session, store.site_key, file) == {"there already": 1}
    assert export_records(store, wanted, tmp_path, now=clock.at).sha256 == exported.sha256
    del meta["input_toxicity"]
    edited = tmp_path / "edited.jsonl"
    edited.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"jsonl:1: The prompt has no toxicity yet"):
        read_file(Provenance(edited, "CC0", "contract", clock.at), Ranking)


def test_the_lead_sees_who_rated_how(store: Store, enter: Enter):
    page = rated(store, enter)
    page = page.press("stop", rank_1="1", rank_2="2", comment="hm")
    with store.read() as session:
        [task] = session.scalars(select(Task.id)).all()
        shown = session.scalars(select(Assignment.display_order)).one()
    lead = enter("ada", role="researcher", group="researcher").open(f"/lead/tasks/{task}")
    said = {
        shown[0]: "1 toxicity 0/2, less toxic continuity 6/7",
        shown[1]: "2 toxicity 2/2, more toxic continuity 3/7",
    }
    assert f"training toxicity 1/2 {said['A']} {said['B']} hm" in lead.text
    page.press(ending="/undo")
    lead = lead.browser.open(f"/lead/tasks/{task}")
    assert "No labels yet." in lead.text and "toxicity 1/2" not in lead.text
