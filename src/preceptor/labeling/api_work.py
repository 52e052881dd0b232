"""The REST interface for labelers: claim, draft, submit, skip, undo, as the pages do it.

Forms speak of positions "1".."K". Every request may be sent again when its answer was lost.
"""

import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Response
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse

from preceptor.labeling.api_shapes import (
    DraftBody,
    DraftVersion,
    FeedbackView,
    FormAgain,
    GuidelineText,
    Held,
    Me,
    OwnTasks,
    ProjectsToWorkIn,
    ProjectToWorkIn,
    ReceiptView,
    SkipBody,
    SubmitBody,
    TaskView,
)
from preceptor.labeling.guard import error_body
from preceptor.labeling.practice import read_feedback
from preceptor.labeling.security import AStore, Now, Visitor, api_roles
from preceptor.store import desk, inbox, labels, queue
from preceptor.store.accounts import acknowledge, shown_guideline

router = APIRouter(tags=["labeler"])

Labeler = Annotated[Visitor, Depends(api_roles("labeler", "researcher", "admin", scope="label"))]


@router.get("/me")
def me(visitor: Labeler) -> Me:
    member = visitor.member
    return Me(
        login=member.login,
        pseudonym=member.pseudonym,
        role=member.role,
        group=member.group,
        state=member.state,
        accepts_sensitive=member.accepts_sensitive,
        csrf=visitor.csrf,
    )


@router.get("/me/submissions")
def my_tasks(
    visitor: Labeler,
    store: AStore,
    cursor: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=desk.MOST_LISTED)] = 50,
) -> OwnTasks:
    """What you began, the newest first."""
    after = _read_cursor(cursor)
    with store.read() as session:
        found = desk.own_tasks(session, visitor.member.id, after=after, limit=limit)
    last = found[-1] if len(found) == limit else None
    return OwnTasks(
        items=found,
        next=f"{last.started_at.isoformat()}/{last.assignment_id}" if last else None,
    )


@router.get("/projects")
def projects(visitor: Labeler, store: AStore, now: Now) -> ProjectsToWorkIn:
    """Where you may work, and whether there is a task for you now."""
    with store.read() as session:
        found = inbox.inbox(session, visitor.member.id, now=now)
    names = ProjectToWorkIn.model_fields
    return ProjectsToWorkIn(
        items=[ProjectToWorkIn(**{n: getattr(card, n) for n in names}) for card in found]
    )


@router.get(
    "/projects/{project_id}/guideline",
    response_model=GuidelineText,
    responses={204: {"description": "The project has none."}},
)
def guideline(project_id: uuid.UUID, visitor: Labeler, store: AStore) -> Any:
    """What the next task of a project is done under."""
    with store.read() as session:
        found = inbox.project_guideline(session, project_id, visitor.member.id)
    return GuidelineText(**asdict(found)) if found else Response(status_code=204)


@router.post("/guidelines/{guideline_id}/acknowledge", status_code=204)
def read_guideline(guideline_id: uuid.UUID, visitor: Labeler, store: AStore, now: Now) -> None:
    """Say that you have read it."""

    def note(session: Session) -> None:
        if shown_guideline(session, guideline_id) is None:
            raise HTTPException(404)
        acknowledge(session, visitor.member.id, guideline_id, now=now)

    store.run(note)


@router.post(
    "/projects/{project_id}/claim",
    response_model=TaskView,
    responses={204: {"description": "Nothing to do here for you, now."}},
)
def claim(project_id: uuid.UUID, visitor: Labeler, store: AStore, now: Now) -> Any:
    """Your next task, or the one that you hold."""
    found = store.run(lambda session: queue.claim(session, project_id, visitor.member.id, now=now))
    return _view(found) if found else Response(status_code=204)


@router.get("/assignments/{assignment_id}")
def view(assignment_id: uuid.UUID, visitor: Labeler, store: AStore) -> TaskView:
    """A task of yours, in whatever state."""
    with store.read() as session:
        return _view(queue.view(session, assignment_id, visitor.member.id))


@router.post("/assignments/{assignment_id}/heartbeat")
def heartbeat(assignment_id: uuid.UUID, visitor: Labeler, store: AStore, now: Now) -> Held:
    """Say that you are still at it, so that the lease goes on."""

    def beat(session: Session) -> Held:
        mine = visitor.member.id
        held = queue.heartbeat(session, assignment_id, mine, now=now)
        expires = queue.view(session, assignment_id, mine).lease_expires
        return Held(held=held, lease_expires=expires)

    return store.run(beat)


@router.put(
    "/assignments/{assignment_id}/draft",
    responses={412: {"description": "A newer draft was saved elsewhere; the task shows it."}},
)
def draft(
    assignment_id: uuid.UUID,
    body: DraftBody,
    response: Response,
    visitor: Labeler,
    store: AStore,
    now: Now,
    if_match: Annotated[str, Header(max_length=40)] = '"0"',
) -> DraftVersion:
    """Keep the form as it stands. If-Match is the version that you began with or saved last."""
    version = _read_version(if_match)
    saved = store.run(
        lambda session: labels.save_draft(
            session, assignment_id, visitor.member.id, body.body, version=version, now=now
        )
    )
    response.headers["etag"] = f'"{saved}"'
    return DraftVersion(version=saved)


@router.delete("/assignments/{assignment_id}/draft/{version}", status_code=204)
def discard(
    assignment_id: uuid.UUID,
    version: int,
    visitor: Labeler,
    store: AStore,
) -> None:
    """Throw a draft away; others stay."""
    if not 0 <= version < 2**31:
        raise HTTPException(404)
    store.run(
        lambda session: labels.discard_draft(session, assignment_id, visitor.member.id, version)
    )


@router.post(
    "/assignments/{assignment_id}/submit",
    response_model=ReceiptView,
    responses={409: {"description": "Another form came first; this one is kept as a draft."}},
)
def submit(
    assignment_id: uuid.UUID, body: SubmitBody, visitor: Labeler, store: AStore, now: Now
) -> Any:
    """Hand the form in. It is on the disk before this is answered."""
    receipt = store.run(
        lambda session: labels.submit(
            session,
            assignment_id,
            visitor.member.id,
            key=body.key,
            form=body.body,
            now=now,
            draft_version=body.draft_version,
            active_seconds=body.active_seconds,
        )
    )
    if receipt.outcome in ("draft", "withdrawn"):
        return JSONResponse(error_body(409, receipt.message), 409)
    return ReceiptView(**asdict(receipt), message=receipt.message)


@router.get(
    "/assignments/{assignment_id}/feedback",
    response_model=FeedbackView,
    responses={204: {"description": "Not submitted yet, or no practice."}},
)
def feedback(assignment_id: uuid.UUID, visitor: Labeler, store: AStore) -> Any:
    """In a practice, after the submit: the researchers' answer, and how far yours is like it."""
    with store.read() as session:
        found = read_feedback(session, assignment_id, visitor.member.id)
    if found is None:
        return Response(status_code=204)
    return FeedbackView(**{name: asdict(found)[name] for name in FeedbackView.model_fields})


@router.post("/assignments/{assignment_id}/skip", status_code=204)
def skip(
    assignment_id: uuid.UUID, body: SkipBody, visitor: Labeler, store: AStore, now: Now
) -> None:
    """Give the task to somebody else for good. It costs you nothing."""
    store.run(
        lambda session: queue.skip(
            session,
            assignment_id,
            visitor.member.id,
            reason=body.reason,
            comment=body.comment,
            now=now,
        )
    )


@router.post("/assignments/{assignment_id}/release", status_code=204)
def release(assignment_id: uuid.UUID, visitor: Labeler, store: AStore) -> None:
    """Give the task back; it may come to you again."""
    store.run(lambda session: queue.release(session, assignment_id, visitor.member.id))


@router.post("/submissions/{submission_id}/undo")
def undo(submission_id: uuid.UUID, visitor: Labeler, store: AStore, now: Now) -> FormAgain:
    """Take this label back, while that is possible; its form is a draft again."""
    found = store.run(
        lambda session: labels.undo_submission(session, submission_id, visitor.member.id, now=now)
    )
    return FormAgain(assignment_id=found.assignment_id, form=found.form, key=found.key)


@router.post("/submissions/{submission_id}/revise")
def revise(submission_id: uuid.UUID, visitor: Labeler, store: AStore) -> FormAgain:
    """The label's form, to be changed and submitted; the label counts until then."""
    found = store.run(
        lambda session: labels.reopen_submission(session, submission_id, visitor.member.id)
    )
    return FormAgain(assignment_id=found.assignment_id, form=found.form, key=found.key)


def _view(found: queue.AssignmentView) -> TaskView:
    return TaskView(**asdict(found))


def _read_version(if_match: str) -> int:
    number = if_match.strip().removeprefix("W/").strip('"')
    if not number.isascii() or not number.isdigit() or int(number) >= 2**31:
        raise HTTPException(400, 'If-Match is the version of a draft: "3".')
    return int(number)


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID] | None:
    if not cursor:
        return None
    at, _, id = cursor.rpartition("/")
    try:
        found = datetime.fromisoformat(at), uuid.UUID(id)
    except ValueError:
        found = None
    if found is None or found[0].tzinfo is None:
        raise HTTPException(400, "cursor: take the one that the page before gave as `next`.")
    return found
