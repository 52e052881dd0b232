"""What was found in a prompt when it came in."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("prompt", sa.Column("language", sa.Text(), server_default="", nullable=False))
    op.add_column("prompt", sa.Column("masked", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("prompt", "masked")
    op.drop_column("prompt", "language")
