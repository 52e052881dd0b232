"""Programs that use the app, in this process or over a loopback socket, for tests of both."""

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import uvicorn
from browsers import Browser
from people import START, fill_in

from preceptor.labeling.client import Client
from preceptor.store.database import Store
from preceptor.store.logins import make_key


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """The app's address while the block lasts; the server is a thread of this process."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def key_of(store: Store, account: Any, *scopes: str, at: datetime = START) -> str:
    """A key of an account's, as its owner would make it."""
    with store.write() as session:
        return make_key(session, account, "tests", scopes or ("label",), now=at)[1]


@contextlib.contextmanager
def clients(url: str, keys: list[str]) -> Iterator[list[Client]]:
    """One client a key, closed at the end."""
    made = [Client(url, key) for key in keys]
    try:
        yield made
    finally:
        for client in made:
            client.close()


class Program:
    """Somebody's program, with a key of theirs."""

    def __init__(self, app: Any, key: str) -> None:
        self._browser = Browser(app)
        self._browser.headers.clear()
        self._headers = {"authorization": f"Bearer {key}", "host": "localhost"}

    def __call__(
        self, request: str, body: Any = None, *, content: bytes | None = None, **headers: str
    ) -> Any:
        """`api("POST /projects/..", {...})`: the answer."""
        method, path = request.split()
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._browser.request(
            method, f"/api/v1{path}", json=body, content=content, headers=self._headers | own
        )


class Seen:
    """A task's view, as `people.fill_in` reads it."""

    def __init__(self, view: dict[str, Any]) -> None:
        self.id, self.task_type = view["id"], view["task_type"]
        self.prompt, self.responses = view["prompt"], view["responses"]


def form_of(view: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    return fill_in(Seen(view), seed)  # type: ignore[arg-type]


def claimed(api: Program, project: uuid.UUID) -> dict[str, Any]:
    answer = api(f"POST /projects/{project}/claim")
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def submit(api: Program, view: dict[str, Any], form: Any, **more: Any) -> Any:
    return api(f"POST /assignments/{view['id']}/submit", {"key": view["key"], "body": form} | more)


def error_of(answer: Any) -> dict[str, Any]:
    """Every error has this shape, and nothing besides."""
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == str(answer.status_code)
    return error  # type: ignore[no-any-return]
