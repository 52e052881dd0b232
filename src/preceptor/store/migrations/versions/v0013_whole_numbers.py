"""Ratings that came as 4.0: in short they are a character each again."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute("UPDATE judgement SET likert = replace(likert, '.0', '') WHERE likert LIKE '%.0%'")


def downgrade() -> None:
    """Nothing: what they are now, an older version made of labels as well."""
