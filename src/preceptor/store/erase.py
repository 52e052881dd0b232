"""Erasing a person: their texts go, what was done stays, and nothing of them comes in again.

A prompt user: their prompts, all responses to them (a model repeats what it was asked), and what
labelers wrote about them. A labeler: who they are, and what they wrote beside their work, comments
and drafts; with `texts` also the work that is text, demonstrations and prompts.

Choices, times, ids, hashes and pseudonyms stay, so that figures do. Rows that nobody changes are
left alone: none holds free text. The transaction over, `Store.sweep` takes the bytes out of the
file as well. Exported files are outside of the store; they are named.
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    case,
    cast,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.accounts import account_with_login
from preceptor.store.export import TASK_TYPES
from preceptor.store.forms import USE_CASES
from preceptor.store.names import SiteKey, identify
from preceptor.store.queue import release
from preceptor.store.screening import note_access
from preceptor.store.standing import set_state
from preceptor.store.tables import (
    Account,
    ApiKey,
    Assignment,
    Base,
    Consent,
    Draft,
    Export,
    ExportRow,
    GoldAnswer,
    Judgement,
    Project,
    Prompt,
    PromptUser,
    Response,
    Submission,
    SubmissionText,
    Task,
    TaskResponse,
    Written,
)

Ids = Select[uuid.UUID]


@dataclass(frozen=True)
class Wanted:
    """Who is to be erased, by one of three names, and whether a labeler's work that is text is too.

    user       as the imported files name them, of the source that the import named
    pseudonym  usr_.. or lab_.., as exports and pages show it
    labeler    the login of an account
    """

    user: str | None = None
    source: str = ""
    pseudonym: str | None = None
    labeler: str | None = None
    texts: bool = False


@dataclass(frozen=True)
class Holding:
    """An exported file that holds text of theirs.

    Not `certain`: it is older than the notes of what a file holds, and by kind, split, project and
    time it may.
    """

    kind: str
    file_name: str
    sha256: str
    at: datetime
    certain: bool


@dataclass(frozen=True)
class Erasure:
    """What goes, or went: rows with text by what they are, and the files that are outside."""

    pseudonym: str
    erased_before: datetime | None
    counts: dict[str, int]
    exports: tuple[Holding, ...]


@dataclass(frozen=True)
class Place:
    """Rows that hold text of theirs, and what is there afterwards; None: the rows go."""

    what: str
    table: type[Base]
    where: ColumnElement[bool]
    values: dict[str, Any] | None


@dataclass(frozen=True)
class Reach:
    """All that an erasure touches, as queries; nothing is read for it.

    tasks    are asked about no more
    records  are what an exported line may be of: prompts and submissions
    """

    prompts: Ids
    tasks: Ids
    places: list[Place]
    records: tuple[Ids, ...]

    def holds(self, column: Any) -> ColumnElement[bool]:
        """Whether an id is one of the records."""
        return or_(*(column.in_(ids) for ids in self.records))


def preview(session: Session, site_key: SiteKey, wanted: Wanted) -> Erasure:
    """What `erase` would do.

    Raises:
        StoreError: there is nobody of this name.
    """
    person = person_of(session, site_key, wanted)
    reach = _reach(person, wanted.texts, None)
    counts: Counter[str] = Counter()
    for place in reach.places:
        num = select(func.count()).select_from(place.table).where(place.where)
        counts[place.what] += session.scalar(num) or 0
    return _told(session, person, reach, dict(counts))


def erase(
    session: Session, site_key: SiteKey, wanted: Wanted, *, by: uuid.UUID | None, now: datetime
) -> Erasure:
    """Erase a person for good; again takes away what is left. `by` is noted: None, a command.

    Locks are taken in one order, that of everybody: imports, prompts, tasks, assignments.

    Raises:
        StoreError: there is nobody of this name.
    """
    # 1. Whoever imports, adds tasks or submits meanwhile finds the person erased, or comes before.
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE ingest IN EXCLUSIVE MODE"))
    person = person_of(session, site_key, wanted)
    reach = _reach(person, wanted.texts, now)
    told = _told(session, person, reach, {})
    held = reach.prompts.order_by(Prompt.id).with_for_update(key_share=True)
    session.execute(held).all()
    touched = reach.tasks if isinstance(person, PromptUser) else _tasks_of_labeler(person, reach)
    session.execute(
        select(Task.id).where(Task.id.in_(touched)).order_by(Task.id).with_for_update()
    ).all()
    # 2. Their tasks are in nobody's hands, and no label of them is waited for.
    leased = select(Assignment.id).where(
        Assignment.task_id.in_(reach.tasks), Assignment.state == "leased"
    )
    for assignment_id in session.scalars(leased.order_by(Assignment.task_id)).all():
        release(session, assignment_id, None)
    session.flush()
    labels_there = case((Task.target.is_not(None), Task.taken))
    _run(
        session,
        update(Task).where(Task.id.in_(reach.tasks)).values(state="closed", target=labels_there),
    )
    # 3. The texts.
    counts: Counter[str] = Counter()
    for place in reach.places:
        counts[place.what] += _clear(session, place)
    # 4. The person.
    if isinstance(person, PromptUser):
        _withdraw(session, person, now)
        what = "erased a user"
    else:
        _close_account(session, person, now)
        what = "erased a labeler and their texts" if wanted.texts else "erased a labeler"
    note_access(session, by, what, person.pseudonym, now=now)
    session.flush()
    session.expire_all()
    return Erasure(told.pseudonym, told.erased_before, dict(counts), told.exports)


def person_of(session: Session, site_key: SiteKey, wanted: Wanted) -> PromptUser | Account:
    """The row of whoever is meant.

    Raises:
        StoreError: no name, several, or nobody of that name.
    """
    named = [name for name in (wanted.user, wanted.pseudonym, wanted.labeler) if name]
    if len(named) != 1:
        raise StoreError("Whom? One of: a user of prompts, a pseudonym, the login of a labeler.")
    found: PromptUser | Account | None
    if wanted.labeler:
        found = account_with_login(session, wanted.labeler)
        if found is None:
            raise StoreError(
                f"{wanted.labeler}: no such account. Who is known from imported labels alone, or "
                "was erased before, has a pseudonym only: lab_.., as exports show it."
            )
    elif wanted.user:
        pseudonym = site_key.user(wanted.user, wanted.source)
        found = session.get(PromptUser, identify("user", pseudonym))
        if found is None:
            of = f"of source {wanted.source}" if wanted.source else "of no named source"
            raise StoreError(
                f"No prompt here is of this user {of}. The name is the one in the file, letter by "
                "letter, and the source the one of its import (--source)."
            )
    else:
        name = str(wanted.pseudonym)
        users = select(PromptUser).where(PromptUser.pseudonym == name)
        accounts = select(Account).where(Account.pseudonym == name)
        found = session.scalar(users) or session.scalar(accounts)
        if found is None:
            raise StoreError(
                f"{name}: no such pseudonym here. It is usr_ or lab_ and 26 letters and digits."
            )
    if wanted.texts and isinstance(found, PromptUser):
        raise StoreError("Texts are a labeler's choice: of a prompt user all texts go.")
    return found


def _ids(column: Any) -> Ids:
    """A query that stands for itself, also within one of the same table."""
    return select(column).correlate(None)


def _reach(person: PromptUser | Account, texts: bool, now: datetime | None) -> Reach:
    if isinstance(person, PromptUser):
        prompts = _ids(Prompt.id).where(Prompt.user_id == person.id)
        tasks = _ids(Task.id).where(Task.prompt_id.in_(prompts))
        return Reach(prompts, tasks, _places_of(prompts, tasks, now), _records(prompts, tasks))
    own = _ids(Assignment.id).where(Assignment.account_id == person.id)
    written = SubmissionText.submission_id.in_(_submissions(own))
    beside = written if texts else written & (SubmissionText.field == "comment")
    places = [
        *_places_of_work(Assignment.account_id == person.id, own),
        Place(
            "explanations of gold answers",
            GoldAnswer,
            (GoldAnswer.account_id == person.id) & (GoldAnswer.explanation != ""),
            {"explanation": ""},
        ),
        _place_of_texts("texts of labels" if texts else "comments", beside, now),
    ]
    of_texts = _ids(SubmissionText.submission_id).where(beside)
    if not texts:
        none = Prompt.id.is_(None)
        nothing = _ids(Task.id).join(Prompt, Prompt.id == Task.prompt_id).where(none)
        return Reach(_ids(Prompt.id).where(none), nothing, places, (of_texts,))
    # Prompts that they wrote as work, and responses of theirs that others judge.
    prompts = _ids(Prompt.id).where(Prompt.author_id == person.id)
    about = _ids(Task.id).where(Task.prompt_id.in_(prompts))
    judged = (
        _ids(TaskResponse.task_id)
        .join(Response, Response.id == TaskResponse.response_id)
        .where(Response.author_id == person.id)
    )
    tasks = _ids(Task.id).where(or_(Task.id.in_(about), Task.id.in_(judged)))
    places += [
        *_places_of(prompts, about, now),
        Place(
            "responses of theirs",
            Response,
            (Response.author_id == person.id) & Response.erased_at.is_(None),
            {"text": "", "sampling": {}, "erased_at": now},
        ),
    ]
    return Reach(prompts, tasks, places, (of_texts, *_records(prompts, tasks)))


def _places_of(prompts: Ids, tasks: Ids, now: datetime | None) -> list[Place]:
    """Where the texts of prompts and all that was written about them stand."""
    about = Assignment.task_id.in_(tasks) | Assignment.id.in_(_wrote(prompts))
    assignments = _ids(Assignment.id).where(about)
    odd = ("", *USE_CASES)  # a file may call its use cases anything
    return [
        Place(
            "prompts",
            Prompt,
            Prompt.id.in_(prompts) & (Prompt.status != "erased"),
            {
                "content": "",
                "meta": {},
                "normal_sha256": "",
                "status": "erased",
                "reason": "",
                "use_case": case((Prompt.use_case.in_(odd), Prompt.use_case), else_=""),
            },
        ),
        Place(
            "use cases in their own words",
            Judgement,
            Judgement.task_id.in_(tasks) & Judgement.use_case.not_in(odd),
            {"use_case": ""},
        ),
        Place(
            "responses to them",
            Response,
            Response.prompt_id.in_(prompts) & Response.erased_at.is_(None),
            {"text": "", "sampling": {}, "erased_at": now},
        ),
        *_places_of_work(about, assignments),
        Place(
            "explanations of gold answers",
            GoldAnswer,
            GoldAnswer.task_id.in_(tasks) & (GoldAnswer.explanation != ""),
            {"explanation": ""},
        ),
        _place_of_texts(
            "texts of labels", SubmissionText.submission_id.in_(_submissions(assignments)), now
        ),
    ]


def _places_of_work(which: ColumnElement[bool], assignments: Ids) -> list[Place]:
    """Where the texts of assignments stand, but for those of labels."""
    has_meta = cast(Assignment.meta, Text) != "{}"
    return [
        Place("drafts", Draft, Draft.assignment_id.in_(assignments), None),
        Place(
            "comments of skips, and what imported labels had besides",
            Assignment,
            which & or_(Assignment.skip_comment != "", has_meta),
            {"skip_comment": None, "meta": {}},
        ),
    ]


def _place_of_texts(what: str, which: ColumnElement[bool], now: datetime | None) -> Place:
    kept = which & SubmissionText.erased_at.is_(None)
    return Place(what, SubmissionText, kept, {"text": "", "erased_at": now})


def _submissions(assignments: Ids) -> Ids:
    return _ids(Submission.id).where(Submission.assignment_id.in_(assignments))


def _records(prompts: Ids, tasks: Ids) -> tuple[Ids, Ids]:
    labels = Assignment.task_id.in_(tasks) | Assignment.id.in_(_wrote(prompts))
    return prompts, _submissions(_ids(Assignment.id).where(labels))


def _wrote(prompts: Ids) -> Ids:
    """The tasks in hand that prompts were written in: their forms hold the same texts."""
    return _ids(Written.assignment_id).where(Written.prompt_id.in_(prompts))


def _tasks_of_labeler(account: Account, reach: Reach) -> Ids:
    """Every task that they had: a page of theirs may be sending something."""
    own = _ids(Assignment.task_id).where(Assignment.account_id == account.id)
    return _ids(Task.id).where(or_(Task.id.in_(own), Task.id.in_(reach.tasks)))


def _clear(session: Session, place: Place) -> int:
    if place.values is None:
        return _run(session, delete(place.table).where(place.where))
    return _run(session, update(place.table).where(place.where).values(**place.values))


def _run(session: Session, statement: Any) -> int:
    done: Any = session.execute(statement.execution_options(synchronize_session=False))
    return int(done.rowcount)


def _told(
    session: Session, person: PromptUser | Account, reach: Reach, counts: dict[str, int]
) -> Erasure:
    exports = (*_noted(session, reach), *_older(session, reach))
    return Erasure(person.pseudonym, person.erased_at, counts, exports)


def _noted(session: Session, reach: Reach) -> Iterator[Holding]:
    """Files that hold one of the records; equal files are one, the newest note of it."""
    hashes = _ids(Export.sha256).join(ExportRow).where(reach.holds(ExportRow.record_id))
    rows = session.scalars(select(Export).where(Export.sha256.in_(hashes)).order_by(Export.id))
    files = {(row.file_name, row.sha256): row for row in rows}
    for row in files.values():
        yield Holding(row.kind, row.file_name, row.sha256, row.at, True)


def _older(session: Session, reach: Reach) -> Iterator[Holding]:
    """Files of before their rows were noted that may hold one of the records."""
    noted = _ids(Export.sha256).join(ExportRow)
    exports = session.scalars(
        select(Export).where(Export.sha256.not_in(noted)).order_by(Export.id)
    ).all()
    if not exports:
        return
    kinds = {task_type: kind for kind, types in TASK_TYPES.items() for task_type in types}
    labels = session.execute(
        select(Project.task_type, Project.name, Prompt.split, func.min(Submission.at))
        .select_from(Submission)
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(reach.holds(Submission.id))
        .group_by(Project.task_type, Project.name, Prompt.split)
    )
    known: list[tuple[str | None, str | None, str, datetime]] = [
        (kinds.get(row[0]), row[1], row[2], row[3]) for row in labels
    ]
    prompts = session.execute(
        select(Prompt.split, func.min(Prompt.received_at))
        .where(reach.holds(Prompt.id))
        .group_by(Prompt.split)
    )
    known += [("prompts", None, split, first) for split, first in prompts]
    for export in exports:
        project, split = export.filters.get("project"), export.filters.get("split")
        if any(
            kind == export.kind and side == split and first <= export.at
            for kind, name, side, first in known
            if kind == "prompts" or project in (None, name)
        ):
            yield Holding(export.kind, export.file_name, export.sha256, export.at, False)


def _withdraw(session: Session, user: PromptUser, now: datetime) -> None:
    """Their consent ends with their texts."""
    newest = select(func.max(Consent.id)).where(Consent.user_id == user.id).group_by(Consent.scope)
    given = session.scalars(
        select(Consent).where(Consent.id.in_(newest), Consent.event == "given")
    ).all()
    if given:
        row = {"user_id": user.id, "channel": "declared", "event": "withdrawn", "at": now}
        session.execute(
            insert(Consent),
            [row | {"scope": old.scope, "text_sha256": old.text_sha256} for old in given],
        )
    user.policy = "never"
    user.erased_at = user.erased_at or now


def _close_account(session: Session, account: Account, now: datetime) -> None:
    """Nobody signs in to it any more, and nothing says whose it was but the pseudonym."""
    set_state(session, account.id, "left", now=now)
    session.execute(delete(ApiKey).where(ApiKey.account_id == account.id))
    account.login = account.password_hash = None
    account.accepts_sensitive = False
    account.topics = account.languages = None
    account.erased_at = account.erased_at or now
