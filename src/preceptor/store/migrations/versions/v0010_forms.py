"""A project's own form."""

import sqlalchemy as sa
from alembic import op

from preceptor.errors import StoreError

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("project", sa.Column("form", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Only of a store in which no project has a form of its own: an older version would lose it."""
    own = sa.text("SELECT count(*) FROM project WHERE form IS NOT NULL")
    if op.get_bind().scalar(own):
        raise StoreError(
            "A project here has a form of its own, which an older version cannot keep. Export its "
            "labels first."
        )
    op.drop_column("project", "form")
