"""The REST interface for those who lead: projects, tasks, progress, agreement."""

import hashlib
import uuid
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from preceptor.data.hygiene import look_at, without_personal
from preceptor.data.records import Demonstration, Prompt, Ranking
from preceptor.errors import StoreError
from preceptor.labeling.agreement import NEWEST, agreement_of, people_of
from preceptor.labeling.api_shapes import (
    Agreement,
    Counts,
    EstimateView,
    Gold,
    Labelers,
    LabelerView,
    LabelsOfPrompt,
    ProjectBody,
    ProjectChange,
    ProjectView,
    ProjectViews,
    PromptLabels,
    Prompts,
    PromptView,
    Split,
    Text,
    WritingBody,
)
from preceptor.labeling.judgements import read_judgements
from preceptor.labeling.labelers import Record, read_records
from preceptor.labeling.security import AStore, Now, Visitor, api_roles
from preceptor.labeling.uploads import UPLOADED, uploaded
from preceptor.statistics import Estimate
from preceptor.store import attention, ingest, projects, prompt_labels, screening, writing
from preceptor.store.asking import ask, read_asked
from preceptor.store.forms import LONGEST
from preceptor.store.questions import PAPER, own_forms, questions_of
from preceptor.store.rows import SCOPES, Provenance
from preceptor.store.status import ProjectStatus, project_status
from preceptor.store.tables import Assignment, Project
from preceptor.store.tables import Prompt as PromptRow

router = APIRouter(tags=["researcher"])

Lead = Annotated[Visitor, Depends(api_roles("researcher", "admin", scope="research"))]
KINDS: dict[str, Any] = {
    "prompts": Prompt,
    "demonstrations": Demonstration,
    "rankings": Ranking,
}
"""What the errors call the lines that were sent."""


@router.get("/lead/projects")
def all_projects(visitor: Lead, store: AStore) -> ProjectViews:
    """Every project, by name."""
    with store.read() as session:
        found = projects.all_projects(session)
        return ProjectViews(items=[_project(project) for project in found])


@router.post("/projects")
def create(body: ProjectBody, visitor: Lead, store: AStore, now: Now) -> ProjectView:
    """Make a project, or find the one of this name that asks for the same."""
    options = body.model_dump(exclude={"name", "task_type", "form"})
    options |= {"groups": tuple(body.groups), "form": body.form or PAPER}
    named = {name: options[name] for name in body.model_fields_set & options.keys()}

    def make(session: Session) -> ProjectView:
        wanted = projects.ProjectOptions(**options)
        id = projects.create_project(session, body.name, body.task_type, wanted, now=now)
        found = session.get_one(Project, id)
        projects.require_same(found, named, "leave that out, or take another name.")
        return _project(found)

    return store.run(make)


@router.patch("/projects/{project_id}")
def change(project_id: uuid.UUID, body: ProjectChange, visitor: Lead, store: AStore) -> ProjectView:
    """Open, pause or close a project. The labels of a closed one stay as they are."""

    def set_state(session: Session) -> ProjectView:
        return _project(projects.set_project_state(session, project_id, body.state))

    return store.run(set_state)


@router.post(
    "/projects/{project_id}/tasks",
    openapi_extra={"requestBody": {"content": {"application/jsonl": {"schema": {}}}}},
    # Lines, not one JSON value: they are read here.
)
async def add_tasks(
    project_id: uuid.UUID,
    request: Request,
    visitor: Lead,
    store: AStore,
    now: Now,
    licence: Annotated[Text, Query(min_length=1, max_length=500)],
    consent: Annotated[Text, Query(min_length=1, max_length=2000)],
    source: Annotated[Text, Query(max_length=200)] = "",
    split: Split | None = None,
    in_order: bool = False,
    sensitive: bool = False,
    keep_personal: bool = False,
) -> Counts:
    """Prompts with responses, a line each, become tasks; the same lines again add nothing.

    {"prompt": "...", "user": "...", "responses": ["...", "..."], "sources": ["sft", "ppo"]}

    With `sensitive` they may disturb: only labelers who accept such get them.
    """
    body = await request.body()
    questions = read_asked(body)
    provenance = Provenance(UPLOADED, licence, consent, now, source=source, scopes=SCOPES)

    def put(session: Session) -> dict[str, int]:
        return ask(
            session,
            store.site_key,
            project_id,
            questions,
            provenance,
            sha256=hashlib.sha256(body).hexdigest(),
            split=split,
            in_order=in_order,
            sensitive=sensitive,
            keep_personal=keep_personal,
        )

    return Counts(counts=await run_in_threadpool(store.run, put))


@router.post(
    "/projects/{project_id}/attention",
    openapi_extra={"requestBody": {"content": {"application/jsonl": {"schema": {}}}}},
)
async def add_attention_tasks(
    project_id: uuid.UUID,
    request: Request,
    visitor: Lead,
    store: AStore,
    now: Now,
    fraction: Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)] = None,
) -> Counts:
    """Rankings, a line each, become attention tasks: their ranks are the right answer.

    {"prompt": "...", "responses": ["...", "..."], "ranks": [1, 2]}

    `fraction` of each labeler's tasks are of them from now on, while any is left.
    """
    body = await request.body()

    def put(session: Session, file: ingest.FileRead) -> dict[str, int]:
        _existing(session, project_id)
        if fraction is not None:
            attention.set_attention_fraction(session, project_id, fraction)
        return attention.add_attention(session, store.site_key, project_id, file)

    def bring() -> dict[str, int]:
        with uploaded(body) as path:
            file = attention.read_answers(path, now=now)
            return store.run(lambda session: put(session, file))

    return Counts(counts=await run_in_threadpool(bring))


@router.post("/projects/{project_id}/writing")
def add_writing(project_id: uuid.UUID, body: WritingBody, visitor: Lead, store: AStore) -> Counts:
    """Tasks in which labelers write prompts; the same description again adds nothing."""

    def put(session: Session) -> dict[str, int]:
        return writing.add_writing(
            session,
            project_id,
            num=body.num_tasks,
            descriptions=body.descriptions,
            sensitive=body.sensitive,
        )

    return Counts(counts=store.run(put))


@router.get("/projects/{project_id}/progress")
def progress(project_id: uuid.UUID, visitor: Lead, store: AStore) -> ProjectStatus:
    """How far the work is."""
    with store.read() as session:
        project = _existing(session, project_id)
        [found] = [s for s in project_status(session) if s.name == project.name]
    return found


@router.get("/projects/{project_id}/agreement")
def agreement(project_id: uuid.UUID, visitor: Lead, store: AStore) -> Agreement:
    """How far labelers of the same tasks agree."""
    with store.read() as session:
        _existing(session, project_id)
        labels = read_judgements(session, project_id, with_flags=True, newest=NEWEST)
        found = agreement_of(labels, people_of(session, labels.accounts))
    return Agreement(
        num_labels=found.num_labels,
        num_tasks=found.num_tasks,
        pairwise=_estimate(found.strict),
        pairwise_with_ties=_estimate(found.with_ties),
        likert_alpha=_estimate(found.likert),
        rank_alpha=_estimate(found.ranks),
    )


@router.get("/projects/{project_id}/labelers")
def labelers(project_id: uuid.UUID, visitor: Lead, store: AStore) -> Labelers:
    """Each labeler's record, by pseudonym; nobody is left out for an alert."""
    with store.read() as session:
        _existing(session, project_id)
        records = read_records(session, project_id)
    return Labelers(items=[_labeler(record) for record in records])


@router.put("/tasks/{task_id}/gold", status_code=204)
def gold(task_id: uuid.UUID, body: Gold, visitor: Lead, store: AStore, now: Now) -> None:
    """Make a researcher's label of the task the answer that others are held against."""

    def put(session: Session) -> None:
        assignment = session.get(Assignment, body.assignment_id)
        if assignment is None or assignment.task_id != task_id:
            raise HTTPException(404)
        screening.set_gold(
            session, assignment.id, visitor.member.id, explanation=body.explanation, now=now
        )

    store.run(put)


@router.get("/prompts")
def prompts(
    visitor: Lead,
    store: AStore,
    now: Now,
    split: Split | None = None,
    status: Literal["active", "rejected"] = "active",
    after: uuid.UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Prompts:
    """Prompts by id, `limit` of them behind `after`; who read them is noted."""

    def read(session: Session) -> list[PromptView]:
        rows = projects.prompts_page(session, split=split, status=status, after=after, limit=limit)
        shown = f"{split or 'all'} {status} after {after}"
        screening.note_access(session, visitor.member.id, "prompts", shown, now=now)
        names = PromptView.model_fields.keys() - {"prompt", "labels"}
        labels = prompt_labels.labels_of(session, [row.id for row in rows])
        return [
            PromptView(
                **{name: getattr(row, name) for name in names},
                prompt=row.content,
                labels=labels.get(row.id, {}),
            )
            for row in rows
        ]

    found = store.run(read)
    return Prompts(items=found, next=found[-1].id if len(found) == limit else None)


@router.put("/prompts/{prompt_id}/labels")
def label_prompt(
    prompt_id: uuid.UUID, body: PromptLabels, visitor: Lead, store: AStore, now: Now
) -> LabelsOfPrompt:
    """Say what a prompt is, one label or more; others stay. The use case becomes the prompt's."""

    def put(session: Session) -> dict[str, Any]:
        if session.get(PromptRow, prompt_id) is None:
            raise HTTPException(404)
        by = visitor.member.id
        return prompt_labels.label_prompt(session, prompt_id, body.labels, by, now=now)

    return LabelsOfPrompt(labels=store.run(put))


@router.post(
    "/ingest",
    openapi_extra={"requestBody": {"content": {"application/jsonl": {"schema": {}}}}},
)
async def ingest_lines(
    request: Request,
    visitor: Lead,
    store: AStore,
    now: Now,
    kind: Literal["prompts", "demonstrations", "rankings"],
    licence: Annotated[Text, Query(min_length=1, max_length=500)],
    consent: Annotated[Text, Query(min_length=1, max_length=2000)],
    source: Annotated[Text, Query(max_length=200)] = "",
    project: Annotated[Text | None, Query(min_length=1, max_length=200)] = None,
    skip_broken: bool = False,
    keep_all: bool = False,
    keep_personal: bool = False,
    language: Annotated[list[Text] | None, Query(max_length=20)] = None,
    scope: Annotated[list[Literal["train", "evaluate"]] | None, Query(max_length=2)] = None,
    max_chars: Annotated[int, Query(ge=1, le=100_000_000)] = LONGEST,
) -> Counts:
    """Records, a line each, as `preceptor label import` takes a file: all of them or none.

    `scope` is what the consent covers, both uses where it is not said. A record with a text of over
    `max_chars` characters is broken, too: with `skip_broken` it is counted and left out.
    """
    body = await request.body()
    if kind == "prompts" and project is not None:
        raise StoreError("A project goes with labels; tasks are asked about prompts later.")
    if kind != "prompts" and (keep_all or language):
        raise StoreError("keep_all and language go with prompts; of labels all are kept.")

    hygiene = partial(
        look_at, keep_all=keep_all, keep_personal=keep_personal, languages=language or ()
    )
    of_labels = None if keep_personal else without_personal
    with store.read() as session:
        forms = own_forms(session)

    def bring() -> dict[str, int]:
        with uploaded(body) as path:
            scopes = tuple(scope or SCOPES)
            provenance = Provenance(path, licence, consent, now, source=source, scopes=scopes)
            file = ingest.read_file(
                provenance,
                KINDS[kind],
                skip_broken=skip_broken,
                hygiene=hygiene if kind == "prompts" else of_labels,
                forms=forms,
                keep_all=keep_all,
                max_chars=max_chars,
            )
            if not skip_broken:
                ingest.require_none_too_long(
                    file,
                    "Nothing was imported. Shorten what is too long, leave it out with skip_broken,"
                    " or allow more with max_chars.",
                )
        if kind == "prompts":
            return store.run(lambda s: ingest.import_prompts(s, store.site_key, file))
        return store.run(lambda s: ingest.import_labels(s, store.site_key, file, project=project))

    return Counts(counts=await run_in_threadpool(bring))


def _existing(session: Session, project_id: uuid.UUID) -> Project:
    project = session.get(Project, project_id)
    if project is None:
        raise HTTPException(404)
    return project


def _project(project: Project) -> ProjectView:
    names = ProjectView.model_fields.keys() - {"form"}
    values = {name: getattr(project, name) for name in names}
    return ProjectView(**values, form=questions_of(project))


def _estimate(found: Estimate) -> EstimateView:
    values: dict[str, Any] = asdict(found)
    return EstimateView(**values)


def _labeler(record: Record) -> LabelerView:
    person = record.person
    return LabelerView(
        pseudonym=person.pseudonym,
        group=person.group,
        state=person.state,
        num_labels=record.num_labels,
        num_skips=record.num_skips,
        consensus=_estimate(record.consensus),
        gold=_estimate(record.gold),
        attention=_estimate(record.attention),
        ties=_estimate(record.ties),
        flagged=_estimate(record.flagged),
        median_seconds=record.median_seconds,
        alerts=list(record.alerts),
    )
