"""Deny by default: which route is whose, and what no route lets in."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from browsers import PASSWORD, Browser, Clock, Enter, Page, add_member
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

from preceptor.labeling import app as app_module
from preceptor.labeling import words
from preceptor.labeling.guard import HEADERS
from preceptor.labeling.security import ROLES, Throttle, rules_of
from preceptor.labeling.settings import Settings
from preceptor.store.database import Store
from preceptor.store.logins import IDLE, LONGEST, SCOPES, make_key, revoke_key

ALL = "labeler researcher admin"
LEAD = "researcher admin"
# Every route of the app, and whose it is. A new one is added here on purpose.
MATRIX = {
    "GET /health": "anyone",
    "GET /login": "anyone",
    "POST /login": "anyone",
    "GET /invitation/{token}": "anyone",
    "POST /invitation/{token}": "anyone",
    "POST /logout": ALL,
    "GET /profile": ALL,
    "POST /profile": ALL,
    "POST /profile/competence": ALL,
    "POST /profile/password": ALL,
    "GET /": ALL,
    "GET /recent": ALL,
    "POST /projects/{project_id}/claim": ALL,
    "GET /projects/{project_id}/guideline": ALL,
    "POST /projects/{project_id}/guideline": ALL,
    "GET /tasks/{task_id}": ALL,
    "GET /tasks/{task_id}/write": ALL,
    "POST /tasks/{task_id}/write": ALL,
    "GET /tasks/{task_id}/rate/{position}": ALL,
    "POST /tasks/{task_id}/rate/{position}": ALL,
    "GET /tasks/{task_id}/rank": ALL,
    "POST /tasks/{task_id}/rank": ALL,
    "GET /tasks/{task_id}/compare": ALL,
    "POST /tasks/{task_id}/compare": ALL,
    "GET /tasks/{task_id}/feedback": ALL,
    "POST /tasks/{task_id}/choose": ALL,
    "GET /tasks/{task_id}/kept": ALL,
    "POST /tasks/{task_id}/kept/{version}": ALL,
    "POST /tasks/{task_id}/discard": ALL,
    "GET /tasks/{task_id}/skip": ALL,
    "POST /tasks/{task_id}/skip": ALL,
    "POST /tasks/{task_id}/release": ALL,
    "POST /tasks/{task_id}/heartbeat": ALL,
    "POST /tasks/{task_id}/undo": ALL,
    "POST /tasks/{task_id}/revise": ALL,
    "GET /lead": LEAD,
    "GET /lead/comments": LEAD,
    "POST /lead/tasks": LEAD,
    "GET /lead/form": LEAD,
    "GET /lead/queue": LEAD,
    "GET /lead/agreement": LEAD,
    "GET /lead/labelers": LEAD,
    "GET /lead/positions": LEAD,
    "GET /lead/disagreements": LEAD,
    "GET /lead/tasks/{task_id}": LEAD,
    "POST /lead/tasks/{task_id}/again": LEAD,
    "POST /lead/tasks/{task_id}/gold": LEAD,
    "POST /lead/leases/{assignment_id}/free": LEAD,
    "GET /lead/gold": LEAD,
    "GET /lead/prompts": LEAD,
    "GET /lead/projects": LEAD,
    "POST /lead/projects": LEAD,
    "POST /lead/projects/{project_id}/state": LEAD,
    "POST /lead/attention": LEAD,
    "GET /lead/screening": LEAD,
    "GET /lead/screening/{account_id}": LEAD,
    "POST /lead/screening/{account_id}/score": LEAD,
    "POST /lead/screening/{account_id}/decision": LEAD,
    "GET /lead/guidelines": LEAD,
    "GET /lead/guidelines/{guideline_id}": LEAD,
    "POST /lead/guidelines": LEAD,
    "GET /lead/exports": LEAD,
    "POST /lead/exports": LEAD,
    "GET /lead/exports/{export_id}/file": LEAD,
    "GET /lead/accounts": "admin",
    "POST /lead/accounts": "admin",
    "POST /lead/accounts/{account_id}/invitation": "admin",
    "POST /lead/accounts/{account_id}/password": "admin",
    "POST /lead/accounts/{account_id}/state": "admin",
    "GET /lead/access": "admin",
    "GET /lead/erase": "admin",
    "POST /lead/erase": "admin",
    "GET /api/v1/openapi.json": f"{ALL}, key: label",
    "GET /api/v1/me": f"{ALL}, key: label",
    "GET /api/v1/me/submissions": f"{ALL}, key: label",
    "GET /api/v1/projects": f"{ALL}, key: label",
    "GET /api/v1/projects/{project_id}/guideline": f"{ALL}, key: label",
    "POST /api/v1/guidelines/{guideline_id}/acknowledge": f"{ALL}, key: label",
    "POST /api/v1/projects/{project_id}/claim": f"{ALL}, key: label",
    "GET /api/v1/assignments/{assignment_id}": f"{ALL}, key: label",
    "POST /api/v1/assignments/{assignment_id}/heartbeat": f"{ALL}, key: label",
    "PUT /api/v1/assignments/{assignment_id}/draft": f"{ALL}, key: label",
    "DELETE /api/v1/assignments/{assignment_id}/draft/{version}": f"{ALL}, key: label",
    "POST /api/v1/assignments/{assignment_id}/submit": f"{ALL}, key: label",
    "GET /api/v1/assignments/{assignment_id}/feedback": f"{ALL}, key: label",
    "POST /api/v1/assignments/{assignment_id}/skip": f"{ALL}, key: label",
    "POST /api/v1/assignments/{assignment_id}/release": f"{ALL}, key: label",
    "POST /api/v1/submissions/{submission_id}/undo": f"{ALL}, key: label",
    "POST /api/v1/submissions/{submission_id}/revise": f"{ALL}, key: label",
    "GET /api/v1/lead/projects": f"{LEAD}, key: research",
    "POST /api/v1/projects": f"{LEAD}, key: research",
    "PATCH /api/v1/projects/{project_id}": f"{LEAD}, key: research",
    "POST /api/v1/projects/{project_id}/tasks": f"{LEAD}, key: research",
    "POST /api/v1/projects/{project_id}/attention": f"{LEAD}, key: research",
    "POST /api/v1/projects/{project_id}/writing": f"{LEAD}, key: research",
    "GET /api/v1/projects/{project_id}/progress": f"{LEAD}, key: research",
    "GET /api/v1/projects/{project_id}/agreement": f"{LEAD}, key: research",
    "GET /api/v1/projects/{project_id}/labelers": f"{LEAD}, key: research",
    "PUT /api/v1/tasks/{task_id}/gold": f"{LEAD}, key: research",
    "GET /api/v1/prompts": f"{LEAD}, key: research",
    "PUT /api/v1/prompts/{prompt_id}/labels": f"{LEAD}, key: research",
    "POST /api/v1/ingest": f"{LEAD}, key: research",
    "GET /api/v1/accounts": "admin, key: admin",
    "PATCH /api/v1/accounts/{account_id}": "admin, key: admin",
    "POST /api/v1/invites": "admin, key: admin",
    "GET /api/v1/keys": "admin, key: admin",
    "POST /api/v1/keys": "admin, key: admin",
    "DELETE /api/v1/keys/{key_id}": "admin, key: admin",
    "POST /api/v1/guidelines": "admin, key: admin",
    "POST /api/v1/exports": "admin, key: admin",
    "DELETE /api/v1/leases/{assignment_id}": "admin, key: admin",
    "POST /api/v1/erase": "admin, key: admin",
}


def routes(app: Any) -> Iterator[tuple[str, str, Any]]:
    for route in iter_route_contexts(app.routes):
        if route.path == "/static":
            continue
        for method in sorted(route.methods - {"HEAD"}):
            yield f"{method} {route.path}", route.path, route


def said(route: Any) -> str:
    [rule] = rules_of(route)
    who = " ".join(rule.roles) or "anyone"
    return f"{who}, key: {rule.scope}" if rule.scope else who


def test_every_route_is_in_the_table_with_its_rule(app: Any):
    assert {name: said(route) for name, _, route in routes(app)} == MATRIX


def filled(path: str) -> str:
    return "/".join(
        "0" * 8 + "-0000-0000-0000-" + "0" * 12 if "{" in part else part for part in path.split("/")
    )


def test_nobody_gets_in_who_is_not_signed_in(app: Any, visitor: Browser):
    for name, path, route in routes(app):
        method = name.split()[0]
        answer = visitor.request(method, filled(path))
        if said(route) == "anyone":
            assert answer.status_code != 303 or answer.headers["location"] == "/", name
        elif path.startswith("/api/") or method != "GET":
            assert answer.status_code == 401, name
        else:
            assert answer.status_code == 303, name
            assert answer.headers["location"].startswith("/login?next=/"), name


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_where_the_table_says(app: Any, enter: Enter, role: str):
    browser = enter("somebody", role=role)
    token = browser.token()
    for name, path, _ in routes(app):
        if name in ("POST /logout", "POST /login"):
            continue
        answer = browser.request(name.split()[0], filled(path), headers={"X-CSRF-Token": token})
        allowed = "anyone" in MATRIX[name] or role in MATRIX[name]
        assert (answer.status_code == 403) == (not allowed), (name, answer.status_code)
        assert answer.status_code != 401, name


def test_a_route_without_a_rule_keeps_the_app_from_starting(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    careless = APIRouter()
    careless.add_api_route("/open", lambda: "everybody's", methods=["GET"])
    monkeypatch.setattr(app_module.lead_pages, "router", careless)
    with pytest.raises(RuntimeError, match="/open: a route declares one rule"):
        app_module.create_app(store)


def test_every_answer_has_the_headers(app: Any, enter: Enter, visitor: Browser):
    browser = enter()
    answers = [
        visitor.get("/login"),
        visitor.get("/nothing"),
        visitor.get("/static/style.css"),
        visitor.get("/api/v1/me"),
        visitor.get("/", headers={"host": "elsewhere.example"}),
        visitor.post("/login", headers={"Sec-Fetch-Site": "cross-site"}),
        browser.get("/"),
    ]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (answer.url, name)
        static = "static" in str(answer.url)
        assert answer.headers["cache-control"] == ("no-cache" if static else "no-store")
    assert "'unsafe" not in HEADERS["content-security-policy"]


def test_a_mistake_of_ours_has_the_headers_and_tells_nothing(
    app: Any, enter: Enter, monkeypatch: pytest.MonkeyPatch
):
    browser = enter()
    browser._transport.raise_server_exceptions = False  # type: ignore[attr-defined]

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a person's text")

    monkeypatch.setattr("preceptor.labeling.lead_pages.render", fail)
    monkeypatch.setattr("preceptor.labeling.account_pages.render", fail)
    answer = browser.get("/profile")
    assert answer.status_code == 500
    assert "a person" not in answer.text
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


SITES: list[tuple[dict[str, str], bool]] = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
    ({"Origin": "http://localhost"}, True),
    ({"Origin": "http://localhost.example"}, False),
    ({"Origin": "http://localhost:81"}, False),
    ({"Origin": "null"}, False),
    ({}, False),
]


@pytest.mark.parametrize(("headers", "taken"), SITES)
def test_a_form_of_another_site_is_refused(
    app: Any, store: Store, headers: dict[str, str], taken: bool
):
    add_member(store, "ann")
    browser = Browser(app)
    del browser.headers["Sec-Fetch-Site"]
    form = {"login": "ann", "password": PASSWORD}
    answer = browser.post("/login", data=form, headers=headers)
    assert answer.status_code == (303 if taken else 403)


def test_a_form_needs_the_token_of_this_sign_in(enter: Enter):
    ann, bob = enter("ann"), enter("bob")
    for wrong in ({}, {"csrf": ""}, {"csrf": bob.token()}, {"csrf": "é"}):
        assert ann.post("/logout", data=wrong).status_code == 403
    assert ann.get("/profile").status_code == 200
    assert ann.submit("/logout").status_code == 303
    assert ann.get("/profile").status_code == 303


def test_a_cookie_is_hard_to_steal(app: Any, store: Store, enter: Enter):
    add_member(store, "bob")
    form = {"login": "bob", "password": PASSWORD}
    cookie = Browser(app).post("/login", data=form).headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    https = Browser(app_module.create_app(store, Settings(https=True)))
    answer = https.post("/login", data=form)
    assert answer.headers["set-cookie"].startswith("__Host-preceptor=")
    assert "Secure" in answer.headers["set-cookie"].split("; ")
    assert "Domain" not in answer.headers["set-cookie"]
    assert "max-age" in answer.headers["strict-transport-security"]


def test_a_sign_in_ends_by_idleness_and_by_age(enter: Enter, clock: Clock):
    ann = enter()
    for _ in range(int(LONGEST / IDLE)):
        clock.pass_(hours=11)
        assert ann.get("/profile").status_code == 200
    clock.pass_(hours=11)
    assert ann.get("/profile").status_code == 200  # used all the time
    clock.at = clock.at + IDLE
    assert ann.get("/profile").status_code == 303
    ann = enter()
    for _ in range(15):
        clock.pass_(hours=11)
        ann.get("/profile")
    clock.pass_(hours=11)
    assert ann.get("/profile").status_code == 303  # a week is over


def test_signing_in_gives_a_new_token_and_ends_the_old_one(app: Any, enter: Enter):
    ann = enter()
    old = ann.cookies["preceptor"]
    ann.post("/login", data={"login": "ann", "password": PASSWORD})
    assert ann.cookies["preceptor"] != old
    thief = Browser(app)
    thief.cookies.set("preceptor", old)
    assert thief.get("/profile").status_code == 303


def test_a_wrong_password_and_a_wrong_login_are_answered_alike(enter: Enter, visitor: Browser):
    enter("ann")
    answers = [
        visitor.post("/login", data={"login": login, "password": "wrong " + PASSWORD})
        for login in ("ann", "bob")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].text.replace("ann", "bob") == answers[1].text


def test_guessing_must_wait(enter: Enter, visitor: Browser, clock: Clock):
    enter("ann")
    wrong = {"login": "ann", "password": "a wrong password"}
    for _ in range(Throttle.LIMITS["both"]):
        assert visitor.post("/login", data=wrong).status_code == 401
    right = {"login": "ann", "password": PASSWORD}
    answer = visitor.post("/login", data=right)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 60
    clock.pass_(minutes=16)
    assert visitor.post("/login", data=right).status_code == 303


def test_signing_in_oneself_gives_no_new_guesses_from_an_address(clock: Clock):
    throttle = Throttle()
    for number in range(Throttle.LIMITS["address"]):
        assert not throttle.admit(f"name {number}", "10.0.0.1", clock())
        throttle.forget(f"name {number}", "10.0.0.1")
    assert throttle.admit("ann", "10.0.0.1", clock()) > 0
    assert not throttle.admit("ann", "10.0.0.2", clock())


def test_a_login_s_guesses_are_counted_over_its_spellings(clock: Clock):
    throttle = Throttle()
    spellings = ("ann@x", "ANN@x", " Ann@X ")
    waits = [throttle.admit(spellings[i % 3], "10.0.0.1", clock()) for i in range(9)]
    assert not any(waits[:8]) and waits[8] > 0
    throttle.forget("ANN@X", "10.0.0.1")
    assert not throttle.admit("ann@x", "10.0.0.1", clock())


def test_one_signs_in_with_any_spelling_of_the_login(store: Store, visitor: Browser):
    add_member(store, " Ann@X ")
    for spelling in ("ann@x", " ANN@X "):
        answer = visitor.post("/login", data={"login": spelling, "password": PASSWORD})
        assert answer.status_code == 303, spelling


def test_an_account_that_left_is_signed_out(
    store: Store, enter: Enter, visitor: Browser, clock: Clock
):
    from preceptor.store.standing import set_state

    ann = enter()
    with store.write() as session:
        set_state(session, ann.account, "left", now=clock())  # type: ignore[attr-defined]
    assert ann.get("/profile").status_code == 303
    answer = visitor.post("/login", data={"login": "ann", "password": PASSWORD})
    assert answer.status_code == 401
    with store.write() as session:
        set_state(session, ann.account, "active", now=clock())  # type: ignore[attr-defined]
    assert ann.get("/profile").status_code == 303, "the old cookie stays dead"
    answer = visitor.post("/login", data={"login": "ann", "password": PASSWORD})
    assert answer.status_code == 303


def test_a_key_opens_what_it_is_for(app: Any, store: Store, visitor: Browser, clock: Clock):
    ann = add_member(store, "ann")
    with store.write() as session:
        id, key = make_key(session, ann, "a program", ["label"], now=clock(), days=30)
        _, other = make_key(session, ann, "another", ["research"], now=clock())
    assert set(SCOPES) > {"label", "research"}

    def status(key: str, path: str = "/api/v1/me") -> int:
        return visitor.get(path, headers={"Authorization": f"Bearer {key}"}).status_code

    assert status(key) == 200
    assert status(other) == 403
    assert status(key, "/profile") == 303  # pages take no keys
    for wrong in ("", key[:-1], key[:-1] + "é", key.upper(), f"preceptor_{id}_", "preceptor_"):
        assert (
            visitor.get(
                "/api/v1/me", headers={"Authorization": f"Bearer {wrong}".encode()}
            ).status_code
            == 401
        )
    clock.pass_(days=31)
    assert status(key) == 401
    assert status(other) == 403
    with store.write() as session:
        revoke_key(session, ann, other.split("_")[1], now=clock())
    assert status(other) == 401
    with store.engine.connect() as connection:
        kept = "\n".join(connection.connection.driver_connection.iterdump())
    assert key.split("_", 2)[2] not in kept


def test_too_much_is_refused(visitor: Browser):
    assert visitor.post("/login", data={"login": "x" * 2_000_000}).status_code == 413

    def stream() -> Iterator[bytes]:
        yield b"login="
        for _ in range(20):
            yield b"x" * 100_000

    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert visitor.post("/login", content=stream(), headers=kind).status_code == 413
    many = {f"f{i}": "" for i in range(1000)}
    assert visitor.post("/login", data=many).status_code == 400
    assert visitor.post("/login", files={"login": b"a file"}).status_code == 400


def test_what_is_refused_before_any_route_is_a_page_or_json(visitor: Browser):
    for status, asked in (
        (413, {"data": {"login": "x" * 2_000_000}}),
        (403, {"headers": {"Sec-Fetch-Site": "cross-site"}}),
    ):
        page = Page(visitor, visitor.post("/login", **asked))
        assert page.status == status and "/" in page.links and "<h1>" in page.html
        headers = asked.pop("headers", {}) | {"accept": "application/json"}
        told = visitor.post("/login", **asked, headers=headers)
        assert told.status_code == status
        assert told.json()["error"]["message"] in page.text
    program = visitor.post("/api/v1/ingest", content=b"x" * 2_000_000)
    assert program.status_code == 413 and "1,000,000 bytes" in program.json()["error"]["message"]


def test_an_address_that_only_takes_forms_says_so(visitor: Browser):
    page = visitor.open("/logout")
    assert page.status == 405 and words.ERROR_405 in page.text and "/" in page.links
    assert visitor.post("/api/v1/me").json()["error"]["message"] == "Method Not Allowed"


def test_another_name_of_this_machine_is_not_answered(visitor: Browser):
    for host in ("evil.example", "localhost.evil.example", "", "127.0.0.2"):
        assert visitor.get("/login", headers={"host": host}).status_code == 421
    for host in ("localhost:1234", "127.0.0.1", "[::1]:80", "LOCALHOST"):
        assert visitor.get("/login", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\nb", "/\t/e"]
)
def test_signing_in_leads_to_this_site_only(enter: Enter, app: Any, path: str):
    enter("ann")
    form = {"login": "ann", "password": PASSWORD, "next": path}
    assert Browser(app).post("/login", data=form).headers["location"] == "/"


def test_an_error_of_the_interface_has_one_shape(visitor: Browser, enter: Enter):
    for answer in (visitor.get("/api/v1/me"), enter().get("/api/v1/nothing")):
        assert set(answer.json()) == {"error"}
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_idle_is_shorter_than_the_longest():
    assert timedelta(hours=8) < IDLE < LONGEST
