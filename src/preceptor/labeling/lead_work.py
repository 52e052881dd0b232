"""What a lead does about the work: projects, leases, tasks to ask about again, gold answers."""

import uuid
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.labeling.lead_pages import Chosen, Lead, PageNumber, choose, note
from preceptor.labeling.pages import render
from preceptor.labeling.progress import read_progress
from preceptor.labeling.projects import (
    FROM_FILE,
    PURPOSES,
    MoreAttention,
    NewProject,
    TasksOfFile,
    make_project,
    read_askable,
    read_attention_shares,
    read_gold_tasks,
    read_guideline_names,
    read_sources,
)
from preceptor.labeling.security import AStore, Files, Form, Now, Visitor, roles
from preceptor.labeling.uploads import UPLOADED, uploaded
from preceptor.store.asking import ask
from preceptor.store.attention import add_attention, read_answers, set_attention_fraction
from preceptor.store.database import Store
from preceptor.store.forms import COMPARISONS, TASK_TYPES
from preceptor.store.ingest import FileRead
from preceptor.store.projects import set_project_state
from preceptor.store.questions import PAPER_FILE, questions_of
from preceptor.store.queue import ask_once_more, release
from preceptor.store.rows import Provenance
from preceptor.store.screening import drop_gold, set_gold
from preceptor.store.tables import Project

router = APIRouter(prefix="/lead")

WITH_ANSWERS = ("demonstration", *COMPARISONS)
"""Types of tasks that a researcher's label can be the gold answer of."""

LeadWithFile = Annotated[Visitor, Depends(roles("researcher", "admin", max_files=1))]


@router.post("/leases/{assignment_id}/free")
def free_lease(visitor: Lead, store: AStore, assignment_id: uuid.UUID) -> RedirectResponse:
    store.run(lambda session: release(session, assignment_id, None))
    return RedirectResponse("/lead/queue?said=freed", 303)


@router.post("/tasks/{task_id}/again")
def ask_again(visitor: Lead, store: AStore, task_id: uuid.UUID) -> RedirectResponse:
    store.run(lambda session: ask_once_more(session, task_id))
    return RedirectResponse(f"/lead/tasks/{task_id}?said=again", 303)


@router.post("/tasks/{task_id}/gold")
def make_gold(
    visitor: Lead, store: AStore, form: Form, now: Now, task_id: uuid.UUID
) -> RedirectResponse:
    chosen = form.get("assignment", "")
    if not chosen:
        store.run(lambda session: drop_gold(session, task_id))
        return RedirectResponse(f"/lead/tasks/{task_id}?said=dropped", 303)
    assignment, explanation = _uuid(chosen), form.get("explanation", "")
    store.run(
        lambda session: set_gold(
            session, assignment, visitor.member.id, explanation=explanation, now=now
        )
    )
    return RedirectResponse(f"/lead/tasks/{task_id}?said=gold", 303)


@router.get("/gold")
def gold(
    request: Request,
    visitor: Lead,
    store: AStore,
    now: Now,
    chosen: Chosen = None,
    page: PageNumber = 1,
) -> HTMLResponse:
    with store.read() as session:
        projects, project = choose(session, chosen, WITH_ANSWERS)
        rows = read_gold_tasks(session, project.id, page=page) if project else []
    if rows and project is not None:
        note(store, visitor, "prompts of gold tasks", project.id, now)
    return render(
        request, "lead/gold.html", projects=projects, project=project, rows=rows, page=page
    )


@router.get("/projects")
def projects(request: Request, visitor: Lead, store: AStore, said: str = "") -> HTMLResponse:
    return _projects_page(request, store, said=said)


@router.post("/projects", response_model=None)
def create(
    request: Request, visitor: Lead, store: AStore, form: Form, now: Now
) -> HTMLResponse | RedirectResponse:
    try:
        wanted = NewProject.of_form(form)
        num = store.run(lambda session: make_project(session, wanted, now=now))
    except StoreError as error:
        return _projects_page(request, store, status=400, message=str(error), form=form)
    return RedirectResponse(f"/lead/projects?said={num}", 303)


@router.get("/form")
def form(visitor: Lead, store: AStore, chosen: Chosen = None) -> PlainTextResponse:
    """What a project's pages ask, as YAML; without a project the paper's form."""
    if chosen is None:
        return PlainTextResponse(PAPER_FILE.read_text(encoding="utf-8"))
    with store.read() as session:
        project = session.get(Project, chosen)
        if project is None:
            raise HTTPException(404)
        return PlainTextResponse(questions_of(project).as_yaml())


@router.post("/projects/{project_id}/state")
def change_state(
    visitor: Lead, store: AStore, form: Form, project_id: uuid.UUID
) -> RedirectResponse:
    store.run(lambda session: set_project_state(session, project_id, form.get("state", "")))
    return RedirectResponse("/lead/projects?said=state", 303)


@router.post("/attention", response_model=None)
def add_attention_tasks(
    request: Request, visitor: LeadWithFile, store: AStore, form: Form, files: Files, now: Now
) -> HTMLResponse | RedirectResponse:
    try:
        wanted = MoreAttention.of_form(form, files.get("file", b""))
        if wanted.lines:
            with uploaded(wanted.lines) as path:
                read = read_answers(path, now=now)
                counts = store.run(lambda session: _put_attention(session, store, wanted, read))
        else:
            counts = store.run(lambda session: _put_attention(session, store, wanted, None))
    except StoreError as error:
        return _projects_page(request, store, status=400, message=str(error), attention=form)
    said = str(counts["added"]) if wanted.lines else "state"
    return RedirectResponse(f"/lead/projects?said={said}", 303)


@router.post("/tasks", response_model=None)
def add_tasks_of_a_file(
    request: Request, visitor: LeadWithFile, store: AStore, form: Form, files: Files, now: Now
) -> HTMLResponse | RedirectResponse:
    """Look at the file's lines, or make tasks of them."""
    try:
        wanted = TasksOfFile.of_form(form, files.get("file", b""))
        if form.get("action") == "look":
            return _projects_page(request, store, tasks=form, looked=wanted)
        provenance = Provenance(UPLOADED, wanted.licence, wanted.consent, now)
        counts = store.run(
            lambda session: ask(
                session,
                store.site_key,
                wanted.project_id,
                wanted.questions,
                provenance,
                sha256=wanted.sha256,
                split=wanted.split,
                sensitive=wanted.sensitive,
            )
        )
    except StoreError as error:
        return _projects_page(request, store, status=400, message=str(error), tasks=form)
    return RedirectResponse(f"/lead/projects?said={counts['added']}", 303)


def _put_attention(
    session: Session, store: Store, wanted: MoreAttention, read: FileRead | None
) -> Counter[str]:
    if session.get(Project, wanted.project_id) is None:
        raise StoreError("There is no such project. Reload the page.")
    if wanted.fraction is not None:
        set_attention_fraction(session, wanted.project_id, wanted.fraction)
    if read is None:
        return Counter()
    return add_attention(session, store.site_key, wanted.project_id, read)


def _projects_page(
    request: Request,
    store: AStore,
    *,
    status: int = 200,
    said: str = "",
    message: str = "",
    form: dict[str, str] | None = None,
    attention: dict[str, str] | None = None,
    tasks: dict[str, str] | None = None,
    looked: TasksOfFile | None = None,
) -> HTMLResponse:
    """The page; `form`, `attention` and `tasks` are what was typed into one of its forms."""
    with store.read() as session:
        progress, shares = read_progress(session), read_attention_shares(session)
        sources, guidelines = read_sources(session), read_guideline_names(session)
        askable = read_askable(session)
    return render(
        request,
        "lead/projects.html",
        status=status,
        progress=progress,
        sources=sources,
        guidelines=guidelines,
        task_types=TASK_TYPES,
        purposes=PURPOSES,
        said=said,
        message=message,
        form=form or {},
        shares=shares,
        attention=attention or {},
        askable=askable,
        tasks=tasks or {},
        looked=looked,
        from_file=FROM_FILE,
    )


def _uuid(words: str) -> uuid.UUID:
    try:
        return uuid.UUID(words)
    except ValueError:
        raise StoreError("That is no answer of this task. Reload the page.") from None
