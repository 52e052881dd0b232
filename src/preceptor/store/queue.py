"""The queue: a task is leased to a labeler, who ends the lease with a label, a skip or silence.

Each function is a part of the caller's write transaction (`Store.write`), and `now` is passed in.
Locks are taken in one order, so that nobody waits in a circle: project, task, assignment. What was
read before its lock is read again: another page of the same labeler may have come between.

What holds after any calls, in any order, however many at once (tests/store/test_machine.py):
`task.taken` is the number of its assignments that count; it is never above the target; there is at
most one assignment for a task and an account; a label is never lost.
"""

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from preceptor.data.records import Messages
from preceptor.errors import StoreError
from preceptor.store.accounts import account_of, guideline_name, newest_guideline
from preceptor.store.forms import SKIP_REASONS, require_short, require_storable
from preceptor.store.names import identify, seeded
from preceptor.store.next_task import (
    DONE,
    LEASED,
    askable,
    gets_feedback,
    next_attention,
    next_calibration,
    next_normal,
    scope_of,
)
from preceptor.store.questions import Questions, questions_of
from preceptor.store.tables import (
    Account,
    Acknowledgement,
    Assignment,
    Draft,
    Guideline,
    Project,
    Prompt,
    Response,
    Seat,
    Submission,
    Task,
    TaskResponse,
)


class NoSuchTask(StoreError):
    """It is not there, or not this account's: which of the two is not told."""

    def __init__(self) -> None:
        super().__init__("There is no such task among yours.")


class Erased(StoreError):
    """The texts of a task, or of the labeler who had it, were erased."""

    def __init__(self) -> None:
        super().__init__(
            "The texts of this task were erased, as their writer wished, and nothing more is kept "
            "of it. Take the next one."
        )


@dataclass(frozen=True)
class AssignmentView:
    """All that a labeler's page may know: texts by position, nothing of models, slots or others."""

    id: uuid.UUID
    project_id: uuid.UUID
    task_type: str
    state: str
    sensitive: bool  # may disturb: shown when the labeler asks for it
    practice: bool  # the researchers' answer is shown after the submit
    prompt: str | Messages  # where one is written: what the lead describes, or nothing
    responses: list[str]
    key: uuid.UUID  # goes into the form; the same form sent twice is one label
    draft: Any
    draft_version: int
    kept_drafts: dict[int, Any]  # older ones, by version, that no page saw before a newer came
    guideline: str | None
    form: Questions  # what the pages ask
    lease_expires: datetime


def claim(
    session: Session, project_id: uuid.UUID, account_id: uuid.UUID, *, now: datetime
) -> AssignmentView | None:
    """The labeler's next task, or the one they hold; None when there is nothing for them.

    Raises:
        StoreError: they may not claim here, or a new guideline is to be read first.
    """
    # 1. Claims of a project take turns, so two of them never see the same free place.
    # Not against those who only name the project: a submit holds its task and then does so.
    project = session.get(Project, project_id, with_for_update={"key_share": True})
    if project is None:
        raise StoreError("There is no such project.")
    account = account_of(session, account_id)
    guideline = _require_allowed(session, project, account)
    # 2. Leases that ran out give their places back.
    expire(session, project_id, now=now)
    # 3. A reload or a second tab gets the same task again.
    while held := _held(session, project_id, account_id):
        task = session.get_one(Task, held.task_id)
        suitable = account.accepts_sensitive or not task.sensitive
        asked = select(Prompt.id).where(Prompt.id == task.prompt_id, askable(scope_of(project)))
        if suitable and (task.prompt_id is None or session.scalar(asked)):
            _renew(held, project, now)
            return view(session, held.id, account_id)
        # Its user said no meanwhile, or the labeler to what may disturb.
        give_place_back(task, held)
        held.state = "released"
        session.flush()
    # 4. The pool that all labelers share, with its probability; else the queue.
    seat = session.get(Seat, (project_id, account_id))
    if seat is None:
        seat = Seat(project_id=project_id, account_id=account_id, claims=0)
        session.add(seat)
    chance = seeded(project.seed, "calibration", account_id, seat.claims) / 2**63
    first, second = next_calibration, next_normal
    if chance >= project.calibration_fraction:
        first, second = second, first
    while True:
        found = first(session, project, account) or second(session, project, account)
        if found is None:
            return None
        # Now and then one that looks whether they are reading, but never where nothing else is
        # left: what comes by itself at the end would tell what it is.
        chance = seeded(project.seed, "attention", account_id, seat.claims) / 2**63
        attentive = chance < project.attention_fraction
        task = (next_attention(session, project, account) if attentive else None) or found
        # 5. A lease on it. One that ran out or was given back is renewed, its draft with it. What
        # an old page of theirs submitted before we had the task is done: the next one, then.
        assignment = session.scalar(
            select(Assignment)
            .where(Assignment.task_id == task.id, Assignment.account_id == account_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        if assignment is None or assignment.state not in DONE:
            break
    seat.claims += 1
    if assignment is None:
        assignment = _new_assignment(session, project, task, account_id, now)
        session.add(assignment)
    take_place(task, assignment)
    assignment.state = "leased"
    assignment.guideline_id = guideline.id if guideline else None
    _renew(assignment, project, now)
    session.flush()
    return view(session, assignment.id, account_id)


def view(session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID) -> AssignmentView:
    """What the labeler may see of an assignment of theirs, in any state of it."""
    assignment, task, project = _own(session, assignment_id, account_id)
    texts = dict(
        session.execute(
            select(TaskResponse.slot, Response.text)
            .join(Response)
            .where(TaskResponse.task_id == task.id)
        ).all()
    )
    drafts = drafts_of(session, assignment_id)
    guideline = assignment.guideline_id and session.get_one(Guideline, assignment.guideline_id)
    return AssignmentView(
        id=assignment.id,
        project_id=project.id,
        task_type=project.task_type,
        state=assignment.state,
        sensitive=task.sensitive,
        practice=gets_feedback(project, session.get_one(Account, account_id)),
        prompt=session.get_one(Prompt, task.prompt_id).content
        if task.prompt_id
        else task.brief or "",
        responses=[shown(texts[slot]) for slot in assignment.display_order],
        key=next_key(session, assignment.id),
        draft=drafts[0].body if drafts else None,
        draft_version=drafts[0].version if drafts else assignment.draft_version,
        kept_drafts={draft.version: draft.body for draft in drafts[1:]},
        guideline=guideline_name(guideline) if guideline else None,
        form=questions_of(project),
        lease_expires=assignment.lease_expires,
    )


def shown(text: str) -> str:
    """A response as labelers see it: white space around it may tell one model from another."""
    return text.strip()


def heartbeat(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID, *, now: datetime
) -> bool:
    """The labeler is still there. False if the lease ran out and the task went to others."""
    assignment, task, project = lock(session, assignment_id, account_id)
    return keep_lease(assignment, task, project, now)


def skip(
    session: Session,
    assignment_id: uuid.UUID,
    account_id: uuid.UUID,
    *,
    reason: str,
    comment: str = "",
    now: datetime,
) -> None:
    """The task goes to somebody else, and never back to this labeler. Costs them nothing."""
    if reason not in SKIP_REASONS:
        raise StoreError(f"{reason}: no such reason. There are {', '.join(SKIP_REASONS)}.")
    if reason == "other" and not comment.strip():
        raise StoreError("Say in a few words why you skip it.")
    require_storable(comment, "The comment")
    require_short(comment, "The comment")
    assignment, task, _ = lock(session, assignment_id, account_id)
    require_kept(session, assignment, task)
    if assignment.state == "submitted":
        raise StoreError("This task was submitted. Undo that first, then skip it.")
    give_place_back(task, assignment)
    assignment.state = "skipped"
    assignment.skip_reason = reason
    assignment.skip_comment = comment
    assignment.last_seen = now


def release(session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID | None) -> None:
    """End a lease; the draft stays. A lead frees anybody's: account None."""
    assignment, task, _ = lock(session, assignment_id, account_id)
    if assignment.state == "leased":
        give_place_back(task, assignment)
        assignment.state = "released"


def ask_once_more(session: Session, task_id: uuid.UUID) -> None:
    """One more label is wanted of a task, where two labelers see it differently, say.

    Raises:
        StoreError: the task is closed, or everybody gets it anyway.
    """
    task = session.get(Task, task_id, with_for_update=True, populate_existing=True)
    if task is None:
        raise StoreError("There is no such task.")
    if task.state == "closed":
        raise StoreError("This task is closed; its labels stay as they are.")
    if task.target is None:
        raise StoreError("Every labeler gets this task: it is of the shared pool.")
    task.target = max(task.target, task.taken) + 1
    _set_state(task)


def expire(session: Session, project_id: uuid.UUID, *, now: datetime) -> int:
    """End the leases whose time is over; says how many.

    A lease that ends later than a new one would was made before the clock was set back; it is cut
    to a whole lease from now, so that no task stays locked for as long as the clock jumped.
    """
    project = session.get_one(Project, project_id)
    longest = now + timedelta(seconds=project.lease_seconds)
    over_or_too_long = or_(Assignment.lease_expires <= now, Assignment.lease_expires > longest)
    leased = (Assignment.state == LEASED, over_or_too_long)
    # Two steps: leases are few, and a planner of queries may begin with the many tasks.
    everywhere = session.execute(select(Assignment.id, Assignment.task_id).where(*leased)).all()
    if not everywhere:
        return 0
    tasks = {row.task_id for row in everywhere}
    here = set(
        session.scalars(select(Task.id).where(Task.id.in_(tasks), Task.project_id == project_id))
    )
    found = sorted((row.task_id, row.id) for row in everywhere if row.task_id in here)
    ended = 0
    for task_id, id in found:
        # Whoever is submitting holds the task: their lease is not over but used.
        task = session.scalar(
            select(Task)
            .where(Task.id == task_id)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
        if task is None:
            continue
        assignment = session.scalar(
            select(Assignment)
            .where(Assignment.id == id, *leased)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        if assignment is None:
            continue
        if assignment.lease_expires > now:
            assignment.lease_expires = longest
            continue
        give_place_back(task, assignment)
        assignment.state = "expired"
        ended += 1
    session.flush()
    return ended


def lock(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID | None
) -> tuple[Assignment, Task, Project]:
    """An assignment with its task, held until the transaction ends.

    Raises:
        NoSuchTask: it is not this account's; whether it exists is not told.
    """
    assignment, task, project = _own(session, assignment_id, account_id)
    session.get_one(Task, task.id, with_for_update=True, populate_existing=True)
    session.get_one(Assignment, assignment.id, with_for_update=True, populate_existing=True)
    return assignment, task, project


def require_kept(session: Session, assignment: Assignment, task: Task) -> None:
    """Refuse new text where a person was erased; asked when the task is locked, as erasing does.

    Raises:
        Erased: the prompt's user was, somebody who wrote a response, or the labeler.
    """
    gone = [
        exists().where(Prompt.id == task.prompt_id, Prompt.status == "erased"),
        exists().where(
            TaskResponse.task_id == task.id,
            TaskResponse.response_id == Response.id,
            Response.erased_at.is_not(None),
        ),
        exists().where(Account.id == assignment.account_id, Account.erased_at.is_not(None)),
    ]
    if session.scalar(select(or_(*gone))):
        raise Erased


def _held(session: Session, project_id: uuid.UUID, account_id: uuid.UUID) -> Assignment | None:
    """The lease that the labeler holds in a project, locked.

    After an undo there may be two; the one they had in hand last comes first.
    """
    ids = session.scalars(
        select(Assignment.id)
        .join(Task)
        .where(
            Task.project_id == project_id,
            Assignment.account_id == account_id,
            Assignment.state == LEASED,
        )
        .order_by(Assignment.last_seen.desc(), Assignment.id)
    ).all()
    locked = (lock(session, id, account_id)[0] for id in ids)
    return next((assignment for assignment in locked if assignment.state == "leased"), None)


def keep_lease(assignment: Assignment, task: Task, project: Project, now: datetime) -> bool:
    """Extend a lease; one that ran out is taken up again while there is room.

    What was given back stays given back: the labeler may hold another task by now.
    """
    if assignment.state != "leased":
        if assignment.state != "expired" or not take_place(task, assignment):
            return False
        assignment.state = "leased"
    _renew(assignment, project, now)
    return True


def take_place(task: Task, assignment: Assignment) -> bool:
    """Count an assignment, if the task has room for one more."""
    if not assignment.counted and task.state == "open":
        assignment.counted = True
        task.taken += 1
        _set_state(task)
    return assignment.counted


def give_place_back(task: Task, assignment: Assignment) -> None:
    if assignment.counted:
        assignment.counted = False
        task.taken -= 1
        _set_state(task)


def drafts_of(session: Session, assignment_id: uuid.UUID) -> list[Draft]:
    """Those that are kept, the newest first."""
    return list(
        session.scalars(
            select(Draft).where(Draft.assignment_id == assignment_id).order_by(Draft.version.desc())
        )
    )


def next_key(session: Session, assignment_id: uuid.UUID) -> uuid.UUID:
    """The key of the form that would be the next revision."""
    return identify("form", assignment_id, last_revision(session, assignment_id) + 1)


def last_revision(session: Session, assignment_id: uuid.UUID) -> int:
    revision = func.coalesce(func.max(Submission.revision), 0)
    return session.scalar(select(revision).where(Submission.assignment_id == assignment_id)) or 0


def _set_state(task: Task) -> None:
    if task.state != "closed":
        full = task.target is not None and task.taken >= task.target
        task.state = "full" if full else "open"


def _renew(assignment: Assignment, project: Project, now: datetime) -> None:
    assignment.lease_expires = now + timedelta(seconds=project.lease_seconds)
    assignment.last_seen = now


def _own(
    session: Session, assignment_id: uuid.UUID, account_id: uuid.UUID | None
) -> tuple[Assignment, Task, Project]:
    assignment = session.get(Assignment, assignment_id)
    if assignment is None or account_id not in (None, assignment.account_id):
        raise NoSuchTask
    task = session.get_one(Task, assignment.task_id)
    return assignment, task, session.get_one(Project, task.project_id)


def _require_allowed(session: Session, project: Project, account: Account) -> Guideline | None:
    """The guideline that the labeler works under, if all is as it must be for a claim."""
    may_claim(project, account)
    if project.guideline is None:
        return None
    guideline = newest_guideline(session, project.guideline)
    if guideline is None:
        raise StoreError(
            f"This project has no guideline {project.guideline} yet; the lead publishes it."
        )
    if session.get(Acknowledgement, (account.id, guideline.id)) is None:
        raise StoreError(
            f"Read {guideline_name(guideline)} and confirm it; then the next task comes."
        )
    return guideline


def may_claim(project: Project, account: Account) -> None:
    """Refuse a labeler whom the project is not for, as it stands today.

    Raises:
        StoreError: why.
    """
    if project.state != "open":
        raise StoreError(f"This project is {project.state}. Your drafts and labels are kept.")
    # Researchers answer the tasks of a screening first: theirs is what others are held against.
    screened = project.purpose == "screening" and account.labeler_group != "researcher"
    wanted = "screening" if screened else "active"
    practises = project.purpose == "practice" and account.state == "screening"
    if account.state != wanted and not practises:
        raise StoreError(f"Your account is {account.state}; this project needs it {wanted}.")
    if account.labeler_group not in project.groups:
        raise StoreError(f"This project is not for the group {account.labeler_group}.")
    # Said once more here: what held-out labelers judge must never be trained on.
    if project.purpose == "train" and account.labeler_group == "heldout":
        raise StoreError("Held-out labelers make no training data.")


def _new_assignment(
    session: Session, project: Project, task: Task, account_id: uuid.UUID, now: datetime
) -> Assignment:
    display_seed = seeded(project.seed, "display", task.id, account_id)
    slots = shown_slots(session, task.id)
    random.Random(display_seed).shuffle(slots)  # noqa: S311 - an order of display is no secret
    return Assignment(
        id=identify("assignment", task.id, account_id),
        task_id=task.id,
        account_id=account_id,
        counted=False,
        draft_version=0,
        meta={},
        display_order=slots,
        display_seed=display_seed,
        started_at=now,
    )


def shown_slots(session: Session, task_id: uuid.UUID) -> list[str]:
    """One slot of each different text, in the order of slots."""
    return [slots[0] for slots in equal_slots(session, task_id)]


def equal_slots(session: Session, task_id: uuid.UUID) -> list[list[str]]:
    """Slots by text: equal ones are shown once, tied, and share a rating."""
    rows = session.execute(
        select(TaskResponse.slot, Response.text)
        .join(Response)
        .where(TaskResponse.task_id == task_id)
        .order_by(TaskResponse.slot)
    )
    by_text: dict[str, list[str]] = {}
    for slot, text in rows:
        by_text.setdefault(shown(text), []).append(slot)
    return list(by_text.values())
