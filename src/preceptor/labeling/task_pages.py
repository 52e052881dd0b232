"""A task in hand: writing a response, or the paper's two pages, rating each and ranking all.

Every page is a form that works alone; `action` says which button was pressed. What is on a page is
merged into the draft, so nothing is lost on the way from one page to the next.
"""

import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.responses import Response

from preceptor.errors import StoreError
from preceptor.labeling import words
from preceptor.labeling.failures import wants_json
from preceptor.labeling.filling import (
    Fields,
    Filled,
    json_in,
    positions_of,
    unrated,
    with_ranking,
    with_rating,
    with_writing,
)
from preceptor.labeling.pages import render
from preceptor.labeling.security import AStore, Form, Now, Visitor, roles
from preceptor.labeling.work_pages import banner, next_task
from preceptor.store.database import Busy, Store
from preceptor.store.forms import SKIP_REASONS
from preceptor.store.inbox import assignment_guideline, label_state
from preceptor.store.labels import (
    StaleDraft,
    discard_draft,
    reopen,
    save_draft,
    submit,
    undo,
)
from preceptor.store.queue import (
    AssignmentView,
    NoSuchTask,
    heartbeat,
    release,
    skip,
    view,
)

router = APIRouter(prefix="/tasks/{task_id}")

Labeler = Annotated[Visitor, Depends(roles("labeler", "researcher", "admin"))]


@dataclass(frozen=True)
class Posted:
    """A form that was sent: by whom, from which page, what it makes of the draft."""

    account: uuid.UUID
    task: AssignmentView
    step: str  # write, rank, or the position of the response that was rated
    fields: Fields
    form: Filled
    version: int  # of the draft that the page began with or saved last

    @property
    def here(self) -> str:
        return path_of(self.task.id, self.step)


def path_of(task_id: uuid.UUID, step: str) -> str:
    return f"/tasks/{task_id}/{f'rate/{step}' if step.isdigit() else step}"


def task_of(task_id: uuid.UUID, visitor: Labeler, store: AStore) -> AssignmentView:
    """The visitor's own task; of others it is not even told that they are there."""
    with store.read() as session:
        try:
            return view(session, task_id, visitor.member.id)
        except NoSuchTask:
            raise HTTPException(404) from None


Task = Annotated[AssignmentView, Depends(task_of)]


# Where the work goes on


@router.get("")
def task_page(
    request: Request,
    task: Task,
    visitor: Labeler,
    store: AStore,
    now: Now,
    done: uuid.UUID | None = None,
) -> Response:
    """To the page where the work goes on; what is submitted and not being revised is told."""
    if task.state == "skipped" or (task.state == "submitted" and task.draft is None):
        with store.read() as session:
            label = label_state(session, task.id, visitor.member.id, now=now)
        return render(request, "finished.html", task=task, label=label, message=None)
    query = f"?done={done}" if done else ""
    return RedirectResponse(path_of(task.id, step_for(task)) + query, 303)


def step_for(task: AssignmentView) -> str:
    if task.task_type == "demonstration":
        return "write"
    missing = unrated(task.draft, positions_of(len(task.responses)))
    return missing[0] if missing else "rank"


@router.get("/write")
def writing_page(
    request: Request,
    task: Task,
    visitor: Labeler,
    store: AStore,
    now: Now,
    done: uuid.UUID | None = None,
) -> Response:
    return open_page(request, task, "write", visitor, store, now, done)


@router.get("/rate/{position}")
def rating_page(
    request: Request,
    task: Task,
    position: str,
    visitor: Labeler,
    store: AStore,
    now: Now,
    done: uuid.UUID | None = None,
    first: bool = False,
) -> Response:
    message = words.RATE_ALL_FIRST if first else None
    return open_page(request, task, position, visitor, store, now, done, message)


@router.get("/rank")
def ranking_page(
    request: Request,
    task: Task,
    visitor: Labeler,
    store: AStore,
    now: Now,
    done: uuid.UUID | None = None,
) -> Response:
    return open_page(request, task, "rank", visitor, store, now, done)


def open_page(
    request: Request,
    task: AssignmentView,
    step: str,
    visitor: Visitor,
    store: Store,
    now: datetime,
    done: uuid.UUID | None,
    message: str | None = None,
) -> Response:
    """The page of a step, as far as the task is."""
    require_step(task, step)
    if task.state == "skipped" or (task.state == "submitted" and task.draft is None):
        return RedirectResponse(f"/tasks/{task.id}", 303)
    if step == "rank" and (missing := unrated(task.draft, positions_of(len(task.responses)))):
        return RedirectResponse(f"{path_of(task.id, missing[0])}?first=1", 303)
    label = banner(store, done, visitor.member.id, now)
    return show_step(request, store, visitor, task, step, message=message, done=done, label=label)


def show_step(
    request: Request,
    store: Store,
    visitor: Visitor,
    task: AssignmentView,
    step: str,
    *,
    draft: Any = None,
    message: str | None = None,
    status: int = 200,
    **context: Any,
) -> Response:
    """A step's page with the draft's answers, or with those that were just posted."""
    template = {"write": "write.html", "rank": "rank.html"}.get(step, "rate.html")
    with store.read() as session:
        guideline = assignment_guideline(session, task.id, visitor.member.id)
    return render(
        request,
        template,
        status=status,
        task=task,
        step=step,
        positions=positions_of(len(task.responses)),
        draft=task.draft if draft is None else draft,
        guideline=guideline,
        message=message,
        **{"done": None, "label": None, "version": task.draft_version} | context,
    )


def require_step(task: AssignmentView, step: str) -> None:
    """404 for a page that this task does not have."""
    there = ["rank", *positions_of(len(task.responses))]
    if step not in (["write"] if task.task_type == "demonstration" else there):
        raise HTTPException(404)


# What was sent


@router.post("/write")
def write(
    request: Request, task: Task, visitor: Labeler, store: AStore, now: Now, fields: Form
) -> Response:
    return receive(request, task, "write", visitor, store, now, fields)


@router.post("/rate/{position}")
def rate(
    request: Request,
    task: Task,
    position: str,
    visitor: Labeler,
    store: AStore,
    now: Now,
    fields: Form,
) -> Response:
    return receive(request, task, position, visitor, store, now, fields)


@router.post("/rank")
def rank(
    request: Request, task: Task, visitor: Labeler, store: AStore, now: Now, fields: Form
) -> Response:
    return receive(request, task, "rank", visitor, store, now, fields)


def receive(
    request: Request,
    task: AssignmentView,
    step: str,
    visitor: Visitor,
    store: Store,
    now: datetime,
    fields: Fields,
) -> Response:
    """Do what the pressed button says; the page's answers are kept whatever comes of it."""
    require_step(task, step)
    positions = positions_of(len(task.responses))
    if step == "write":
        form = with_writing(task.draft, fields)
    elif step == "rank":
        form = with_ranking(task.draft, positions, fields)
    else:
        form = with_rating(task.draft, step, fields)
    posted = Posted(visitor.member.id, task, step, fields, form, version_in(fields))
    action = fields.get("action", "save")
    if action in ("submit", "stop") and step in ("write", "rank"):
        return send(request, store, visitor, posted, now, stop=action == "stop")
    return keep(request, store, visitor, posted, now, action)


def keep(
    request: Request, store: Store, visitor: Visitor, posted: Posted, now: datetime, action: str
) -> Response:
    """Save the draft, then go where the button leads."""
    if wants_json(request) and posted.fields.get("key") != str(posted.task.key):
        # The browser saves by itself, and the form was sent meanwhile, perhaps by this very page.
        raise HTTPException(409, words.SENT_MEANWHILE)
    try:
        version = saved(store, posted, now)
    except StaleDraft as stale:
        return offer_both(request, posted, stale)
    except Busy:
        raise
    except StoreError as error:
        return again(request, store, visitor, posted, str(error))
    if wants_json(request):
        return JSONResponse({"version": version, "at": now.isoformat()})
    task = posted.task
    if action == "skip":
        return RedirectResponse(f"/tasks/{task.id}/skip", 303)
    if action == "save":
        return RedirectResponse(posted.here, 303)
    positions = positions_of(len(task.responses))
    steps = [*positions, "rank"]
    target = action.removeprefix("go-")
    if action in ("next", "back") and posted.step in steps:
        index = steps.index(posted.step) + (1 if action == "next" else -1)
        target = steps[min(max(index, 0), len(steps) - 1)]
    if target not in steps or task.task_type == "demonstration":
        return RedirectResponse(posted.here, 303)
    if action == "next" and posted.step in unrated(posted.form, positions):
        message = words.RATE_THIS_FIRST
        return again(request, store, visitor, posted, message, version=version)
    return RedirectResponse(path_of(task.id, target), 303)


def send(
    request: Request,
    store: Store,
    visitor: Visitor,
    posted: Posted,
    now: datetime,
    *,
    stop: bool,
) -> Response:
    """Submit the form; if it is not complete, say what is missing and keep the rest."""
    task = posted.task
    if posted.step == "rank" and unrated(posted.form, positions_of(len(task.responses))):
        return keep(request, store, visitor, posted, now, "go-rank")
    try:
        key = uuid.UUID(posted.fields.get("key", ""))
    except ValueError:
        raise HTTPException(400, words.ERROR_400_FORM) from None
    seconds = seconds_in(posted.fields)
    form = posted.form
    try:
        receipt = store.run(
            lambda session: submit(
                session,
                task.id,
                posted.account,
                key=key,
                form=form,
                now=now,
                draft_version=posted.version,
                active_seconds=seconds,
            )
        )
    except Busy:
        raise
    except StoreError as error:
        message = str(error)
        try:
            version = saved(store, posted, now)
        except StaleDraft as stale:
            return offer_both(request, posted, stale)
        except StoreError:
            version = posted.version
        return again(request, store, visitor, posted, message, version=version)
    if receipt.outcome in ("draft", "withdrawn"):
        with store.read() as session:
            label = label_state(session, task.id, posted.account, now=now)
            task = view(session, task.id, posted.account)
        return render(
            request, "finished.html", status=409, task=task, label=label, message=receipt.message
        )
    if stop:
        return RedirectResponse(f"/?done={task.id}", 303)
    return next_task(store, task.project_id, posted.account, now=now, done=task.id)


def saved(store: Store, posted: Posted, now: datetime) -> int:
    return store.run(
        lambda session: save_draft(
            session,
            posted.task.id,
            posted.account,
            posted.form,
            version=posted.version,
            now=now,
        )
    )


def again(
    request: Request,
    store: Store,
    visitor: Visitor,
    posted: Posted,
    message: str,
    *,
    version: int | None = None,
) -> Response:
    """The same page with all that was typed, and what is missing."""
    if wants_json(request):
        raise HTTPException(400, message)
    return show_step(
        request,
        store,
        visitor,
        posted.task,
        posted.step,
        draft=posted.form,
        message=message,
        status=400,
        version=posted.version if version is None else version,
    )


def offer_both(request: Request, posted: Posted, stale: StaleDraft) -> Response:
    """Another tab or device saved other answers: the labeler chooses, nothing is overwritten."""
    if wants_json(request):
        return JSONResponse(
            {
                "error": {
                    "message": str(stale),
                    "type": "conflict_error",
                    "param": None,
                    "code": "412",
                },
                "version": stale.version,
            },
            412,
        )
    return render(
        request,
        "both.html",
        status=409,
        task=posted.task,
        step=posted.step,
        positions=positions_of(len(posted.task.responses)),
        mine=posted.form,
        mine_json=json.dumps(posted.form),
        stored=stale.stored,
        version=stale.version,
    )


@router.post("/choose")
def choose(
    request: Request, task: Task, visitor: Labeler, store: AStore, now: Now, fields: Form
) -> Response:
    """Keep the answers of the stale page instead of the stored ones, which were shown beside."""
    form = json_in(fields, "form")
    if not isinstance(form, dict):
        raise HTTPException(400, words.ERROR_400_FORM)
    posted = Posted(visitor.member.id, task, step_for(task), fields, form, version_in(fields))
    try:
        saved(store, posted, now)
    except StaleDraft as stale:
        return offer_both(request, posted, stale)
    return RedirectResponse(f"/tasks/{task.id}", 303)


@router.get("/kept")
def kept_page(request: Request, task: Task, visitor: Labeler) -> Response:
    """Answers that were set aside because no page saw them."""
    positions = positions_of(len(task.responses))
    return render(request, "kept.html", task=task, positions=positions)


@router.post("/kept/{version}")
def kept(
    task: Task, version: int, visitor: Labeler, store: AStore, now: Now, fields: Form
) -> Response:
    """Take answers that were set aside instead of the present ones, or let them go."""
    body = task.kept_drafts.get(version)
    account = visitor.member.id
    if body is not None and fields.get("action") == "take":
        store.run(
            lambda session: save_draft(
                session, task.id, account, body, version=task.draft_version, now=now
            )
        )
        return RedirectResponse(f"/tasks/{task.id}", 303)
    store.run(lambda session: discard_draft(session, task.id, account, version))
    return RedirectResponse(f"/tasks/{task.id}", 303)


@router.post("/discard")
def discard(task: Task, visitor: Labeler, store: AStore, fields: Form) -> Response:
    """Let a draft go: of a revision, so that the label stays as it was."""
    version = version_in(fields)
    store.run(lambda session: discard_draft(session, task.id, visitor.member.id, version))
    return RedirectResponse(f"/tasks/{task.id}", 303)


# Ends of a lease


@router.get("/skip")
def skip_page(request: Request, task: Task, visitor: Labeler) -> Response:
    return render(request, "skip.html", task=task, reason="", comment="", message=None)


@router.post("/skip")
def skip_task(
    request: Request, task: Task, visitor: Labeler, store: AStore, now: Now, fields: Form
) -> Response:
    reason, comment = fields.get("reason", ""), fields.get("comment", "")
    if reason not in SKIP_REASONS:
        message = words.SKIP_CHOOSE
    else:
        try:
            store.run(
                lambda session: skip(
                    session,
                    task.id,
                    visitor.member.id,
                    reason=reason,
                    comment=comment,
                    now=now,
                )
            )
        except Busy:
            raise
        except StoreError as error:
            message = str(error)
        else:
            return next_task(store, task.project_id, visitor.member.id, now=now, done=task.id)
    return render(
        request,
        "skip.html",
        status=400,
        task=task,
        reason=reason,
        comment=comment,
        message=message,
    )


@router.post("/release")
def give_back(task: Task, visitor: Labeler, store: AStore) -> Response:
    store.run(lambda session: release(session, task.id, visitor.member.id))
    return RedirectResponse("/", 303)


@router.post("/heartbeat")
def beat(task: Task, visitor: Labeler, store: AStore, now: Now) -> JSONResponse:
    held = store.run(lambda session: heartbeat(session, task.id, visitor.member.id, now=now))
    return JSONResponse({"held": held})


# After a submit


@router.post("/undo")
def take_back(request: Request, task: Task, visitor: Labeler, store: AStore, now: Now) -> Response:
    return change_label(
        request,
        task,
        visitor,
        store,
        now,
        lambda session: undo(session, task.id, visitor.member.id, now=now),
    )


@router.post("/revise")
def revise(request: Request, task: Task, visitor: Labeler, store: AStore, now: Now) -> Response:
    """The submitted answers as a draft; the label counts until the new ones are sent."""

    def as_draft(session: Any) -> None:
        form, _ = reopen(session, task.id, visitor.member.id)
        if task.draft is None:
            save_draft(
                session, task.id, visitor.member.id, form, version=task.draft_version, now=now
            )

    return change_label(request, task, visitor, store, now, as_draft)


def change_label(
    request: Request,
    task: AssignmentView,
    visitor: Visitor,
    store: Store,
    now: datetime,
    change: Callable[[Any], Any],
) -> Response:
    """Do it and open the task again; where it is too late, say so and what can be done instead."""
    try:
        store.run(change)
    except Busy:
        raise
    except StoreError as error:
        with store.read() as session:
            label = label_state(session, task.id, visitor.member.id, now=now)
        return render(
            request, "finished.html", status=409, task=task, label=label, message=str(error)
        )
    return RedirectResponse(f"/tasks/{task.id}", 303)


def version_in(fields: Fields) -> int:
    version = fields.get("draft_version", "")
    return int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0


def seconds_in(fields: Fields) -> float | None:
    """How long the labeler worked, if their browser counted."""
    try:
        seconds = float(fields.get("active_seconds", ""))
    except ValueError:
        return None
    return round(seconds, 1) if math.isfinite(seconds) and 0 <= seconds < 1e6 else None
