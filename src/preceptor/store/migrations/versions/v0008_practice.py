"""More labels of a share of a project's tasks; projects to practise in."""

import sqlalchemy as sa
from alembic import op

from preceptor.store.migrations.rules import allow

revision = "0008"
down_revision = "0007"

OLD_PURPOSES = ("train", "eval", "screening")
PURPOSES = (*OLD_PURPOSES, "practice")


def upgrade() -> None:
    op.add_column("project", sa.Column("overlap_more", sa.Integer(), nullable=True))
    op.add_column(
        "project", sa.Column("overlap_fraction", sa.Double(), server_default="0", nullable=False)
    )
    allow("project", "purpose", OLD_PURPOSES, PURPOSES)


def downgrade() -> None:
    """Only of a store without a practice: an older version has no place for one."""
    allow("project", "purpose", PURPOSES, OLD_PURPOSES)
    op.drop_column("project", "overlap_fraction")
    op.drop_column("project", "overlap_more")
