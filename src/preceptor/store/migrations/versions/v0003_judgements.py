"""Labels in short, gold answers, screening, who read what; indexes for the lead's pages."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

APPEND_ONLY = ("screening_score", "access_log")
NOT_ACTIVE, SKIPPED = sa.text("status <> 'active'"), sa.text("state = 'skipped'")


def upgrade() -> None:
    op.create_table(
        "judgement",
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("task_kind", sa.Text(), nullable=False),
        sa.Column("use_case", sa.Text(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("ranks", sa.Text(), nullable=False),
        sa.Column("positions", sa.Text(), nullable=False),
        sa.Column("likert", sa.Text(), nullable=False),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("num_unacceptable", sa.Integer(), nullable=False),
        sa.Column("num_chars", sa.Integer(), nullable=False),
        sa.Column("active_seconds", sa.Double(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name="fk_judgement_assignment_id"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_judgement_project_id"),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_judgement_task_id"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_judgement_account_id"),
        sa.PrimaryKeyConstraint("assignment_id", name="pk_judgement"),
    )
    op.create_index("ix_judgement_project", "judgement", ["project_id", "at"])
    op.create_index("ix_judgement_task_id", "judgement", ["task_id"])
    op.create_index("ix_judgement_account_id", "judgement", ["account_id"])
    op.create_table(
        "gold_answer",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_gold_answer_task_id"),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name="fk_gold_answer_assignment_id"
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_gold_answer_account_id"),
        sa.PrimaryKeyConstraint("task_id", name="pk_gold_answer"),
    )
    op.create_table(
        "screening_score",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=True),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "part IN ('demonstration', 'competence', 'decision')",
            name=op.f("ck_screening_score_part"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name="fk_screening_score_account_id"
        ),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name="fk_screening_score_assignment_id"
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["account.id"], name="fk_screening_score_decided_by"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_screening_score"),
    )
    op.create_index("ix_screening_score_account_id", "screening_score", ["account_id"])
    op.create_table(
        "access_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_access_log_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_access_log"),
    )
    op.create_index("ix_access_log_account_id", "access_log", ["account_id"])
    op.create_index("ix_task_progress", "task", ["project_id", "kind", "state", "target", "taken"])
    op.drop_index("ix_prompt_choice", table_name="prompt")
    op.create_index("ix_prompt_choice", "prompt", ["status", "split", "use_case"])
    op.create_index(
        "ix_prompt_reason",
        "prompt",
        ["status", "reason"],
        sqlite_where=NOT_ACTIVE,
        postgresql_where=NOT_ACTIVE,
    )
    op.create_index(
        "ix_assignment_skip",
        "assignment",
        ["account_id", "skip_reason", "task_id"],
        sqlite_where=SKIPPED,
        postgresql_where=SKIPPED,
    )
    _refuse_changes()


def downgrade() -> None:
    op.drop_index("ix_assignment_skip", table_name="assignment")
    op.drop_index("ix_prompt_reason", table_name="prompt")
    op.drop_index("ix_prompt_choice", table_name="prompt")
    op.create_index("ix_prompt_choice", "prompt", ["status", "split"])
    op.drop_index("ix_task_progress", table_name="task")
    for table in ("access_log", "screening_score", "gold_answer", "judgement"):
        op.drop_table(table)


def _refuse_changes() -> None:
    for table in APPEND_ONLY:
        if op.get_bind().dialect.name == "postgresql":
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
                f"ON {table} EXECUTE FUNCTION refuse_change()"
            )
            continue
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
