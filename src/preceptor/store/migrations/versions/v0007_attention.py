"""How many of a labeler's tasks look whether they are reading."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "project",
        sa.Column("attention_fraction", sa.Double(), server_default="0.02", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("project", "attention_fraction")
