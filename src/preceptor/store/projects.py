"""Projects and their tasks: what is asked of labelers, of how many of them, and of which."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, insert, select
from sqlalchemy.orm import Session, aliased

from preceptor.data.records import Messages
from preceptor.errors import StoreError
from preceptor.store.consent import covered, willing_users
from preceptor.store.forms import COMPARISONS, PROMPT_TYPES, TASK_TYPES, require_storable
from preceptor.store.names import identify, seeded
from preceptor.store.questions import OWN_QUESTIONS, PAPER, Questions, questions_of
from preceptor.store.tables import (
    Base,
    Ingest,
    LeftOut,
    Policy,
    Project,
    Prompt,
    Response,
    Task,
    TaskResponse,
)

SLOTS = "ABCDEFGHI"
CHUNK = 500
"""Ids asked for at once; SQLite takes a limited number of parameters."""


EQUAL = "all responses equal"
NOT_TEXT = "a response with a character that no text has"
ERASED = "erased"


IN_WORDS = {
    "overlap": "labels of each task",
    "overlap_more": "labels of a share of tasks",
    "overlap_fraction": "a share of tasks with more labels of",
    "calibration_fraction": "a share of pool tasks of",
    "attention_fraction": "a share of attention tasks of",
    "lease_seconds": "a lease of seconds",
    "undo_seconds": "seconds to undo",
    "groups": "groups",
    "form": "a form of fingerprint",
}


@dataclass(frozen=True)
class ProjectOptions:
    """What a project is made with; the calibration pool is that of Stiennon et al.

    `overlap` labels are wanted of each task, but `overlap_more` of a share, `overlap_fraction`.
    """

    purpose: str = "train"
    overlap: int = 1
    overlap_more: int | None = None
    overlap_fraction: float = 0.0
    calibration_fraction: float = 0.15
    attention_fraction: float = 0.02
    lease_seconds: int = 3600
    undo_seconds: int = 60
    groups: tuple[str, ...] = ("training", "researcher")
    guideline: str | None = None
    form: Questions = PAPER
    seed: int = 0


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt of the store that responses are wanted to."""

    id: uuid.UUID
    prompt: str | Messages


@dataclass(frozen=True)
class Candidate:
    """A response that labelers will judge, and where it came from, which they never learn."""

    text: str
    policy_id: uuid.UUID | None = None
    author_id: uuid.UUID | None = None
    finished: bool | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)


def create_project(
    session: Session, name: str, task_type: str, options: ProjectOptions, *, now: datetime
) -> uuid.UUID:
    """A new project, or the one of this name if it asks for the same thing."""
    if task_type not in TASK_TYPES:
        raise StoreError(f"task type {task_type}: no such type. There are {', '.join(TASK_TYPES)}.")
    if task_type in PROMPT_TYPES and options.purpose != "train":
        raise StoreError(f"{name}: prompts are written for training; make the purpose train.")
    if task_type == "toxicity" and options.purpose == "train":
        raise StoreError(f"{name}: labels of toxicity are an evaluation; make the purpose eval.")
    if task_type not in OWN_QUESTIONS and options.form != PAPER:
        raise StoreError(
            f"{name}: the pages of {task_type} have questions of their own; a form is for "
            f"{', '.join(OWN_QUESTIONS)}."
        )
    if options.purpose == "practice" and "heldout" in options.groups:
        raise StoreError(
            f"{name}: held-out labelers judge as they come, and a practice shows them the "
            "researchers' answers. Leave the group out."
        )
    if options.purpose == "train" and "heldout" in options.groups:
        raise StoreError(
            f"{name}: held-out labelers make no training data. Leave the group out, or make the "
            "purpose eval."
        )
    found = session.scalar(select(Project).where(Project.name == name))
    if found is not None:
        if (found.task_type, found.purpose) != (task_type, options.purpose):
            raise StoreError(
                f"{name}: there is a {found.task_type} project of this name for {found.purpose}. "
                "Take another name."
            )
        return found.id
    shares = (options.calibration_fraction, options.attention_fraction)
    if options.overlap < 1 or not all(0 <= share <= 1 for share in shares):
        raise StoreError(
            f"{name}: overlap is 1 or more, the calibration and attention fractions from 0 to 1."
        )
    _require_share_of_more(name, options)
    project = Project(
        id=identify("project", name),
        name=name,
        task_type=task_type,
        purpose=options.purpose,
        overlap=options.overlap,
        overlap_more=options.overlap_more,
        overlap_fraction=options.overlap_fraction,
        calibration_fraction=options.calibration_fraction,
        attention_fraction=options.attention_fraction,
        lease_seconds=options.lease_seconds,
        undo_seconds=options.undo_seconds,
        groups=list(options.groups),
        guideline=options.guideline,
        form=None if options.form == PAPER else options.form.as_json(),
        seed=options.seed,
        state="open",
        created_at=now,
    )
    session.add(project)
    session.flush()
    return project.id


def _require_share_of_more(name: str, options: ProjectOptions) -> None:
    """Of more labels both must be said: how many, and of which share."""
    more, fraction = options.overlap_more, options.overlap_fraction
    if not 0 <= fraction <= 1:
        raise StoreError(f"{name}: the share of tasks with more labels is 0 to 1, not {fraction}.")
    if (more is None) != (fraction == 0):
        raise StoreError(
            f"{name}: more labels of a share of tasks need both, how many labels and which share."
        )
    if more is not None and more <= options.overlap:
        raise StoreError(
            f"{name}: {more} labels of a share of tasks are not more than the {options.overlap} of "
            "each."
        )


def require_same(project: Project, wanted: Mapping[str, Any], way_out: str) -> None:
    """Refuse what is asked of a project that is there and was made with something else.

    `wanted` has the options that were named, by their columns.

    Raises:
        StoreError: one of them differs; it says which, and the way out.
    """
    differing = []
    for name, value in wanted.items():
        there = getattr(project, name)
        if isinstance(value, Questions):
            there, value = questions_of(project).digest, value.digest
        if isinstance(value, list | tuple):
            there, value = ", ".join(sorted(there)), ", ".join(sorted(value))
        if there != value:
            there, value = ("none" if one is None else one for one in (there, value))
            differing.append(f"{IN_WORDS.get(name, name)} {there}, not {value}")
    if differing:
        raise StoreError(
            f"{project.name}: there is such a project, made with {'; '.join(differing)}. It keeps "
            f"what it was made with: {way_out}"
        )


def project_named(session: Session, name: str) -> Project:
    project = session.scalar(select(Project).where(Project.name == name))
    if project is None:
        names = session.scalars(select(Project.name).order_by(Project.name)).all()
        hint = f"There are {', '.join(names)}." if names else "`preceptor label add` makes one."
        raise StoreError(f"{name}: no such project. {hint}")
    return project


def set_guideline(session: Session, project_id: uuid.UUID, name: str) -> None:
    """From the next claim on, labelers of the project read the newest version of this guideline."""
    session.get_one(Project, project_id).guideline = name


def all_projects(session: Session) -> list[Project]:
    """By name."""
    return list(session.scalars(select(Project).order_by(Project.name)))


def set_project_state(session: Session, project_id: uuid.UUID, state: str) -> Project:
    """Paused, it leases nothing new; closed, its labels stay as they are and no one revises them.

    Raises:
        StoreError: there is no such state, or no such project.
    """
    if state not in ("open", "paused", "closed"):
        raise StoreError(f"{state}: a project is open, paused or closed.")
    project = session.get(Project, project_id, with_for_update=True)
    if project is None:
        raise StoreError("There is no such project.")
    project.state = state
    session.flush()
    return project


def prompts_page(
    session: Session,
    *,
    split: str | None,
    status: str,
    after: uuid.UUID | None,
    limit: int,
) -> list[Prompt]:
    """Prompts by id, so many behind one."""
    wanted = select(Prompt).where(Prompt.status == status).order_by(Prompt.id).limit(limit)
    if split is not None:
        wanted = wanted.where(Prompt.split == split)
    if after is not None:
        wanted = wanted.where(Prompt.id > after)
    return list(session.scalars(wanted))


def prompts_without_task(
    session: Session,
    project_id: uuid.UUID | None,
    *,
    split: str,
    limit: int | None,
    seed: int,
    scope: str = "train",
    sources: Sequence[str] = (),
) -> list[AskedPrompt]:
    """The prompts that the project may still ask about (`may_be_asked`), by the seed.

    Of imports of these sources alone, if any is named.

    Raises:
        StoreError: nothing was imported from one of them.
    """
    wanted = [may_be_asked(project_id, split, scope)]
    if sources:
        _require_sources(session, sources)
        wanted.append(Prompt.ingest_id.in_(select(Ingest.id).where(Ingest.source.in_(sources))))
    rows = session.execute(select(Prompt.id).where(*wanted))
    order = sorted(rows.scalars(), key=lambda id: seeded(seed, id))[:limit]
    found = {}
    for chunk in chunks(order):
        for row in session.execute(select(Prompt.id, Prompt.content).where(Prompt.id.in_(chunk))):
            found[row.id] = row.content
    return [AskedPrompt(id, found[id]) for id in order]


def _require_sources(session: Session, sources: Sequence[str]) -> None:
    there = session.scalars(select(Ingest.source).distinct().order_by(Ingest.source)).all()
    for source in sources:
        if source not in there:
            names = [name for name in there if name]
            hint = f"There are {', '.join(names)}." if names else "No file was imported under one."
            raise StoreError(f"{source}: no such source. {hint}")


def may_be_asked(project_id: uuid.UUID | None, split: str, scope: str) -> ColumnElement[bool]:
    """Active prompts of a split that the project neither asks about yet nor left out.

    Only of users who consent to what the labels are for, `scope`: train or evaluate. None that was
    made up for an attention task.
    """
    # Not `NOT IN`, for which a server compares each prompt with each task.
    own = aliased(Task)  # the query may be of other tasks
    asked = exists().where(own.project_id == project_id, own.prompt_id == Prompt.id)
    left_out = exists().where(LeftOut.project_id == project_id, LeftOut.prompt_id == Prompt.id)
    return and_(
        Prompt.status == "active",
        Prompt.split == split,
        ~is_made_up(),
        ~asked,
        ~left_out,
        Prompt.user_id.in_(willing_users(scope)),
        covered(scope),
    )


def is_made_up() -> ColumnElement[bool]:
    """Of a prompt, that it was made up for an attention task."""
    task = aliased(Task)  # the query may be of other tasks
    return exists().where(task.prompt_id == Prompt.id, task.kind == "attention")


def add_policy(session: Session, name: str, *, run: str, weights_sha256: str) -> uuid.UUID:
    """The row of a model version."""
    id = identify("policy", name, run, weights_sha256)
    values = {"id": id, "name": name, "run": run, "weights_sha256": weights_sha256}
    insert_missing(session, Policy, {id: values})
    return id


def add_tasks(
    session: Session,
    project_id: uuid.UUID,
    prompts: Mapping[uuid.UUID, Sequence[Candidate]],
    *,
    num_calibration: int = 0,
    sensitive: bool | Collection[uuid.UUID] = False,
    first_priority: int | None = None,
) -> dict[str, int]:
    """A task for each prompt; says how many were added, and what was left out why.

    Sensitive tasks go only to labelers who accept such, and are blurred until asked for: all of
    them, or those of the prompts that `sensitive` names, and those of toxicity always.

    The first `num_calibration` by the project's seed go to the pool that every labeler gets. Slots
    are shuffled, so that a slot says nothing of the model. Adding the same again adds nothing.

    With `first_priority` they are asked about in this order, each a step below the one before;
    without it in the order of the project's seed.
    """
    project = session.get_one(Project, project_id)
    if project.task_type in PROMPT_TYPES:
        raise StoreError(f"{project.name}: prompts are written there, none is asked about.")
    erased = _erased_prompts(session, list(prompts))
    prompts = {id: candidates for id, candidates in prompts.items() if id not in erased}
    counts = {"added": 0, "there already": 0, EQUAL: 0, NOT_TEXT: 0, ERASED: len(erased)}
    left_out: dict[uuid.UUID, str] = {}
    responses: dict[uuid.UUID, dict[str, Any]] = {}
    tasks: dict[uuid.UUID, dict[str, Any]] = {}
    places: list[dict[str, Any]] = []
    for place, (prompt_id, candidates) in enumerate(prompts.items()):
        ranked = project.task_type in COMPARISONS
        if project.task_type == "evaluation_ab" and len(candidates) != 2:
            raise StoreError(
                f"{len(candidates)} responses to one prompt; an evaluation_ab compares two."
            )
        if ranked and not 2 <= len(candidates) <= len(SLOTS):
            raise StoreError(
                f"{len(candidates)} responses to one prompt; labelers compare 2 to {len(SLOTS)}."
            )
        if not all(is_storable(c.text) for c in candidates):
            left_out[prompt_id] = NOT_TEXT  # a model may draw any character
            continue
        if ranked and len({c.text.strip() for c in candidates}) == 1:
            left_out[prompt_id] = EQUAL
            continue
        rows = response_rows(prompt_id, candidates)
        shuffled = sorted(
            enumerate(rows), key=lambda row: seeded(project.seed, row[1]["id"], row[0])
        )
        slots = [row["id"] for _, row in shuffled]
        task = task_row(project, prompt_id, slots)
        may_disturb = sensitive if isinstance(sensitive, bool) else prompt_id in sensitive
        task["sensitive"] = task["sensitive"] or may_disturb
        task["priority"] = 0 if first_priority is None else first_priority - place
        responses |= {row["id"]: row for row in rows}
        tasks[task["id"]] = task
        places += [
            {"task_id": task["id"], "slot": SLOTS[i], "response_id": id}
            for i, id in enumerate(slots)
        ]
    pool = sorted(tasks, key=lambda id: seeded(project.seed, "calibration", id))
    for id in pool[:num_calibration]:
        tasks[id] |= {"kind": "calibration", "target": None}
    insert_missing(session, Response, responses)
    new = insert_missing(session, Task, tasks)
    if kept := [place for place in places if place["task_id"] in new]:
        session.execute(insert(TaskResponse), kept)
    counts["added"], counts["there already"] = len(new), len(tasks) - len(new)
    leave_out(session, project_id, left_out)
    return counts | Counter(left_out.values())


def _erased_prompts(session: Session, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Prompts whose user was erased since they were chosen; none of the others is before the end.

    Their responses took a while to sample, and must not come in behind an erasure.
    """
    found: set[uuid.UUID] = set()
    for chunk in chunks(ids):
        held = select(Prompt.id, Prompt.status).where(Prompt.id.in_(chunk)).order_by(Prompt.id)
        rows = session.execute(held.with_for_update(read=True)).all()
        found |= {row.id for row in rows if row.status == "erased"}
    return found


def leave_out(session: Session, project_id: uuid.UUID, reasons: Mapping[uuid.UUID, str]) -> None:
    """Note the prompts that the project does not ask about, with the reason of each."""
    for prompt_id, reason in reasons.items():
        session.merge(LeftOut(project_id=project_id, prompt_id=prompt_id, reason=reason))
    session.flush()


def is_storable(text: str) -> bool:
    try:
        require_storable(text, "It")
    except StoreError:
        return False
    return True


def task_row(
    project: Project, prompt_id: uuid.UUID | None, response_ids: Sequence[uuid.UUID], *more: Any
) -> dict[str, Any]:
    """A task with one place for each label wanted; `more` tells tasks without a prompt apart."""
    id = identify("task", project.id, prompt_id, list(response_ids), *more)
    for_all = project.purpose == "practice"
    return {
        "id": id,
        "project_id": project.id,
        "prompt_id": prompt_id,
        "kind": "calibration" if for_all else "normal",
        "target": None if for_all else labels_wanted(project, id),
        "taken": 0,
        "state": "open",
        "priority": 0,
        "draw": seeded(project.seed, "draw", id),
        # Whoever opens such a project knows what is in it; a labeler is to be asked before.
        "sensitive": project.task_type == "toxicity",
    }


def labels_wanted(project: Project, task_id: uuid.UUID) -> int:
    """How many labels a task wants: `overlap`, or `overlap_more` of a share of them.

    Drawn from the project's seed and the task's id alone, so that it is the same whenever, and
    beside whichever others, the task is added.
    """
    if project.overlap_more is None:
        return project.overlap
    chance = seeded(project.seed, "overlap", task_id) / 2**63
    return project.overlap_more if chance < project.overlap_fraction else project.overlap


def response_rows(prompt_id: uuid.UUID, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    return [
        {
            "id": identify(
                "response", prompt_id, c.policy_id, c.author_id, c.text, c.finished, c.sampling
            ),
            "prompt_id": prompt_id,
            "policy_id": c.policy_id,
            "author_id": c.author_id,
            "text": c.text,
            "finished": c.finished,
            "sampling": dict(c.sampling),
        }
        for c in candidates
    ]


def insert_missing(
    session: Session, table: type[Base], rows: Mapping[uuid.UUID, Mapping[str, Any]]
) -> set[uuid.UUID]:
    """Insert the rows whose id is not there yet; returns their ids."""
    there: set[uuid.UUID] = set()
    column = table.__table__.c["id"]
    for chunk in chunks(list(rows)):
        there |= set(session.scalars(select(column).where(column.in_(chunk))))
    new = [dict(row) for id, row in rows.items() if id not in there]
    if new:
        session.execute(insert(table), new)
    return rows.keys() - there


def chunks(ids: Sequence[uuid.UUID]) -> list[Sequence[uuid.UUID]]:
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
