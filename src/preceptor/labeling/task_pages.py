"""A task in hand: writing a response, or the paper's two pages, rating each and ranking all.

Every page is a form that works alone; `action` says which button was pressed. What is on a page is
merged into the draft, so nothing is lost on the way from one page to the next.
"""

import json
import math
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy.orm import Session
from starlette.responses import Response

from preceptor.errors import StoreError
from preceptor.labeling import words
from preceptor.labeling.failures import wants_json
from preceptor.labeling.filling import (
    Fields,
    Filled,
    positions_of,
    unrated,
    with_choice,
    with_few_shot,
    with_prompt,
    with_ranking,
    with_rating,
    with_toxicity,
    with_toxicity_ranking,
    with_writing,
)
from preceptor.labeling.guard import error_body
from preceptor.labeling.mixture import most_wanted
from preceptor.labeling.pages import render
from preceptor.labeling.practice import has_feedback, read_feedback
from preceptor.labeling.security import AStore, Form, Now
from preceptor.labeling.work_pages import Labeler, label_after, next_task
from preceptor.store.database import Busy, Store
from preceptor.store.forms import PROMPT_TYPES
from preceptor.store.inbox import assignment_guideline
from preceptor.store.labels import Receipt, StaleDraft, save_draft, submit
from preceptor.store.queue import AssignmentView, NoSuchTask, view
from preceptor.store.writing import use_cases_written

WRITTEN = ("demonstration", *PROMPT_TYPES)
"""On one page, by hand."""

router = APIRouter(prefix="/tasks/{task_id}")


@dataclass(frozen=True)
class Desk:
    """A request about a task: whose it is, and when."""

    request: Request
    store: Store
    account: uuid.UUID
    task: AssignmentView
    now: datetime

    @property
    def positions(self) -> list[str]:
        return positions_of(len(self.task.responses))

    def unrated(self, draft: Any) -> list[str]:
        """The responses whose page is not done in this draft."""
        return unrated(draft, self.positions, self.task.task_type)

    @property
    def home(self) -> str:
        return f"/tasks/{self.task.id}"

    def path(self, step: str) -> str:
        return f"{self.home}/{f'rate/{step}' if step.isdigit() else step}"

    def page(self, template: str, *, status: int = 200, **context: Any) -> Response:
        return render(
            self.request,
            template,
            status=status,
            task=self.task,
            positions=self.positions,
            **context,
        )


@dataclass(frozen=True)
class Posted:
    """A form that was sent: from which page, and what it makes of the draft."""

    step: str  # write, compare, rank, or the position of the response that was rated
    fields: Fields
    form: Filled
    version: int  # of the draft that the page began with or saved last


def desk_of(
    request: Request, task_id: uuid.UUID, visitor: Labeler, store: AStore, now: Now
) -> Desk:
    """The visitor's own task; of others' it is not even told that they are there."""
    with store.read() as session:
        try:
            task = view(session, task_id, visitor.member.id)
        except NoSuchTask:
            raise HTTPException(404) from None
    return Desk(request, store, visitor.member.id, task, now)


class StillBlurred(StoreError):
    """The form is whole, and the texts that it is about were not shown."""


ADesk = Annotated[Desk, Depends(desk_of)]
Done = uuid.UUID | None
"""The task before this one, which can still be undone."""


# Where the work goes on


@router.get("")
def task_page(desk: ADesk, done: Done = None) -> Response:
    """To the page where the work goes on; what is submitted and not being revised is told."""
    if is_over(desk.task):
        if is_answered(desk):
            return RedirectResponse(f"{desk.home}/feedback", 303)
        label = label_after(desk.store, desk.task.id, desk.account, desk.now)
        return desk.page("finished.html", label=label, message=None)
    query = f"?done={done}" if done else ""
    return RedirectResponse(desk.path(step_for(desk)) + query, 303)


@router.get("/write")
def writing_page(desk: ADesk, done: Done = None) -> Response:
    return open_page(desk, "write", done)


@router.get("/rate/{position}")
def rating_page(desk: ADesk, position: str, done: Done = None, first: bool = False) -> Response:
    return open_page(desk, position, done, words.RATE_ALL_FIRST if first else None)


@router.get("/compare")
def comparing_page(desk: ADesk, done: Done = None) -> Response:
    return open_page(desk, "compare", done)


@router.get("/rank")
def ranking_page(desk: ADesk, done: Done = None) -> Response:
    return open_page(desk, "rank", done)


@router.get("/feedback")
def feedback_page(desk: ADesk) -> Response:
    """In a practice, after the submit: the researchers' answer beside one's own."""
    with desk.store.read() as session:
        feedback = read_feedback(session, desk.task.id, desk.account)
    if feedback is None:
        return RedirectResponse(desk.home, 303)
    ranked = desk.task.task_type != "demonstration"
    return desk.page("feedback.html", feedback=feedback, ranked=ranked)


def is_answered(desk: Desk) -> bool:
    """Whether the task has feedback, in a practice."""
    with desk.store.read() as session:
        return has_feedback(session, desk.task.id, desk.account)


def open_page(desk: Desk, step: str, done: Done, message: str | None = None) -> Response:
    """The page of a step, as far as the task is."""
    require_step(desk, step)
    if is_over(desk.task):
        return RedirectResponse(desk.home, 303)
    if step == "rank" and (missing := desk.unrated(desk.task.draft)):
        return RedirectResponse(f"{desk.path(missing[0])}?first=1", 303)
    label = label_after(desk.store, done, desk.account, desk.now)
    return show_step(
        desk, step, desk.task.draft, desk.task.draft_version, message, done=done, label=label
    )


def show_step(
    desk: Desk,
    step: str,
    draft: Any,
    version: int,
    message: str | None,
    *,
    status: int = 200,
    done: Done = None,
    label: Any = None,
    fields: Fields | None = None,
) -> Response:
    """A step's page with the draft's answers, or with those that were just posted."""
    page = "toxicity" if desk.task.task_type == "toxicity" else "rate"
    template = f"{page if step.isdigit() else step}.html"
    more: dict[str, Any] = {}
    with desk.store.read() as session:
        guideline = assignment_guideline(session, desk.task.id, desk.account)
        if desk.task.task_type in PROMPT_TYPES:
            template = "prompt.html"
            more["wanted"] = most_wanted(use_cases_written(session, desk.task.project_id))
    return desk.page(
        template,
        status=status,
        step=step,
        draft=draft,
        version=version,
        message=message,
        guideline=guideline,
        done=done,
        label=label,
        revealed=bool((fields or {}).get("revealed")),
        asked=bool((fields or {}).get("asked")),
        **more,
    )


def is_over(task: AssignmentView) -> bool:
    """Skipped, or submitted and not being revised: a revision has a draft."""
    return task.state == "skipped" or (task.state == "submitted" and task.draft is None)


def steps_of(desk: Desk) -> list[str]:
    """The pages of the task, in their order; the last one has the button that submits."""
    if desk.task.task_type in WRITTEN:
        return ["write"]
    return ["compare"] if desk.task.task_type == "evaluation_ab" else [*desk.positions, "rank"]


def step_for(desk: Desk) -> str:
    """The first page that is not done."""
    steps = steps_of(desk)
    missing = desk.unrated(desk.task.draft) if len(steps) > 1 else []
    return missing[0] if missing else steps[-1]


def require_step(desk: Desk, step: str) -> None:
    """404 for a page that this task does not have."""
    if step not in steps_of(desk):
        raise HTTPException(404)


# What was sent


@router.post("/write")
def write(desk: ADesk, fields: Form) -> Response:
    require_step(desk, "write")
    draft = desk.task.draft
    if desk.task.task_type == "demonstration":
        return receive(desk, "write", fields, with_writing(draft, fields, desk.task.form))
    fill = with_few_shot if desk.task.task_type == "prompt_few_shot" else with_prompt
    return receive(desk, "write", fields, fill(draft, fields))


@router.post("/rate/{position}")
def rate(desk: ADesk, position: str, fields: Form) -> Response:
    require_step(desk, position)
    draft = desk.task.draft
    if desk.task.task_type == "toxicity":
        return receive(desk, position, fields, with_toxicity(draft, position, fields))
    return receive(desk, position, fields, with_rating(draft, position, fields, desk.task.form))


@router.post("/compare")
def compare(desk: ADesk, fields: Form) -> Response:
    require_step(desk, "compare")
    form = with_choice(desk.task.draft, desk.positions, fields, desk.task.form)
    return receive(desk, "compare", fields, form)


@router.post("/rank")
def rank(desk: ADesk, fields: Form) -> Response:
    require_step(desk, "rank")
    fill = with_toxicity_ranking if desk.task.task_type == "toxicity" else with_ranking
    form = fill(desk.task.draft, desk.positions, fields, desk.task.form)
    return receive(desk, "rank", fields, form)


def receive(desk: Desk, step: str, fields: Fields, form: Filled) -> Response:
    """Do what the pressed button says; the page's answers are kept whatever comes of it."""
    posted = Posted(step, fields, form, version_in(fields))
    action = fields.get("action", "save")
    if action in ("submit", "stop") and step == steps_of(desk)[-1]:
        return send(desk, posted, stop=action == "stop")
    return keep(desk, posted, action)


def keep(desk: Desk, posted: Posted, action: str) -> Response:
    """Save the draft, then go where the button leads."""
    if wants_json(desk.request) and posted.fields.get("key") != str(desk.task.key):
        # The browser saves by itself, and the form was sent meanwhile, perhaps by this very page.
        raise HTTPException(409, words.SENT_MEANWHILE)
    try:
        version = saved(desk, posted)
    except StaleDraft as stale:
        return offer_both(desk, posted, stale)
    except Busy:
        raise
    except StoreError as error:
        return again(desk, posted, str(error))
    if wants_json(desk.request):
        return JSONResponse({"version": version, "at": desk.now.isoformat()})
    if action == "skip":
        return RedirectResponse(f"{desk.home}/skip", 303)
    if action == "next" and posted.step in desk.unrated(posted.form):
        toxic = desk.task.task_type == "toxicity"
        message = words.ANSWER_ALL_FIRST if toxic else words.RATE_THIS_FIRST
        return again(desk, replace(posted, version=version), message)
    pairs = posted.form.get("pairs")
    last = f"#pair-{len(pairs)}" if action == "pair" and pairs else ""
    return RedirectResponse(desk.path(target_of(desk, posted.step, action)) + last, 303)


def target_of(desk: Desk, step: str, action: str) -> str:
    """The page that a button leads to: the same one, unless it says otherwise."""
    steps = steps_of(desk)
    if action in ("next", "back"):
        index = steps.index(step) + (1 if action == "next" else -1)
        return steps[min(max(index, 0), len(steps) - 1)]
    wanted = action.removeprefix("go-")
    return wanted if wanted in steps else step


def send(desk: Desk, posted: Posted, *, stop: bool) -> Response:
    """Submit the form; if it is not complete, say what is missing and keep the rest."""
    if posted.step == "rank" and desk.unrated(posted.form):
        return keep(desk, posted, "go-rank")
    try:
        key = uuid.UUID(posted.fields.get("key", ""))
    except ValueError:
        raise HTTPException(400, words.ERROR_400_FORM) from None

    def take(session: Session) -> Receipt:
        receipt = submit(
            session,
            desk.task.id,
            desk.account,
            key=key,
            form=posted.form,
            now=desk.now,
            draft_version=posted.version,
            active_seconds=seconds_in(posted.fields),
        )
        is_first = receipt.outcome in ("counted", "surplus") and receipt.revision == 1
        if is_first and is_unseen(desk, posted):
            raise StillBlurred(words.STILL_BLURRED)  # and nothing is stored
        return receipt

    try:
        receipt = desk.store.run(take)
    except Busy:
        raise
    except StillBlurred as error:
        asked = replace(posted, fields={**posted.fields, "asked": "1"})
        return refuse(desk, asked, str(error))
    except StoreError as error:
        return refuse(desk, posted, str(error))
    if receipt.outcome in ("draft", "withdrawn"):
        label = label_after(desk.store, desk.task.id, desk.account, desk.now)
        with desk.store.read() as session:
            desk = replace(desk, task=view(session, desk.task.id, desk.account))
        return desk.page("finished.html", status=409, label=label, message=receipt.message)
    if desk.task.practice and is_answered(desk):
        return RedirectResponse(f"{desk.home}/feedback", 303)
    if stop:
        return RedirectResponse(f"/?done={desk.task.id}", 303)
    return next_task(
        desk.store, desk.task.project_id, desk.account, now=desk.now, done=desk.task.id
    )


def is_unseen(desk: Desk, posted: Posted) -> bool:
    """Whether texts that may disturb are blurred still, and nobody asked whether that is meant.

    Once a task, before its first label: whoever sends it again has decided.
    """
    is_blurred = desk.task.sensitive and bool(desk.task.prompt or desk.task.responses)
    return is_blurred and not posted.fields.keys() & {"revealed", "asked"}


def refuse(desk: Desk, posted: Posted, message: str) -> Response:
    """Send nothing; the answers are a draft, and the page says why."""
    try:
        posted = replace(posted, version=saved(desk, posted))
    except StaleDraft as stale:
        return offer_both(desk, posted, stale)
    except Busy:
        raise
    except StoreError:
        pass  # what cannot be stored at all stays on the page
    return again(desk, posted, message)


def saved(desk: Desk, posted: Posted) -> int:
    return desk.store.run(
        lambda session: save_draft(
            session,
            desk.task.id,
            desk.account,
            posted.form,
            version=posted.version,
            now=desk.now,
        )
    )


def again(desk: Desk, posted: Posted, message: str) -> Response:
    """The same page with all that was typed, and what is missing."""
    if wants_json(desk.request):
        raise HTTPException(400, message)
    return show_step(
        desk, posted.step, posted.form, posted.version, message, status=400, fields=posted.fields
    )


def offer_both(desk: Desk, posted: Posted, stale: StaleDraft) -> Response:
    """Another tab or device saved other answers: the labeler chooses, nothing is overwritten."""
    if wants_json(desk.request):
        return JSONResponse(error_body(412, str(stale)) | {"version": stale.version}, 412)
    return desk.page(
        "both.html",
        status=409,
        mine=posted.form,
        mine_json=json.dumps(posted.form),
        stored=stale.stored,
        version=stale.version,
    )


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
