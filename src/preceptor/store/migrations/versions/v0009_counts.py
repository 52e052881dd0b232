"""Labels are counted from an index alone."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_index(
        "ix_judgement_counts",
        "judgement",
        ["project_id", "account_id", "task_kind", "counted", "at"],
    )


def downgrade() -> None:
    op.drop_index("ix_judgement_counts", "judgement")
