"""The REST interface for admins: accounts, invitations, keys, guidelines, exports, leases."""

import tempfile
import uuid
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.labeling.api_shapes import (
    AccountChange,
    AccountView,
    AccountViews,
    EraseBody,
    Erased,
    ExportBody,
    GuidelineBody,
    GuidelineName,
    HoldingView,
    Invite,
    Invited,
    KeyBody,
    KeyId,
    KeyViews,
    NewKey,
)
from preceptor.labeling.erasing import erased
from preceptor.labeling.security import AStore, Now, Visitor, api_roles
from preceptor.store import accounts, erase, logins, queue
from preceptor.store.export import Filter, export_records
from preceptor.store.standing import set_state

router = APIRouter(tags=["admin"])

Admin = Annotated[Visitor, Depends(api_roles("admin", scope="admin"))]


@router.get("/accounts")
def all_accounts(visitor: Admin, store: AStore) -> AccountViews:
    """Everybody, by login."""
    with store.read() as session:
        found = accounts.all_accounts(session)
        return AccountViews(items=[_account(account) for account in found])


@router.patch("/accounts/{account_id}")
def change_account(
    account_id: uuid.UUID, body: AccountChange, visitor: Admin, store: AStore, now: Now
) -> AccountView:
    """After screening a person decides; whoever left loses sign-ins, keys and leases."""
    if account_id == visitor.member.id:
        raise StoreError("This is your own account; another admin changes it.")

    def change(session: Session) -> AccountView:
        set_state(session, account_id, body.state, now=now)
        return _account(accounts.account_of(session, account_id))

    return store.run(change)


@router.post("/invites", status_code=201)
def invite(body: Invite, visitor: Admin, store: AStore, now: Now) -> Invited:
    """Invite somebody, again if they did not use theirs; nobody can sign up without that."""
    account_id, token = store.run(
        lambda session: accounts.invite_or_again(
            session,
            store.site_key,
            body.login,
            now=now,
            role=body.role,
            group=body.group,
            screened=body.screened,
        )
    )
    return Invited(account_id=account_id, token=token)


@router.get("/keys")
def keys(visitor: Admin, store: AStore) -> KeyViews:
    """Your keys, without their secrets."""
    with store.read() as session:
        return KeyViews(items=logins.keys_of(session, visitor.member.id))


@router.post("/keys", status_code=201)
def make_key(body: KeyBody, visitor: Admin, store: AStore, now: Now) -> NewKey:
    """A key for a program of yours."""
    id, key = store.run(
        lambda session: logins.make_key(
            session, visitor.member.id, body.name, body.scopes, now=now, days=body.days
        )
    )
    return NewKey(id=id, key=key)


@router.delete("/keys/{key_id}", status_code=204)
def revoke_key(key_id: KeyId, visitor: Admin, store: AStore, now: Now) -> None:
    """End a key, yours or anybody's."""
    store.run(lambda session: logins.revoke_key(session, None, key_id, now=now))


@router.post("/guidelines")
def publish(body: GuidelineBody, visitor: Admin, store: AStore, now: Now) -> GuidelineName:
    """A new version, which labelers read before their next task; the same text changes nothing."""
    name = store.run(
        lambda session: accounts.publish_guideline(session, body.name, body.markdown, now=now)
    )
    return GuidelineName(name=name)


@router.post(
    "/exports",
    response_class=Response,
    responses={200: {"content": {"application/jsonl": {}}, "description": "The file's lines."}},
)
def export(body: ExportBody, visitor: Admin, store: AStore, now: Now) -> Response:
    """Labels as a file that a recipe takes; the same labels give the same bytes."""
    wanted = Filter(body.kind, body.split, body.project, body.include_surplus)
    with tempfile.TemporaryDirectory() as folder:
        exported = export_records(store, wanted, Path(folder), now=now)
        lines = exported.path.read_bytes()
    headers = {
        "content-disposition": f'attachment; filename="{exported.path.name}"',
        "x-preceptor-sha256": exported.sha256,
    }
    return Response(lines, media_type="application/jsonl", headers=headers)


@router.delete("/leases/{assignment_id}", status_code=204)
def free(assignment_id: uuid.UUID, visitor: Admin, store: AStore) -> None:
    """End somebody's lease; their draft stays."""
    store.run(lambda session: queue.release(session, assignment_id, None))


@router.post("/erase")
def erase_person(body: EraseBody, visitor: Admin, store: AStore, now: Now) -> Erased:
    """A person's texts out of the store, for good; the same again takes away what is left."""
    wanted = erase.Wanted(**body.model_dump(exclude={"dry_run"}))
    found, swept = erased(store, visitor, wanted, now=now, dry_run=body.dry_run)
    return Erased(
        pseudonym=found.pseudonym,
        counts=found.counts,
        exports=[HoldingView(**vars(export)) for export in found.exports],
        dry_run=body.dry_run,
        swept=swept,
    )


def _account(account: Any) -> AccountView:
    return AccountView(
        id=account.id,
        login=account.login,
        pseudonym=account.pseudonym,
        role=account.role,
        group=account.labeler_group,
        state=account.state,
        accepts_sensitive=account.accepts_sensitive,
    )
