"""The database: SQLite that does not lock, or PostgreSQL; opened only at the right version.

A function of the store takes an open `Session`: it is a part of the caller's transaction, which is
written whole or not at all.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.judgements import note_all_labels
from preceptor.store.names import KEY_VARIABLE, SiteKey, make_site_key, read_site_key
from preceptor.store.tables import KeyCheck

Result = TypeVar("Result")
BUSY_SECONDS = 30
"""How long a writer of another process waits for its turn."""
CONNECTIONS = 40
"""As many as the threads of a web server, so that none waits for one."""


BEFORE_JUDGEMENTS = ("0001", "0002")
"""Versions whose labels have no row in `judgement` yet."""
RETRIES = 4
GAVE_WAY = ("40001", "40P01", "55P03")
"""PostgreSQL ended one of two transactions: serialization, deadlock, a lock that was not given."""


class Busy(StoreError):
    """Somebody else was writing; nothing of this transaction is stored, and it may come again."""


@dataclass(frozen=True)
class Store:
    """An open database and the key of its pseudonyms."""

    engine: Engine
    site_key: SiteKey
    turn: AbstractContextManager[Any]
    """Writers of this process wait here. SQLite's own waiting is a poll in which one of thirty
    starves; PostgreSQL queues them itself."""

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that writes: all of it when the block ends, nothing when it raises."""
        engine = self.engine.execution_options(writes=True)
        try:
            with self.turn, Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DBAPIError as error:
            if not _gave_way(error):
                raise
            raise Busy(
                "The label store is busy: somebody else is writing to it, perhaps a long import. "
                "Nothing of this was stored; do it again in a minute."
            ) from None

    def run(self, work: Callable[[Session], Result]) -> Result:
        """The same for a function that may be called again, should another one be in its way."""
        waited = self.engine.dialect.name == "sqlite"  # for as long as it makes sense
        for _ in range(0 if waited else RETRIES - 1):
            with suppress(Busy), self.write() as session:
                return work(session)
        with self.write() as session:
            return work(session)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that reads: one state from its first look on. It holds nobody up."""
        engine = self.engine
        if engine.dialect.name == "postgresql":
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with Session(engine) as session:
            yield session

    def sweep(self) -> bool:
        """Write an SQLite file anew, without the bytes of texts that are gone.

        Writers wait meanwhile. False: others were using the file, or the disk had no room for a
        second one, so old bytes may still lie in it or in its -wal; it may be done again.
        A server cleans its files itself.
        """
        if self.engine.dialect.name != "sqlite":
            return True
        with self.turn, closing(self.engine.raw_connection()) as connection:
            file = connection.driver_connection
            assert isinstance(file, sqlite3.Connection)
            try:
                file.execute("VACUUM")
                # The log held the old pages, and the new ones since; readers keep it open.
                [was_busy, *_] = file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError:
                return False
        return not was_busy

    def close(self) -> None:
        self.engine.dispose()


def create_store(where: str) -> None:
    """Make the database, or bring an older one up to date; what is in it stays.

    Raises:
        StoreError: something else stands there, or the server cannot be reached.
    """
    url = url_of(where)
    where = shown(url)
    key_path = key_path_of(url)
    if key_path is None:
        read_site_key(None)  # before anything is written
    elif url.database:
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # people's texts are their owner's alone
    engine = connect(url)
    try:
        with engine.execution_options(writes=True).begin() as connection:
            found = version_of(connection)
            if found is None and inspect(connection).get_table_names():
                raise StoreError(
                    f"{where}: a database of something else. Name a new file, or an empty database."
                )
            _require_known(found, where)
            # A key is of use only beside a new database, and `os.environ` may already hold one:
            # another one beside people's pseudonyms would give the same people others.
            in_file = not os.environ.get(KEY_VARIABLE, "").strip()
            if found is None and key_path is not None and in_file:
                make_site_key(key_path)
            site_key = read_site_key(key_path)
            if found is None:
                site_key.require_strong()
            command.upgrade(migrations(connection), "head")
            if found in BEFORE_JUDGEMENTS:
                with Session(connection, join_transaction_mode="rollback_only") as session:
                    note_all_labels(session)
                    session.commit()
            if found is None:
                row = {"id": 1, "value": site_key.check_value()}
                connection.execute(insert(KeyCheck).values(row))
            _check_key(connection, site_key, where)
    except DatabaseError as error:
        raise StoreError(_unreachable(where, error)) from None
    finally:
        engine.dispose()


def open_store(where: str) -> Store:
    """The store at a path or URL.

    Raises:
        StoreError: there is none, it has another version, or its site key is missing.
    """
    url = url_of(where)
    where = shown(url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise StoreError(
            f"{where}: no label store. `preceptor label init --store {where}` makes one."
        )
    engine = connect(url)
    try:
        with engine.connect() as connection:
            found = version_of(connection)
        if found is None:
            raise StoreError(
                f"{where}: not a label store. `preceptor label init --store {where}` makes one, "
                "if the database is empty."
            )
        _require_known(found, where)
        if found != head():
            raise StoreError(
                f"{where}: its tables are of version {found}, this Preceptor needs {head()}. "
                f"`preceptor label init --store {where}` brings them up to date; back it up before."
            )
        site_key = read_site_key(key_path_of(url))
        with engine.connect() as connection:
            _check_key(connection, site_key, where)
        turn = threading.Lock() if url.get_backend_name() == "sqlite" else nullcontext()
        return Store(engine, site_key, turn)
    except DatabaseError as error:
        engine.dispose()
        raise StoreError(_unreachable(where, error)) from None
    except StoreError:
        engine.dispose()
        raise


def url_of(where: str) -> URL:
    """A URL as it is; anything else is the path of an SQLite file."""
    if "://" not in where:
        return URL.create("sqlite", database=where)
    try:
        url = make_url(where)
    except ArgumentError:
        raise StoreError(
            "--store is not the address of a database. It looks like postgresql://user@host/name, "
            "or is the path of an SQLite file."
        ) from None
    if url.drivername == "postgres":  # as many hosts spell it
        url = url.set(drivername="postgresql")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(
            f"labels are kept in SQLite or PostgreSQL, not in {url.get_backend_name()}."
        )
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if not url.database or url.database == ":memory:":
        raise StoreError(f"{where}: a store in memory would be lost. Name a file.")
    return url


def shown(url: URL) -> str:
    """A path or URL for messages: without its password, wherever that stands."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    secret = {key: "***" for key in url.query if "pass" in key.lower()}
    url = url.set(query={**url.query, **secret})
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def key_path_of(url: URL) -> Path | None:
    """Where the site key lies: beside an SQLite file, nowhere near a server."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database + ".key")


def connect(url: URL) -> Engine:
    """An engine whose writers take their turn at the start of a transaction."""
    if url.get_backend_name() != "sqlite":
        try:
            return create_engine(url, pool_size=CONNECTIONS, hide_parameters=True)
        except (ModuleNotFoundError, NoSuchModuleError):
            raise StoreError(
                "PostgreSQL needs its driver: pip install 'preceptor[postgres]'."
            ) from None
    # An error must not carry people's texts into a log.
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS},
        pool_size=CONNECTIONS,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for setting in (
            "journal_mode=WAL",
            "foreign_keys=ON",
            # A commit is on the disk before the labeler is told so; NORMAL may lose the last ones
            # when the power fails.
            "synchronous=FULL",
        ):
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads first and writes later fails when another wrote between.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def migrations(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    found = ScriptDirectory.from_config(migrations()).get_current_head()
    assert found is not None
    return found


def version_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _require_known(found: str | None, where: str) -> None:
    known = {
        script.revision for script in ScriptDirectory.from_config(migrations()).walk_revisions()
    }
    if found is not None and found not in known:
        raise StoreError(
            f"{where}: its tables are of version {found}, which a newer Preceptor made. "
            "Upgrade Preceptor."
        )


def _check_key(connection: Connection, site_key: SiteKey, where: str) -> None:
    """Refuse another key than the store was made with."""
    if connection.scalar(select(KeyCheck.value)) == site_key.check_value():
        return
    set_here = os.environ.get(KEY_VARIABLE, "").strip()
    hint = f" {KEY_VARIABLE} is set, and goes before the key's file." if set_here else ""
    raise StoreError(
        f"{where}: made with another site key.{hint} Bring back the key that it was made with: "
        "with this one the same people would get other pseudonyms."
    )


def _gave_way(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(error.orig, "sqlstate", None) in GAVE_WAY


def _unreachable(where: str, error: DatabaseError) -> str:
    cause = str(error.orig).strip().splitlines()[0]
    if _gave_way(error):
        return f"{where}: somebody else is writing to it. Nothing was changed; do it again later."
    if isinstance(error, OperationalError):
        return f"{where}: cannot be opened: {cause}."
    return f"{where}: not a database, or a damaged one: {cause}."
