"""Signing in and out, accepting an invitation, one's own profile."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from preceptor.errors import StoreError
from preceptor.labeling import words
from preceptor.labeling.pages import render
from preceptor.labeling.security import (
    AStore,
    Form,
    Now,
    Throttle,
    Visitor,
    anyone,
    delete_cookie,
    hash_password,
    password_matches,
    roles,
    set_cookie,
    sign_in,
    the_settings,
    token_of,
)
from preceptor.store.accounts import (
    accept_invitation,
    account_of,
    open_invitation,
    set_password,
)
from preceptor.store.competence import (
    LANGUAGES,
    SPEECH,
    SUBJECTS,
    TOPICS,
    set_competence,
)
from preceptor.store.inbox import set_accepts_sensitive
from preceptor.store.logins import close_login, close_logins, member_named, open_login

router = APIRouter()

Anyone = Annotated[Visitor | None, Depends(anyone())]
Everyone = Annotated[Visitor, Depends(roles("labeler", "researcher", "admin"))]


@router.get("/health")
def health(visitor: Anyone) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


@router.get("/login")
def login_page(request: Request, visitor: Anyone, next: str = "/") -> Response:
    if visitor is not None:
        return RedirectResponse(own_path(next), 303)
    return render(request, "login.html", next=own_path(next), login="", message=None)


@router.post("/login")
async def login(request: Request, visitor: Anyone, store: AStore, form: Form, now: Now) -> Response:
    name, next = form.get("login", "").strip(), own_path(form.get("next", "/"))
    throttle: Throttle = request.app.state.throttle
    address = request.client.host if request.client else ""

    def again(status: int, message: str) -> Response:
        return render(request, "login.html", status=status, next=next, login=name, message=message)

    if wait := throttle.admit(name, address, now):
        response = again(429, words.SIGN_IN_WAIT.format(minutes=-(-wait // 60)))
        response.headers["retry-after"] = str(wait)
        return response
    token = await run_in_threadpool(sign_in, store, name, form.get("password", ""), now=now)
    if token is None:
        return again(401, words.SIGN_IN_WRONG)
    throttle.forget(name, address)
    return await run_in_threadpool(_enter, request, store, token, next)


@router.post("/logout")
def logout(request: Request, visitor: Everyone, store: AStore) -> Response:
    response = RedirectResponse("/login", 303)
    if token := token_of(request):
        store.run(lambda session: close_login(session, token))
    delete_cookie(response, the_settings(request))
    return response


@router.get("/invitation/{token}")
def invitation_page(
    request: Request, token: str, visitor: Anyone, store: AStore, now: Now
) -> Response:
    return render(
        request, "invitation.html", login=_invited(store, token, now), token=token, message=None
    )


@router.post("/invitation/{token}")
def accept(
    request: Request, token: str, visitor: Anyone, store: AStore, form: Form, now: Now
) -> Response:
    login = _invited(store, token, now)
    try:
        password_hash = hash_password(form.get("password", ""), login)
    except StoreError as error:
        return render(
            request,
            "invitation.html",
            status=400,
            login=login,
            token=token,
            message=str(error),
        )
    with store.write() as session:
        account = accept_invitation(session, token, password_hash=password_hash, now=now)
        entered = open_login(session, account, now=now)
    return _enter(request, store, entered, "/")


@router.get("/profile")
def profile(request: Request, visitor: Everyone, store: AStore, saved: str = "") -> HTMLResponse:
    messages = {
        "sensitive": words.SAVED,
        "competence": words.COMPETENCE_SAVED,
        "password": words.PASSWORD_CHANGED,
    }
    return _profile(request, store, visitor, message=messages.get(saved))


def _profile(
    request: Request,
    store: AStore,
    visitor: Visitor,
    *,
    status: int = 200,
    message: str | None = None,
) -> HTMLResponse:
    with store.read() as session:
        account = account_of(session, visitor.member.id)
        known = {"topics": account.topics, "languages": account.languages}
    kind = "good" if status == 200 else "wrong"
    lists = {"subjects": SUBJECTS, "speech": SPEECH, "languages": LANGUAGES}
    return render(
        request,
        "profile.html",
        status=status,
        message=message,
        kind=kind,
        known=known,
        lists=lists,
    )


@router.post("/profile")
def change_profile(visitor: Everyone, store: AStore, form: Form) -> Response:
    accepts = "accepts_sensitive" in form
    store.run(lambda session: set_accepts_sensitive(session, visitor.member.id, accepts))
    return RedirectResponse("/profile?saved=sensitive", 303)


@router.post("/profile/competence")
def change_competence(visitor: Everyone, store: AStore, form: Form) -> Response:
    topics = [name for name in TOPICS if f"topic_{name}" in form]
    languages = [name for name in LANGUAGES if f"language_{name}" in form]
    store.run(lambda session: set_competence(session, visitor.member.id, topics, languages))
    return RedirectResponse("/profile?saved=competence", 303)


@router.post("/profile/password")
def change_password(
    request: Request, visitor: Everyone, store: AStore, form: Form, now: Now
) -> Response:
    """A new password, for whoever knows the old one; other sign-ins of the account end."""
    member, address = visitor.member, request.client.host if request.client else ""
    throttle: Throttle = request.app.state.throttle

    def again(status: int, message: str) -> Response:
        return _profile(request, store, visitor, status=status, message=message)

    if wait := throttle.admit(member.login, address, now):
        return again(429, words.SIGN_IN_WAIT.format(minutes=-(-wait // 60)))
    with store.read() as session:
        found = member_named(session, member.login)
    if found is None or not password_matches(found[1], form.get("old", "")):
        return again(400, words.PASSWORD_WRONG)
    throttle.forget(member.login, address)
    try:
        password_hash = hash_password(form.get("new", ""), member.login)
    except StoreError as error:
        return again(400, str(error))

    def change(session: Session) -> None:
        set_password(session, member.id, password_hash)
        close_logins(session, member.id, keep=token_of(request))

    store.run(change)
    return RedirectResponse("/profile?saved=password", 303)


def own_path(path: str) -> str:
    """Where to go after signing in: a path of this site, whatever a link says."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if plain and path.isprintable() and "\\" not in path else "/"


def _invited(store: AStore, token: str, now: Now) -> str:
    """The login that an invitation is for; 410 if it can no longer be used."""
    try:
        with store.read() as session:
            invitation = open_invitation(session, token, now=now)
            return account_of(session, invitation.account_id).login or ""
    except StoreError as error:
        raise HTTPException(410, str(error)) from None


def _enter(request: Request, store: AStore, token: str, next: str) -> Response:
    """Signed in: a new token, and an older one of this browser ends."""
    if old := token_of(request):
        store.run(lambda session: close_login(session, old))
    response = RedirectResponse(next, 303)
    set_cookie(response, token, the_settings(request))
    return response
