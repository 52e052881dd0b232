"""People as a lead deals with them: screening, guidelines, accounts, and who read what."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.labeling import charts
from preceptor.labeling.charts import Mark
from preceptor.labeling.lead_pages import PAPER, SHORT, Lead, note
from preceptor.labeling.pages import render
from preceptor.labeling.people import (
    read_access,
    read_accounts,
    read_groups_agreement,
    read_guidelines,
)
from preceptor.labeling.screening import CUT_OFFS, read_cards, read_demonstrations
from preceptor.labeling.security import AStore, Form, Now, Visitor, roles
from preceptor.store.accounts import invite, invite_again, invite_to_reset, publish_guideline
from preceptor.store.competence import SPEECH
from preceptor.store.database import Busy
from preceptor.store.forms import require_storable
from preceptor.store.screening import decide, score_competence, score_demonstration
from preceptor.store.standing import set_state
from preceptor.store.tables import Account, Guideline

router = APIRouter(prefix="/lead")

Admin = Annotated[Visitor, Depends(roles("admin"))]


@router.get("/screening")
def screening(request: Request, visitor: Lead, store: AStore) -> HTMLResponse:
    with store.read() as session:
        cards = read_cards(session)
        groups = read_groups_agreement(session)
    marks = [Mark(CUT_OFFS["rankings"], "75%")]
    waiting = [card for card in cards if card.state == "screening"]
    rows = [(card.pseudonym[:SHORT], card.rankings) for card in waiting]
    return render(
        request,
        "lead/screening.html",
        cards=waiting,
        heldout=[card for card in cards if card.group == "heldout"],
        decided=[card for card in cards if card.decision is not None],
        groups=groups,
        paper=PAPER,
        cut_offs=CUT_OFFS,
        chart=charts.intervals("Agreement on rankings with the gold answers", rows, marks=marks),
    )


@router.get("/screening/{account_id}")
def card(
    request: Request,
    visitor: Lead,
    store: AStore,
    now: Now,
    account_id: uuid.UUID,
    said: str = "",
) -> HTMLResponse:
    with store.read() as session:
        found = read_cards(session, account_id)
        if not found:
            raise HTTPException(404)
        demonstrations = read_demonstrations(session, account_id)
    if demonstrations:
        note(store, visitor, "demonstrations of a screening", account_id, now)
    return render(
        request,
        "lead/card.html",
        card=found[0],
        demonstrations=demonstrations,
        speech=SPEECH,
        cut_offs=CUT_OFFS,
        said=said,
    )


@router.post("/screening/{account_id}/score")
def score(
    visitor: Lead, store: AStore, form: Form, now: Now, account_id: uuid.UUID
) -> RedirectResponse:
    value = _score(form.get("value", ""))
    if assignment := form.get("assignment"):
        chosen = _uuid(assignment)
        store.run(
            lambda session: score_demonstration(session, chosen, visitor.member.id, value, now=now)
        )
    else:
        store.run(
            lambda session: score_competence(session, account_id, visitor.member.id, value, now=now)
        )
    return RedirectResponse(f"/lead/screening/{account_id}?said=scored", 303)


@router.post("/screening/{account_id}/decision")
def decision(
    visitor: Lead, store: AStore, form: Form, now: Now, account_id: uuid.UUID
) -> RedirectResponse:
    said = form.get("decision", "")
    if said not in ("accept", "decline"):
        raise StoreError("Say whether this labeler is accepted or declined.")

    def write(session: Session) -> None:
        found = read_cards(session, account_id)
        if not found:
            raise StoreError("There is no such labeler in screening.")
        figures = found[0].figures()
        decide(session, account_id, visitor.member.id, said == "accept", card=figures, now=now)

    store.run(write)
    return RedirectResponse(f"/lead/screening/{account_id}?said={said}", 303)


@router.get("/guidelines")
def guidelines(request: Request, visitor: Lead, store: AStore, said: str = "") -> HTMLResponse:
    with store.read() as session:
        versions = read_guidelines(session)
    return render(
        request, "lead/guidelines.html", versions=versions, said=said, message="", form={}
    )


@router.get("/guidelines/{guideline_id}")
def guideline(
    request: Request, visitor: Lead, store: AStore, guideline_id: uuid.UUID
) -> HTMLResponse:
    with store.read() as session:
        found = session.get(Guideline, guideline_id)
        if found is None:
            raise HTTPException(404)
        versions = [v for v in read_guidelines(session) if v.name == found.name]
    return render(request, "lead/guideline.html", guideline=found, versions=versions)


@router.post("/guidelines", response_model=None)
def publish(
    request: Request, visitor: Lead, store: AStore, form: Form, now: Now
) -> HTMLResponse | RedirectResponse:
    name, markdown = form.get("name", "").strip(), form.get("markdown", "").strip()
    try:
        require_storable([name, markdown], "The guideline")
        store.run(lambda session: publish_guideline(session, name, markdown, now=now))
    except Busy:
        raise
    except StoreError as error:
        with store.read() as session:
            versions = read_guidelines(session)
        return render(
            request,
            "lead/guidelines.html",
            status=400,
            versions=versions,
            said="",
            message=str(error),
            form=form,
        )
    return RedirectResponse("/lead/guidelines?said=published", 303)


@router.get("/accounts")
def accounts(request: Request, visitor: Admin, store: AStore, said: str = "") -> HTMLResponse:
    return _accounts_page(request, store, said=said)


@router.post("/accounts")
def invite_somebody(
    request: Request, visitor: Admin, store: AStore, form: Form, now: Now
) -> HTMLResponse:
    """The link is on this page alone, once: it is kept nowhere."""
    role, login = form.get("role", "labeler"), form.get("login", "").strip()
    group = form.get("group", "training") if role == "labeler" else "researcher"
    # Only labelers of training data are screened here.
    screened = group != "training" or bool(form.get("screened"))
    try:
        if role not in ("labeler", "researcher", "admin"):
            raise StoreError("A role is labeler, researcher or admin.")
        if len(login) > 200:
            raise StoreError("A login has up to 200 characters.")
        with store.write() as session:
            _, token = invite(
                session,
                store.site_key,
                login,
                now=now,
                role=role,
                group=group,
                screened=screened,
            )
    except StoreError as error:
        return _accounts_page(request, store, status=400, message=str(error), form=form)
    return _accounts_page(request, store, link=_link(request, token), invited=login)


@router.post("/accounts/{account_id}/invitation")
def invite_once_more(
    request: Request, visitor: Admin, store: AStore, form: Form, now: Now, account_id: uuid.UUID
) -> HTMLResponse:
    with store.write() as session:
        account = session.get(Account, account_id)
        if account is None:
            raise HTTPException(404)
        token = invite_again(
            session, account_id, now=now, screened=account.labeler_group != "training"
        )
        login = account.login or ""
    return _accounts_page(request, store, link=_link(request, token), invited=login)


@router.post("/accounts/{account_id}/password")
def reset_password(
    request: Request, visitor: Admin, store: AStore, now: Now, account_id: uuid.UUID
) -> HTMLResponse:
    """A link to choose a new password with, for somebody who forgot theirs."""
    with store.write() as session:
        account = session.get(Account, account_id)
        if account is None:
            raise HTTPException(404)
        token = invite_to_reset(session, account_id, now=now)
        login = account.login or ""
    return _accounts_page(request, store, link=_link(request, token), invited=login)


@router.post("/accounts/{account_id}/state")
def change_account(
    visitor: Admin, store: AStore, form: Form, now: Now, account_id: uuid.UUID
) -> RedirectResponse:
    if account_id == visitor.member.id:
        raise StoreError("This is your own account; another admin changes it.")
    store.run(lambda session: set_state(session, account_id, form.get("state", ""), now=now))
    return RedirectResponse("/lead/accounts?said=state", 303)


@router.get("/access")
def access(request: Request, visitor: Admin, store: AStore) -> HTMLResponse:
    with store.read() as session:
        entries = read_access(session)
    return render(request, "lead/access.html", entries=entries)


def _accounts_page(
    request: Request,
    store: AStore,
    *,
    status: int = 200,
    said: str = "",
    message: str = "",
    form: dict[str, str] | None = None,
    link: str = "",
    invited: str = "",
) -> HTMLResponse:
    with store.read() as session:
        found = read_accounts(session)
    return render(
        request,
        "lead/accounts.html",
        status=status,
        accounts=found,
        said=said,
        message=message,
        form=form or {},
        link=link,
        invited=invited,
    )


def _link(request: Request, token: str) -> str:
    return f"{request.base_url}invitation/{token}"


def _score(words: str) -> int:
    if words not in {str(value) for value in range(1, 8)}:
        raise StoreError("Choose a score from 1 to 7.")
    return int(words)


def _uuid(words: str) -> uuid.UUID:
    try:
        return uuid.UUID(words)
    except ValueError:
        raise StoreError("That is no demonstration. Reload the page.") from None
