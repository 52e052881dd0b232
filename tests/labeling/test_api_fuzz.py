"""Requests made up from the interface's own schema, by three people at once.

Whatever is sent: no mistake of ours (5xx), nobody does what their role may not, every no has the
one shape, every yes is what the schema says, and the queue still adds up.
"""

import json
import string
import uuid
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
from browsers import Browser, Clock, add_member, make_project
from jsonschema import Draft202012Validator
from live import error_of, key_of
from sqlalchemy import func, select, text

from preceptor.labeling.app import create_app
from preceptor.labeling.settings import Settings
from preceptor.store.accounts import publish_guideline
from preceptor.store.database import Store
from preceptor.store.forms import SKIP_REASONS
from preceptor.store.logins import SCOPES, make_key
from preceptor.store.projects import set_project_state
from preceptor.store.queue import next_key
from preceptor.store.tables import (
    Account,
    ApiKey,
    Assignment,
    Guideline,
    Judgement,
    Project,
    Prompt,
    PromptUser,
    Submission,
    Task,
)

ROLES = ("labeler", "researcher", "admin")
SPARE = "usr_" + "a" * 26
"""A user who may be erased."""
SCOPE_OF = {"label": ROLES, "research": ROLES[1:], "admin": ROLES[2:]}
NASTY = (
    "",
    "\0",
    "\ud800",
    "‮gnirts",
    "a" * 3000,
    "../../etc/passwd",
    "%2e%2e%2f",
    "'; DROP TABLE task; --",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "1e999",
    "0" * 40,
)

LETTERS = string.printable + "äß漢🙂\u200b\u202e"
NUMBERS = (0, 1, -1, 7, 2**31, 2**63, -(2**63), 10**40, 0.5, 1e308, float("nan"), float("inf"))
DEPTHS = (60, 250, 900)


def a_text(draws: Random) -> str:
    if draws.random() < 0.3:
        return draws.choice(NASTY)
    return "".join(draws.choices(LETTERS, k=draws.randrange(12)))


def junk(draws: Random, depth: int = 0) -> Any:
    """Any JSON at all."""
    kind = draws.randrange(7 if depth < 3 else 4)
    if kind == 0:
        return draws.choice([None, True, False])
    if kind == 1:
        return draws.choice(NUMBERS)
    if kind in (2, 3):
        return a_text(draws)
    if kind == 4:
        return {a_text(draws): junk(draws, depth + 1) for _ in range(draws.randrange(4))}
    if kind == 5:
        return [junk(draws, depth + 1) for _ in range(draws.randrange(4))]
    left, right = draws.choice([("[", "]"), ('{"a":', "}")])
    size = draws.choice(DEPTHS)
    return json.loads(left * size + "1" + right * size)


class Interface:
    """The operations of the schema, and what may be sent to them."""

    def __init__(self, openapi: dict[str, Any]) -> None:
        self.openapi = openapi
        self.operations = [
            (method.upper(), path, operation)
            for path, methods in sorted(openapi["paths"].items())
            for method, operation in sorted(methods.items())
        ]

    def value(self, schema: dict[str, Any], draws: Random) -> Any:
        """What the schema allows, and now and then what it does not."""
        if draws.random() < 0.08:
            return junk(draws)
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self.value(self.openapi["components"]["schemas"][name], draws)
        if "anyOf" in schema:
            return self.value(draws.choice(schema["anyOf"]), draws)
        if "enum" in schema:
            return draws.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "object":
            fields, needed = schema.get("properties", {}), schema.get("required", ())
            if not fields:
                return a_form(draws)
            return {
                name: self.value(field, draws)
                for name, field in fields.items()
                if name in needed or draws.random() < 0.6
            }
        if kind == "array":
            count = draws.randrange(1, 4)
            return [self.value(schema.get("items", {}), draws) for _ in range(count)]
        if kind in ("integer", "number"):
            low, high = schema.get("minimum", 0), schema.get("maximum", 1000)
            whole = draws.randint(int(low), int(min(high, 10**12)))
            return float(whole) if draws.random() < 0.2 else whole
        if kind == "boolean":
            return draws.random() < 0.5
        if kind == "null":
            return None
        if kind == "string" and schema.get("format") == "uuid":
            return str(uuid.UUID(int=draws.getrandbits(128)))
        if "pattern" in schema and "|" in schema["pattern"]:
            return draws.choice(schema["pattern"].strip("^$()").split("|"))
        return a_text(draws) if kind == "string" else junk(draws)


COMPLETE = {
    "rank_groups": [["1"], ["2"], ["3"]],
    "ratings": {place: {"likert": 4} for place in "123"},
}


def a_form(draws: Random) -> dict[str, Any]:
    """A whole form, or one with something wrong."""
    groups = [[["1"], ["2"], ["3"]], [["1", "2", "3"]], [["2"]], [["9"]], "123", [[{}]]]
    ratings = [COMPLETE["ratings"]] * 4 + [{"1": {"likert": 9}}, {"4": {"likert": 4}}, []]
    ratings.append({place: {"likert": 4.0} for place in "123"})
    form = {"rank_groups": draws.choice(groups[:2] * 3 + groups), "ratings": draws.choice(ratings)}
    if draws.random() < 0.2:
        form[draws.choice(["unacceptable", "comment", "prompt_labels", "slot"])] = junk(draws)
    return form


@pytest.fixture
def world(store: Store, clock: Clock) -> Iterator[Any]:
    """The app, a key for each role, and the schema."""
    app = create_app(store, Settings(now=clock))
    keys = {}
    for role in ROLES:
        group = "training" if role == "labeler" else "researcher"
        account = add_member(store, role, role=role, group=group)
        keys[role] = key_of(store, account, *SCOPES)
    project = make_project(
        store,
        name="fuzzed",
        tasks={f"p{i}": ["a", "b", "c"] for i in range(400)},
        groups=("training", "researcher"),
        overlap=2,
    )
    make_project(store, "prompt_plain", name="written", groups=("training", "researcher"))
    browser = Browser(app)
    browser.headers.clear()
    browser._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    answer = browser.get(
        "/api/v1/openapi.json",
        headers={"authorization": f"Bearer {keys['labeler']}", "host": "localhost"},
    )
    assert answer.status_code == 200
    with store.write() as session:
        publish_guideline(session, "rules", "Help first.", now=clock())
        values = {"split": "train", "policy": "opt_in", "first_seen": clock()}
        session.add(PromptUser(id=uuid.UUID(int=7), pseudonym=SPARE, **values))
        for _ in range(3):
            make_key(session, account, "spare", ["label"], now=clock())
    for role in ROLES:  # something to begin with
        for _ in range(3):
            headers = {"authorization": f"Bearer {keys[role]}", "host": "localhost"}
            view = browser.post(f"/api/v1/projects/{project}/claim", headers=headers).json()
            body = {"key": view["key"], "body": COMPLETE}
            browser.post(f"/api/v1/assignments/{view['id']}/submit", json=body, headers=headers)
        browser.post(f"/api/v1/projects/{project}/claim", headers=headers)
    yield browser, keys, Interface(answer.json())


TABLES = {
    "project_id": Project,
    "assignment_id": Assignment,
    "submission_id": Submission,
    "account_id": Account,
    "task_id": Task,
    "guideline_id": Guideline,
    "prompt_id": Prompt,
}


def ids_in(store: Store) -> dict[str, list[str]]:
    """Ids by the name of the parameter that they are for, the newest first."""
    found = {}
    with store.read() as session:
        for name, table in TABLES.items():
            newest = select(table.id).order_by(text(f"{table.__tablename__}.rowid DESC")).limit(12)
            found[name] = [str(id) for id in session.scalars(newest)]
        spare = select(ApiKey.id).where(ApiKey.name == "spare")
        for name, task_type in (("project_id", "ranking"), ("written", "prompt_plain")):
            of_type = select(Project.id).where(Project.task_type == task_type)
            found[name] = [str(id) for id in session.scalars(of_type)]
        found["key_id"] = list(session.scalars(spare))
    return found | {"version": ["1", "2"]}


def fill(
    draws: Random, interface: Interface, operation: Any, store: Store
) -> tuple[str, bytes | None]:
    """The path with its parameters and the query, and the body if it has one."""
    _, path, spec = operation
    ids = ids_in(store)
    query, chosen = {}, ""
    for parameter in spec.get("parameters", ()):
        name = parameter["name"]
        if parameter["in"] == "path":
            chance = draws.random()
            written = "written" if spec["operationId"].startswith("add_writing") else name
            right = ids.get(written) or [a_text(draws)]
            anything = [id for some in ids.values() for id in some]
            chosen = draws.choice(right if chance < 0.8 else anything)
            if chance > 0.95:
                chosen = draws.choice([a_text(draws), str(uuid.UUID(int=draws.getrandbits(128)))])
            path = path.replace("{" + name + "}", quoted(chosen))
        elif parameter["in"] == "query" and (parameter.get("required") or draws.random() < 0.5):
            query[name] = interface.value(parameter["schema"], draws)
    if query:
        path += "?" + "&".join(f"{name}={quoted(str(value))}" for name, value in query.items())
    body = spec.get("requestBody")
    if body is None:
        return path, None
    schema = next(iter(body["content"].values()))["schema"]
    value = junk(draws) if draws.random() < 0.15 else interface.value(schema, draws)
    if path.endswith("/submit") and draws.random() < 0.7:
        value = {"key": key_for(store, chosen), "body": a_form(draws)}
    if path.endswith("/skip") and draws.random() < 0.5:
        value = {"reason": draws.choice(SKIP_REASONS), "comment": a_text(draws)}
    if path.endswith("/guidelines") and draws.random() < 0.5:
        value = {"name": "rules", "markdown": a_text(draws)}
    if path.endswith("/erase") and draws.random() < 0.7:
        value = {"pseudonym": SPARE, "dry_run": draws.random() < 0.5}
    if path.endswith("/labels") and draws.random() < 0.8:
        value = {"labels": {"ambiguous": draws.choice([True, False, None])}}
    if ("/ingest" in path or "/attention" in path) and draws.random() < 0.9:
        value = {"prompt": a_text(draws), "response": "a", "responses": ["a", "b"], "ranks": [1, 2]}
    if "/tasks" in path and draws.random() < 0.8:
        value = {"prompt": a_text(draws) + "?", "responses": [a_text(draws), "b"]}
    return path, json.dumps(value).encode()


def owner_of(store: Store, path: str) -> str | None:
    """Whose assignment or label a path is about."""
    for part in path.split("/"):
        try:
            id = uuid.UUID(part)
        except ValueError:
            continue
        with store.read() as session:
            label = session.get(Submission, id)
            held = session.get(Assignment, label.assignment_id if label else id)
            return held and session.get_one(Account, held.account_id).login
    return None


def key_for(store: Store, assignment: str) -> str:
    """The key that a form of this assignment goes under next."""
    try:
        with store.read() as session:
            return str(next_key(session, uuid.UUID(assignment)))
    except ValueError:
        return assignment


def quoted(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


def allowed(operation: Any) -> tuple[str, ...]:
    """Whose an operation is, by its tag."""
    [tag] = operation[2]["tags"]
    return {"labeler": ROLES, "researcher": ROLES[1:], "admin": ROLES[2:]}[tag]


def test_made_up_requests_break_nothing(world: Any, store: Store, clock: Clock):
    browser, keys, interface = world
    draws = Random(20)
    seen: dict[str, Counter[int]] = {}
    for number in range(3_000):
        refused = undone(seen)
        if number >= 1_200 and not refused:
            break
        missing = [o for o in interface.operations if f"{o[0]} {o[1]}" in refused]
        again = missing and draws.random() < 0.5  # what was never done comes sooner
        operation = draws.choice(missing if again else interface.operations)
        path, body = fill(draws, interface, operation, store)
        who = allowed(operation) if draws.random() < 0.5 else ROLES
        owner = owner_of(store, path) or draws.choice(who)
        role = owner if draws.random() < 0.7 else draws.choice(ROLES)
        headers = {"authorization": f"Bearer {keys[role]}", "host": "localhost"}
        if body is not None:
            headers["content-type"] = "application/json"
        answer = browser.request(operation[0], path, content=body, headers=headers)
        told = (role, operation[0], path, body)
        seen.setdefault(f"{operation[0]} {operation[1]}", Counter())[answer.status_code] += 1
        assert answer.status_code < 500, (told, answer.text)
        if role not in allowed(operation):
            assert answer.status_code in (403, 404, 405, 307), told
        if answer.status_code >= 400:
            error_of(answer)
        elif answer.status_code == 200:
            check_answer(interface, operation, answer)
        if operation[0] == "PATCH":
            restore(store)
        if draws.random() < 0.03:
            clock.pass_(seconds=draws.choice([-5000, 30, 61, 4000]))
    assert_adds_up(store)
    # It got somewhere: everything was tried, and nearly all of it was done once at least.
    assert len(seen) == len(interface.operations)
    assert not undone(seen)
    with store.read() as session:
        kinds = Counter(session.scalars(select(Submission.kind)))
        assert kinds["submitted"] > 12 and kinds["withdrawn"] > 0


def test_4_0_is_no_whole_number_in_a_form(world: Any, store: Store):
    """A label with it would have three characters a response in short, and no figure after it."""
    browser, keys, _ = world
    headers = {"authorization": f"Bearer {keys['researcher']}", "host": "localhost"}
    [project] = ids_in(store)["project_id"]
    view = browser.post(f"/api/v1/projects/{project}/claim", headers=headers).json()
    path = f"/api/v1/assignments/{view['id']}/submit"
    for likert, status in ((4.0, 400), (True, 400), (4, 200)):
        ratings = {place: {"likert": likert} for place in "123"}
        sent = {"key": view["key"], "body": COMPLETE | {"ratings": ratings}}
        assert browser.post(path, json=sent, headers=headers).status_code == status, likert
    figures = browser.get(f"/api/v1/projects/{project}/agreement", headers=headers)
    assert figures.status_code == 200
    assert_adds_up(store)


def undone(seen: dict[str, Counter[int]]) -> dict[str, dict[int, int]]:
    """What was refused each time; a gold answer needs a researcher's label of that very task."""
    found = {name: dict(statuses) for name, statuses in seen.items() if min(statuses) >= 300}
    found.pop("PUT /api/v1/tasks/{task_id}/gold", None)
    return found


def check_answer(interface: Interface, operation: Any, answer: Any) -> None:
    content = operation[2]["responses"]["200"].get("content", {})
    if "application/json" in content and content["application/json"]["schema"]:
        schema = content["application/json"]["schema"]
        Draft202012Validator(schema | {"components": interface.openapi["components"]}).validate(
            answer.json()
        )


def restore(store: Store) -> None:
    """An admin's request may have closed the project or paused somebody: the others go on."""
    with store.write() as session:
        for project in session.scalars(select(Project).where(Project.state != "open")):
            set_project_state(session, project.id, "open")
        for account in session.scalars(select(Account).where(Account.login.in_(ROLES))):
            assert account.role == account.login, "somebody changed their role"
            account.state = "active"
        for key in session.scalars(select(ApiKey).where(ApiKey.name == "tests")):
            key.revoked_at = None  # with an account that left


def assert_adds_up(store: Store) -> None:
    """Every task has as many places taken as assignments that count, and not more than wanted."""
    with store.read() as session:
        counted = dict(
            session.execute(
                select(Assignment.task_id, func.count())
                .where(Assignment.counted)
                .group_by(Assignment.task_id)
            ).all()
        )
        for task in session.scalars(select(Task)):
            assert task.taken == counted.get(task.id, 0)
            assert task.target is None or task.taken <= task.target
        for label in session.scalars(select(Judgement)):  # a character a response
            assert len(label.likert) == len(label.ranks) and "." not in label.likert


def test_without_a_key_or_with_a_wrong_one_nothing_opens(world: Any):
    browser, keys, interface = world
    for method, path, _ in interface.operations:
        path = path.replace("{", "").replace("}", "")
        for header in (
            {},
            {"authorization": "Bearer preceptor_x_y"},
            {"authorization": "Basic eDp5"},
        ):
            answer = browser.request(
                method,
                path,
                headers={"host": "localhost", "sec-fetch-site": "same-origin", **header},
            )
            assert answer.status_code == 401, (method, path, header)
            error_of(answer)


def test_a_key_does_what_its_scopes_and_its_owner_s_role_both_allow(store: Store, world: Any):
    browser, _, interface = world
    for role in ROLES:
        account = add_member(store, f"{role} too", role=role, group="researcher")
        for scope in SCOPES:
            key = key_of(store, account, scope)
            for method, path, spec in interface.operations:
                filled = path
                for parameter in spec.get("parameters", ()):
                    if parameter["in"] == "path":
                        filled = filled.replace(
                            "{" + parameter["name"] + "}", str(uuid.UUID(int=9))
                        )
                [tag] = spec["tags"]
                wanted = {"labeler": "label", "researcher": "research", "admin": "admin"}[tag]
                answer = browser.request(
                    method,
                    filled,
                    headers={"authorization": f"Bearer {key}", "host": "localhost"},
                )
                may = wanted == scope and role in SCOPE_OF[scope]
                assert (answer.status_code == 403) == (not may), (role, scope, method, path)
