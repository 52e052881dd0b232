"""More labels of a share of a project's tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("project", sa.Column("overlap_more", sa.Integer(), nullable=True))
    op.add_column(
        "project", sa.Column("overlap_fraction", sa.Double(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("project", "overlap_fraction")
    op.drop_column("project", "overlap_more")
