"""Sign-ins and keys: hashes only, an end to each, and nobody who left gets in."""

from datetime import timedelta

import pytest
from people import START, add_labeler, at
from sqlalchemy import select

from preceptor.errors import StoreError
from preceptor.store.accounts import invite
from preceptor.store.database import Store
from preceptor.store.logins import (
    IDLE,
    LONGEST,
    NOTED,
    close_login,
    close_logins,
    key_owner,
    keys_of,
    login_of,
    make_key,
    member_named,
    note_key,
    note_login,
    open_login,
    revoke_key,
)
from preceptor.store.standing import set_state
from preceptor.store.tables import ApiKey, LoginSession


def test_a_login_is_its_account_s_until_it_is_idle_too_long(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        token = open_login(session, ann, now=START)
    with store.read() as session:
        found = login_of(session, token, now=START)
        assert found is not None
        assert (found[0].login, found[0].role, found[1]) == ("ann", "labeler", False)
        assert login_of(session, token, now=START + NOTED) == (found[0], True)
        assert login_of(session, token, now=START + IDLE) is None
        assert login_of(session, token + "x", now=START) is None
        [kept] = session.scalars(select(LoginSession.token_sha256))
        assert token not in kept


def test_a_login_in_use_ends_by_age(store: Store):
    with store.write() as session:
        token = open_login(session, add_labeler(session, store, "ann"), now=START)
        now = START
        while now - START < LONGEST:
            assert login_of(session, token, now=now) is not None
            note_login(session, token, now=now)
            now += IDLE / 2
        assert login_of(session, token, now=now) is None


def test_a_clock_that_goes_back_ends_no_login(store: Store):
    with store.write() as session:
        token = open_login(session, add_labeler(session, store, "ann"), now=START)
        note_login(session, token, now=at(-3600))
        assert login_of(session, token, now=at(-3600)) is not None
        assert login_of(session, token, now=START + IDLE - timedelta(seconds=1)) is not None


def test_logins_are_closed_one_or_all_and_old_ones_go(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        one, two, his = (open_login(session, who, now=START) for who in (ann, ann, bob))
        close_login(session, one)
        assert login_of(session, one, now=START) is None
        three = open_login(session, ann, now=START)
        close_logins(session, ann, keep=three)
        assert [login_of(session, t, now=START) is None for t in (two, three, his)] == [
            True,
            False,
            False,
        ]
        open_login(session, ann, now=START + LONGEST)
        rows = session.scalars(select(LoginSession).where(LoginSession.account_id == ann)).all()
        assert len(rows) == 1


def test_who_left_or_has_not_come_has_no_login(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        token = open_login(session, ann, now=START)
        _, key = make_key(session, ann, "a key", ["label"], now=START)
        invited, _ = invite(session, store.site_key, "bob", now=START)
        with pytest.raises(StoreError, match="invited"):
            open_login(session, invited, now=START)
        assert member_named(session, "bob") is None
        set_state(session, ann, "paused", now=START)
        assert login_of(session, token, now=START) is not None
        set_state(session, ann, "left", now=START)
        assert login_of(session, token, now=START) is None
        assert key_owner(session, key, now=START) is None
        assert member_named(session, "ann") is None


def test_a_key_is_shown_once_and_ends(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        id, key = make_key(session, ann, " a program ", ["label", "label"], now=START, days=2)
        owner = key_owner(session, key, now=START)
        assert owner is not None
        assert (owner[0].id, owner[1], owner[2]) == (ann, ["label"], True)
        note_key(session, key, now=START)
        assert key_owner(session, key, now=START) == (owner[0], ["label"], False)
        assert key_owner(session, key, now=START + timedelta(days=2)) is None
        [row] = session.scalars(select(ApiKey)).all()
        assert key.split("_", 2)[2] not in (row.id, row.secret_sha256, row.name)
        [shown] = keys_of(session, ann)
        assert (shown.id, shown.name, shown.scopes, shown.revoked) == (
            id,
            "a program",
            ["label"],
            False,
        )
        with pytest.raises(StoreError, match="no such key"):
            revoke_key(session, bob, id, now=START)
        revoke_key(session, ann, id, now=START)
        assert key_owner(session, key, now=START) is None
        assert keys_of(session, ann)[0].revoked


@pytest.mark.parametrize(
    ("name", "scopes", "days"),
    [("", ["label"], 1), ("k", [], 1), ("k", ["x"], 1), ("k", ["label"], 0)],
)
def test_a_key_without_a_name_a_scope_or_a_day_is_refused(
    store: Store, name: str, scopes: list[str], days: int
):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        with pytest.raises(StoreError):
            make_key(session, ann, name, scopes, now=START, days=days)


@pytest.mark.parametrize("wrong", ["", "preceptor_", "preceptor__", "x", "preceptor_a_b_c", "é"])
def test_what_is_no_key_opens_nothing(store: Store, wrong: str):
    with store.read() as session:
        assert key_owner(session, wrong, now=START) is None
