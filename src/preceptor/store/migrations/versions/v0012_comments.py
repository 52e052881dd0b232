"""Which labels have a comment, and indexes from the newest comment on."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

OF_LABELS = {
    "ix_judgement_comment": ["at", "assignment_id"],
    "ix_judgement_comment_project": ["project_id", "at", "assignment_id"],
    "ix_judgement_comment_account": ["account_id", "at", "assignment_id"],
}


def upgrade() -> None:
    op.add_column(
        "judgement",
        sa.Column("commented", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    judgement = sa.table("judgement", sa.column("assignment_id"), sa.column("commented"))
    submission = sa.table(
        "submission", sa.column("id"), sa.column("assignment_id"), sa.column("revision")
    )
    words = sa.table("submission_text", sa.column("submission_id"), sa.column("field"))
    newest = (
        sa.select(submission.c.id)
        .where(submission.c.assignment_id == judgement.c.assignment_id)
        .order_by(submission.c.revision.desc())
        .limit(1)
        .correlate(judgement)
        .scalar_subquery()
    )
    comment = (words.c.field == "comment") & (words.c.submission_id == newest)
    op.execute(
        sa.update(judgement)
        .where(sa.exists().where(comment).correlate(judgement))
        .values(commented=sa.true())
    )
    for name, columns in OF_LABELS.items():
        op.create_index(
            name,
            "judgement",
            columns,
            sqlite_where=sa.text("commented = 1"),
            postgresql_where=sa.text("commented"),
        )
    skipped = sa.text("state = 'skipped' AND skip_comment != ''")
    op.create_index(
        "ix_assignment_comment",
        "assignment",
        ["last_seen", "id"],
        sqlite_where=skipped,
        postgresql_where=skipped,
    )


def downgrade() -> None:
    op.drop_index("ix_assignment_comment", "assignment")
    for name in OF_LABELS:
        op.drop_index(name, "judgement")
    op.drop_column("judgement", "commented")
