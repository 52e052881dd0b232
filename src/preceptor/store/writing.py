"""Prompts that labelers write: the tasks for it, and the prompts that their labels become.

InstructGPT section 3.2: plain ones, few-shot ones, and ones after the use cases of people who asked
for access, told by somebody else so that nobody is known by them.
"""

import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from preceptor.data.duplicates import (
    NEAR,
    PREFIX_CHARS,
    PREFIX_FRACTION,
    jaccard,
    normal_form,
    shingles,
)
from preceptor.data.hygiene import split_of
from preceptor.data.personal import find_personal
from preceptor.data.records import text_of
from preceptor.errors import StoreError
from preceptor.store.examples import prompt_in
from preceptor.store.forms import PROMPT_TYPES, require_storable
from preceptor.store.names import identify, prompt_id, sha256_of
from preceptor.store.projects import insert_missing, task_row
from preceptor.store.rows import SCOPES, normal_hash
from preceptor.store.tables import (
    Account,
    Assignment,
    Consent,
    Judgement,
    Project,
    Prompt,
    PromptUser,
    Submission,
    SubmissionText,
    Task,
    Written,
)

TAKEN_BACK = "taken back by its labeler"
MOST_CHARS = 20_000
"""Of a description that a lead gives."""
IN_WORDS = {
    "EMAIL": "an e-mail address",
    "KEY": "a key of a service",
    "IBAN": "an account number",
    "CARD": "a card number",
    "IP": "an IP address",
    "PHONE": "a phone number",
}
"""What is found in a prompt, by its kind."""
COMPARED = 200
"""Earlier prompts of a labeler that a new one may not repeat: as many as one user's count for."""


def add_writing(
    session: Session,
    project_id: uuid.UUID,
    *,
    num: int = 0,
    descriptions: Sequence[str] = (),
    sensitive: bool = False,
) -> dict[str, int]:
    """Tasks to write prompts in: `num` more, or one for each description of a use case.

    The same description again adds nothing.

    Raises:
        StoreError: the project asks for something else.
    """
    project = session.get(Project, project_id, with_for_update=True)
    if project is None or project.task_type not in PROMPT_TYPES:
        raise StoreError("That is no project in which prompts are written.")
    briefs: list[str | None] = []
    if project.task_type == "prompt_user_based":
        texts = dict.fromkeys(text.strip() for text in descriptions)
        briefs = [text for text in texts if text]
        if not briefs:
            raise StoreError(
                f"{project.name}: labelers write after descriptions of use cases, one each. There "
                "are none."
            )
        for text in filter(None, briefs):
            require_storable(text, "A description")
            if len(text) > MOST_CHARS:
                raise StoreError(f"A description has over {MOST_CHARS:,} characters.")
    elif descriptions:
        raise StoreError(f"{project.name}: descriptions go with prompt_user_based.")
    else:
        briefs = [None] * num
    there = select(func.count()).select_from(Task).where(Task.project_id == project_id)
    first = session.scalar(there) or 0
    tasks = {}
    for number, brief in enumerate(briefs, first):
        task = task_row(project, None, [], brief or number)
        tasks[task["id"]] = task | {"brief": brief, "sensitive": sensitive}
    new = insert_missing(session, Task, tasks)
    return {"added": len(new), "there already": len(tasks) - len(new)}


def require_impersonal(texts: Mapping[str, str]) -> None:
    """Refuse a prompt with personal data: an import masks them, a writer can be asked.

    So they do not come in with the label's own texts either, nor with a few-shot prompt's examples.

    Raises:
        StoreError: what was found first, and what to do.
    """
    for text in (text for field, text in texts.items() if field != "comment"):
        for found in find_personal(text)[:1]:
            raise StoreError(
                f"This has {IN_WORDS[found.kind]} in it: “{text[found.start : found.end]}”. "
                f"Personal data do not come in with prompts. Write <{found.kind}_1> in its place, "
                "or leave it out; this text is kept on the page."
            )


def require_new(session: Session, assignment: Assignment, prompt: str) -> None:
    """Refuse what was asked before: by anybody in the same words, or much alike by this labeler.

    The rules are those of `preceptor.data.duplicates`. How many one labeler writes is not limited:
    the paper's 200 are of a customer, its labelers wrote about 280 each.

    Raises:
        StoreError: which rule, in words for the labeler.
    """
    own = select(Written.prompt_id).where(Written.assignment_id == assignment.id)
    same = (
        Prompt.normal_sha256 == normal_hash(prompt),
        Prompt.status == "active",
        Prompt.id.not_in(own),
    )
    if session.scalar(select(Prompt.id).where(*same).limit(1)) is not None:
        raise StoreError(
            "This prompt is there already, in the same words but for case and spacing. Write "
            "another one; this text is kept on the page."
        )
    earlier = session.scalars(
        select(Prompt.content)
        .join(Written, Written.prompt_id == Prompt.id)
        .join(Assignment, Assignment.id == Written.assignment_id)
        .where(
            Assignment.account_id == assignment.account_id,
            Assignment.id != assignment.id,
            Prompt.status == "active",
        )
        .order_by(Prompt.received_at.desc(), Prompt.id)
        .limit(COMPARED)
    )
    text = normal_form(prompt)
    pieces = shingles(text)
    for content in earlier:
        other = normal_form(text_of(content))
        common = len(os.path.commonprefix([text, other]))
        if common >= max(PREFIX_CHARS, PREFIX_FRACTION * min(len(text), len(other))):
            raise StoreError(
                f"This begins like a prompt of yours for {common} characters. Prompts should "
                "differ from each other: begin it otherwise, or write about something else."
            )
        if jaccard(pieces, shingles(other)) >= NEAR:
            raise StoreError(
                f"This is nearly the same as a prompt of yours: “{_beginning(text_of(content))}”. "
                "Write one that differs more."
            )


def note_written(session: Session, assignment: Assignment, task_type: str) -> None:
    """Make the prompt of an assignment what its newest revision says; an earlier one goes.

    Raises:
        StoreError: the labeler's prompts were erased, so that no new one is taken in.
    """
    session.flush()
    label = session.scalars(
        select(Submission)
        .where(Submission.assignment_id == assignment.id)
        .order_by(Submission.revision.desc())
        .limit(1)
    ).one()
    written = session.get(Written, assignment.id)
    if written is not None:
        before = session.get_one(Prompt, written.prompt_id)
        if before.status == "active":
            before.status, before.reason = "rejected", TAKEN_BACK
    if label.kind != "submitted":
        return
    rows = session.execute(
        select(SubmissionText.field, SubmissionText.text).where(
            SubmissionText.submission_id == label.id
        )
    )
    content = prompt_in(task_type, dict(rows.all()))
    user = _user_of(session, session.get_one(Account, assignment.account_id), label.at)
    if user.erased_at is not None:
        raise StoreError(
            f"Your prompts were erased on {user.erased_at:%Y-%m-%d}, and no new ones of you are "
            "kept. Skip this task, and ask your lead for other work."
        )
    id = prompt_id(user.pseudonym, content)
    prompt = session.get(Prompt, id)
    if prompt is None:
        prompt = Prompt(
            id=id,
            user_id=user.id,
            author_id=assignment.account_id,
            origin="labeler",
            kind=task_type.removeprefix("prompt_"),
            content=content,
            normal_sha256=normal_hash(content),
            split=user.split,
            received_at=label.at,
            masked={},  # `require_impersonal` looked
            meta={},
        )
        session.add(prompt)
    prompt.use_case = label.body["use_case"]
    if prompt.status != "erased":  # its text is gone for good
        prompt.status, prompt.reason = "active", ""
    session.flush()
    if written is None:
        session.add(Written(assignment_id=assignment.id, prompt_id=id))
    else:
        written.prompt_id = id
    session.flush()


def use_cases_written(session: Session, project_id: uuid.UUID) -> Counter[str]:
    """How many prompts of each use case labelers wrote in a project."""
    rows = session.execute(
        select(Judgement.use_case, func.count())
        .where(Judgement.project_id == project_id)
        .group_by(Judgement.use_case)
    )
    return Counter({use_case: num for use_case, num in rows})


def _user_of(session: Session, account: Account, now: datetime) -> PromptUser:
    """The labeler as one who writes prompts, whose contract is the consent.

    The pseudonym is that of their labels with another beginning: nothing new is told by it.
    """
    pseudonym = "usr_" + account.pseudonym.removeprefix("lab_")
    id = identify("user", pseudonym)
    user = session.get(PromptUser, id)
    if user is None:
        user = PromptUser(
            id=id,
            pseudonym=pseudonym,
            split=split_of(pseudonym),
            policy="opt_in",
            first_seen=now,
        )
        session.add(user)
        session.flush()
        given = {"channel": "contract", "event": "given", "text_sha256": sha256_of("contract")}
        events = [given | {"user_id": id, "scope": scope, "at": now} for scope in SCOPES]
        session.execute(insert(Consent), events)
    return user


def _beginning(text: str, length: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length].rstrip()}…"
