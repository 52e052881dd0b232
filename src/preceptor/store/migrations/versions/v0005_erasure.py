"""Erased people: when, which exported file holds whose text, and who erased them by command."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ERASED = sa.text("erased_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("response", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("account", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "export_row",
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("export_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["export_id"], ["export.id"], name="fk_export_row_export_id"),
        sa.PrimaryKeyConstraint("record_id", "export_id", name="pk_export_row"),
    )
    _refuse_changes("export_row")
    op.create_index(
        "ix_prompt_user_erased",
        "prompt_user",
        ["erased_at"],
        sqlite_where=ERASED,
        postgresql_where=ERASED,
    )
    _access_log_account(nullable=True)


def downgrade() -> None:
    # Whoever erased somebody by command has no account; rows of a version that asks for one go.
    _let_changes_be("access_log")
    op.execute("DELETE FROM access_log WHERE account_id IS NULL")
    _access_log_account(nullable=False, let_be=False)
    op.drop_index("ix_prompt_user_erased", table_name="prompt_user")
    op.drop_table("export_row")
    op.drop_column("account", "erased_at")
    op.drop_column("response", "erased_at")


def _access_log_account(*, nullable: bool, let_be: bool = True) -> None:
    """SQLite makes the table anew for that, and its triggers with it."""
    if let_be:
        _let_changes_be("access_log")
    with op.batch_alter_table("access_log") as table:
        table.alter_column("account_id", existing_type=sa.Uuid(), nullable=nullable)
    _refuse_changes("access_log")


def _refuse_changes(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
            f"ON {table} EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_refuses_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _let_changes_be(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(f"DROP TRIGGER {table}_refuses_{change.lower()}")
