"""Erasing a person from the admins' page; the interface calls the same."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from preceptor.errors import StoreError
from preceptor.labeling.pages import render
from preceptor.labeling.security import AStore, Form, Now, Visitor, roles
from preceptor.store.database import Store
from preceptor.store.erase import Erasure, Wanted, erase, person_of, preview
from preceptor.store.forms import require_storable

router = APIRouter(prefix="/lead")

Admin = Annotated[Visitor, Depends(roles("admin"))]


@router.get("/erase")
def erase_page(request: Request, visitor: Admin) -> HTMLResponse:
    return _page(request)


@router.post("/erase")
def erase_somebody(
    request: Request, visitor: Admin, store: AStore, form: Form, now: Now
) -> HTMLResponse:
    """First what would go, then, confirmed, it goes: the name is never in an address."""
    wants_it = form.get("action") == "erase"
    try:
        if wants_it and not form.get("confirmed"):
            raise StoreError("Tick that it is for good; nothing was erased.")
        found, swept = erased(store, visitor, _wanted(form), now=now, dry_run=not wants_it)
    except StoreError as error:
        return _page(request, status=400, form=form, message=str(error))
    return _page(request, form=form, found=found, done=wants_it, swept=swept)


def erased(
    store: Store, visitor: Visitor, wanted: Wanted, *, now: datetime, dry_run: bool
) -> tuple[Erasure, bool]:
    """What goes, and whether its bytes are out of the file; `dry_run` changes nothing.

    Raises:
        StoreError: there is nobody of this name, or it is the visitor.
    """
    with store.read() as session:
        if person_of(session, store.site_key, wanted).id == visitor.member.id:
            raise StoreError("This is your own account; another admin erases it.")
        if dry_run:
            return preview(session, store.site_key, wanted), True
    found = store.run(
        lambda session: erase(session, store.site_key, wanted, by=visitor.member.id, now=now)
    )
    return found, store.sweep()


def _page(
    request: Request,
    *,
    status: int = 200,
    form: dict[str, str] | None = None,
    found: Erasure | None = None,
    done: bool = False,
    swept: bool = True,
    message: str = "",
) -> HTMLResponse:
    return render(
        request,
        "lead/erase.html",
        status=status,
        form=form or {},
        found=found,
        done=done,
        swept=swept,
        message=message,
    )


def _wanted(form: dict[str, str]) -> Wanted:
    who, name = form.get("who", ""), form.get("name", "")
    if who not in ("user", "labeler", "pseudonym"):
        raise StoreError("Say whether the name is a user's, a labeler's login or a pseudonym.")
    if not name.strip():
        raise StoreError("Whom? The name is empty.")
    require_storable([name, form.get("source", "")], "The name")
    return Wanted(
        user=name if who == "user" else None,
        source=form.get("source", ""),
        pseudonym=name.strip() if who == "pseudonym" else None,
        labeler=name if who == "labeler" else None,
        texts=bool(form.get("texts")) and who != "user",
    )
