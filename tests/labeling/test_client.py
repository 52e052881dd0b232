"""The client over a real socket: what is lost on the way is asked again, and done once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from browsers import Clock, add_member, make_project
from live import Program, key_of, served
from people import fill_in
from sqlalchemy import func, select

from preceptor.errors import StoreError
from preceptor.labeling.client import Client, ClientError, Unreachable, new_password
from preceptor.store.accounts import invite
from preceptor.store.database import Store
from preceptor.store.tables import Assignment, Submission


class Forgetful:
    """The app behind a bad line: of every few requests one is done, and its answer is lost."""

    def __init__(self, app: Any, every: int) -> None:
        self.app, self.every = app, every
        self.count, self.lost = 0, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.count += 1
        loses = scope["path"].startswith("/api/") and self.count % self.every == 0

        async def cut(message: Any) -> None:
            if not loses:
                await send(message)
            elif message["type"] == "http.response.start":
                headers = [(k, v) for k, v in message["headers"] if k != b"content-length"]
                await send(message | {"headers": [*headers, (b"content-length", b"999")]})

        await self.app(scope, receive, cut)
        if loses:
            self.lost += 1
            await send({"type": "http.response.body", "body": b"{"})
            raise ConnectionAbortedError("the line is gone")


def work(client: Client, project: str) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    while task := client.claim(project):
        version = client.save_draft(task.id, {"comment": "not yet"}, task.draft_version)
        form = fill_in(task)  # type: ignore[arg-type]
        receipt = client.submit(task, form, draft_version=version, active_seconds=3.0)
        outcomes[receipt["outcome"]] += 1
        if sum(outcomes.values()) % 3 == 0:
            again = client.undo(receipt["submission_id"])
            client.submit(task, form, key=again["key"])
    return outcomes


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_lost_answers_lose_and_double_nothing(app: Any, store: Store):
    project = str(make_project(store, tasks={f"p{i}": ["a", "b"] for i in range(6)}, overlap=2))
    keys = [key_of(store, add_member(store, f"l{i}")) for i in range(2)]
    line = Forgetful(app, every=3)
    with served(line) as url, ThreadPoolExecutor(2) as pool:
        clients = [Client(url, key) for key in keys]
        outcomes = sum(pool.map(lambda c: work(c, project), clients), Counter[str]())
        for client in clients:
            client.close()
    assert line.lost > 10
    assert outcomes["counted"] + outcomes["repeated"] == 12
    with store.read() as session:
        newest = select(func.max(Submission.revision)).group_by(Submission.assignment_id)
        assert sorted(session.scalars(newest)) == [1] * 8 + [3] * 4
        states = Counter(session.scalars(select(Assignment.state)))
        assert states == {"submitted": 12}


def test_what_would_be_done_twice_is_not_repeated(app: Any, store: Store):
    admin = key_of(store, add_member(store, "ada", role="admin", group="researcher"), "admin")
    with served(Forgetful(app, every=1)) as url:
        client = Client(url, admin, patience=5.0)
        with pytest.raises(Unreachable, match="no answer"):
            client.post("/keys", {"name": "n", "scopes": ["admin"]}, repeat=False)
        client.close()
    listed = Program(app, admin)("GET /keys").json()["items"]
    assert sorted(key["name"] for key in listed) == ["n", "tests"]


def test_a_refusal_that_says_when_is_waited_for(app: Any, store: Store):
    class Full:
        def __init__(self) -> None:
            self.asked = 0

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            self.asked += 1
            if self.asked > 2:
                await app(scope, receive, send)
                return
            headers = [(b"retry-after", b"0"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    full = Full()
    with served(full) as url:
        client = Client(url, key_of(store, add_member(store, "ann")))
        assert client.me()["login"] == "ann" and full.asked == 3
        client.close()


def test_from_an_invitation_to_a_label_by_cookie(app: Any, store: Store):
    project = str(make_project(store))
    with store.write() as session:
        _, token = invite(
            session, store.site_key, "new", now=app.state.settings.now(), screened=True
        )
    with served(app) as url:
        client, password = Client(url), new_password()
        client.accept_invitation(f"{url}/invitation/{token}", password)
        task = client.claim(project)
        assert task is not None
        assert client.submit(task, fill_in(task))["outcome"] == "counted"  # type: ignore[arg-type]
        again = Client(url)
        again.sign_in("new", password)
        assert [t["state"] for t in again.my_tasks()] == ["submitted"]
        other = Client(url)
        with pytest.raises(ClientError) as wrong:
            other.sign_in("new", "wrong horse battery staple")
        assert wrong.value.status == 401
        with pytest.raises(ClientError) as used:
            other.accept_invitation(token, password)
        assert used.value.status == 410
        for one in (client, again, other):
            one.close()


def test_nobody_there_is_said_after_some_patience():
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9: no answer"):
        Client("http://127.0.0.1:9", "key", patience=0.2).me()


def test_an_address_that_is_none_is_refused():
    with pytest.raises(StoreError, match="localhost:80: no address. It looks like http"):
        Client("localhost:80")


def test_a_lease_that_ran_out_over_http_goes_to_another(app: Any, store: Store, clock: Clock):
    project = str(make_project(store, lease_seconds=60))
    keys = [key_of(store, add_member(store, name)) for name in ("ann", "ben")]
    with served(app) as url:
        ann, ben = (Client(url, key) for key in keys)
        task = ann.claim(project)
        assert task is not None and ben.claim(project) is None
        clock.pass_(seconds=61)
        assert ben.claim(project) is not None
        assert ann.heartbeat(task.id) is False
        assert ann.submit(task, fill_in(task))["outcome"] == "surplus"  # type: ignore[arg-type]
        ann.close()
        ben.close()
