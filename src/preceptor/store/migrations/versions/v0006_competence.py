"""What labelers say they know, and labels of prompts by those who lead."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("account", sa.Column("topics", sa.JSON(), nullable=True))
    op.add_column("account", sa.Column("languages", sa.JSON(), nullable=True))
    op.create_table(
        "prompt_label",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=True),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name="fk_prompt_label_prompt_id"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_prompt_label_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_prompt_label"),
    )
    op.create_index("ix_prompt_label_prompt_id", "prompt_label", ["prompt_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER prompt_label_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
            "ON prompt_label EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER prompt_label_refuses_{change.lower()} BEFORE {change} ON prompt_label "
            "BEGIN SELECT RAISE(ABORT, 'prompt_label is append-only'); END"
        )


def downgrade() -> None:
    op.drop_table("prompt_label")
    op.drop_column("account", "languages")
    op.drop_column("account", "topics")
