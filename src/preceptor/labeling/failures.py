"""What goes wrong, as a page for people and as one JSON shape for programs."""

from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from preceptor.errors import StoreError
from preceptor.labeling import words
from preceptor.labeling.guard import HEADERS, SAFE, error_body
from preceptor.labeling.pages import render
from preceptor.store.database import Busy
from preceptor.store.labels import Outdated, StaleDraft
from preceptor.store.queue import NoSuchTask


def add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, wrong_request)
    app.add_exception_handler(StoreError, store_error)
    app.add_exception_handler(Exception, our_mistake)


def http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 401 and request.method in SAFE and not wants_json(request):
        return RedirectResponse(f"/login?next={quote(request.url.path)}", 303)
    message = words.ERROR_404 if error.status_code == 404 else error.detail
    if error.status_code == 405 and not wants_json(request):
        message = words.ERROR_405
    typed = what_was_typed(request)
    response = failure(request, error.status_code, message, typed=typed)
    if error.headers:
        response.headers.update(error.headers)
    return response


def wrong_request(request: Request, error: Exception) -> Response:
    """FastAPI's own checks of path, query and body, in our shape."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if place[0] == "path":
        return failure(request, 404, words.ERROR_404)
    param = ".".join(place[1:]) or None
    return failure(request, 400, f"{param or place[0]}: {first['msg']}.", param)


def store_error(request: Request, error: Exception) -> Response:
    if isinstance(error, NoSuchTask):
        return failure(request, 404, words.ERROR_404)
    statuses = {StaleDraft: 412, Outdated: 409, Busy: 503}
    status = next((code for kind, code in statuses.items() if isinstance(error, kind)), 400)
    response = failure(request, status, str(error), typed=what_was_typed(request))
    if status == 503:
        response.headers["retry-after"] = "10"
    return response


def what_was_typed(request: Request) -> dict[str, str]:
    """A person's own words in a form that failed: they are shown, to be copied, never thrown away.

    The sign-in may have ended, or be a new one; the store may be busy.
    """
    fields: dict[str, str] = getattr(request.state, "fields", {})
    return {name: fields[name] for name in words.TYPED if fields.get(name, "").strip()}


def our_mistake(request: Request, error: Exception) -> Response:
    """Outside of every layer, so the headers are set here once more; the traceback is logged."""
    response = failure(request, 500, words.ERROR_500)
    response.headers.update(HEADERS | {"cache-control": "no-store"})
    return response


def failure(
    request: Request,
    status: int,
    message: str,
    param: str | None = None,
    *,
    typed: dict[str, str] | None = None,
) -> Response:
    if wants_json(request):
        # What a message repeats of a request may hold half a character.
        message, param = as_text(message), param and as_text(param)
        return JSONResponse(error_body(status, message, param), status)
    title = words.ERROR_TITLES.get(status, words.ERROR_TITLES[400])
    return render(
        request, "error.html", status=status, title=title, message=message, typed=typed or {}
    )


def as_text(told: str) -> str:
    return told.encode("utf-8", "replace").decode("utf-8")


def wants_json(request: Request) -> bool:
    if request.url.path.startswith("/api/"):
        return True
    return "application/json" in request.headers.get("accept", "")
