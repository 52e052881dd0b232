"""Projects as a lead makes them from what the store holds, and the tasks that may be gold."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from preceptor.data.records import text_of
from preceptor.errors import StoreError
from preceptor.store.asking import Question, read_asked
from preceptor.store.forms import COMPARISONS, EVALUATIONS, PROMPT_TYPES
from preceptor.store.names import seeded
from preceptor.store.projects import (
    Candidate,
    ProjectOptions,
    add_tasks,
    chunks,
    create_project,
    may_be_asked,
    project_named,
    prompts_without_task,
    require_same,
)
from preceptor.store.questions import PAPER, read_questions
from preceptor.store.tables import (
    Account,
    GoldAnswer,
    Guideline,
    Judgement,
    Project,
    Prompt,
    Response,
    Task,
    TaskResponse,
)
from preceptor.store.writing import add_writing

GOLD_PAGE = 25
FROM_FILE = " file"
"""The source of a project whose tasks a file brings next; no project is called so."""
PURPOSES = ("train", "eval", "screening", "practice")
GROUPS = ("training", "heldout", "researcher", "simulated")
FIELDS = (
    "overlap",
    "overlap_more",
    "overlap_fraction",
    "calibration_fraction",
    "lease_seconds",
    "groups",
    "guideline",
    "form",
)
"""Of the form, which stay as they were when a project is there."""


@dataclass(frozen=True)
class NewProject:
    """What the form asks for. `source` names the project whose responses are judged once more.

    `sensitive`: all may disturb. What may in the source may here, whatever the form says.
    """

    name: str
    task_type: str
    split: str
    num_tasks: int
    source: str
    sensitive: bool
    options: ProjectOptions
    descriptions: tuple[str, ...] = ()

    @classmethod
    def of_form(cls, form: Mapping[str, str]) -> "NewProject":
        """Checked field by field.

        Raises:
            StoreError: a field is missing or out of range; it says which, and what it may be.
        """
        name = form.get("name", "").strip()
        if not 1 <= len(name) <= 100:
            raise StoreError("A project needs a name of up to 100 characters.")
        if form.get("split", "train") not in ("train", "valid", "test"):
            raise StoreError("The split is train, valid or test.")
        if form.get("purpose", "train") not in PURPOSES:
            raise StoreError("The purpose is train, eval, screening or practice.")
        groups = tuple(group for group in GROUPS if form.get(f"group_{group}"))
        if not groups:
            raise StoreError("Choose at least one group of labelers.")
        if form.get("purpose") in ("screening", "practice") and "researcher" not in groups:
            raise StoreError(
                "Researchers answer the tasks of a screening or a practice first, so that there is "
                "something to compare with: tick researcher, too."
            )
        more = form.get("overlap_more", "").strip()
        share = form.get("overlap_share", "").strip()
        written = form.get("form", "").strip()
        options = ProjectOptions(
            purpose=form.get("purpose", "train"),
            overlap=_number(form, "overlap", "Labels of each task", 1, 100),
            overlap_more=_number(form, "overlap_more", "More labels", 2, 100) if more else None,
            overlap_fraction=_number(form, "overlap_share", "The share of tasks with more", 0, 100)
            / 100
            if share
            else 0.0,
            calibration_fraction=_number(form, "pool", "The share of pool tasks", 0, 100) / 100,
            lease_seconds=60 * _number(form, "lease", "The minutes of a lease", 5, 24 * 60),
            groups=groups,
            guideline=form.get("guideline") or None,
            form=read_questions(written, "The form") if written else PAPER,
        )
        return cls(
            name=name,
            task_type=form.get("task_type", ""),
            split=form.get("split", "train"),
            num_tasks=_number(form, "num_tasks", "The number of tasks", 1, 100_000),
            source=form.get("source", ""),
            sensitive=bool(form.get("sensitive")),
            options=options,
            descriptions=tuple(form.get("descriptions", "").splitlines()),
        )


@dataclass(frozen=True)
class AttentionShare:
    """A project that may have attention tasks, how many it has, and a labeler's share of them."""

    project_id: uuid.UUID
    project: str
    num_tasks: int
    fraction: float


@dataclass(frozen=True)
class MoreAttention:
    """What the form of attention tasks asks for; of both there is one at least."""

    project_id: uuid.UUID
    fraction: float | None  # None: as it is
    lines: bytes  # none: no task

    @classmethod
    def of_form(cls, form: Mapping[str, str], lines: bytes) -> "MoreAttention":
        """Checked field by field.

        Raises:
            StoreError: a field is missing or out of range; it says which, and what it may be.
        """
        share = form.get("share", "").strip()
        if not lines and not share:
            raise StoreError("Choose a file of attention tasks, or say their share.")
        try:
            project_id = uuid.UUID(form.get("project", ""))
        except ValueError:
            raise StoreError("Choose the project of the attention tasks.") from None
        fraction = _number(form, "share", "The share of attention tasks", 0, 100) if share else None
        return cls(project_id, None if fraction is None else fraction / 100, lines)


@dataclass(frozen=True)
class TasksOfFile:
    """What the form of tasks from a file asks for, and the lines read."""

    project_id: uuid.UUID
    questions: list[Question]
    sha256: str
    licence: str
    consent: str
    split: str
    sensitive: bool

    @classmethod
    def of_form(cls, form: Mapping[str, str], lines: bytes) -> "TasksOfFile":
        """Checked field by field.

        Raises:
            StoreError: a field is missing or a line is none; it says which, and what it may be.
        """
        if not lines:
            raise StoreError("Choose a file, with a prompt on each line.")
        try:
            project_id = uuid.UUID(form.get("project", ""))
        except ValueError:
            raise StoreError("Choose the project that the tasks are for.") from None
        for name in ("licence", "consent"):
            if not form.get(name, "").strip():
                raise StoreError(
                    f"Say under what {name} these texts are used; it is kept beside every row."
                )
        if form.get("split", "train") not in ("train", "valid", "test"):
            raise StoreError("The split is train, valid or test.")
        return cls(
            project_id,
            read_asked(lines),
            hashlib.sha256(lines).hexdigest(),
            form["licence"].strip(),
            form["consent"].strip(),
            form.get("split", "train"),
            bool(form.get("sensitive")),
        )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """How many lines have how many responses."""
        return sorted(Counter(len(question.responses) for question in self.questions).items())


@dataclass(frozen=True)
class GoldTask:
    """A task that a researcher has answered."""

    task_id: uuid.UUID
    prompt: str
    researchers: int
    labelers: int
    is_gold: bool


def make_project(session: Session, wanted: NewProject, *, now: datetime) -> int:
    """Create it, or add tasks to the one of this name; says how many tasks are new.

    A demonstration project asks about the split's prompts. Others need responses: they take those
    of another project to prompts of the split. Only users who consent to the purpose are asked
    about. Of a screening and a practice all tasks are in the pool, so that everybody gets them.
    Where prompts are written, there are that many tasks more, or one for each purpose that the
    form names.

    Raises:
        StoreError: nothing is left to ask about, or there is another project of this name.
    """
    options = wanted.options
    if options.purpose == "screening":
        options = replace(options, calibration_fraction=1.0)
    if options.guideline is not None:
        _require_guideline(session, options.guideline)
    sensitive: bool | set[uuid.UUID] = wanted.sensitive
    project = create_project(session, wanted.name, wanted.task_type, options, now=now)
    named = {name: getattr(options, name) for name in FIELDS}
    found = session.get_one(Project, project)
    require_same(found, named, "say the same again, or take another name.")
    if wanted.task_type in PROMPT_TYPES:
        return add_writing(
            session,
            project,
            num=wanted.num_tasks,
            descriptions=wanted.descriptions,
            sensitive=wanted.sensitive,
        )["added"]
    evaluates = options.purpose == "eval" or wanted.task_type in EVALUATIONS
    scope = "evaluate" if evaluates else "train"
    if wanted.task_type == "demonstration":
        asked = prompts_without_task(
            session,
            project,
            split=wanted.split,
            limit=wanted.num_tasks,
            seed=options.seed,
            scope=scope,
        )
        tasks: dict[uuid.UUID, Sequence[Candidate]] = {prompt.id: [] for prompt in asked}
    else:
        if not wanted.source:
            raise StoreError(
                "Say where responses come from: another project, or a file that you add next. New "
                "ones are sampled on the command line, with `preceptor label add`."
            )
        if wanted.source == FROM_FILE:
            return 0
        source = project_named(session, wanted.source)
        wished = may_be_asked(project, wanted.split, scope)
        tasks, disturbing = _tasks_of(session, source, wished, wanted.num_tasks, options.seed)
        sensitive = wanted.sensitive or disturbing
    if not tasks:
        raise StoreError(
            f"Nothing is left to ask about in {wanted.split}: the prompts have their task already, "
            "were left out, or their users do not consent to it."
        )
    pool = len(tasks)
    if options.purpose != "screening":
        pool = round(len(tasks) * options.calibration_fraction)
    counts = add_tasks(session, project, tasks, num_calibration=pool, sensitive=sensitive)
    return counts["added"]


def read_askable(session: Session) -> list[tuple[uuid.UUID, str]]:
    """Projects that tasks of a file can go into, by name."""
    return [
        (id, name)
        for id, name in session.execute(
            select(Project.id, Project.name)
            .where(Project.task_type.not_in(PROMPT_TYPES), Project.state != "closed")
            .order_by(Project.name)
        )
    ]


def read_sources(session: Session) -> list[str]:
    """Projects whose responses can be judged once more."""
    return list(
        session.scalars(
            select(Project.name).where(Project.task_type.in_(COMPARISONS)).order_by(Project.name)
        )
    )


def read_attention_shares(session: Session) -> list[AttentionShare]:
    """Of every project whose tasks compare responses, by name."""
    projects = session.scalars(
        select(Project).where(Project.task_type.in_(COMPARISONS)).order_by(Project.name)
    ).all()
    nums: dict[uuid.UUID, int] = dict(
        session.execute(
            select(Task.project_id, func.count())
            .where(Task.project_id.in_([p.id for p in projects]), Task.kind == "attention")
            .group_by(Task.project_id)
        ).all()
    )
    return [AttentionShare(p.id, p.name, nums.get(p.id, 0), p.attention_fraction) for p in projects]


def read_guideline_names(session: Session) -> list[str]:
    return list(
        session.scalars(
            select(Guideline.name)
            .where(Guideline.imported.is_(False))
            .distinct()
            .order_by(Guideline.name)
        )
    )


def read_gold_tasks(session: Session, project_id: uuid.UUID, *, page: int = 1) -> list[GoldTask]:
    """Tasks that a researcher has answered, those without a gold answer first."""
    is_gold = exists().where(GoldAnswer.task_id == Judgement.task_id)
    by_researcher = func.count().filter(Account.labeler_group == "researcher")
    rows = session.execute(
        select(Judgement.task_id, by_researcher, func.count(), is_gold)
        .join(Account, Account.id == Judgement.account_id)
        .where(Judgement.project_id == project_id, Judgement.task_kind != "attention")
        .group_by(Judgement.task_id)
        .having(by_researcher > 0)
        .order_by(is_gold, Judgement.task_id)
        .limit(GOLD_PAGE)
        .offset(GOLD_PAGE * (page - 1))
    ).all()
    prompts = {
        id: text_of(content)
        for id, content in session.execute(
            select(Task.id, Prompt.content).join(Prompt).where(Task.id.in_([r[0] for r in rows]))
        )
    }
    return [
        GoldTask(id, prompts[id], researchers, total - researchers, bool(gold))
        for id, researchers, total, gold in rows
    ]


def _tasks_of(
    session: Session, source: Project, wished: ColumnElement[bool], limit: int, seed: int
) -> tuple[dict[uuid.UUID, Sequence[Candidate]], set[uuid.UUID]]:
    """Responses of another project's tasks by prompt, of prompts that are `wished`.

    And the prompts among them whose task there may disturb.
    """
    rows = session.execute(
        select(Task.id, Task.prompt_id, Task.sensitive)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.project_id == source.id, wished)
    ).all()
    chosen = sorted(rows, key=lambda row: seeded(seed, row.prompt_id))[:limit]
    prompt_of = {row.id: row.prompt_id for row in chosen}
    found: dict[uuid.UUID, list[Candidate]] = {prompt: [] for prompt in prompt_of.values()}
    for chunk in chunks(list(prompt_of)):
        for task, response in session.execute(
            select(TaskResponse.task_id, Response)
            .join(Response, Response.id == TaskResponse.response_id)
            .where(TaskResponse.task_id.in_(chunk))
            .order_by(TaskResponse.task_id, TaskResponse.slot)
        ):
            found[prompt_of[task]].append(
                Candidate(
                    response.text,
                    policy_id=response.policy_id,
                    author_id=response.author_id,
                    finished=response.finished,
                    sampling=response.sampling,
                )
            )
    return dict(found), {row.prompt_id for row in chosen if row.sensitive}


def _require_guideline(session: Session, name: str) -> None:
    if name not in read_guideline_names(session):
        raise StoreError(f"{name}: no such guideline. Publish it first.")


def _number(form: Mapping[str, str], field: str, what: str, low: int, high: int) -> int:
    words = form.get(field, "").strip()
    if not words.isdecimal() or not words.isascii() or not low <= int(words) <= high:
        raise StoreError(f"{what}: a whole number from {low:,} to {high:,}.")
    return int(words)
