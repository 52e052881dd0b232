"""Invitations, passwords and the profile, by the pages."""

import pytest
from browsers import PASSWORD, Browser, Clock, Enter
from people import START

from preceptor.labeling import words
from preceptor.store.accounts import account_named, invite, invite_again
from preceptor.store.database import Store
from preceptor.store.logins import member_named

GOOD = "four words of mine"


def invited(store: Store, **options: object) -> str:
    with store.write() as session:
        _, token = invite(session, store.site_key, "new@example.org", now=START, **options)
    return token


def test_an_invitation_is_accepted_once(store: Store, visitor: Browser):
    token = invited(store, screened=True)
    page = visitor.open(f"/invitation/{token}")
    assert "new@example.org" in page.text
    page = page.press(ending=token, password=GOOD)
    assert page.path == "/"
    assert "Work" in page.text
    for method in ("get", "post"):
        answer = getattr(visitor, method)(f"/invitation/{token}")
        assert answer.status_code == 410
        assert "was used" in answer.text
    assert visitor.get("/invitation/made-up").status_code == 410
    with store.read() as session:
        assert account_named(session, "new@example.org").state == "active"
        found = member_named(session, "new@example.org")
    assert found is not None and found[1].startswith("$argon2id$")


def test_an_invitation_runs_out_and_a_new_one_ends_it(store: Store, visitor: Browser, clock: Clock):
    token = invited(store)
    with store.write() as session:
        newer = invite_again(session, account_named(session, "new@example.org").id, now=START)
    assert visitor.get(f"/invitation/{token}").status_code == 410
    assert visitor.get(f"/invitation/{newer}").status_code == 200
    clock.pass_(days=14)
    assert visitor.get(f"/invitation/{newer}").status_code == 410


@pytest.mark.parametrize(
    "password", ["", "short", "aaaaaaaaaaaaaaaa", "new@example.org", "NEW@EXAMPLE.ORG", "x" * 1001]
)
def test_a_password_that_is_guessed_is_refused(store: Store, visitor: Browser, password: str):
    page = visitor.open(f"/invitation/{invited(store)}").press(ending="", password=password)
    assert page.status == 400
    assert page.alerts
    with store.read() as session:
        assert account_named(session, "new@example.org").state == "invited"


def test_whoever_is_in_screening_is_told(store: Store, visitor: Browser):
    page = visitor.open(f"/invitation/{invited(store)}").press(ending="", password=GOOD)
    assert words.STATES["screening"] in page.text


def test_a_new_password_ends_other_sign_ins(enter: Enter, app: object):
    ann, elsewhere = enter("ann"), enter("ann")
    page = ann.open("/profile")
    wrong = page.press(ending="/password", old="not it, certainly", new=GOOD)
    assert wrong.alerts == [words.PASSWORD_WRONG]
    weak = page.press(ending="/password", old=PASSWORD, new="short")
    assert weak.status == 400
    assert elsewhere.get("/profile").status_code == 200
    page = page.press(ending="/password", old=PASSWORD, new=GOOD)
    assert words.PASSWORD_CHANGED in page.text
    assert elsewhere.get("/profile").status_code == 303
    assert ann.get("/profile").status_code == 200
    fresh = Browser(app)
    form = {"login": "ann", "password": PASSWORD}
    assert fresh.post("/login", data=form).status_code == 401
    assert fresh.post("/login", data=form | {"password": GOOD}).status_code == 303


def test_signing_in_leads_back_to_where_one_was(enter: Enter, app: object):
    enter("ann")
    browser = Browser(app)
    page = browser.open("/recent")
    assert page.path == "/login"
    form = page.form("/login")["fields"] | {"login": " ann ", "password": PASSWORD}
    assert browser.post("/login", data=form).headers["location"] == "/recent"
    # Somebody who is signed in needs no login page.
    assert browser.get("/login?next=/profile").headers["location"] == "/profile"


def test_a_lead_sees_the_way_to_their_pages(enter: Enter):
    assert "/lead" in enter("res", role="researcher").open("/").links
    assert "/lead" not in enter("ann").open("/").links
