"""Rules of columns that migrations change: a CHECK is dropped on one database, not on the other."""

import sqlalchemy as sa
from alembic import op


def allow(
    table: str,
    column: str,
    old: tuple[str, ...],
    new: tuple[str, ...],
    *,
    needs_prompt: bool | None = None,
) -> None:
    """Other values of a column; and whether a task needs a prompt, where that changes."""
    rule = f"ck_{table}_{column}"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f(rule), table)
        op.create_check_constraint(op.f(rule), table, one_of(column, new))
        if needs_prompt is not None:
            op.alter_column(table, "prompt_id", nullable=not needs_prompt)
        return
    changes = [(one_of(column, old), one_of(column, new))]
    if needs_prompt is not None:
        forms = ("prompt_id CHAR(32)", "prompt_id CHAR(32) NOT NULL")
        changes.append(forms if needs_prompt else forms[::-1])
    _make_again(table, changes)


def _make_again(table: str, changes: list[tuple[str, str]]) -> None:
    """SQLite changes no rule of a table: its rows go aside, and into a new one of its name.

    Rows of other tables refer to these throughout; that they do is looked at in the end.
    """
    connection = op.get_bind()
    found = sa.text("SELECT sql FROM sqlite_master WHERE tbl_name = :table AND type = :type")
    of_table = {"table": table}
    [statement] = connection.scalars(found, of_table | {"type": "table"})
    indexes = connection.scalars(found, of_table | {"type": "index"}).all()
    for old, new in changes:
        assert statement.count(old) == 1, (table, old)
        statement = statement.replace(old, new)
    op.execute("PRAGMA defer_foreign_keys = ON")
    # The name of a table of ours, which no parameter can stand for.
    op.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table}")  # noqa: S608
    op.execute(f"DROP TABLE {table}")
    connection.exec_driver_sql(statement)
    op.execute(f"INSERT INTO {table} SELECT * FROM kept")  # noqa: S608
    op.execute("DROP TABLE kept")
    for index in filter(None, indexes):  # those of its own rules have no statement
        connection.exec_driver_sql(index)


def one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"
