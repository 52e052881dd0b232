"""Accounts by invitation, which is used once and runs out."""

from datetime import timedelta

import pytest
from people import START, add_labeler, add_project
from sqlalchemy import select

from preceptor.errors import StoreError
from preceptor.store.accounts import (
    accept_invitation,
    account_named,
    account_of,
    invite,
    invite_again,
    invite_to_reset,
    set_password,
)
from preceptor.store.database import Store
from preceptor.store.logins import key_owner, login_of, make_key, member, member_named, open_login
from preceptor.store.names import identify
from preceptor.store.queue import claim
from preceptor.store.standing import set_state
from preceptor.store.tables import Account, Invitation

DAY = timedelta(days=1)


def test_a_new_store_has_no_account(store: Store):
    with store.read() as session:
        assert session.scalars(select(Account)).all() == []


def test_an_invitation_makes_one_account_once(store: Store):
    with store.write() as session:
        account, token = invite(session, store.site_key, "ann@example.org", now=START)
        assert account_of(session, account).state == "invited"
        assert accept_invitation(session, token, password_hash="h", now=START) == account
        assert account_of(session, account).state == "screening"
        for wrong in (token, "made up"):
            with pytest.raises(StoreError, match="was used, or is none"):
                accept_invitation(session, wrong, password_hash="other", now=START)
        assert account_of(session, account).password_hash == "h"


def test_the_token_is_nowhere_in_the_database_and_the_login_not_in_the_pseudonym(store: Store):
    with store.write() as session:
        account, token = invite(session, store.site_key, "ann", now=START)
        [kept] = session.scalars(select(Invitation.token_sha256)).all()
        assert token not in kept
        assert "ann" not in account_of(session, account).pseudonym[4:]
        assert account_of(session, account).pseudonym.startswith("lab_")


def test_an_invitation_runs_out_and_a_new_one_ends_the_old(store: Store):
    with store.write() as session:
        account, first = invite(session, store.site_key, "ann", now=START)
        with pytest.raises(StoreError, match="has run out"):
            accept_invitation(session, first, password_hash="h", now=START + 14 * DAY)
        second = invite_again(session, account, now=START + 14 * DAY)
        with pytest.raises(StoreError, match="was used, or is none"):
            accept_invitation(session, first, password_hash="h", now=START)
        accept_invitation(session, second, password_hash="h", now=START + 15 * DAY)
        with pytest.raises(StoreError, match="was accepted already"):
            invite_again(session, account, now=START)


@pytest.mark.parametrize(
    ("login", "group", "words"),
    [
        (" ", "training", "needs a login"),
        ("ann", "training", "there is such an account"),
        ("bob", "robots", "no such group. There are training, heldout"),
    ],
)
def test_who_cannot_be_invited_is_told(store: Store, login: str, group: str, words: str):
    with store.write() as session:
        invite(session, store.site_key, "ann", now=START)
        with pytest.raises(StoreError, match=words):
            invite(session, store.site_key, login, group=group, now=START)


def test_states_are_set_by_a_person(store: Store):
    with store.write() as session:
        account, token = invite(session, store.site_key, "ann", now=START)
        with pytest.raises(StoreError, match="not accepted yet"):
            set_state(session, account, "active", now=START)
        accept_invitation(session, token, password_hash="h", now=START)
        set_state(session, account, "active", now=START)
        with pytest.raises(StoreError, match="an account is screening, active"):
            set_state(session, account, "gone", now=START)


def test_whoever_left_is_out_and_stays_out_when_the_account_is_active_again(store: Store):
    with store.write() as session:
        ann, bob = (add_labeler(session, store, name) for name in ("ann", "bob"))
        project = add_project(session, num_tasks=1, overlap=1)
        token = open_login(session, ann, now=START)
        _, key = make_key(session, ann, "nightly", ["label"], now=START)
        theirs = open_login(session, bob, now=START)
        _, their_key = make_key(session, bob, "nightly", ["label"], now=START)
        assert claim(session, project, ann, now=START) is not None
        assert claim(session, project, bob, now=START) is None
    with store.write() as session:
        set_state(session, ann, "left", now=START)
        assert claim(session, project, bob, now=START) is not None, "the lease is free at once"
    with store.write() as session:
        set_state(session, ann, "active", now=START)
        assert login_of(session, token, now=START) is None
        assert key_owner(session, key, now=START) is None
        assert login_of(session, theirs, now=START) is not None
        assert key_owner(session, their_key, now=START) is not None
        assert login_of(session, open_login(session, ann, now=START), now=START) is not None


def test_an_invitation_can_be_taken_back_and_the_login_invited_anew(store: Store):
    with store.write() as session:
        ann, first = invite(session, store.site_key, "ann", now=START, screened=True)
        pseudonym = account_of(session, ann).pseudonym
        set_state(session, ann, "left", now=START)
        with pytest.raises(StoreError, match="was used, or is none"):
            accept_invitation(session, first, password_hash="h", now=START)
        with pytest.raises(StoreError, match="taken back"):
            set_state(session, ann, "active", now=START)
        again, second = invite(session, store.site_key, "Ann", now=START, group="heldout")
        assert again == ann
        accept_invitation(session, second, password_hash="h", now=START)
        found = account_of(session, ann)
        assert (found.pseudonym, found.labeler_group) == (pseudonym, "heldout")
        assert found.state == "screening", "what was taken back counts no more"
        set_state(session, ann, "left", now=START)
        with pytest.raises(StoreError, match="there is such an account"):
            invite(session, store.site_key, "ann", now=START)


@pytest.mark.parametrize(
    ("role", "group"), [("admin", None), (None, "heldout"), ("researcher", "training")]
)
def test_a_fresh_link_is_for_the_role_and_group_of_the_first(
    store: Store, role: str | None, group: str | None
):
    with store.write() as session:
        ann, token = invite(session, store.site_key, "ann", now=START)
        with pytest.raises(StoreError, match="invited as labeler, training, not as .*state left"):
            invite_again(session, ann, now=START, role=role, group=group)
        invite_again(session, ann, now=START, role="labeler", group="training")


def test_a_forgotten_password_is_replaced_and_nothing_else(store: Store):
    with store.write() as session:
        options = {"role": "researcher", "group": "researcher"}
        ann = add_labeler(session, store, "ann", **options)
        set_state(session, ann, "paused", now=START)
        before = member(session, ann)
        cookie = open_login(session, ann, now=START)
        first = invite_to_reset(session, ann, now=START)
        second = invite_to_reset(session, ann, now=START)
        with pytest.raises(StoreError, match="was used, or is none"):
            accept_invitation(session, first, password_hash="new", now=START)
        assert member_named(session, "ann") == (before, "x"), "until then the old one holds"
        assert login_of(session, cookie, now=START) is not None
        assert accept_invitation(session, second, password_hash="new", now=START) == ann
        assert member_named(session, "ann") == (before, "new")
        assert login_of(session, cookie, now=START) is None
        with pytest.raises(StoreError, match="was used, or is none"):
            accept_invitation(session, second, password_hash="newer", now=START)


def test_a_link_for_a_password_ends_with_the_account_and_with_a_new_password(store: Store):
    with store.write() as session:
        ann = add_labeler(session, store, "ann")
        link = invite_to_reset(session, ann, now=START)
        set_password(session, ann, "mine")
        with pytest.raises(StoreError, match="was used, or is none"):
            accept_invitation(session, link, password_hash="new", now=START)
        link = invite_to_reset(session, ann, now=START)
        set_state(session, ann, "left", now=START)
        with pytest.raises(StoreError, match="was used, or is none"):
            accept_invitation(session, link, password_hash="new", now=START)
        with pytest.raises(StoreError, match="Activate it first"):
            invite_to_reset(session, ann, now=START)
        bob, _ = invite(session, store.site_key, "bob", now=START)
        with pytest.raises(StoreError, match="not accepted yet"):
            invite_to_reset(session, bob, now=START)


@pytest.mark.parametrize(
    ("invited", "typed"),
    [
        (" spacey ", "spacey"),
        ("Ann@X.org", "ann@x.org"),
        ("ann@x.org", "ANN@X.ORG"),
        ("Zoe\u0301", "ZO\u00c9"),
        ("stra\u00dfe", "STRASSE"),
    ],
)
def test_a_login_is_the_same_in_every_spelling(store: Store, invited: str, typed: str):
    with store.write() as session:
        ann = add_labeler(session, store, invited)
        for spelling in (invited, typed):
            assert account_named(session, spelling).id == ann
            found = member_named(session, spelling)
            assert found is not None and found[0].id == ann
            with pytest.raises(StoreError, match="there is such an account"):
                invite(session, store.site_key, spelling, now=START)
        assert member_named(session, typed + "x") is None


def test_accounts_of_before_are_found_by_their_old_login(store: Store):
    with store.write() as session:
        ann, twin, eve = (add_labeler(session, store, name) for name in ("a", "b", "c"))
        # As older stores kept them: just as they were typed.
        account_of(session, ann).login = "ann@x"
        account_of(session, twin).login = "ANN@x"
        account_of(session, eve).login = " \u00c8ve "
        session.flush()
        spellings = {"ann@x": ann, "ANN@x": twin, "Ann@x": ann, "\u00c8ve": eve, "\u00e8ve": eve}
        for spelling, account in spellings.items():
            found = member_named(session, spelling)
            assert found is not None and found[0].id == account, spelling


def test_labels_under_an_older_spelling_are_their_owner_s_again(store: Store):
    with store.write() as session:
        old = store.site_key.labeler("login:Ann")
        session.add(
            Account(
                id=identify("account", old),
                pseudonym=old,
                role="labeler",
                labeler_group="training",
                state="left",
                accepts_sensitive=False,
                created_at=START,
            )
        )
        session.flush()
        account, _ = invite(session, store.site_key, "Ann", now=START)
        assert account_of(session, account).pseudonym == old
        bob, _ = invite(session, store.site_key, "Bob", now=START)
        assert account_of(session, bob).pseudonym == store.site_key.labeler("login:bob")
