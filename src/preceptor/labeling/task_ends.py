"""What else becomes of a task in hand: a choice between two drafts, a skip, an undo, a revision."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from preceptor.errors import StoreError
from preceptor.labeling import words
from preceptor.labeling.filling import json_in
from preceptor.labeling.security import Form
from preceptor.labeling.task_pages import (
    ADesk,
    Desk,
    Posted,
    offer_both,
    saved,
    step_for,
    version_in,
)
from preceptor.labeling.work_pages import label_after, next_task
from preceptor.store.database import Busy
from preceptor.store.forms import SKIP_REASONS
from preceptor.store.labels import StaleDraft, discard_draft, reopen, save_draft, undo
from preceptor.store.queue import heartbeat, release, skip

router = APIRouter(prefix="/tasks/{task_id}")


# Drafts that differ


@router.post("/choose")
def choose(desk: ADesk, fields: Form) -> Response:
    """Keep the answers of the stale page instead of the stored ones, which were shown beside."""
    form = json_in(fields, "form")
    if not isinstance(form, dict):
        raise HTTPException(400, words.ERROR_400_FORM)
    posted = Posted(step_for(desk), fields, form, version_in(fields))
    try:
        saved(desk, posted)
    except StaleDraft as stale:
        return offer_both(desk, posted, stale)
    return RedirectResponse(desk.home, 303)


@router.get("/kept")
def kept_page(desk: ADesk) -> Response:
    """Answers that were set aside because no page saw them."""
    return desk.page("kept.html")


@router.post("/kept/{version}")
def kept(desk: ADesk, version: int, fields: Form) -> Response:
    """Take answers that were set aside instead of the present ones, or let them go."""
    task = desk.task
    body = task.kept_drafts.get(version)
    if fields.get("action") == "take" and body is not None:
        desk.store.run(
            lambda session: save_draft(
                session, task.id, desk.account, body, version=task.draft_version, now=desk.now
            )
        )
    elif body is not None:
        desk.store.run(lambda session: discard_draft(session, task.id, desk.account, version))
    return RedirectResponse(desk.home, 303)


@router.post("/discard")
def discard(desk: ADesk, fields: Form) -> Response:
    """Let the draft of a revision go: the label stays as it was."""
    version = version_in(fields)
    if desk.task.state == "submitted":
        desk.store.run(lambda session: discard_draft(session, desk.task.id, desk.account, version))
    return RedirectResponse(desk.home, 303)


# Ends of a lease


@router.get("/skip")
def skip_page(desk: ADesk) -> Response:
    return desk.page("skip.html", reason="", comment="", message=None)


@router.post("/skip")
def skip_task(desk: ADesk, fields: Form) -> Response:
    reason, comment = fields.get("reason", ""), fields.get("comment", "")
    try:
        if reason not in SKIP_REASONS:
            raise StoreError(words.SKIP_CHOOSE)
        desk.store.run(
            lambda session: skip(
                session, desk.task.id, desk.account, reason=reason, comment=comment, now=desk.now
            )
        )
    except Busy:
        raise
    except StoreError as error:
        return desk.page(
            "skip.html", status=400, reason=reason, comment=comment, message=str(error)
        )
    return next_task(
        desk.store, desk.task.project_id, desk.account, now=desk.now, done=desk.task.id
    )


@router.post("/release")
def give_back(desk: ADesk) -> Response:
    desk.store.run(lambda session: release(session, desk.task.id, desk.account))
    return RedirectResponse("/", 303)


@router.post("/heartbeat")
def beat(desk: ADesk) -> JSONResponse:
    held = desk.store.run(
        lambda session: heartbeat(session, desk.task.id, desk.account, now=desk.now)
    )
    return JSONResponse({"held": held})


# After a submit


@router.post("/undo")
def take_back(desk: ADesk) -> Response:
    return change_label(
        desk, lambda session: undo(session, desk.task.id, desk.account, now=desk.now)
    )


@router.post("/revise")
def revise(desk: ADesk) -> Response:
    """The submitted answers as a draft; the label counts until the new ones are sent."""

    def as_draft(session: Session) -> None:
        form, _ = reopen(session, desk.task.id, desk.account)
        if desk.task.draft is None:
            version = desk.task.draft_version
            save_draft(session, desk.task.id, desk.account, form, version=version, now=desk.now)

    return change_label(desk, as_draft)


def change_label(desk: Desk, change: Callable[[Session], Any]) -> Response:
    """Do it and open the task again; where it is too late, say so and what can be done instead."""
    try:
        desk.store.run(change)
    except Busy:
        raise
    except StoreError as error:
        label = label_after(desk.store, desk.task.id, desk.account, desk.now)
        return desk.page("finished.html", status=409, label=label, message=str(error))
    return RedirectResponse(desk.home, 303)
