"""Every test of the store runs on SQLite and, where a server can be started, on PostgreSQL."""

import shutil
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from people import Fresh
from sqlalchemy import delete, text

from preceptor.store.database import Store, create_store, open_store
from preceptor.store.tables import Base, KeyCheck

KEY = "a key that is only known to these tests"


@pytest.fixture(scope="session", autouse=True)
def site_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRECEPTOR_SITE_KEY", KEY)
        yield


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def fresh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fresh]:
    """Makes empty stores, each a database of its own; they are closed with the last test."""
    opened: list[Store] = []
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("stores")
        create_store(str(folder / "empty.db"))

        def make() -> str:
            path = folder / f"{len(opened)}.db"
            shutil.copy(folder / "empty.db", path)
            return str(path)

    else:
        socket = request.getfixturevalue("server")
        # Made again for each file of tests where these are dealt out to processes.
        empty = f"empty_{uuid.uuid4().hex}"

        def make() -> str:
            name = f"{empty}_{len(opened)}"
            with psycopg.connect(host=socket, user="postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name} TEMPLATE {empty}")
            return f"postgresql://postgres@/{name}?host={socket}"

        with psycopg.connect(host=socket, user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {empty}")
        create_store(f"postgresql://postgres@/{empty}?host={socket}")

    def new() -> Store:
        opened.append(open_store(make()))
        return opened[-1]

    yield new
    for store in opened:
        store.close()


@pytest.fixture(scope="session")
def shared(fresh: Fresh) -> Store:
    return fresh()


@pytest.fixture
def num_examples(shared: Store) -> int:
    """For Hypothesis: a server takes longer to make a database, and runs the same code."""
    return 24 if shared.engine.dialect.name == "sqlite" else 6


@pytest.fixture
def store(shared: Store, fresh: Fresh) -> Iterator[Store]:
    """An empty store. Copying a file is cheap; a database of a server is emptied instead."""
    if shared.engine.dialect.name == "sqlite":
        made = fresh()
        yield made
        made.close()
        return
    with shared.write() as session:
        # Without triggers, which refuse it.
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for table in set(Base.metadata.sorted_tables) - {KeyCheck.__table__}:
            session.execute(delete(table))
    yield shared
