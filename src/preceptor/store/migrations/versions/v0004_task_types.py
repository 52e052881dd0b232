"""Prompts that labelers write, more types of tasks, attention tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

OLD_TYPES = ("demonstration", "ranking", "evaluation")
TYPES = (
    *OLD_TYPES,
    "evaluation_ab",
    "toxicity",
    "prompt_plain",
    "prompt_few_shot",
    "prompt_user_based",
)
OLD_KINDS, KINDS = ("normal", "calibration"), ("normal", "calibration", "attention")


def upgrade() -> None:
    _allow("project", "task_type", OLD_TYPES, TYPES)
    _allow("task", "kind", OLD_KINDS, KINDS, needs_prompt=False)
    op.add_column("task", sa.Column("brief", sa.Text(), nullable=True))
    # Alembic adds no rule to a table of SQLite; the statement is the same on both.
    op.execute(
        "ALTER TABLE prompt ADD COLUMN kind TEXT DEFAULT 'customer' NOT NULL CONSTRAINT "
        f"ck_prompt_kind CHECK ({_rule('kind', ('customer', 'plain', 'few_shot', 'user_based'))})"
    )
    op.create_table(
        "written",
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name="fk_written_assignment_id"
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name="fk_written_prompt_id"),
        sa.PrimaryKeyConstraint("assignment_id", name="pk_written"),
    )
    op.create_index("ix_written_prompt_id", "written", ["prompt_id"])


def downgrade() -> None:
    """Only of a store without the new tasks: an older version has no place for them."""
    op.drop_index("ix_written_prompt_id", table_name="written")
    op.drop_table("written")
    op.drop_column("prompt", "kind")
    op.drop_column("task", "brief")
    _allow("task", "kind", KINDS, OLD_KINDS, needs_prompt=True)
    _allow("project", "task_type", TYPES, OLD_TYPES)


def _allow(
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
        op.create_check_constraint(op.f(rule), table, _rule(column, new))
        if needs_prompt is not None:
            op.alter_column(table, "prompt_id", nullable=not needs_prompt)
        return
    changes = [(_rule(column, old), _rule(column, new))]
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


def _rule(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"
