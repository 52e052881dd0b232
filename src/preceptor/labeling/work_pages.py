"""The labelers' pages: what there is to do, the guideline to read first, what was done."""

import uuid
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from preceptor.errors import StoreError
from preceptor.labeling import words
from preceptor.labeling.pages import render
from preceptor.labeling.security import AStore, Form, Now, Visitor, roles
from preceptor.store.accounts import acknowledge
from preceptor.store.database import Busy, Store
from preceptor.store.inbox import (
    LabelState,
    inbox,
    label_state,
    project_guideline,
    recent_tasks,
)
from preceptor.store.queue import claim

router = APIRouter()

Labeler = Annotated[Visitor, Depends(roles("labeler", "researcher", "admin"))]
RECENT = 30


@router.get("/")
def work(
    request: Request,
    visitor: Labeler,
    store: AStore,
    now: Now,
    done: uuid.UUID | None = None,
    empty: bool = False,
) -> HTMLResponse:
    account = visitor.member.id
    with store.read() as session:
        cards = inbox(session, account, now=now)
        recent = recent_tasks(session, account, limit=5)
        label = label_state(session, done, account, now=now) if done else None
    return render(
        request,
        "inbox.html",
        cards=cards,
        numbered={card.task_type for card in cards if card.number > 1},
        recent=recent,
        done=done,
        label=label,
        message=words.NOTHING_TO_DO if empty else None,
    )


@router.get("/recent")
def recent(
    request: Request, visitor: Labeler, store: AStore, before: datetime | None = None
) -> HTMLResponse:
    if before is not None:
        before = _in_utc(before)
    with store.read() as session:
        tasks = recent_tasks(session, visitor.member.id, before=before, limit=RECENT + 1)
    older = tasks[RECENT - 1].at if len(tasks) > RECENT else None
    return render(request, "recent.html", tasks=tasks[:RECENT], older=older)


def _in_utc(time: datetime) -> datetime:
    """The same time in UTC, which has no year 0 and no year 10000."""
    if time.tzinfo is None:
        raise HTTPException(400, words.ERROR_400_TIME)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise HTTPException(400, words.ERROR_400_TIME) from None


@router.post("/projects/{project_id}/claim")
def take(project_id: uuid.UUID, visitor: Labeler, store: AStore, now: Now) -> Response:
    with store.read() as session:
        guideline = project_guideline(session, project_id, visitor.member.id)
    if guideline is not None and not guideline.confirmed:
        return RedirectResponse(f"/projects/{project_id}/guideline", 303)
    return next_task(store, project_id, visitor.member.id, now=now)


@router.get("/projects/{project_id}/guideline")
def guideline_page(
    request: Request, project_id: uuid.UUID, visitor: Labeler, store: AStore
) -> HTMLResponse:
    with store.read() as session:
        guideline = project_guideline(session, project_id, visitor.member.id)
    if guideline is None:
        raise HTTPException(404)
    return render(request, "guideline.html", project_id=project_id, guideline=guideline)


@router.post("/projects/{project_id}/guideline")
def confirm(
    project_id: uuid.UUID, visitor: Labeler, store: AStore, now: Now, form: Form
) -> Response:
    """Confirm the version that was on the page; a newer one is to be read as well."""
    account = visitor.member.id

    def confirm_shown(session: Session) -> bool:
        guideline = project_guideline(session, project_id, account)
        if guideline is None or str(guideline.id) != form.get("guideline"):
            return False
        acknowledge(session, account, guideline.id, now=now)
        return True

    if not store.run(confirm_shown):
        return RedirectResponse(f"/projects/{project_id}/guideline", 303)
    return next_task(store, project_id, account, now=now)


def next_task(
    store: Store,
    project_id: uuid.UUID,
    account_id: uuid.UUID,
    *,
    now: datetime,
    done: uuid.UUID | None = None,
) -> Response:
    """To the next task of the project; `done` is the one before it, which can still be undone."""
    query = f"?done={done}" if done else ""
    try:
        view = store.run(lambda session: claim(session, project_id, account_id, now=now))
    except Busy:
        raise
    except StoreError:
        if done is None:
            raise
        # Closed meanwhile, or a new guideline: the inbox tells. What was done is done.
        return RedirectResponse(f"/{query}", 303)
    if view is None:
        return RedirectResponse(f"/{query}{'&' if query else '?'}empty=1", 303)
    return RedirectResponse(f"/tasks/{view.id}{query}", 303)


def label_after(
    store: Store, done: uuid.UUID | None, account_id: uuid.UUID, now: datetime
) -> LabelState | None:
    """What can still be done about the label of a task, for the line that says it was sent."""
    if done is None:
        return None
    with store.read() as session:
        return label_state(session, done, account_id, now=now)
