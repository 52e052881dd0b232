"""The lead's figures: how the work goes, who agrees with whom, what to talk about.

Labelers stand here by pseudonym; nothing on these pages tells which model wrote a response.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.labeling import charts
from preceptor.labeling.agreement import NEWEST, Agreement, agreement_of, people_of
from preceptor.labeling.charts import Mark
from preceptor.labeling.comments import Choice, read_commenting, read_comments
from preceptor.labeling.disagreements import Disputed, read_discussion, read_disputed
from preceptor.labeling.judgements import read_judgements
from preceptor.labeling.labelers import bias_of, read_records
from preceptor.labeling.mixture import PAPER_SHARES, read_mixture, read_samples
from preceptor.labeling.pages import render
from preceptor.labeling.progress import read_leases, read_progress
from preceptor.labeling.security import AStore, Now, Visitor, roles
from preceptor.store.database import Store
from preceptor.store.forms import COMPARISONS
from preceptor.store.questions import questions_of
from preceptor.store.screening import note_access
from preceptor.store.tables import Judgement, Project

router = APIRouter(prefix="/lead")

Lead = Annotated[Visitor, Depends(roles("researcher", "admin"))]
Found = TypeVar("Found")
Chosen = Annotated[uuid.UUID | None, Query(alias="project")]
PageNumber = Annotated[int, Query(ge=1, le=10_000)]

PAPER = {"training": 0.726, "heldout": 0.773}
"""InstructGPT, section 3.4: how often two of its labelers agreed."""
TO_DISCUSS = 25
SHORT = 12
"""So much of a pseudonym tells people apart: 40 random bits."""


@router.get("")
def overview(request: Request, visitor: Lead, store: AStore) -> HTMLResponse:
    with store.read() as session:
        progress = read_progress(session)
    names = sorted({name for _, by in progress.days for name in by})
    series = [(name, [by.get(name, 0) for _, by in progress.days]) for name in names]
    days = [day[5:] for day, _ in progress.days]
    return render(
        request,
        "lead/overview.html",
        progress=progress,
        names=names,
        chart=charts.columns("Labels a day, by project", days, series),
        bars={
            p.id: charts.share_bar(f"{p.num_counted:,} of {p.num_wanted:,} labels", p.share)
            for p in progress.projects
        },
    )


@router.get("/queue")
def queue(request: Request, visitor: Lead, store: AStore, now: Now, said: str = "") -> HTMLResponse:
    with store.read() as session:
        leases = read_leases(session)
    return render(request, "lead/queue.html", leases=leases, now=now, said=said)


@router.get("/agreement")
def agreement(
    request: Request, visitor: Lead, store: AStore, chosen: Chosen = None
) -> HTMLResponse:
    with store.read() as session:
        projects, project = choose(session, chosen)
        found = None
        if project is not None:
            labels = read_judgements(session, project.id, with_flags=True, newest=NEWEST)
            people = people_of(session, labels.accounts)
            found = agreement_of(labels, people) if len(labels) else None
    return render(
        request,
        "lead/agreement.html",
        projects=projects,
        project=project,
        agreement=found,
        flags={f.name: f.text for f in questions_of(project).flags} if project else {},
        newest=NEWEST,
        paper=PAPER,
        charts=agreement_charts(found) if found else {},
    )


@router.get("/labelers")
def labelers(request: Request, visitor: Lead, store: AStore, chosen: Chosen = None) -> HTMLResponse:
    with store.read() as session:
        projects, project = choose(session, chosen)
        records = read_records(session, project.id) if project else []
    rows = [(r.person.pseudonym[:SHORT], r.consensus) for r in records]
    return render(
        request,
        "lead/labelers.html",
        projects=projects,
        project=project,
        records=records,
        newest=NEWEST if sum(record.num_labels for record in records) == NEWEST else None,
        chart=charts.intervals(
            "Agreement of each labeler with the others' mean place", rows, low=0.4
        ),
    )


@router.get("/positions")
def positions(
    request: Request, visitor: Lead, store: AStore, chosen: Chosen = None
) -> HTMLResponse:
    with store.read() as session:
        projects, project = choose(session, chosen)
        labels = read_judgements(session, project.id, newest=NEWEST) if project else None
    bias = bias_of(labels) if labels else None
    places = [str(place + 1) for place in range(len(bias.observed))] if bias else []
    return render(
        request,
        "lead/positions.html",
        projects=projects,
        project=project,
        bias=bias,
        newest=NEWEST if labels and len(labels) == NEWEST else None,
        chart=charts.columns(
            "First places by position, and what chance gives",
            places,
            [("first places", bias.observed)],
            expected=bias.expected,
        )
        if bias
        else "",
    )


@router.get("/disagreements")
def disagreements(
    request: Request,
    visitor: Lead,
    store: AStore,
    now: Now,
    chosen: Chosen = None,
    page: PageNumber = 1,
) -> HTMLResponse:
    with store.read() as session:
        projects, project = choose(session, chosen)
        rows: list[Disputed] = []
        total = 0
        if project is not None:
            rows, total = read_disputed(
                session, project.id, limit=TO_DISCUSS, offset=TO_DISCUSS * (page - 1)
            )
    if rows and project is not None:
        note(store, visitor, "prompts of disagreements", project.id, now)
    return render(
        request,
        "lead/disagreements.html",
        projects=projects,
        project=project,
        rows=rows,
        total=total,
        page=page,
        pages=-(-total // TO_DISCUSS),
    )


@router.get("/comments")
def comments(
    request: Request,
    visitor: Lead,
    store: AStore,
    now: Now,
    project: uuid.UUID | Literal[""] = "",  # nothing is what a form sends for all
    labeler: Annotated[str, Query(pattern="^[a-z0-9_]{0,64}$")] = "",
    kind: Literal["", "labels", "skips"] = "",
    page: PageNumber = 1,
) -> HTMLResponse:
    choice = Choice(project or None, labeler, kind)
    with store.read() as session:
        projects, labelers = read_commenting(session)
        rows, more = read_comments(session, choice, page=page)
    chosen = {"project": str(project), "labeler": labeler, "kind": kind}
    query = urlencode({name: value for name, value in chosen.items() if value})
    if rows:
        note(store, visitor, "comments of labelers", query, now)
    return render(
        request,
        "lead/comments.html",
        projects=projects,
        labelers=labelers,
        choice=choice,
        query=query,
        rows=rows,
        more=more,
        page=page,
    )


@router.get("/tasks/{task_id}")
def discussion(
    request: Request,
    visitor: Lead,
    store: AStore,
    now: Now,
    task_id: uuid.UUID,
    said: str = "",
) -> HTMLResponse:
    with store.read() as session:
        task = found_or_404(read_discussion, session, task_id)
    note(store, visitor, "task with its answers", task_id, now)
    return render(request, "lead/task.html", task=task, said=said)


@router.get("/prompts")
def prompts(
    request: Request, visitor: Lead, store: AStore, now: Now, reason: str | None = None
) -> HTMLResponse:
    may_read = reason is not None and visitor.member.role == "admin"
    with store.read() as session:
        mixture = read_mixture(session)
        samples = read_samples(session, reason) if may_read and reason is not None else []
    if samples:
        note(store, visitor, "prompts left out", reason, now)
    rows = [(name or "none", float(sum(by.values()))) for name, by in mixture.use_cases]
    return render(
        request,
        "lead/prompts.html",
        mixture=mixture,
        paper=PAPER_SHARES,
        reason=reason,
        samples=samples,
        chart=charts.bars("Prompts that are asked about, by use case", rows),
    )


def note(store: Store, visitor: Visitor, what: str, of: object, now: datetime) -> None:
    """Who read people's texts, in a moment of its own: nobody waits while a page is counted."""
    store.run(lambda session: note_access(session, visitor.member.id, what, of, now=now))


def choose(
    session: Session, chosen: uuid.UUID | None, task_types: Sequence[str] = COMPARISONS
) -> tuple[list[Project], Project | None]:
    """Projects of these types, and the one asked for; else that of most labels."""
    projects = list(
        session.scalars(
            select(Project).where(Project.task_type.in_(task_types)).order_by(Project.name)
        )
    )
    if chosen is not None:
        found = next((p for p in projects if p.id == chosen), None)
        if found is None:
            raise HTTPException(404)
        return projects, found
    counts = dict(
        session.execute(
            select(Judgement.project_id, func.count()).group_by(Judgement.project_id)
        ).all()
    )
    return projects, max(projects, key=lambda p: counts.get(p.id, 0), default=None)


def found_or_404(read: Callable[..., Found], *arguments: Any) -> Found:
    try:
        return read(*arguments)
    except StoreError as error:
        raise HTTPException(404) from error


def agreement_charts(found: Agreement) -> dict[str, Any]:
    """The page's pictures by name."""
    marks = [Mark(PAPER["training"], "the paper's labelers 72.6%")]
    people = sorted({name for one, other, _ in found.by_pair for name in (one, other)})
    short = {name: name[:SHORT] for name in people}
    cells = {(short[one], short[other]): share for one, other, share in found.by_pair}
    return {
        "time": charts.over_time(
            "Pairwise agreement over time",
            [(row.name[5:], row.strict) for row in found.by_time],
            marks=marks,
            low=0.4,
        ),
        "groups": charts.intervals(
            "Pairwise agreement by groups of labelers",
            [(row.name, row.strict) for row in found.by_group],
            low=0.4,
            marks=marks,
        ),
        "use_cases": charts.intervals(
            "Pairwise agreement by use case",
            [(row.name, row.strict) for row in found.by_use_case],
            low=0.4,
            marks=marks,
        ),
        "pairs": charts.matrix(
            "Pairwise agreement of each two labelers", list(short.values()), cells, low=0.5
        )
        if len(people) <= 24
        else None,
    }
