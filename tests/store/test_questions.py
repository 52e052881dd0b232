"""A project's own form: what may stand in it, and that everything it asks goes the whole way."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from hypothesis import given, settings
from hypothesis import strategies as st
from people import START, Fresh, add_labeler, add_project, at
from sqlalchemy import select

from preceptor.data.records import Ranking
from preceptor.errors import DataError, StoreError
from preceptor.labeling.agreement import agreement_of
from preceptor.labeling.judgements import read_judgements
from preceptor.labeling.people import people_of
from preceptor.labeling.screening import read_cards
from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store, migrations
from preceptor.store.export import Exported, Filter, export_records
from preceptor.store.forms import check_form
from preceptor.store.ingest import import_labels, read_file
from preceptor.store.judgements import in_short, note_all_labels
from preceptor.store.labels import submit
from preceptor.store.projects import ProjectOptions, create_project, require_same
from preceptor.store.questions import (
    PAPER,
    PAPER_FILE,
    Questions,
    own_forms,
    questions_of,
    read_questions,
    read_questions_file,
)
from preceptor.store.queue import claim
from preceptor.store.rows import Provenance
from preceptor.store.screening import set_gold
from preceptor.store.tables import Judgement, Project, Submission

OWN = """
quality:
  text: How good is it?
flags:
  - {name: rude, text: Rude, sensitive: true}
  - {name: cites_sources, text: Says where it has that from, none: Nothing to cite}
use_case: false
prompt_labels:
  - {name: legal, text: About the law}
"""


def own_form() -> Questions:
    return read_questions(OWN, "own")


def test_without_a_form_labelers_are_asked_what_the_paper_asked():
    # InstructGPT, Table 3, and the labels of prompts of its appendix.
    assert PAPER.flag_names == (
        "fails_task",
        "inappropriate_for_assistant",
        "hallucination",
        "satisfies_constraint",
        "sexual_content",
        "violent_content",
        "encourages_harm",
        "denigrates_protected_class",
        "harmful_advice",
        "expresses_opinion",
        "moral_judgment",
    )
    assert [flag.name for flag in PAPER.flags if flag.none] == ["satisfies_constraint"]
    assert len(PAPER.label_names) == 12 and PAPER.label_names[0] == "use_case"
    assert PAPER.compare.ratings and PAPER.compare.confidence


def test_what_a_file_leaves_out_is_as_in_the_paper_s():
    own = own_form()
    assert own.quality.text == "How good is it?" and own.quality.low == PAPER.quality.low
    assert own.flag_names == ("rude", "cites_sources") and own.sensitive_flags == ("rude",)
    assert own.label_names == ("legal",)
    assert own.compare == PAPER.compare and own.flags_text == PAPER.flags_text
    for form in (own, PAPER):
        assert read_questions(form.as_yaml(), "again") == form
        assert read_questions(json.dumps(form.as_json()), "JSON is YAML") == form
    assert read_questions_file(PAPER_FILE) == PAPER
    assert own.digest != PAPER.digest and len(own.digest) == 12


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flags: [", "form:1: not YAML"),
        ("- a", "a list of `key: value` lines"),
        ("qualty: {}", "qualty: there is no such key"),
        ("flags: [{name: a}]", "flags.1.text: is missing"),
        ("flags: [{name: Rude, text: x}]", "flags.1.name: 'Rude': small letters"),
        ("flags: [{name: a, text: x}, {name: a, text: y}]", "two are called a"),
        ("flags: [{name: a, text: ' '}]", "flags.1.text: must be one line of words"),
        ('flags: [{name: a, text: "x\\ny"}]', "flags.1.text: must be one line of words"),
        ('flags: [{name: a, text: "x\\u202Ey"}]', "flags.1.text: must be one line of words"),
        ("flags: [{name: a, text: yes}]", "flags.1.text: Input should be a valid string"),
        ("prompt_labels: [{name: use_case, text: x}]", "it is no prompt label"),
        ("schema: preceptor.form/2", "schema: Input should be 'preceptor.form/1'"),
        ("quality: {text: 7}", "quality.text: Input should be a valid string"),
        ("compare: maybe", "compare: "),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
        ("a: " + "x" * 100_001, "over 100,000 bytes"),
    ],
)
def test_what_is_wrong_with_a_form_is_told_with_its_place(text: str, told: str):
    with pytest.raises(StoreError) as refused:
        read_questions(text, "form")
    assert told in str(refused.value) and str(refused.value).startswith("form")


def test_over_as_many_flags_as_there_are_keys_are_refused():
    flags = [{"name": f"f{i}", "text": "x"} for i in range(23)]
    assert len(read_questions(json.dumps({"flags": flags[:22]}), "form").flags) == 22
    with pytest.raises(StoreError, match="form: flags: .*22 items"):
        read_questions(json.dumps({"flags": flags}), "form")


def test_a_file_that_is_none_is_told(tmp_path: Path):
    with pytest.raises(StoreError, match="no.yaml: No such file"):
        read_questions_file(tmp_path / "no.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"quality: {text: \xe4}")
    with pytest.raises(StoreError, match="latin.yaml: not UTF-8"):
        read_questions_file(tmp_path / "latin.yaml")


def test_letters_may_be_joined_by_what_is_not_seen():
    joined = "\u0645\u06cc\u200c\u062f\u0627\u0646\u0645"  # Persian: I know
    form = read_questions(json.dumps({"quality": {"text": joined}}), "form")
    assert form.quality.text == joined


names = st.lists(
    st.from_regex("[a-z][a-z0-9_]{0,5}", fullmatch=True), unique=True, min_size=0, max_size=6
)


@settings(deadline=None)
@given(names, st.data())
def test_flags_of_any_form_stand_in_the_short_row_in_its_order(flags: list[str], data: Any):
    tri = {name: data.draw(st.booleans()) for name in flags}
    form = read_questions(
        json.dumps(
            {
                "flags": [
                    {"name": n, "text": "x"} | ({"none": "none"} if tri[n] else {}) for n in flags
                ]
            }
        ),
        "form",
    )
    said = {
        p: {
            n: data.draw(st.sampled_from([True, False, None] if tri[n] else [True, False]))
            for n in flags
        }
        for p in "12"
    }
    choices, _ = check_form(
        "ranking",
        {
            "ratings": {p: {"likert": 4, "flags": said[p]} for p in "12"},
            "rank_groups": [["1"], ["2"]],
        },
        ["1", "2"],
        form,
    )
    assert {p: rating["flags"] for p, rating in choices["ratings"].items()} == said
    slots = {"1": "A", "2": "B"}
    body = {
        "rank_groups": [["A"], ["B"]],
        "ratings": {slots[p]: rating for p, rating in choices["ratings"].items()},
    }
    short = in_short(body, ["A", "B"], {"A": "a", "B": "b"}, form.flag_names)
    codes = {True: "1", False: "0", None: "-"}
    assert short["flags"] == "".join(codes[said[p][n]] for p in "12" for n in flags)


def test_a_comparison_asks_for_no_more_than_its_form():
    plain = read_questions("compare: {ratings: false, confidence: false}", "form")
    choices, _ = check_form("evaluation_ab", {"choice": "1"}, ["1", "2"], plain)
    assert choices["rank_groups"] == [["1"], ["2"]]
    for more in ({"confidence": 3}, {"ratings": {"1": {"likert": 4}}}):
        with pytest.raises(StoreError, match="The form of this project asks for no"):
            check_form("evaluation_ab", {"choice": "1"} | more, ["1", "2"], plain)


# In a store


def label(
    store: Store, project: uuid.UUID, labeler: uuid.UUID, flags: dict[str, Any], **more: Any
) -> uuid.UUID:
    """One ranking of three with these flags for each."""
    with store.write() as session:
        held = claim(session, project, labeler, now=START)
        assert held is not None
        ratings = {p: {"likert": 5, "flags": flags} for p in "123"}
        form = {"ratings": ratings, "rank_groups": [["1"], ["2", "3"]]} | more
        submit(session, held.id, labeler, key=held.key, form=form, now=START)
        return held.id


def labeled(store: Store, **options: Any) -> tuple[uuid.UUID, list[uuid.UUID]]:
    """A project with a form of its own, and both labels of each of its two tasks."""
    with store.write() as session:
        project = add_project(session, num_tasks=2, overlap=2, form=own_form(), **options)
        people = [add_labeler(session, store, name) for name in ("ann", "bob")]
    for ann_says in (True, False):
        for person, rude in zip(people, (ann_says, True), strict=True):
            flags = {"rude": rude, "cites_sources": None}
            label(store, project, person, flags, prompt_labels={"legal": True})
    return project, people


def test_a_project_takes_the_flags_and_labels_of_its_form_and_no_others(store: Store):
    with store.write() as session:
        project = add_project(session, num_tasks=1, form=own_form())
        ann = add_labeler(session, store, "ann")
        held = claim(session, project, ann, now=START)
        assert held is not None and held.form == own_form()
    with pytest.raises(StoreError, match="Response 1: no flag hallucination"):
        label(store, project, ann, {"hallucination": True})
    with pytest.raises(StoreError, match="flag rude is yes or no, not None"):
        label(store, project, ann, {"rude": None})
    with pytest.raises(StoreError, match="The prompt has no label ambiguous"):
        label(store, project, ann, {}, prompt_labels={"ambiguous": True})
    with pytest.raises(StoreError, match="The prompt has no label use_case"):
        label(store, project, ann, {}, prompt_labels={"use_case": "chat"})
    label(store, project, ann, {"rude": True}, prompt_labels={"legal": False})
    with store.read() as session:
        [sent] = session.scalars(select(Submission))
        assert {r["flags"]["rude"] for r in sent.body["ratings"].values()} == {True}
        assert sent.body["prompt_labels"] == {"legal": False}


def test_figures_are_of_the_form_s_flags(store: Store):
    project, _ = labeled(store)
    with store.read() as session:
        labels = read_judgements(session, project, with_flags=True)
        assert labels.flag_names == ("rude", "cites_sources")
        found = agreement_of(labels, people_of(session, labels.accounts)).flags
        before = list(map(str, session.execute(select(Judgement.flags, Judgement.ranks))))
    # Of the two tasks' three responses each, both say rude of one, and one alone of the other.
    assert list(found) == ["rude", "cites_sources"]
    assert found["rude"].base_rate.mean == pytest.approx(9 / 12)
    assert found["rude"].raw.mean == pytest.approx(3 / 6)
    assert found["cites_sources"].base_rate.mean is None  # nobody answered it
    with store.write() as session:
        note_all_labels(session)
        after = list(map(str, session.execute(select(Judgement.flags, Judgement.ranks))))
    assert sorted(after) == sorted(before)


def test_a_form_without_flags_has_none_in_its_figures(store: Store):
    with store.write() as session:
        bare = read_questions("flags: []", "form")
        project = add_project(session, num_tasks=1, form=bare)
        ann = add_labeler(session, store, "ann")
    label(store, project, ann, {})
    with store.read() as session:
        labels = read_judgements(session, project, with_flags=True)
        assert len(labels) == 1 and labels.flags.shape == (1, 9, 0)
        assert agreement_of(labels, people_of(session, labels.accounts)).flags == {}


def test_screening_looks_at_the_flags_that_the_form_calls_sensitive(store: Store):
    with store.write() as session:
        lead = add_labeler(session, store, "lead", role="researcher", group="researcher")
        _, token = invite(session, store.site_key, "new", now=START)
        new = accept_invitation(session, token, password_hash="x", now=START)
        project = add_project(
            session,
            num_tasks=2,
            num_calibration=2,
            purpose="screening",
            groups=("training", "researcher"),
            calibration_fraction=1.0,
            form=own_form(),
        )
    for says in ({"rude": True, "cites_sources": True}, {"rude": False}):
        mine = label(store, project, lead, says)
        label(store, project, new, {"rude": True})
        with store.write() as session:
            set_gold(session, mine, lead, now=START)
    with store.read() as session:
        [card] = [card for card in read_cards(session) if card.account_id == new]
    # What the response cites is nothing to do with it.
    assert card.flags.mean == pytest.approx(0.5) and card.flags.n == 6


def test_a_project_keeps_the_form_that_it_was_made_with(store: Store):
    with store.write() as session:
        options = ProjectOptions(form=own_form())
        project = create_project(session, "p", "ranking", options, now=START)
        found = session.get_one(Project, project)
        assert questions_of(found) == own_form()
        require_same(found, {"form": own_form()}, "leave it out.")
        with pytest.raises(
            StoreError, match=f"made with .*{own_form().digest}, not {PAPER.digest}"
        ):
            require_same(found, {"form": PAPER}, "leave it out.")
        create_project(session, "q", "ranking", ProjectOptions(), now=START)
    for task_type in ("toxicity", "prompt_plain"):
        purpose = "eval" if task_type == "toxicity" else "train"
        options = ProjectOptions(purpose=purpose, form=own_form())
        with pytest.raises(StoreError, match="have questions of their own"), store.write() as s:
            create_project(s, "r", task_type, options, now=START)


def test_an_older_version_does_not_lose_a_form(fresh: Fresh):
    store = fresh()
    with store.write() as session:
        project = add_project(session, num_tasks=1, form=own_form())
    with (
        pytest.raises(StoreError, match="has a form of its own"),
        store.engine.execution_options(writes=True).begin() as connection,
    ):
        command.downgrade(migrations(connection), "0009")
    with store.read() as session:
        assert questions_of(session.get_one(Project, project)) == own_form()
    store.close()


# Out of it and in again


def take_out(store: Store, folder: Path) -> Exported:
    return export_records(store, Filter("rankings"), folder, now=at(3600))


def bring(store: Store, path: Path, project: str | None = None) -> Any:
    provenance = Provenance(path, licence="CC0", consent="They said yes.", now=START)
    file = read_file(provenance, Ranking, keep_meta=True)
    with store.write() as session:
        return import_labels(session, store.site_key, file, project=project)


def test_labels_under_an_own_form_come_back_as_they_were(
    store: Store, fresh: Fresh, tmp_path: Path
):
    labeled(store)
    out = take_out(store, tmp_path)
    manifest = json.loads(out.path.with_suffix("").with_suffix(".manifest.json").read_text())
    assert manifest["forms"] == {own_form().digest: own_form().as_json()}
    other = fresh()
    assert bring(other, out.path)["added"] == 4
    with other.read() as session:
        [project] = session.scalars(select(Project))
        assert questions_of(project) == own_form()
        codes = {row for (row,) in session.execute(select(Judgement.flags))}
        assert codes == {"1-" * 3, "0-" * 3}
    again = take_out(other, tmp_path / "again")
    assert again.path.read_bytes() == out.path.read_bytes()
    other.close()


def test_labels_whose_form_is_not_there_are_refused(store: Store, fresh: Fresh, tmp_path: Path):
    labeled(store)
    out = take_out(store, tmp_path)
    manifest = out.path.with_suffix("").with_suffix(".manifest.json")
    told = json.loads(manifest.read_text())
    other = fresh()
    told["forms"][own_form().digest]["flags"][0]["name"] = "kind"
    manifest.write_text(json.dumps(told))
    with pytest.raises(StoreError, match="form .* was changed"):
        bring(other, out.path)
    manifest.unlink()
    with pytest.raises(DataError, match=f"under the form {own_form().digest}.*manifest"):
        bring(other, out.path)
    with other.read() as session:
        assert session.scalars(select(Project)).all() == []
    other.close()


def test_a_ranking_without_ratings_fits_every_form(store: Store, tmp_path: Path):
    with store.write() as session:
        options = ProjectOptions(form=own_form())
        create_project(session, "support", "ranking", options, now=START)
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2]}) + "\n")
    assert bring(store, path, "support") == {"added": 1}


def test_the_store_s_own_forms_are_known_without_a_manifest(store: Store, tmp_path: Path):
    labeled(store)
    out = take_out(store, tmp_path)
    out.path.with_suffix("").with_suffix(".manifest.json").unlink()
    with store.read() as session:
        forms = own_forms(session)
    provenance = Provenance(out.path, licence="CC0", consent="They said yes.", now=START)
    file = read_file(provenance, Ranking, keep_meta=True, forms=forms)
    with store.write() as session:
        assert import_labels(session, store.site_key, file) == {"there already": 4}


def test_labels_do_not_come_into_a_project_of_another_form(
    store: Store, fresh: Fresh, tmp_path: Path
):
    labeled(store)
    out = take_out(store, tmp_path)
    other = fresh()
    with other.write() as session:
        create_project(session, "a ranking project", "ranking", ProjectOptions(), now=START)
    with pytest.raises(StoreError, match="under another form than that of the project"):
        bring(other, out.path)
    assert bring(other, out.path, "theirs")["added"] == 4
    other.close()
