"""Erasing: of a person's words nothing is left in the store, wherever they had come in."""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from people import START, add_labeler, at, fill_in
from sqlalchemy import JSON, MetaData, Text, event, insert, select

from preceptor.data.records import Demonstration, Prompt, Ranking
from preceptor.errors import DataError, StoreError
from preceptor.store.asking import ask, read_question
from preceptor.store.database import Store
from preceptor.store.erase import Erasure, Wanted, erase, preview
from preceptor.store.export import Filter, export_records
from preceptor.store.ingest import import_labels, import_prompts, read_file
from preceptor.store.labels import StaleDraft, reopen, save_draft, submit, undo
from preceptor.store.logins import make_key
from preceptor.store.names import identify
from preceptor.store.projects import Candidate, ProjectOptions, add_tasks, create_project
from preceptor.store.queue import Erased, claim, skip
from preceptor.store.rows import Provenance
from preceptor.store.screening import set_gold
from preceptor.store.status import project_status
from preceptor.store.tables import (
    AccessLog,
    Account,
    Assignment,
    Base,
    Consent,
    Export,
    PromptUser,
    Response,
    Task,
)
from preceptor.store.writing import add_writing

CANARY = re.compile(r"zqx\w+")
"""Words that are in no code: those of the user begin with zqxu, those of the labeler with zqxl."""
LATER = at(3600)

# Every column that can hold a text. One that is new is put on one side on purpose.
HOLD_TEXT_OF_PEOPLE = {
    "account.login",
    "account.password_hash",
    "account.topics",  # choices, that may tell who it is
    "account.languages",
    "api_key.name",
    "assignment.meta",
    "assignment.skip_comment",
    "draft.body",
    "gold_answer.explanation",
    "judgement.use_case",
    "prompt.content",
    "prompt.meta",
    "prompt.normal_sha256",
    "prompt.reason",
    "prompt.use_case",
    "response.sampling",
    "response.text",
    "submission_text.text",
}
HOLD_NONE = {
    *("access_log.object", "access_log.what", "account.labeler_group", "account.pseudonym"),
    *("account.role", "account.state", "api_key.id", "api_key.scopes", "api_key.secret_sha256"),
    *("assignment.display_order", "assignment.skip_reason", "assignment.state"),
    *("consent.channel", "consent.event", "consent.scope", "consent.text_sha256"),
    *("export.file_name", "export.filters", "export.kind", "export.sha256"),
    *("guideline.markdown", "guideline.name", "guideline.sha256"),  # the lead's
    *("ingest.consent", "ingest.counts", "ingest.file_name", "ingest.kind", "ingest.licence"),
    *("ingest.sha256", "ingest.source", "invitation.token_sha256", "judgement.flags"),
    *("judgement.likert", "judgement.positions", "judgement.ranks", "judgement.task_kind"),
    *("key_check.value", "left_out.reason", "login_session.token_sha256", "policy.name"),
    *("policy.run", "policy.weights_sha256", "project.groups", "project.guideline"),
    "project.form",  # the lead's
    *("prompt.language", "prompt.masked"),  # a code; counts
    *("project.name", "project.purpose", "project.state", "project.task_type", "prompt.origin"),
    *(
        "prompt_label.key",
        "prompt_label.value",
        "prompt.kind",
        "task.brief",
    ),  # a brief is the lead's
    *("prompt.split", "prompt.status", "prompt_user.policy", "prompt_user.pseudonym"),
    *("prompt_user.split", "screening_score.card", "screening_score.part"),
    *("submission.body", "submission.form_sha256", "submission.kind"),  # choices, checked
    *("submission_text.field", "task.kind", "task.state", "task_response.slot"),
}


def test_every_column_that_can_hold_text_is_thought_of():
    columns = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Text | JSON)
    }
    assert columns == HOLD_TEXT_OF_PEOPLE | HOLD_NONE


def places(store: Store, word: str = "zqx") -> set[str]:
    """Where such words stand: in which columns, of whatever tables the database has."""
    found = set()
    tables = MetaData()
    with store.engine.connect() as connection:
        tables.reflect(connection)
        for table in tables.sorted_tables:
            for row in connection.execute(select(table)).mappings():
                found |= {f"{table.name}.{key}" for key, cell in row.items() if word in str(cell)}
    return found


def files(store: Store) -> bytes:
    """All bytes of an SQLite store, its log included."""
    path = Path(str(store.engine.url.database))
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


PROMPTS = [
    {"prompt": "zqxuprompt", "user": "ann", "use_case": "zqxucase", "note": "zqxunote"},
    {"prompt": [{"role": "user", "content": "zqxuturn"}], "user": "ann"},
    {"prompt": "a bystander's", "user": "bob"},
]
DEMONSTRATIONS: list[dict[str, Any]] = [
    {
        "prompt": "zqxuasked",
        "response": "zqxuanswer",
        "user": "ann",
        "use_case": "zqxucase",
        "meta": {"labeler": "lea", "odd": "zqxuodd"},
    },
    {"prompt": "another bystander's", "response": "good", "user": "cem"},
]
RANKINGS: list[dict[str, Any]] = [
    {
        "prompt": "zqxuranked",
        "responses": ["zqxuone", "two"],
        "ranks": [1, 2],
        "labeler": "lea",
        "user": "ann",
        "meta": {
            "schema": "preceptor.ranking/1",
            "comment": "zqxucomment",
            "slots": {"A": {"sampling": {"note": "zqxusampling"}}},
            "mine": "zqxumine",
        },
    },
    {
        "prompt": "broken",
        "responses": ["a", "b"],
        "ranks": [1, 2],
        "user": "ann",
        "meta": {"schema": "preceptor.ranking/1", "started_at": "zqxutime"},
    },
]


def bring(store: Store, folder: Path) -> Counter[str]:
    """Import the three files; what became of their lines."""
    counts: Counter[str] = Counter()
    for kind, rows in ((Prompt, PROMPTS), (Demonstration, DEMONSTRATIONS), (Ranking, RANKINGS)):
        path = folder / f"{kind.__name__.lower()}s.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        provenance = Provenance(path, licence="CC0", consent="yes", now=START, source="survey")
        file = read_file(provenance, kind, skip_broken=True, keep_meta=True)  # type: ignore[arg-type]
        with store.write() as session:
            if kind is Prompt:
                counts += import_prompts(session, store.site_key, file)
            else:
                counts += import_labels(session, store.site_key, file)
    return counts


def ids_of(store: Store, *texts: str) -> list[uuid.UUID]:
    user = store.site_key.user("ann", "survey")
    return [identify("prompt", user, text) for text in texts]


def work(store: Store) -> dict[str, uuid.UUID]:
    """Labelers write about the user's prompt in every place that the app has for text."""
    with store.write() as session:
        lea = add_labeler(session, store, "zqxllogin@x.org")
        rita = add_labeler(session, store, "rita", role="researcher", group="researcher")
        make_key(session, lea, "zqxlkey", ["label"], now=START)
        groups = ("training", "researcher")
        ranking, writing = (
            create_project(
                session,
                f"asked {kind}",
                kind,
                ProjectOptions(groups=groups, overlap=2, calibration_fraction=0),
                now=START,
            )
            for kind in ("ranking", "demonstration")
        )
        asked = ids_of(store, "zqxuprompt")
        bystander = identify("prompt", store.site_key.user("bob", "survey"), "a bystander's")
        texts = [Candidate("zqxumodels", sampling={"seed": 1}), Candidate("other")]
        add_tasks(session, ranking, {asked[0]: texts})
        add_tasks(session, writing, {asked[0]: [], bystander: []})
        people = {"lea": lea, "rita": rita}
        for who, form in ((lea, {"comment": "zqxlcomment"}), (rita, {"comment": "zqxrita"})):
            held = claim(session, ranking, who, now=START)
            assert held is not None
            for version, draft in enumerate(("zqxlfirst zqxu", "zqxlsecond zqxu")):
                save_draft(session, held.id, who, {"comment": draft}, version=version, now=START)
            with pytest.raises(StaleDraft):
                save_draft(session, held.id, who, {"comment": "late"}, version=0, now=START)
            form = fill_in(held) | form
            submit(session, held.id, who, key=held.key, form=form, now=START)
            key = undo(session, held.id, who, now=START)
            submit(session, held.id, who, key=key, form=form, now=START)
            people[f"ranked by {who}"] = held.id
        set_gold(session, held.id, rita, explanation="zqxugold zqxrita", now=START)
        # Of the prompts to answer one is skipped with a comment, the other written.
        while (held := claim(session, writing, lea, now=START)) is not None:
            if held.prompt == "zqxuprompt":
                comment = "zqxlskip zqxu"
                skip(session, held.id, lea, reason="other", comment=comment, now=START)
            else:
                form = {"response": "zqxlwritten", "comment": "zqxlremark"}
                submit(session, held.id, lea, key=held.key, form=form, now=START)
        while (held := claim(session, writing, rita, now=START)).prompt != "zqxuprompt":
            form = {"response": "zqxrita"}
            submit(session, held.id, rita, key=held.key, form=form, now=START)
        people["held by rita"] = held.id
    return people


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Iterator[Store]:
    if store.engine.dialect.name == "sqlite":
        # As most builds of SQLite are: what is deleted stays in the file.
        store.close()
        event.listen(
            store.engine, "connect", lambda file, _: file.execute("PRAGMA secure_delete = OFF")
        )
    bring(store, tmp_path)
    yield store


USER = Wanted(user="ann", source="survey")


def gone(store: Store, wanted: Wanted, by: uuid.UUID | None = None) -> Erasure:
    with store.write() as session:
        found = erase(session, store.site_key, wanted, by=by, now=LATER)
    assert store.sweep()
    return found


def test_of_a_user_s_words_nothing_is_left_anywhere(filled: Store):
    work(filled)
    assert places(filled, "zqxu") == {
        *("prompt.content", "prompt.meta", "prompt.use_case", "judgement.use_case"),
        *("response.text", "response.sampling", "assignment.meta", "assignment.skip_comment"),
        *("draft.body", "submission_text.text", "gold_answer.explanation"),
    }
    is_file = filled.engine.dialect.name == "sqlite"
    assert not is_file or b"zqxu" in files(filled)
    with filled.read() as session:
        told = preview(session, filled.site_key, USER)
    found = gone(filled, USER)
    assert places(filled, "zqxu") == set()
    assert not is_file or b"zqxu" not in files(filled)
    assert found == told and all(found.counts.values())
    # What they wrote elsewhere is theirs still, and so is a bystander's prompt.
    assert "submission_text.text" in places(filled, "zqxlwritten")
    assert "prompt.content" in places(filled, "bystander")
    assert not any(gone(filled, USER).counts.values())


@pytest.mark.parametrize("named", ["as a user", "as a labeler"])
def test_of_prompts_that_a_labeler_wrote_nothing_is_left(store: Store, named: str):
    examples = {
        "instruction": "zqxldo",
        "pairs": [{"query": f"zqxlask{i}", "response": f"zqxlsay{i}"} for i in range(2)],
        "use_case": "other",
    }
    with store.write() as session:
        lea = add_labeler(session, store, "lea")
        task_id = uuid.UUID(int=0)
        for task_type, form in (
            ("prompt_few_shot", examples),
            ("prompt_plain", {"prompt": "zqxlplain", "use_case": "generation"}),
        ):
            project = create_project(session, task_type, task_type, ProjectOptions(), now=START)
            add_writing(session, project, num=1)
            task = claim(session, project, lea, now=START)
            assert task is not None
            task_id = task.id
            submit(session, task_id, lea, key=task.key, form=form, now=START)
        pseudonym = session.get_one(Account, lea).pseudonym
        reopen(session, task_id, lea)
        save_draft(session, task_id, lea, {"prompt": "zqxlagain"}, version=0, now=START)
    assert {"prompt.content", "submission_text.text", "draft.body"} <= places(store, "zqxl")
    user = Wanted(pseudonym="usr_" + pseudonym.removeprefix("lab_"))
    gone(store, user if named == "as a user" else Wanted(pseudonym=pseudonym, texts=True))
    assert places(store, "zqxl") == set()
    if named == "as a user":  # their account works on; what they write now is not kept either
        with store.write() as session:
            add_writing(session, project, num=1)
            task = claim(session, project, lea, now=LATER)
            assert task is not None
        late = {"prompt": "zqxllate", "use_case": "generation"}
        refused = pytest.raises(StoreError, match="Your prompts were erased on 2026-03-01")
        with refused, store.write() as session:
            submit(session, task.id, lea, key=task.key, form=late, now=LATER)
        assert places(store, "zqxl") == set()


def test_a_user_who_was_erased_agrees_to_nothing_and_it_is_noted_who_did_it(filled: Store):
    people = work(filled)
    gone(filled, USER, by=people["rita"])
    gone(filled, USER)
    pseudonym = filled.site_key.user("ann", "survey")
    with filled.read() as session:
        user = session.get_one(PromptUser, identify("user", pseudonym))
        assert (user.erased_at, user.policy) == (LATER, "never")
        said = session.execute(
            select(Consent.scope, Consent.event)
            .where(Consent.user_id == user.id)
            .order_by(Consent.id)
        ).all()
        assert sorted(map(tuple, said[-2:])) == [("evaluate", "withdrawn"), ("train", "withdrawn")]
        assert len(said) == 4  # not once more by the second time
        log = session.scalars(select(AccessLog).order_by(AccessLog.id)).all()
        assert [(row.account_id, row.object) for row in log] == [
            (people["rita"], pseudonym),
            (None, pseudonym),
        ]


def test_nothing_of_who_was_erased_comes_in_again(filled: Store, tmp_path: Path):
    gone(filled, USER)
    PROMPTS.append({"prompt": "zqxunew", "user": "ann"})
    try:
        counts = bring(filled, tmp_path)
    finally:
        PROMPTS.pop()
    assert counts["erased"] == 5 and counts["there already"] == 2
    assert counts["added"] == 0
    rows = [{"prompt": text, "user": "ann", "responses": ["zqxua", "b"]} for text in "xy"]
    questions = [
        read_question(Prompt(r["prompt"], r["user"], meta={"responses": r["responses"]}), "1")
        for r in [*rows, {"prompt": "else", "user": "dan", "responses": ["c", "d"]}]
    ]
    provenance = Provenance(Path("asked"), licence="CC0", consent="yes", now=START, source="survey")
    with filled.write() as session:
        project = create_project(session, "p", "ranking", ProjectOptions(), now=START)
        asked = ask(session, filled.site_key, project, questions, provenance, sha256="1")
        assert (asked["added"], asked["erased"]) == (1, 2)
        # Responses that were sampled before, and come after.
        late = {ids_of(filled, "zqxuprompt")[0]: [Candidate("zqxulate"), Candidate("b")]}
        assert add_tasks(session, project, late)["erased"] == 1
    assert places(filled, "zqxu") == set()


def test_work_on_what_was_erased_ends_and_is_not_waited_for(filled: Store):
    people = work(filled)
    gone(filled, USER)
    rita, held = people["rita"], people["held by rita"]
    ranked = people[f"ranked by {rita}"]
    for late in (
        lambda s: save_draft(s, held, rita, {"response": "zqxu"}, version=0, now=LATER),
        lambda s: submit(
            s, held, rita, key=identify("form", held, 1), form={"response": "zqxu"}, now=LATER
        ),
        lambda s: skip(s, held, rita, reason="other", comment="zqxu", now=LATER),
        lambda s: undo(s, ranked, rita, now=START),
        lambda s: reopen(s, ranked, rita),
    ):
        with pytest.raises(Erased, match="were erased"), filled.write() as session:
            late(session)
    with filled.write() as session:
        status = {found.name: found for found in project_status(session)}
        assert status["asked ranking"].num_labels == status["asked ranking"].num_wanted == 2
        assert status["asked demonstration"].num_wanted == 2  # both of the bystander's task
        assert status["asked demonstration"].num_labels == 2
        assert status["asked demonstration"].num_leased == 0
        writing = identify("project", "asked demonstration")
        assert claim(session, writing, rita, now=LATER) is None


def test_the_files_that_hold_their_text_are_named_and_the_next_ones_hold_none(
    filled: Store, tmp_path: Path
):
    people = work(filled)

    def export(kind: str, **options: Any) -> Any:
        split = "train"
        with filled.write() as session:  # all in one split
            for user in session.scalars(select(PromptUser)):
                session.execute(Base.metadata.tables["prompt"].update().values(split=split))
                user.split = split
        return export_records(filled, Filter(kind, split, **options), tmp_path, now=at(600))

    written = [export(kind) for kind in ("prompts", "demonstrations")]
    again = export("demonstrations")
    assert again.path == written[1].path
    export("demonstrations", project="asked demonstration")  # the bystander's alone
    with filled.write() as session:
        for name, filters in (
            ("rankings-train-old.jsonl", {"split": "train", "project": None}),
            ("rankings-valid-old.jsonl", {"split": "valid", "project": None}),
            ("rankings-other-old.jsonl", {"split": "train", "project": "another"}),
        ):
            values = {"kind": "rankings", "filters": filters, "file_name": name, "num_rows": 1}
            session.execute(insert(Export).values(**values, sha256=name, at=at(900)))
    found = gone(filled, USER)
    named = [(one.file_name, one.certain) for one in found.exports]
    assert named == [
        *((done.path.name, True) for done in written),
        ("rankings-train-old.jsonl", False),
    ]
    after = export("prompts")
    assert "zqxu" not in after.path.read_text() and "bystander" in after.path.read_text()
    assert after.left_out == {"erased": 4}
    assert "zqxu" not in (labels := export("demonstrations")).path.read_text()
    assert labels.left_out["prompt erased"] == 1
    # Of a labeler: files with what they wrote beside their choices.
    found = gone(filled, Wanted(pseudonym=pseudonym_of(filled, people["lea"])))
    assert labels.path.name in {one.file_name for one in found.exports}
    with pytest.raises(StoreError, match="1 prompt erased"):
        export("rankings")


def pseudonym_of(store: Store, account: uuid.UUID) -> str:
    with store.read() as session:
        return session.get_one(Account, account).pseudonym


@pytest.mark.parametrize("texts", [False, True])
def test_of_a_labeler_who_they_are_goes_and_what_they_chose_stays(filled: Store, texts: bool):
    people = work(filled)
    lea = people["lea"]
    with filled.write() as session:  # what is asked of others, written by them
        response = session.scalars(select(Response).where(Response.text == "zqxumodels")).one()
        response.author_id, response.text = lea, "zqxlresponse"
        pseudonym = session.get_one(Account, lea).pseudonym
    gone(filled, Wanted(labeler=" ZQXLlogin@x.org", texts=texts))
    left = {"submission_text.text", "response.text"} if not texts else set()
    # Rita's drafts quote them; those are hers.
    assert places(filled, "zqxl") - {"draft.body"} == left
    for word in ("zqxllogin", "zqxlkey", "zqxlcomment", "zqxlskip", "zqxlremark"):
        assert places(filled, word) == set(), word
        assert filled.engine.dialect.name != "sqlite" or word.encode() not in files(filled)
    assert bool(places(filled, "zqxlwritten")) == (not texts)
    with filled.read() as session:
        account = session.get_one(Account, lea)
        assert (account.login, account.state, account.erased_at) == (None, "left", LATER)
        assert account.pseudonym == pseudonym
        labels = select(Assignment).where(Assignment.account_id == lea)
        done = session.scalars(labels.where(Assignment.state == "submitted")).all()
        assert len(done) == 2
        ranked = session.get_one(Assignment, people[f"ranked by {lea}"])
        asked = session.get_one(Task, ranked.task_id)
        assert asked.state == ("closed" if texts else "full")
    with pytest.raises(Erased), filled.write() as session:
        reopen(session, done[0].id, lea)
    with pytest.raises(StoreError, match="was erased on 2026-03-01"), filled.write() as session:
        add_labeler(session, filled, "zqxllogin@x.org")


def test_who_is_meant_is_told_by_one_name(filled: Store):
    work(filled)
    pseudonym = filled.site_key.user("ann", "survey")
    with filled.read() as session:

        def look(**wanted: Any) -> Erasure:
            return preview(session, filled.site_key, Wanted(**wanted))

        assert look(pseudonym=pseudonym) == look(user="ann", source="survey")
        for wanted, words in (
            ({}, "Whom?"),
            ({"user": "ann", "labeler": "rita"}, "Whom?"),
            ({"user": "ann"}, "of no named source"),
            ({"user": "eve", "source": "survey"}, "of source survey"),
            ({"labeler": "eve"}, "eve: no such account"),
            ({"pseudonym": "usr_x"}, "usr_x: no such pseudonym"),
            ({"pseudonym": pseudonym, "texts": True}, "of a prompt user all texts go"),
        ):
            with pytest.raises(StoreError, match=words):
                look(**wanted)


def test_a_file_has_nothing_but_choices_among_the_choices(tmp_path: Path):
    for odd in ({"unacceptable": ["zqxu"]}, {"display_order": ["zqxu"]}):
        path = tmp_path / "r.jsonl"
        meta = {"schema": "preceptor.ranking/1"} | odd
        row = {"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2], "meta": meta}
        path.write_text(json.dumps(row) + "\n")
        provenance = Provenance(path, licence="CC0", consent="yes", now=START)
        with pytest.raises(DataError, match=r"r.jsonl:1: "):
            read_file(provenance, Ranking)
