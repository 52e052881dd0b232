"""A client of the labeling app's REST interface, with nothing but the standard library.

    client = Client("http://127.0.0.1:8080", key="preceptor_...")
    task = client.claim(client.projects()[0]["id"])
    client.submit(task, {"ratings": ..., "rank_groups": ..., "unacceptable": []})

A request whose answer is lost is sent again: the interface is made so that a repetition changes
nothing. What would be done twice (an invitation, a key) is not repeated once it was sent.
"""

import http.client
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from preceptor.errors import StoreError

Json = dict[str, Any]
AGAIN = (429, 502, 503, 504)
"""Answers after which the same request may succeed a little later."""


class ClientError(StoreError):
    """The app's answer was no: its message, the status, and the field that it is about."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class Unreachable(StoreError):
    """Nobody answered for as long as it makes sense to ask."""


@dataclass(frozen=True)
class Task:
    """A task as its page shows it: texts by position from 1, nothing of models."""

    id: str
    project_id: str
    task_type: str
    state: str
    prompt: Any
    responses: list[str]
    key: str
    draft: Any
    draft_version: int
    form: Any  # what the project asks of responses and prompts


class Client:
    """One person, or one program, at the app's door; not for several threads at once.

    Args:
        url: where the app is, such as http://127.0.0.1:8080.
        key: an API key; without one, `sign_in` or `accept_invitation` first.
        timeout: seconds for one answer.
        patience: seconds in all for one request, its repetitions included.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 30.0, patience: float = 120.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StoreError(f"{url}: no address. It looks like http://127.0.0.1:8080.")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._place = (parts.hostname, parts.port)
        self._timeout, self._patience = timeout, patience
        self._connection: http.client.HTTPConnection | None = None
        self._cookies: dict[str, str] = {}
        self._token = ""
        self._key = key

    def close(self) -> None:
        """End the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    # At the door

    def health(self) -> None:
        """Whether anybody is there."""
        self._send("GET", "/health", None, {}, repeat=True)

    def accept_invitation(self, token: str, password: str) -> None:
        """Choose a password and be signed in; `token` is what stands at the end of the link.

        Should the answer be lost, the invitation is used: sign in with the password.
        """
        token = token.rstrip("/").rpartition("/")[2]
        self._enter(f"/invitation/{quote(token, safe='')}", {"password": password})

    def sign_in(self, login: str, password: str) -> None:
        """Sign in as on the page."""
        self._enter("/login", {"login": login, "password": password})

    # A labeler's work

    def me(self) -> Json:
        """The account that asks."""
        return self._json("GET", "/me")

    def projects(self) -> list[Json]:
        """Projects with work for this account."""
        return list(self._json("GET", "/projects")["items"])

    def guideline(self, project: str) -> Json:
        """What the project's next task is done under, as markdown; empty if there is nothing."""
        return self._json("GET", f"/projects/{project}/guideline")

    def acknowledge(self, guideline: str) -> None:
        """Say that a guideline was read, by its id."""
        self._json("POST", f"/guidelines/{guideline}/acknowledge")

    def claim(self, project: str) -> Task | None:
        """The next task, or the one that is held; None when there is nothing to do."""
        found = self._json("POST", f"/projects/{project}/claim")
        return _task(found) if found else None

    def task(self, id: str) -> Task:
        """A task of one's own, in any state."""
        return _task(self._json("GET", f"/assignments/{id}"))

    def heartbeat(self, task: str) -> bool:
        """Still at it; False when the task went to others meanwhile."""
        return bool(self._json("POST", f"/assignments/{task}/heartbeat")["held"])

    def save_draft(self, task: str, form: Any, version: int) -> int:
        """Keep a form as it stands; returns the version to save over next time.

        Raises:
            ClientError: 412, a newer draft was saved elsewhere; `task` shows it.
        """
        headers = {"if-match": f'"{version}"'}
        found = self._json("PUT", f"/assignments/{task}/draft", {"body": form}, headers)
        return int(found["version"])

    def submit(
        self,
        task: Task,
        form: Any,
        *,
        key: str | None = None,
        draft_version: int | None = None,
        active_seconds: float | None = None,
    ) -> Json:
        """Hand the form in; the same again is one label."""
        body = {
            "key": key or task.key,
            "body": form,
            "draft_version": task.draft_version if draft_version is None else draft_version,
            "active_seconds": active_seconds,
        }
        return self._json("POST", f"/assignments/{task.id}/submit", body)

    def skip(self, task: str, reason: str, comment: str = "") -> None:
        """Give the task to somebody else for good."""
        self._json("POST", f"/assignments/{task}/skip", {"reason": reason, "comment": comment})

    def release(self, task: str) -> None:
        """Give the task back; it may come again."""
        self._json("POST", f"/assignments/{task}/release")

    def undo(self, submission: str) -> Json:
        """Take a label back; what is returned has the key of the next form."""
        return self._json("POST", f"/submissions/{submission}/undo")

    def revise(self, submission: str) -> Json:
        """A label's form and the key to send it again with; it counts until then."""
        return self._json("POST", f"/submissions/{submission}/revise")

    def my_tasks(self) -> Iterator[Json]:
        """Everything that was begun, the newest first."""
        yield from self._pages("/me/submissions")

    # For those who lead

    def get(self, path: str, **query: Any) -> Json:
        """Any other answer below /api/v1."""
        return self._json("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: Any = None, *, repeat: bool = True) -> Json:
        """Any other request below /api/v1; `repeat=False` if it must not be done twice."""
        return self._json("POST", path, body, repeat=repeat)

    def post_lines(self, path: str, lines: str, **query: Any) -> Json:
        """JSON Lines below /api/v1."""
        headers = {"content-type": "application/jsonl"}
        whole = f"/api/v1{path}?{urlencode(query)}"
        _, answer = self._send("POST", whole, lines.encode(), headers, repeat=True)
        return dict(json.loads(answer)) if answer else {}

    def patch(self, path: str, body: Any) -> Json:
        """Change something below /api/v1."""
        return self._json("PATCH", path, body)

    def delete(self, path: str) -> Json:
        """End something below /api/v1."""
        return self._json("DELETE", path)

    def _pages(self, path: str) -> Iterator[Json]:
        cursor = ""
        while True:
            found = self._json("GET", path + (f"?cursor={quote(cursor)}" if cursor else ""))
            yield from found["items"]
            cursor = found["next"] or ""
            if not cursor:
                return

    def _enter(self, path: str, fields: Mapping[str, str]) -> None:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        body = urlencode(fields).encode()
        self._send("POST", path, body, headers, repeat=False)
        self._token = str(self.me()["csrf"] or "")

    def _json(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeat: bool = True,
    ) -> Json:
        sent = None if body is None else json.dumps(body).encode()
        kind = {} if sent is None else {"content-type": "application/json"}
        _, answer = self._send(
            method, f"/api/v1{path}", sent, kind | dict(headers or {}), repeat=repeat
        )
        return dict(json.loads(answer)) if answer else {}

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        repeat: bool,
    ) -> tuple[int, bytes]:
        """The status and body of a yes; a no is raised, and silence is asked again."""
        until, wait = time.monotonic() + self._patience, 0.05
        if not repeat:
            self.close()  # on an old connection it may be lost without having been sent
        while True:
            try:
                status, message, answer = self._once(method, path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if not repeat or time.monotonic() + wait > until:
                    raise Unreachable(f"{self.origin}: no answer ({error}).") from None
            else:
                if status < 400:
                    return status, answer
                if status not in AGAIN or time.monotonic() + wait > until:
                    raise _error_of(status, answer)
                # It was refused before anything was done, so it may come again in any case.
                told = message.get("retry-after", "")
                wait = max(wait, float(told)) if told.isdigit() else wait
            time.sleep(wait)
            wait = min(2 * wait, 5.0)

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            self._connection = self._kind(*self._place, timeout=self._timeout)
        own = {"origin": self.origin, "accept": "application/json"}
        if self._key:
            own["authorization"] = f"Bearer {self._key}"
        elif self._cookies:
            own["cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
            own["x-csrf-token"] = self._token
        self._connection.request(method, path, body, {**own, **headers})
        response = self._connection.getresponse()
        answer = response.read()
        for cookie in response.headers.get_all("set-cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()
        return response.status, response.headers, answer


def _task(found: Json) -> Task:
    return Task(**{name: found[name] for name in Task.__dataclass_fields__})


def _error_of(status: int, answer: bytes) -> ClientError:
    try:
        error = json.loads(answer)["error"]
        return ClientError(status, str(error["message"]), error.get("param"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ClientError(status, f"the app answered {status}, without a reason.")


def new_password() -> str:
    """A random one, for accounts that no person uses."""
    return uuid.uuid4().hex + uuid.uuid4().hex
