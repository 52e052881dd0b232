"""Exports from the page: labels as hashed files, in the one folder that the server was told."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.labeling.lead_pages import Lead, note
from preceptor.labeling.pages import render
from preceptor.labeling.security import AStore, Form, Now, the_settings
from preceptor.store.export import Filter, export_records
from preceptor.store.layout import SCHEMAS
from preceptor.store.tables import Export, Project

router = APIRouter(prefix="/lead")

ExportId = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""What a database holds: others are not found."""
SPLITS = ("train", "valid", "test")


@router.get("/exports")
def exports(request: Request, visitor: Lead, store: AStore, said: str = "") -> HTMLResponse:
    return _page(request, store, said=said)


@router.post("/exports", response_model=None)
def run_export(
    request: Request, visitor: Lead, store: AStore, form: Form, now: Now
) -> HTMLResponse | RedirectResponse:
    kind, split, project = (form.get(name, "") for name in ("kind", "split", "project"))
    try:
        if split not in SPLITS:
            raise StoreError("The split is train, valid or test.")
        if project:
            with store.read() as session:
                if project not in _names(session):
                    raise StoreError("There is no such project. Reload the page.")
        wanted = Filter(kind, split, project or None, bool(form.get("surplus")))
        folder = the_settings(request).exports
        folder.mkdir(parents=True, exist_ok=True)
        done = export_records(store, wanted, folder, now=now)
    except StoreError as error:
        return _page(request, store, status=400, message=str(error), form=form)
    note(store, visitor, "export", done.path.name, now)
    return _page(request, store, done=done)


@router.get("/exports/{export_id}/file", response_model=None)
def download(
    request: Request, visitor: Lead, store: AStore, now: Now, export_id: ExportId
) -> FileResponse:
    with store.read() as session:
        export = session.get(Export, export_id)
        path = None if export is None else _path(the_settings(request).exports, export.file_name)
    if path is None:
        raise HTTPException(404)
    note(store, visitor, "download", path.name, now)
    return FileResponse(path, media_type="application/jsonl", filename=path.name)


def _page(
    request: Request,
    store: AStore,
    *,
    status: int = 200,
    said: str = "",
    message: str = "",
    form: dict[str, str] | None = None,
    done: object = None,
) -> HTMLResponse:
    folder = the_settings(request).exports
    with store.read() as session:
        rows = session.scalars(select(Export).order_by(Export.id.desc()).limit(200)).all()
        names = _names(session)
    here = {row.id for row in rows if _path(folder, row.file_name) is not None}
    return render(
        request,
        "lead/exports.html",
        status=status,
        rows=rows,
        here=here,
        names=names,
        kinds=list(SCHEMAS),
        said=said,
        message=message,
        form=form or {},
        done=done,
    )


def _names(session: Session) -> list[str]:
    return list(session.scalars(select(Project.name).order_by(Project.name)))


def _path(folder: Path, name: str) -> Path | None:
    """An export's file, if it lies in the folder itself and is a plain file."""
    path = folder / name
    if path.name != name or path.is_symlink() or not path.is_file():
        return None
    return path
