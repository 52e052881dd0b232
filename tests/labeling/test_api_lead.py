"""The REST interface for leads and admins: projects, tasks, progress, accounts, keys, exports."""

import json
import uuid
from typing import Any

import pytest
from browsers import Clock, add_member, make_project
from live import Program, claimed, error_of, form_of, key_of, submit
from sqlalchemy import select

from preceptor.store.database import Store
from preceptor.store.tables import (
    AccessLog,
    Account,
    Ingest,
    Policy,
    Prompt,
    PromptLabel,
    PromptUser,
    Task,
    TaskResponse,
)

LINES = [
    {
        "prompt": "how?",
        "user": "u1",
        "responses": ["one", "two"],
        "sources": ["sft", "ppo"],
        "finished": [True, False],
    },
    {"prompt": "why?", "user": "u2", "responses": ["a", "b", "c"]},
    {"prompt": "what?", "responses": ["same", "same "]},
]
DECLARED = "licence=mine&consent=they+agreed"


def lines_of(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def lead(app: Any, store: Store) -> Program:
    account = add_member(store, "lea", role="researcher", group="researcher")
    return Program(app, key_of(store, account, "research", "label"))


@pytest.fixture
def admin(app: Any, store: Store) -> Program:
    account = add_member(store, "ada", role="admin", group="researcher")
    return Program(app, key_of(store, account, "admin", "research", "label"))


@pytest.fixture
def ann(app: Any, store: Store) -> Program:
    return Program(app, key_of(store, add_member(store, "ann")))


def test_a_project_from_its_questions_to_its_export(
    lead: Program, admin: Program, ann: Program, store: Store, clock: Clock
):
    body = {"name": "rankings of May", "task_type": "ranking", "calibration_fraction": 0}
    project = lead("POST /projects", body).json()
    assert lead("POST /projects", body).json() == project, "the same again is the same project"
    path = f"POST /projects/{project['id']}/tasks?{DECLARED}&split=train&in_order=true"
    counts = lead(path, content=lines_of(LINES)).json()["counts"]
    assert counts == {"added": 2, "there already": 0, "all responses equal": 1} | {
        key: 0 for key in counts if key not in ("added", "there already", "all responses equal")
    }
    again = lead(path, content=lines_of(LINES)).json()["counts"]
    assert (again["added"], again["there already"]) == (0, 2)
    for wanted in ("how?", "why?"):  # in this order
        view = claimed(ann, project["id"])
        assert view["prompt"] == wanted
        assert submit(ann, view, form_of(view)).status_code == 200
    progress = lead(f"GET /projects/{project['id']}/progress").json()
    assert (progress["num_tasks"], progress["num_wanted"], progress["num_labels"]) == (2, 2, 2)
    wanted = {"kind": "rankings", "project": "rankings of May"}
    early = admin("POST /exports", wanted)
    assert early.status_code == 400 and "can still be undone" in early.text
    # Of a closed project nothing can be undone.
    assert lead(f"PATCH /projects/{project['id']}", {"state": "closed"}).status_code == 200
    exported = admin("POST /exports", wanted)
    rows = [json.loads(line) for line in exported.text.splitlines()]
    assert {row["prompt"] for row in rows} == {"how?", "why?"}
    [how] = [row for row in rows if row["prompt"] == "how?"]
    by_text = dict(zip(how["responses"], how["meta"]["sources"], strict=True))
    assert by_text == {"one": "sft", "two": "ppo"}
    assert dict(zip(how["responses"], how["meta"]["finished"], strict=True)) == {
        "one": True,
        "two": False,
    }
    assert exported.content == admin("POST /exports", wanted).content
    assert exported.headers["x-preceptor-sha256"][:12] in exported.headers["content-disposition"]


def test_questions_that_may_disturb_are_only_for_those_who_accept_them(
    lead: Program, ann: Program, store: Store
):
    body = {"name": "grim", "task_type": "ranking", "calibration_fraction": 0}
    project = lead("POST /projects", body).json()["id"]
    path = f"POST /projects/{project}/tasks?{DECLARED}&split=train&sensitive=true"
    assert lead(path, content=lines_of(LINES[:2])).json()["counts"]["added"] == 2
    with store.read() as session:
        assert session.scalars(select(Task.sensitive)).all() == [True, True]
    assert ann(f"POST /projects/{project}/claim").status_code == 204
    with store.write() as session:
        for account in session.scalars(select(Account)):
            account.accepts_sensitive = True
    assert claimed(ann, project)["sensitive"]


def test_agreement_of_two_who_rank_alike_is_one(
    lead: Program, ann: Program, app: Any, store: Store
):
    ben = Program(app, key_of(store, add_member(store, "ben")))
    project = make_project(store, tasks={"p": ["a", "b", "c"]}, overlap=2)
    empty = lead(f"GET /projects/{project}/agreement").json()
    assert empty["pairwise"]["mean"] is None and empty["pairwise"]["reason"]
    order = ["a", "b", "c"]
    for person in (ann, ben):
        view = claimed(person, project)
        positions = [str(view["responses"].index(text) + 1) for text in order]
        form = form_of(view) | {"rank_groups": [[p] for p in positions], "unacceptable": []}
        assert submit(person, view, form).status_code == 200
    found = lead(f"GET /projects/{project}/agreement").json()
    assert found["pairwise"]["mean"] == found["pairwise_with_ties"]["mean"] == 1.0
    assert (found["num_labels"], found["num_tasks"]) == (2, 1)
    rows = lead(f"GET /projects/{project}/labelers").json()["items"]
    assert [row["num_labels"] for row in rows] == [1, 1]
    assert all(row["consensus"]["mean"] == 1.0 and row["pseudonym"][:4] == "lab_" for row in rows)


def test_a_share_of_tasks_with_more_labels_tells_how_far_labelers_agree(
    lead: Program, ann: Program, app: Any, store: Store
):
    ben = Program(app, key_of(store, add_member(store, "ben")))
    body = {
        "name": "mostly one",
        "task_type": "ranking",
        "calibration_fraction": 0,
        "overlap_more": 2,
        "overlap_fraction": 0.4,
    }
    project = lead("POST /projects", body).json()
    assert (project["overlap_more"], project["overlap_fraction"]) == (2, 0.4)
    other = lead("POST /projects", body | {"overlap_fraction": 0.5})
    assert other.status_code == 400 and "a share of tasks with more labels of 0.4" in other.text
    assert lead("POST /projects", body | {"name": "half", "overlap_more": None}).status_code == 400
    rows = [{"prompt": f"how {i}?", "responses": ["a", "b"]} for i in range(20)]
    path = f"POST /projects/{project['id']}/tasks?{DECLARED}&split=train"
    lead(path, content=lines_of(rows))
    with store.read() as session:
        targets = session.scalars(select(Task.target)).all()
    assert set(targets) == {1, 2}
    for person in (ann, ben):
        while (answer := person(f"POST /projects/{project['id']}/claim")).status_code == 200:
            view = answer.json()
            best = str(view["responses"].index("a") + 1)
            groups = [[best], [str(3 - int(best))]]
            form = form_of(view) | {"rank_groups": groups, "unacceptable": []}
            assert submit(person, view, form).status_code == 200
    progress = lead(f"GET /projects/{project['id']}/progress").json()
    assert progress["num_wanted"] == progress["num_labels"] == sum(targets)
    assert progress["num_full"] == progress["num_tasks"] == len(targets) > 9
    found = lead(f"GET /projects/{project['id']}/agreement").json()
    assert found["pairwise"]["mean"] == 1.0
    assert found["num_tasks"] == found["pairwise"]["clusters"] == targets.count(2)


def test_a_researcher_s_label_becomes_the_gold_answer(lead: Program, ann: Program, store: Store):
    project = make_project(store, groups=("training", "researcher"), overlap=2)
    own, other = claimed(lead, project), claimed(ann, project)
    for person, view in ((lead, own), (ann, other)):
        assert submit(person, view, form_of(view)).status_code == 200
    with store.read() as session:
        task = session.scalars(select(Task.id)).one()
    path = f"PUT /tasks/{task}/gold"
    assert lead(path, {"assignment_id": own["id"], "explanation": "clear"}).status_code == 204
    refused = lead(path, {"assignment_id": other["id"]})
    assert refused.status_code == 400, "a labeler's label is no gold answer"
    elsewhere = lead(f"PUT /tasks/{uuid.UUID(int=5)}/gold", {"assignment_id": own["id"]})
    assert elsewhere.status_code == 404


def test_who_reads_prompts_is_noted_and_pages_hold_each_once(lead: Program, store: Store):
    make_project(store, tasks={f"p{i}": ["a", "b"] for i in range(5)})
    seen: list[str] = []
    after = ""
    while True:
        page = lead(f"GET /prompts?split=train&limit=2{after}").json()
        seen += [row["prompt"] for row in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted(seen) == [f"p{i}" for i in range(5)]
    assert lead("GET /prompts?split=test").json() == {"items": [], "next": None}
    with store.read() as session:
        noted = session.scalars(select(AccessLog)).all()
    assert len(noted) == 4 and {row.what for row in noted} == {"prompts"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "There is no line"),
        ([{"responses": ["a", "b"]}], 'line 1: a prompt needs "prompt"'),
        ([LINES[0], {"prompt": "p", "responses": ["a"]}], "line 2: 1 responses; labelers compare"),
        ([{"prompt": "p", "responses": "ab"}], 'line 1: "responses" is a list of texts'),
        ([{"prompt": "p", "responses": ["a", "b"], "sources": ["x"]}], '"sources" has one str for'),
        ([{"prompt": "p", "responses": ["a", "b"], "finished": [1, 0]}], '"finished" has one bool'),
        ([{"prompt": "p"}], "line 1: a ranking needs responses to rank"),
        ([{"prompt": "p\0", "responses": ["a", "b"]}], "NUL character"),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_stored(
    lead: Program, store: Store, rows: list[dict[str, Any]], message: str
):
    project = make_project(store)
    answer = lead(f"POST /projects/{project}/tasks?{DECLARED}", content=lines_of(rows))
    assert answer.status_code == 400
    assert message in error_of(answer)["message"]
    with store.read() as session:
        assert len(session.scalars(select(Task.id)).all()) == 1
        assert len(session.scalars(select(Prompt.id)).all()) == 1


def test_demonstrations_are_asked_for_without_responses(lead: Program, store: Store):
    project = make_project(store, "demonstration")
    path = f"POST /projects/{project}/tasks?{DECLARED}"
    assert "labelers write them" in lead(path, content=lines_of(LINES[:1])).text
    assert lead(path, content=lines_of([{"prompt": "p"}])).json()["counts"]["added"] == 1


def test_a_prompt_with_two_sets_of_responses_is_two_tasks(lead: Program, store: Store):
    project = make_project(store)
    rows = [{"prompt": "p", "responses": ["a", "b"]}, {"prompt": "p", "responses": ["c", "d"]}]
    answer = lead(f"POST /projects/{project}/tasks?{DECLARED}", content=lines_of(rows))
    assert answer.json()["counts"]["added"] == 2


def test_what_is_declared_of_consent_must_be_said(lead: Program, store: Store):
    project = make_project(store)
    answer = lead(f"POST /projects/{project}/tasks?licence=mine", content=lines_of(LINES))
    assert answer.status_code == 400 and error_of(answer)["param"] == "consent"


def test_an_invitation_by_the_interface_opens_one_account_once(
    admin: Program, store: Store, app: Any
):
    body = {"login": "new@example.org", "group": "simulated", "screened": True}
    first = admin("POST /invites", body)
    assert first.status_code == 201
    again = admin("POST /invites", body)  # they did not use theirs
    assert again.status_code == 201 and again.json()["token"] != first.json()["token"]
    assert admin("POST /invites", body | {"group": "imported"}).status_code == 400
    [account] = [a for a in admin("GET /accounts").json()["items"] if a["login"] == body["login"]]
    assert (account["state"], account["group"]) == ("invited", "simulated")
    refused = admin(f"PATCH /accounts/{account['id']}", {"state": "active"})
    assert refused.status_code == 400 and "not accepted yet" in refused.text


def test_a_paused_account_claims_nothing_more(admin: Program, ann: Program, store: Store):
    project = make_project(store)
    [account] = [a for a in admin("GET /accounts").json()["items"] if a["login"] == "ann"]
    assert admin(f"PATCH /accounts/{account['id']}", {"state": "paused"}).status_code == 200
    assert "Your account is paused" in ann(f"POST /projects/{project}/claim").text


def test_a_key_is_shown_once_and_ends_when_it_is_revoked(admin: Program, app: Any, store: Store):
    body = {"name": "nightly", "scopes": ["research"], "days": 3}
    made = admin("POST /keys", body).json()
    program = Program(app, made["key"])
    assert program("GET /lead/projects").status_code == 200
    assert program("GET /accounts").status_code == 403, "its scope does not hold more"
    listed = admin("GET /keys")
    assert made["id"] in listed.text and made["key"].rpartition("_")[2] not in listed.text
    assert admin(f"DELETE /keys/{made['id']}").status_code == 204
    assert program("GET /lead/projects").status_code == 401


def test_an_admin_frees_anybody_s_lease(admin: Program, ann: Program, app: Any, store: Store):
    ben = Program(app, key_of(store, add_member(store, "ben")))
    project = make_project(store)
    view = claimed(ann, project)
    assert ben(f"POST /projects/{project}/claim").status_code == 204
    assert admin(f"DELETE /leases/{view['id']}").status_code == 204
    assert claimed(ben, project)["prompt"] == view["prompt"]
    assert admin(f"DELETE /leases/{uuid.UUID(int=3)}").status_code == 404


def test_a_guideline_gets_a_version_by_its_text(admin: Program):
    body = {"name": "ranking", "markdown": "Help first."}
    assert admin("POST /guidelines", body).json() == {"name": "ranking@1"}
    assert admin("POST /guidelines", body).json() == {"name": "ranking@1"}
    assert admin("POST /guidelines", body | {"markdown": "x"}).json() == {"name": "ranking@2"}
    for wrong in ("a b", "Upper", "-x", "y" * 65):  # the rule of the page and the command
        assert "a name has small letters" in admin("POST /guidelines", body | {"name": wrong}).text


def test_sources_are_policies_and_slots_are_shuffled(lead: Program, store: Store):
    project = make_project(store)
    rows = [
        {"prompt": f"p{i}", "responses": ["a", "b"], "sources": ["sft", "ppo"]} for i in range(40)
    ]
    lead(f"POST /projects/{project}/tasks?{DECLARED}&source=mine", content=lines_of(rows))
    with store.read() as session:
        assert set(session.scalars(select(Policy.name).where(Policy.run == "mine"))) == {
            "sft",
            "ppo",
        }
        first = session.execute(
            select(TaskResponse.slot, TaskResponse.response_id).where(TaskResponse.slot == "A")
        ).all()
        assert len(first) == 41
        assert session.scalar(select(Account.login).where(Account.login == "lea"))


def test_an_admin_does_not_end_their_own_account(admin: Program):
    pseudonym = admin("GET /me").json()["pseudonym"]
    accounts = admin("GET /accounts").json()["items"]
    [me] = [account["id"] for account in accounts if account["pseudonym"] == pseudonym]
    refused = admin(f"PATCH /accounts/{me}", {"state": "left"})
    assert refused.status_code == 400 and "another admin" in refused.text
    assert admin("GET /accounts").status_code == 200


def test_an_admin_erases_a_person_and_looks_first(
    admin: Program, lead: Program, store: Store, app: Any
):
    make_project(store, tasks={"a secret": ["a", "b"]})
    with store.read() as session:
        pseudonym = session.scalars(select(PromptUser.pseudonym)).one()
    ann = add_member(store, "ann")
    body = {"pseudonym": pseudonym, "dry_run": True}
    assert lead("POST /erase", body).status_code == 403
    told = admin("POST /erase", body)
    assert told.json()["counts"]["prompts"] == 1
    assert "a secret" in lead("GET /prompts").text
    done = admin("POST /erase", body | {"dry_run": False}).json()
    assert done == told.json() | {"dry_run": False}
    assert lead("GET /prompts").json()["items"] == []
    for odd in ({}, {"user": "x", "labeler": "ann"}, {"user": "nobody"}, {"labeler": "ada"}):
        refused = admin("POST /erase", odd)
        assert refused.status_code == 400, odd
    assert "another admin" in refused.text
    assert admin("POST /erase", {"labeler": "ann", "texts": True}).json()["swept"]
    with store.read() as session:
        assert session.get_one(Account, ann).login is None
        log = select(AccessLog).where(AccessLog.what.startswith("erased")).order_by(AccessLog.id)
        one, other = session.scalars(log)
        assert [one.object, other.what] == [pseudonym, "erased a labeler and their texts"]
        assert session.get_one(Account, one.account_id).login == "ada"


def test_a_lead_says_what_a_prompt_is_and_takes_it_back(lead: Program, store: Store):
    make_project(store, tasks={"a question": ["a", "b"]})
    [prompt] = lead("GET /prompts").json()["items"]
    assert prompt["labels"] == {}
    path = f"PUT /prompts/{prompt['id']}/labels"

    def say(**labels: Any) -> Any:
        return lead(path, {"labels": labels})

    assert say(ambiguous=True, use_case="open_qa").json() == {
        "labels": {"ambiguous": True, "use_case": "open_qa"}
    }
    assert say(ambiguous=False).json()["labels"] == {"ambiguous": False, "use_case": "open_qa"}
    assert say(ambiguous=None).json()["labels"] == {"use_case": "open_qa"}
    assert say(use_case="open_qa").status_code == 200  # nothing new
    [prompt] = lead("GET /prompts").json()["items"]
    assert (prompt["use_case"], prompt["labels"]) == ("open_qa", {"use_case": "open_qa"})
    with store.read() as session:
        added = session.scalars(select(PromptLabel).order_by(PromptLabel.id)).all()
        values = [(row.key, row.value) for row in added]
    assert values == [
        *(("ambiguous", True), ("use_case", "open_qa")),
        *(("ambiguous", False), ("ambiguous", None)),
    ]
    for odd in ({"odd": True}, {"ambiguous": "yes"}, {"use_case": "anything"}, {}):
        assert say(**odd).status_code == 400, odd
    other = path.replace(prompt["id"], str(uuid.UUID(int=1)))
    assert lead(other, {"labels": {"ambiguous": True}}).status_code == 404


def test_what_is_too_long_is_refused_with_its_line(lead: Program, store: Store):
    long = "x" * 100_001
    rows = [{"prompt": "one"}, {"prompt": long}]
    path = "POST /ingest?kind=prompts&licence=CC0&consent=yes"
    message = error_of(lead(path, content=lines_of(rows)))["message"]
    assert message.startswith("upload.jsonl:2: a text of 100,001 characters; 100,000 are the most.")
    assert "Nothing was imported" in message and "skip_broken" in message
    counts = lead(f"{path}&skip_broken=true", content=lines_of(rows)).json()["counts"]
    assert counts == {"added": 1, "too long": 1}
    counts = lead(f"{path}&max_chars=100001", content=lines_of(rows)).json()["counts"]
    assert counts == {"added": 1, "there already": 1}
    project = make_project(store)
    asked = {"prompt": "p", "responses": ["a", "b"], "ranks": [1, 2]}
    for row in (asked | {"prompt": long}, asked | {"responses": ["a", long]}):
        for name in ("tasks", "attention"):
            path = f"POST /projects/{project}/{name}?{DECLARED}"
            refused = lead(path, content=lines_of([asked, row]))
            assert refused.status_code == 400
            message = error_of(refused)["message"]
            assert "100,001 characters; 100,000 are the most" in message, name
            assert "line 2: " in message or message.startswith("upload.jsonl:2: "), message
    with store.read() as session:
        assert len(session.scalars(select(Task)).all()) == 1, "none of the two files came in"


def test_what_consent_covers_is_said_as_at_the_command(lead: Program, store: Store):
    path = "POST /ingest?kind=prompts&licence=CC0&consent=yes"
    for number, scopes in enumerate(("", "&scope=train", "&scope=evaluate", "&scope=sell")):
        answer = lead(path + scopes, content=lines_of([{"prompt": f"p {number}", "user": "u"}]))
        assert answer.status_code == (400 if "sell" in scopes else 200), answer.text
    both = "&scope=train&scope=evaluate"
    assert lead(path + both, content=lines_of([{"prompt": "p 4"}])).status_code == 200
    with store.read() as session:
        found = session.execute(
            select(Prompt.content, Ingest.may_train, Ingest.may_evaluate)
            .join(Ingest, Ingest.id == Prompt.ingest_id)
            .order_by(Prompt.content)
        ).all()
    assert [tuple(row) for row in found] == [
        ("p 0", True, True),
        ("p 1", True, False),
        ("p 2", False, True),
        ("p 4", True, True),
    ]


def test_records_come_in_as_by_the_command(lead: Program, store: Store):
    declared = "licence=CC0&consent=yes&source=mine"
    rows = [{"prompt": "one", "user": "u"}, {"prompt": "ONE", "user": "v"}, {"prompt": 3}]
    path = f"POST /ingest?kind=prompts&{declared}"
    refused = lead(path, content=lines_of(rows))
    assert refused.status_code == 400
    message = error_of(refused)["message"]
    assert message.startswith("upload.jsonl:3: ") and "nothing was imported" in message
    counts = lead(f"{path}&skip_broken=true", content=lines_of(rows)).json()["counts"]
    assert counts["added"] == 1 and sum(counts.values()) == 3
    mail = [
        {"prompt": "Is a@b.org right?", "user": "w"},
        {"prompt": "\u00bfQu\u00e9 hora es ahora?"},
    ]
    counts = lead(f"{path}&language=en", content=lines_of(mail)).json()["counts"]
    assert (counts["masked: email"], counts["in another language"]) == (1, 1)
    [found] = [p for p in lead("GET /prompts").json()["items"] if p["masked"]]
    assert (found["prompt"], found["masked"]) == ("Is <EMAIL_1> right?", {"EMAIL": 1})
    mail = [{"prompt": "Is c@d.org wrong?", "user": "w"}]
    assert lead(f"{path}&keep_personal=true", content=lines_of(mail)).status_code == 200
    assert "Is c@d.org wrong?" in {p["prompt"] for p in lead("GET /prompts").json()["items"]}
    assert lead(f"{path}&language=xx", content=lines_of(mail)).status_code == 400
    written = [{"prompt": "p", "response": "r", "user": "u"}]
    path = f"POST /ingest?kind=demonstrations&{declared}&project=theirs"
    assert lead(path, content=lines_of(written)).json()["counts"] == {"added": 1}
    assert lead(path, content=lines_of(written)).json()["counts"] == {"there already": 1}
    assert lead(f"POST /ingest?kind=prompts&{declared}&project=p", content=b"").status_code == 400
    assert lead(f"POST /ingest?kind=prompts&{declared}", content=b"").status_code == 400
