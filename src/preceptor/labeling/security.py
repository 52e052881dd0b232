"""Who is asking, and may they: passwords, sign-ins, keys, and the rule that each route declares.

    @router.get("/lead")
    def lead(visitor: Annotated[Visitor, Depends(roles("researcher", "admin"))]) -> ...

A route without such a rule keeps the app from starting (`require_rules`).
"""

import hmac
import secrets
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Mount

from preceptor.errors import StoreError
from preceptor.labeling.guard import SAFE
from preceptor.labeling.settings import Settings
from preceptor.store.accounts import normal_login
from preceptor.store.database import Store
from preceptor.store.logins import (
    LONGEST,
    Member,
    key_owner,
    login_of,
    member_named,
    note_key,
    note_login,
    open_login,
)

ROLES = ("labeler", "researcher", "admin")
PASSWORD_LENGTH = range(12, 1001)
MAX_FIELDS = 500
HASHER = PasswordHasher()  # argon2id, as RFC 9106 wants it where memory is scarce


@dataclass(frozen=True)
class Visitor:
    """Who is asking: an account, by a sign-in (with a token for forms) or by a key."""

    member: Member
    csrf: str | None  # None: by a key, which no other site can send
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Allowed:
    """A route's rule. No roles: anybody, signed in or not. A scope: a program's key will do too."""

    roles: tuple[str, ...]
    scope: str | None = None
    max_files: int = 0  # that its form may hold

    async def __call__(self, request: Request) -> Visitor | None:
        """The visitor, if the route is for them.

        Raises:
            HTTPException: 401 nobody is signed in, 403 not for this role, or a forged form.
        """
        visitor = await run_in_threadpool(visitor_of, request, with_keys=self.scope is not None)
        request.state.visitor = visitor
        request.state.max_files = self.max_files
        if not self.roles:
            return visitor
        if visitor is None:
            await the_form(request)  # so that what was typed can be shown again
            raise HTTPException(401, "Sign in first.", {"WWW-Authenticate": "Bearer"})
        if visitor.member.role not in self.roles:
            raise HTTPException(403, f"This is not for a {visitor.member.role}.")
        if visitor.csrf is None and self.scope not in visitor.scopes:
            raise HTTPException(403, f"This key is not for {self.scope}.")
        if visitor.csrf is not None and request.method not in SAFE:
            await require_token(request, visitor.csrf)
        return visitor


def anyone() -> Allowed:
    return Allowed(())


def roles(*names: str, max_files: int = 0) -> Allowed:
    """For these roles, signed in on a page; its form may hold so many files."""
    return Allowed(_known(names), max_files=max_files)


def api_roles(*names: str, scope: str) -> Allowed:
    """For these roles, by a key with this scope or signed in on a page."""
    return Allowed(_known(names), scope)


def require_rules(app: FastAPI) -> None:
    """Refuse to start with a route that does not say whom it is for, once."""
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, Mount) and route.path == "/static":
            continue
        found = rules_of(route)
        if len(found) != 1:
            raise RuntimeError(
                f"{route.path}: a route declares one rule of access, not {len(found)}"
            )


def rules_of(route: RouteContext) -> list[Allowed]:
    """The rules that a route declares among its dependencies."""
    found: list[Allowed] = []
    waiting: list[Any] = [route.dependant] if hasattr(route, "dependant") else []
    while waiting:
        dependant = waiting.pop()
        waiting += dependant.dependencies
        if isinstance(dependant.call, Allowed) and dependant.call not in found:
            found.append(dependant.call)
    return found


# What a route asks for besides: the store, the time, the form.


def the_store(request: Request) -> Store:
    store = request.app.state.store
    assert isinstance(store, Store)
    return store


def the_settings(request: Request) -> Settings:
    settings = request.app.state.settings
    assert isinstance(settings, Settings)
    return settings


def the_time(request: Request) -> datetime:
    return the_settings(request).now()


async def the_form(request: Request) -> dict[str, str]:
    """The fields of a posted form; more files than the route's rule has are refused.

    Read once: a stream that broke off would be waited for in vain.
    """
    kind = request.headers.get("content-type", "")
    if not kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        return {}
    if not hasattr(request.state, "fields"):
        most = getattr(request.state, "max_files", 0)
        async with request.form(max_files=most, max_fields=MAX_FIELDS) as fields:
            # Browsers send line ends as CR LF; a text is the same without JavaScript as with it.
            request.state.fields = {
                name: value.replace("\r\n", "\n")
                for name, value in fields.items()
                if isinstance(value, str)
            }
            request.state.files = {
                name: await value.read()
                for name, value in fields.items()
                if not isinstance(value, str)
            }
    found: dict[str, str] = request.state.fields
    return found


async def the_files(request: Request) -> dict[str, bytes]:
    """The files of a posted form; a field where none was chosen is empty."""
    await the_form(request)
    found: dict[str, bytes] = getattr(request.state, "files", {})
    return found


AStore = Annotated[Store, Depends(the_store)]
Now = Annotated[datetime, Depends(the_time)]
Form = Annotated[dict[str, str], Depends(the_form)]
Files = Annotated[dict[str, bytes], Depends(the_files)]


# Passwords


def hash_password(password: str, login: str) -> str:
    """The hash to store.

    Raises:
        StoreError: the password is too short, or is the login itself.
    """
    if len(password) not in PASSWORD_LENGTH:
        raise StoreError(
            f"A password has {PASSWORD_LENGTH[0]} to {PASSWORD_LENGTH[-1]:,} characters. Four "
            "words that have nothing to do with each other are a good one."
        )
    if normal_login(password) == normal_login(login) or len(set(password)) < 4:
        raise StoreError("That password is too easy to guess. Take four words, for example.")
    return HASHER.hash(password)


def sign_in(store: Store, login: str, password: str, *, now: datetime) -> str | None:
    """The token of a new sign-in, or None: which of the two was wrong is not told."""
    with store.read() as session:
        found = member_named(session, login.strip())
    # As much work for a login that there is not: the time it takes tells nothing.
    right = password_matches(found[1] if found else _nobody(), password)
    if found is None or not right:
        return None
    with store.write() as session:
        return open_login(session, found[0].id, now=now)


def password_matches(password_hash: str, password: str) -> bool:
    if len(password) > PASSWORD_LENGTH[-1]:
        return False
    try:
        return HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobody() -> str:
    return HASHER.hash(secrets.token_hex())


class Throttle:
    """Counts attempts to sign in; too many of a name, or from an address, must wait."""

    WINDOW = timedelta(minutes=15)
    LIMITS = {"login": 30, "address": 60, "both": 8}
    MOST = 10_000  # names that are remembered

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], deque[datetime]] = {}

    def admit(self, login: str, address: str, now: datetime) -> int:
        """Count an attempt; the seconds to wait, 0 if it may be made."""
        keys = self._keys(login, address)
        waits = []
        for key in keys:
            times = self._attempts.get(key, deque())
            while times and not timedelta(0) <= now - times[0] < self.WINDOW:
                times.popleft()
            if len(times) >= self.LIMITS[key[0]]:
                waits.append((times[0] + self.WINDOW - now).total_seconds())
        if waits:
            return int(max(waits)) + 1
        for key in keys:
            if len(self._attempts) >= self.MOST and key not in self._attempts:
                del self._attempts[next(iter(self._attempts))]
            self._attempts.setdefault(key, deque()).append(now)
        return 0

    def forget(self, login: str, address: str) -> None:
        """They signed in. The address's count stays: an account of one's own must not clear it."""
        for kind, name in self._keys(login, address):
            if kind != "address":
                self._attempts.pop((kind, name), None)

    @staticmethod
    def _keys(login: str, address: str) -> list[tuple[str, str]]:
        login = normal_login(login)
        return [("login", login), ("address", address), ("both", f"{login}\0{address}")]


# Sign-ins and keys


def cookie_name(settings: Settings) -> str:
    # Browsers take a cookie of this name over https, for this host and the whole site only.
    return "__Host-preceptor" if settings.https else "preceptor"


def set_cookie(response: Response, token: str, settings: Settings) -> None:
    response.set_cookie(
        cookie_name(settings),
        token,
        max_age=int(LONGEST.total_seconds()),
        path="/",
        secure=settings.https,
        httponly=True,
        samesite="lax",
    )


def delete_cookie(response: Response, settings: Settings) -> None:
    response.delete_cookie(
        cookie_name(settings), path="/", secure=settings.https, httponly=True, samesite="lax"
    )


def token_of(request: Request) -> str | None:
    return request.cookies.get(cookie_name(the_settings(request)))


def visitor_of(request: Request, *, with_keys: bool) -> Visitor | None:
    """Who sent the request; a key counts only where the route takes keys."""
    store, now = the_store(request), the_time(request)
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        if not with_keys:
            return None
        with store.read() as session:
            owner = key_owner(session, key.strip(), now=now)
        if owner is None:
            return None
        if owner[2]:
            store.run(lambda session: note_key(session, key.strip(), now=now))
        return Visitor(owner[0], None, tuple(owner[1]))
    token = token_of(request)
    if not token:
        return None
    with store.read() as session:
        found = login_of(session, token, now=now)
    if found is None:
        return None
    if found[1]:
        store.run(lambda session: note_login(session, token, now=now))
    return Visitor(found[0], csrf_token(token), ())


def csrf_token(token: str) -> str:
    """What a form of this sign-in carries; nobody can make it who does not have the cookie."""
    return hmac.digest(token.encode(), b"form", "sha256").hex()


async def require_token(request: Request, csrf: str) -> None:
    sent = request.headers.get("x-csrf-token")
    if sent is None:
        sent = (await the_form(request)).get("csrf", "")
    if not hmac.compare_digest(sent.encode(), csrf.encode()):
        raise HTTPException(
            403, "This form was made before you signed in. Go back, reload the page, send it again."
        )


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    assert names and set(names) <= set(ROLES)
    return names
