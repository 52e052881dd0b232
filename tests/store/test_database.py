"""The database: migrations both ways, rows that nobody changes, versions that are told."""

import base64
import hashlib
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from people import START, Fresh, add_labeler, add_project, add_prompt, fill_in
from sqlalchemy import CheckConstraint, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.database import (
    Busy,
    Store,
    create_store,
    head,
    migrations,
    open_store,
    shown,
    url_of,
    version_of,
)
from preceptor.store.labels import submit
from preceptor.store.names import SiteKey
from preceptor.store.projects import ProjectOptions, create_project
from preceptor.store.queue import claim
from preceptor.store.tables import APPEND_ONLY, Base, Prompt, Task
from preceptor.store.writing import add_writing


def test_the_migrations_make_the_tables_that_the_code_has(store: Store):
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert version_of(connection) == head()


def test_the_migrations_go_down_to_nothing_and_up_again(fresh: Fresh):
    store = fresh()
    with store.engine.execution_options(writes=True).begin() as connection:
        command.downgrade(migrations(connection), "base")
    with store.engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    with store.engine.execution_options(writes=True).begin() as connection:
        command.upgrade(migrations(connection), "head")
    test_the_migrations_make_the_tables_that_the_code_has(store)
    store.close()


def test_rows_of_an_older_version_stay_as_they_are_and_new_tasks_have_their_place(fresh: Fresh):
    store = fresh()
    rows = {}
    with store.write() as session:
        project = add_project(session, num_tasks=3, num_calibration=1)
        ann = add_labeler(session, store, "ann")
        view = claim(session, project, ann, now=START)
        assert view is not None
        submit(session, view.id, ann, key=view.key, form=fill_in(view), now=START)
    for version in ("0003", "head"):
        with store.engine.execution_options(writes=True).begin() as connection:
            move = command.upgrade if version == "head" else command.downgrade
            move(migrations(connection), version)
        with store.engine.connect() as connection:
            rows[version] = {
                table: sorted(map(str, connection.execute(text(f"SELECT {columns} FROM {table}"))))
                for table, columns in (
                    ("project", "id, name, task_type, seed, groups, created_at"),
                    ("task", "id, project_id, prompt_id, kind, target, taken, draw, sensitive"),
                    ("assignment", "id, task_id, state"),
                )
            }
            if store.engine.dialect.name == "sqlite":
                assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    assert rows["0003"] == rows["head"] and len(rows["head"]["task"]) == 3
    test_the_migrations_make_the_tables_that_the_code_has(store)
    with store.write() as session:
        # The work goes on, and what only the new version has is taken; what it has not is refused.
        assert claim(session, project, ann, now=START) is not None
        other = create_project(session, "p", "prompt_plain", ProjectOptions(), now=START)
        assert add_writing(session, other, num=1)["added"] == 1
        assert claim(session, other, ann, now=START) is not None
        practice = ProjectOptions(purpose="practice")
        create_project(session, "new purpose", "ranking", practice, now=START)
    changes = (
        "UPDATE project SET task_type = 'x'",
        "UPDATE project SET purpose = 'x'",
        "UPDATE task SET kind = 'x'",
    )
    for change in changes:
        with pytest.raises(IntegrityError), store.write() as session:
            session.execute(text(change))
    store.close()


SAMPLES = {
    "consent": "(id, user_id, scope, channel, event, text_sha256, at) SELECT 1, id, 'train', "
    "'declared', 'given', '', first_seen FROM prompt_user",
    "guideline": "(id, name, version, markdown, sha256, imported, at) SELECT id, 'n', 1, '', '', "
    "false, first_seen "
    "FROM prompt_user",
    "acknowledgement": "(account_id, guideline_id, at) SELECT account.id, guideline.id, "
    "account.created_at FROM account, guideline",
    "submission": "(id, assignment_id, revision, kind, key, form_sha256, body, at) SELECT id,"
    " id, 1, 'submitted', id, '', '{}', last_seen FROM assignment",
    "export": "(id, kind, filters, file_name, num_rows, sha256, at) SELECT 1, '', '{}', '', 0, '', "
    "first_seen FROM prompt_user",
    "export_row": "(record_id, export_id) SELECT u.id, export.id FROM prompt_user u, export",
    "screening_score": "(id, account_id, part, value, card, decided_by, at) SELECT 1, id, "
    "'competence', 5, '{}', id, created_at FROM account",
    "prompt_label": "(id, prompt_id, key, account_id, at) SELECT 1, prompt.id, 'ambiguous', "
    "account.id, created_at FROM prompt, account LIMIT 1",
    "access_log": "(id, account_id, what, object, at) SELECT 1, id, 'prompt', '', created_at "
    "FROM account",
}


@pytest.mark.parametrize("change", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}"])
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_is_added_is_never_changed(store: Store, table: str, change: str):
    assert set(SAMPLES) == set(APPEND_ONLY)
    with store.write() as session:
        add_prompt(session, "q")
        ann = add_labeler(session, store, "ann")
        project = add_project(session, num_tasks=1)
        assert claim(session, project, ann, now=START)
        before = {"acknowledgement": "guideline", "export_row": "export"}
        for name in filter(None, (before.get(table), table)):
            if not session.execute(text(f"SELECT count(*) FROM {name}")).scalar():
                session.execute(text(f"INSERT INTO {name} {SAMPLES[name]}"))
    statement = change.format(table, "export_id" if table == "export_row" else "at")
    with pytest.raises(DBAPIError, match=f"{table} is append-only"), store.write() as session:
        session.execute(text(statement))
    with store.read() as session:
        assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar() > 0


def test_the_database_itself_refuses_one_label_too_many(store: Store):
    with store.write() as session:
        add_project(session, num_tasks=1, overlap=2)
    with pytest.raises(IntegrityError, match="taken"), store.write() as session:
        session.query(Task).update({"taken": 3})


def test_a_transaction_that_fails_leaves_nothing(store: Store):
    with pytest.raises(ZeroDivisionError), store.write() as session:
        add_prompt(session, "q")
        raise ZeroDivisionError
    with store.read() as session:
        assert session.execute(text("SELECT count(*) FROM prompt")).scalar() == 0


def test_errors_of_the_database_carry_no_text_of_people(store: Store):
    with store.write() as session:
        add_prompt(session, "a secret of somebody")
    with pytest.raises(IntegrityError) as told, store.write() as session:
        add_prompt(session, "a secret of somebody")
    assert "secret" not in str(told.value)


@pytest.fixture
def path(tmp_path: Path) -> str:
    create_store(str(tmp_path / "s.db"))
    return str(tmp_path / "s.db")


def set_version(path: str, version: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])
    connection.close()


def test_a_store_of_a_newer_version_is_not_touched(path: str):
    set_version(path, "9999")
    for attempt in (open_store, create_store):
        with pytest.raises(StoreError, match="9999, which a newer Preceptor made. Upgrade"):
            attempt(path)


def test_a_database_of_something_else_is_not_touched(tmp_path: Path):
    connection = sqlite3.connect(tmp_path / "other.db")
    with connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="a database of something else. Name a new file"):
        create_store(str(tmp_path / "other.db"))
    with pytest.raises(StoreError, match="not a label store"):
        open_store(str(tmp_path / "other.db"))


def test_sqlite_waits_for_writers_and_survives_a_power_cut(path: str):
    store = open_store(path)
    with store.write() as session:
        settings = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }
    store.close()


def test_a_reader_sees_one_state_while_another_writes(path: str):
    store = open_store(path)
    with store.read() as reader:
        before = reader.execute(text("SELECT count(*) FROM prompt")).scalar()
        with store.write() as writer:
            add_prompt(writer, "q")
        assert reader.execute(text("SELECT count(*) FROM prompt")).scalar() == before == 0
    store.close()


def test_a_writer_that_waits_too_long_is_told_so_and_may_come_again(
    path: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("preceptor.store.database.BUSY_SECONDS", 0.1)
    one, other = open_store(path), open_store(path)
    with one.write() as first:
        add_prompt(first, "q")
        with pytest.raises(StoreError, match="busy: somebody else is writing to it") as told:
            other.run(lambda session: add_prompt(session, "r"))
        with pytest.raises(StoreError, match="s.db: somebody else is writing to it. Nothing was"):
            create_store(path)
    assert isinstance(told.value, Busy)
    other.run(lambda session: add_prompt(session, "r"))
    for store in (one, other):
        store.close()


def test_of_two_transactions_in_each_other_s_way_both_are_done(store: Store):
    """Locked the wrong way round on purpose: the server ends one, and it is tried again."""
    with store.write() as session:
        first, second = add_prompt(session, "q"), add_prompt(session, "r")
    ready, calls = threading.Barrier(2), []

    def work(order: list[Any]) -> None:
        def change(session: Session) -> None:
            calls.append(order)
            for number, id in enumerate(order):
                prompt = session.get_one(Prompt, id, with_for_update=True)
                prompt.reason += "x"
                session.flush()
                if not number and len(calls) <= 2 and store.engine.dialect.name != "sqlite":
                    ready.wait(10)

        store.run(change)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, [[first, second], [second, first]]))
    with store.read() as session:
        assert session.scalars(select(Prompt.reason)).all() == ["xx", "xx"]


@pytest.mark.parametrize("where", ["postgresql://u@h/d", "postgresql+psycopg://u@h/d"])
def test_postgresql_is_reached_by_psycopg(where: str):
    assert url_of(where).drivername == "postgresql+psycopg"


def test_the_scheme_that_many_hosts_write_is_postgresql_too():
    assert url_of("postgres://u@h/d").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    "where",
    [
        "postgresql://u:hush@h/d",
        "postgresql://h/d?user=u&password=hush",
        "postgresql://u@h/d?sslpassword=hush",
    ],
)
def test_no_password_is_shown(where: str):
    assert "hush" not in shown(url_of(where))
    assert "@h/" in shown(url_of(where)) or "//h/" in shown(url_of(where))


def test_each_rule_of_a_column_is_named_once(store: Store):
    with store.engine.connect() as connection:
        names = {
            str(check["name"])
            for table in Base.metadata.tables
            for check in inspect(connection).get_check_constraints(table)
        }
    expected = {
        str(rule.name)
        for table in Base.metadata.tables.values()
        for rule in table.constraints
        if isinstance(rule, CheckConstraint)
    }
    assert names == expected
    assert "ck_account_role" in names


def test_without_its_driver_postgresql_says_what_to_install(tmp_path: Path):
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from preceptor.store.database import *\n"
        "try: connect(url_of('postgresql://u@h/d'))\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'preceptor[postgres]'" in done.stdout


def test_pseudonyms_depend_on_the_key_and_on_the_name_alone():
    one, other = SiteKey(b"k" * 16), SiteKey(b"l" * 16)
    assert one.user("ann") == SiteKey(b"k" * 16).user("ann")
    names: list[Any] = [one.user("ann"), one.user("bob"), one.labeler("ann"), other.user("ann")]
    assert len(set(names)) == 4
    with pytest.raises(StoreError, match="the site key has 3 bytes"):
        SiteKey(b"abc")


@pytest.mark.parametrize(
    "key",
    [
        "please-CHANGE-me-please",
        "my_secret_site_key_2026",
        "Example Example 7",
        "0" * 64,
        "0123456789abcdef",
        "0123456789ABCDEF" * 4,
        "abcdefghijklmnopqrstuvwxyz",
        "a7c2e9d1" * 2 + "a7c",
    ],
)
def test_no_new_database_gets_a_key_that_is_tried_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
):
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", key)
    path = tmp_path / "l.db"
    with pytest.raises(StoreError, match="The site key .*openssl rand") as refused:
        create_store(str(path))
    assert key not in str(refused.value)
    with pytest.raises(StoreError):
        open_store(str(path))
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", "a key that is only known to tests")
    create_store(str(path))  # what was refused is no obstacle


def test_a_store_with_a_weak_key_is_opened_and_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PRECEPTOR_SITE_KEY", "0" * 32)
    path = str(tmp_path / "l.db")
    with monkeypatch.context() as older:
        older.setattr(SiteKey, "require_strong", lambda key: None)
        create_store(path)
    create_store(path)
    open_store(path).close()


def test_a_key_that_was_drawn_is_strong():
    for number in range(2_000):
        drawn = hashlib.sha256(str(number).encode())
        SiteKey(drawn.hexdigest().encode()).require_strong()
        SiteKey(base64.b64encode(drawn.digest()[:12])).require_strong()
