"""Two responses side by side, without JavaScript; what figures and exports make of the choice."""

import json
from pathlib import Path

from browsers import Clock, Enter, make_project
from sqlalchemy import select
from test_tasks import begin, labels

from preceptor.data.records import Ranking
from preceptor.labeling.judgements import read_judgements
from preceptor.store.database import Store
from preceptor.store.export import Filter, export_records
from preceptor.store.ingest import import_labels, read_file
from preceptor.store.rows import Provenance
from preceptor.store.tables import Assignment


def test_a_choice_is_made_undone_and_kept_as_a_ranking_of_two(store: Store, enter: Enter):
    project = make_project(store, "evaluation_ab", purpose="eval")
    page = begin(enter(), project)
    assert page.path.endswith("/compare") and "one" in page.text and "two" in page.text
    page = page.press("submit", likert_2="6", comment="hm")
    assert page.alerts == ["Choose: the first is better, the second, a tie, or both are bad."]
    assert page.work["fields"]["likert_2"] == "6" and labels(store) == []
    page = page.press("stop", choice="2", confidence="8", flag_hallucination_1="on")
    [label] = labels(store)
    with store.read() as session:
        first, second = session.scalars(select(Assignment.display_order)).one()
    assert label["rank_groups"] == [[second], [first]] and label["unacceptable"] == []
    assert label["confidence"] == 8 and label["ratings"][second]["likert"] == 6
    assert "likert" not in label["ratings"][first]
    assert label["ratings"][first]["flags"]["hallucination"] is True
    page = page.press(ending="/undo")
    fields = page.work["fields"]
    assert (fields["choice"], fields["confidence"], fields["likert_2"]) == ("2", "8", "6")
    page.press("stop", choice="both_bad", confidence="")
    label = labels(store)[-1]
    assert label["unacceptable"] == sorted([first, second]) and len(label["rank_groups"]) == 1
    assert "confidence" not in label
    with store.read() as session:
        found = read_judgements(session, project)
    assert found.ranks[0, :2].tolist() == [1, 1] and found.num_unacceptable.tolist() == [2]
    assert sorted(found.positions[0, :2].tolist()) == [1, 2]


def test_only_the_one_page_is_there_and_two_tabs_are_offered(store: Store, enter: Enter):
    page = begin(enter(), make_project(store, "evaluation_ab", purpose="eval"))
    for other in ("rank", "rate/1", "write"):
        assert page.browser.get(page.path.replace("compare", other)).status_code == 404
    late = page.browser.open(page.path)
    page.press("save", choice="1")
    both = late.press("save", choice="tie", confidence="3")
    assert both.status == 409 and "Response 1 is better" in both.text
    assert "Tie, sure: 3 of 9" in both.text
    assert both.press(ending="/choose").press("stop").path == "/"
    assert len(labels(store)[0]["rank_groups"]) == 1


def test_an_export_has_the_confidence_and_comes_back(
    store: Store, enter: Enter, clock: Clock, tmp_path: Path
):
    page = begin(enter(), make_project(store, "evaluation_ab", purpose="eval"))
    page.press("stop", choice="1", confidence="9", likert_1="5")
    clock.pass_(seconds=100)
    wanted = Filter("evaluations", split="train")
    exported = export_records(store, wanted, tmp_path, now=clock.at)
    [row] = map(json.loads, exported.path.read_text().splitlines())
    assert sorted(row["ranks"]) == [1, 2] and row["meta"]["confidence"] == 9
    assert row["meta"]["purpose"] == "eval" and row["meta"]["task_type"] == "evaluation_ab"
    file = read_file(Provenance(exported.path, "CC0", "contract", clock.at), Ranking)
    with store.write() as session:
        assert import_labels(session, store.site_key, file) == {"there already": 1}
    assert export_records(store, wanted, tmp_path, now=clock.at).sha256 == exported.sha256
