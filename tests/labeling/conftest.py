"""A store with people in it, and browsers of theirs: every page is asked for as a browser asks."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from browsers import CHEAP, PASSWORD, Browser, Clock, Enter, add_member
from fastapi import FastAPI

from preceptor.labeling import security
from preceptor.labeling.app import create_app, lay_over
from preceptor.labeling.settings import Settings
from preceptor.store.database import Store, create_store, open_store

KEY = "a key that is only known to these tests"
ON_BOTH = {
    *("test_accounts", "test_api_work", "test_client", "test_comparing_pages", "test_own_forms"),
    *("test_practice", "test_tasks", "test_toxicity_pages", "test_writing_pages"),
}
"""Files of tests; the lead's figures are held to both databases by those of the store."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store's file, to be copied: making one takes longer."""
    path = tmp_path_factory.mktemp("stores") / "empty.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEPTOR_SITE_KEY", KEY)
        create_store(str(path))
    return path


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """An empty store on a server of PostgreSQL, to be copied: its URL but for the name."""
    url = f"postgresql://postgres@/{{}}?host={server}"
    with psycopg.connect(host=server, user="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE labels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEPTOR_SITE_KEY", KEY)
        create_store(url.format("labels"))
    return url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What people and programs do in the app is tested on both databases, on a server slowly."""
    if metafunc.module.__name__.rpartition(".")[2] in ON_BOTH and "store" in metafunc.fixturenames:
        both = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
        metafunc.parametrize("store", both, indirect=True)


@pytest.fixture
def store(
    request: pytest.FixtureRequest, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """An empty store of the test's own."""
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", KEY)
    monkeypatch.setattr(security, "HASHER", CHEAP)
    if getattr(request, "param", "sqlite") == "sqlite":
        shutil.copy(empty, tmp_path / "labels.db")
        opened = open_store(str(tmp_path / "labels.db"))
        yield opened
        opened.close()
        return
    url, name = request.getfixturevalue("template"), f"test_{uuid.uuid4().hex}"
    host = {"host": request.getfixturevalue("server"), "user": "postgres", "autocommit": True}
    with psycopg.connect(**host) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE labels")
    opened = open_store(url.format(name))
    yield opened
    opened.close()
    with psycopg.connect(**host) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def routes(empty: Path) -> Iterator[FastAPI]:
    """The app as it is put together once; the next test lays it over a store of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEPTOR_SITE_KEY", KEY)
        opened = open_store(str(empty))
    yield create_app(opened)
    opened.close()


@pytest.fixture
def app(routes: FastAPI, store: Store, clock: Clock) -> FastAPI:
    lay_over(routes, store, Settings(now=clock))
    return routes


@pytest.fixture
def enter(app: Any, store: Store) -> Enter:
    """Signs somebody in, by the login page; the account is made if there is none."""

    def enter(login: str = "ann", **options: Any) -> Browser:
        if login not in known:
            known[login] = add_member(store, login, **options)
        browser = Browser(app)
        browser.account = known[login]  # type: ignore[attr-defined]
        answer = browser.post("/login", data={"login": login, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return browser

    known: dict[str, uuid.UUID] = {}
    return enter


@pytest.fixture
def visitor(app: Any) -> Browser:
    """Somebody who is not signed in."""
    return Browser(app)
