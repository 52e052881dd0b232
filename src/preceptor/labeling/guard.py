"""What every request meets first and every answer leaves with, whatever route there is.

A plain ASGI layer: a request for another host, too large, or sent by another site is refused before
any route sees it; every answer gets the headers below.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preceptor.labeling import words
from preceptor.labeling.settings import Settings

SAFE = ("GET", "HEAD", "OPTIONS")

# No inline script or style, nothing from elsewhere, no frames. `same-origin` for referrers, as with
# `no-referrer` browsers send `Origin: null` with forms, and then nobody could tell whose they are.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
HSTS = {"strict-transport-security": "max-age=31536000"}


class Guard:
    """The outermost layer of the app, by the settings in the app's state."""

    def __init__(self, app: ASGIApp, failure: Callable[[Request, int, str], Response]) -> None:
        """`failure` makes the answer to a request that is refused: a page, or JSON."""
        self.app = app
        self.failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        settings: Settings = scope["app"].state.settings
        refused = self._refusal(scope, settings)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(scope, message, settings)
            await send(message)

        if refused is not None:
            await refused(scope, receive, send_with_headers)
            return
        await self.app(scope, _limited(receive, settings), send_with_headers)

    def _refusal(self, scope: Scope, settings: Settings) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host_name(host) not in settings.hosts:
            # A page elsewhere may have its name point at this machine.
            return wrong_name(scope)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > settings.max_body_bytes:
            return self.failure(Request(scope), 413, _too_large(settings))
        if scope["method"] not in SAFE and is_cross_site(headers):
            return self.failure(Request(scope), 403, words.ERROR_403_SITE)
        return None


def _limited(receive: Receive, settings: Settings) -> Receive:
    """The same stream; one that is longer than it said ends."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > settings.max_body_bytes:
            raise HTTPException(413, _too_large(settings))
        return message

    return limited


def _add_headers(scope: Scope, message: Message, settings: Settings) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in (HEADERS | (HSTS if settings.https else {})).items():
        headers[name] = value
    # A page may hold a person's text, and computers are shared. Static files ask each time
    # whether they changed.
    static = scope["path"].startswith("/static/")
    headers["cache-control"] = "no-cache" if static else "no-store"


def is_cross_site(headers: Headers) -> bool:
    """Whether an unsafe request was not sent by a page of this site.

    A key in the `Authorization` header is no cookie: no other site can make a browser send it.
    """
    if headers.get("authorization", "").lower().startswith("bearer ") and "cookie" not in headers:
        return False
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    if (origin := headers.get("origin")) is not None:
        return urlsplit(origin).netloc != headers.get("host")
    return True


def host_name(host: str) -> str:
    """`localhost:8000` -> `localhost`, `[::1]:8000` -> `[::1]`."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def wrong_name(scope: Scope) -> Response:
    """Plain, as a page's style and links would be refused as well."""
    message = "This server does not answer to that name."
    if scope["path"].startswith("/api/"):
        return JSONResponse(error_body(421, message), 421)
    return PlainTextResponse(message + "\n", 421)


def error_body(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """The one shape of errors for programs, as in the OpenAI interface."""
    kind = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
    kinds = kind | {409: "conflict_error", 412: "conflict_error", 429: "rate_limit_error"}
    default = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": message,
            "type": kinds.get(status, default),
            "param": param,
            "code": str(status),
        }
    }


def _too_large(settings: Settings) -> str:
    return words.ERROR_413.format(most=settings.max_body_bytes)
