"""Prompts that labelers write, more types of tasks, attention tasks."""

import sqlalchemy as sa
from alembic import op

from preceptor.store.migrations.rules import allow, one_of

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
    allow("project", "task_type", OLD_TYPES, TYPES)
    allow("task", "kind", OLD_KINDS, KINDS, needs_prompt=False)
    op.add_column("task", sa.Column("brief", sa.Text(), nullable=True))
    # Alembic adds no rule to a table of SQLite; the statement is the same on both.
    op.execute(
        "ALTER TABLE prompt ADD COLUMN kind TEXT DEFAULT 'customer' NOT NULL CONSTRAINT "
        f"ck_prompt_kind CHECK ({one_of('kind', ('customer', 'plain', 'few_shot', 'user_based'))})"
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
    allow("task", "kind", KINDS, OLD_KINDS, needs_prompt=True)
    allow("project", "task_type", TYPES, OLD_TYPES)
