"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("consent", "guideline", "acknowledgement", "submission", "export")


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("login", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("labeler_group", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("accepts_sensitive", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "labeler_group IN ('training', 'heldout', 'researcher', 'simulated', 'imported')",
            name=op.f("ck_account_labeler_group"),
        ),
        sa.CheckConstraint(
            "role IN ('labeler', 'researcher', 'admin')", name=op.f("ck_account_role")
        ),
        sa.CheckConstraint(
            "state IN ('invited', 'screening', 'active', 'paused', 'left')",
            name=op.f("ck_account_state"),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("login", name="uq_account_login"),
        sa.UniqueConstraint("pseudonym", name="uq_account_pseudonym"),
    )
    op.create_table(
        "export",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("filters", sa.JSON(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("num_rows", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_export"),
    )
    op.create_table(
        "guideline",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("markdown", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("imported", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_guideline"),
        sa.UniqueConstraint("name", "version", name="uq_guideline_name_version"),
    )
    op.create_table(
        "ingest",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("consent", sa.Text(), nullable=False),
        sa.Column("may_train", sa.Boolean(), nullable=False),
        sa.Column("may_evaluate", sa.Boolean(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ingest"),
    )
    op.create_table(
        "policy",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_policy"),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task_type", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("calibration_fraction", sa.Double(), nullable=False),
        sa.Column("lease_seconds", sa.Integer(), nullable=False),
        sa.Column("undo_seconds", sa.Integer(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("guideline", sa.Text(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "purpose IN ('train', 'eval', 'screening')", name=op.f("ck_project_purpose")
        ),
        sa.CheckConstraint("state IN ('open', 'paused', 'closed')", name=op.f("ck_project_state")),
        sa.CheckConstraint(
            "task_type IN ('demonstration', 'ranking', 'evaluation')",
            name=op.f("ck_project_task_type"),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_project"),
        sa.UniqueConstraint("name", name="uq_project_name"),
    )
    op.create_table(
        "key_check",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_check"),
    )
    op.create_table(
        "prompt_user",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("policy IN ('opt_in', 'never')", name=op.f("ck_prompt_user_policy")),
        sa.CheckConstraint(
            "split IN ('train', 'valid', 'test')", name=op.f("ck_prompt_user_split")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_prompt_user"),
        sa.UniqueConstraint("pseudonym", name="uq_prompt_user_pseudonym"),
    )
    op.create_table(
        "acknowledgement",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("guideline_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name="fk_acknowledgement_account_id"
        ),
        sa.ForeignKeyConstraint(
            ["guideline_id"], ["guideline.id"], name="fk_acknowledgement_guideline_id"
        ),
        sa.PrimaryKeyConstraint("account_id", "guideline_id", name="pk_acknowledgement"),
    )
    op.create_table(
        "consent",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("text_sha256", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "channel IN ('api_store', 'chat_page', 'contract', 'declared')",
            name=op.f("ck_consent_channel"),
        ),
        sa.CheckConstraint("event IN ('given', 'withdrawn')", name=op.f("ck_consent_event")),
        sa.CheckConstraint(
            "scope IN ('train', 'evaluate', 'publish')", name=op.f("ck_consent_scope")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["prompt_user.id"], name="fk_consent_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_consent"),
    )
    op.create_index("ix_consent_user_id", "consent", ["user_id"], unique=False)
    op.create_table(
        "invitation",
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_invitation_account_id"),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_invitation"),
    )
    op.create_index("ix_invitation_account_id", "invitation", ["account_id"], unique=False)
    op.create_table(
        "prompt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=True),
        sa.Column("ingest_id", sa.Uuid(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("normal_sha256", sa.Text(), nullable=False),
        sa.Column("use_case", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "origin IN ('api', 'chat_page', 'labeler', 'import', 'miniature')",
            name=op.f("ck_prompt_origin"),
        ),
        sa.CheckConstraint(
            "status IN ('active', 'quarantined', 'rejected', 'erased')",
            name=op.f("ck_prompt_status"),
        ),
        sa.ForeignKeyConstraint(["author_id"], ["account.id"], name="fk_prompt_author_id"),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingest.id"], name="fk_prompt_ingest_id"),
        sa.ForeignKeyConstraint(["user_id"], ["prompt_user.id"], name="fk_prompt_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_prompt"),
    )
    op.create_index("ix_prompt_choice", "prompt", ["status", "split"], unique=False)
    op.create_index("ix_prompt_normal_sha256", "prompt", ["normal_sha256"], unique=False)
    op.create_index("ix_prompt_user_id", "prompt", ["user_id"], unique=False)
    op.create_table(
        "left_out",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_left_out_project_id"),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name="fk_left_out_prompt_id"),
        sa.PrimaryKeyConstraint("project_id", "prompt_id", name="pk_left_out"),
    )
    op.create_table(
        "seat",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_seat_account_id"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_seat_project_id"),
        sa.PrimaryKeyConstraint("project_id", "account_id", name="pk_seat"),
    )
    op.create_table(
        "response",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=True),
        sa.Column("author_id", sa.Uuid(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=True),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["account.id"], name="fk_response_author_id"),
        sa.ForeignKeyConstraint(["policy_id"], ["policy.id"], name="fk_response_policy_id"),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name="fk_response_prompt_id"),
        sa.PrimaryKeyConstraint("id", name="pk_response"),
    )
    op.create_index("ix_response_prompt_id", "response", ["prompt_id"], unique=False)
    op.create_table(
        "task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("prompt_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Integer(), nullable=True),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("draw", sa.BigInteger(), nullable=False),
        sa.Column("sensitive", sa.Boolean(), nullable=False),
        sa.CheckConstraint("kind IN ('normal', 'calibration')", name=op.f("ck_task_kind")),
        sa.CheckConstraint("state IN ('open', 'full', 'closed')", name=op.f("ck_task_state")),
        sa.CheckConstraint("target IS NULL OR taken <= target", name=op.f("ck_task_taken")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name="fk_task_project_id"),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name="fk_task_prompt_id"),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
    )
    op.create_index("ix_task_asked", "task", ["project_id", "prompt_id"], unique=False)
    op.create_index("ix_task_prompt_id", "task", ["prompt_id"], unique=False)
    op.create_index(
        "ix_task_queue",
        "task",
        [
            "project_id",
            "kind",
            sa.literal_column("taken DESC"),
            sa.literal_column("priority DESC"),
            "draw",
        ],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("lease_expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("display_order", sa.JSON(), nullable=False),
        sa.Column("display_seed", sa.BigInteger(), nullable=False),
        sa.Column("guideline_id", sa.Uuid(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("skip_reason", sa.Text(), nullable=True),
        sa.Column("skip_comment", sa.Text(), nullable=True),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("draft_version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('leased', 'submitted', 'skipped', 'expired', 'released')",
            name=op.f("ck_assignment_state"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_assignment_account_id"),
        sa.ForeignKeyConstraint(
            ["guideline_id"], ["guideline.id"], name="fk_assignment_guideline_id"
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_assignment_task_id"),
        sa.PrimaryKeyConstraint("id", name="pk_assignment"),
        sa.UniqueConstraint("task_id", "account_id", name="uq_assignment_task_id_account_id"),
    )
    op.create_index("ix_assignment_account", "assignment", ["account_id"], unique=False)
    op.create_index(
        "ix_assignment_expiry",
        "assignment",
        ["lease_expires"],
        unique=False,
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "ix_assignment_lease",
        "assignment",
        ["account_id", "lease_expires"],
        unique=False,
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_table(
        "task_response",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("response_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["response_id"], ["response.id"], name="fk_task_response_response_id"
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name="fk_task_response_task_id"),
        sa.PrimaryKeyConstraint("task_id", "slot", name="pk_task_response"),
    )
    op.create_table(
        "draft",
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name="fk_draft_assignment_id"
        ),
        sa.PrimaryKeyConstraint("assignment_id", "version", name="pk_draft"),
    )
    op.create_table(
        "submission",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("form_sha256", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("guideline_id", sa.Uuid(), nullable=True),
        sa.Column("restores", sa.Integer(), nullable=True),
        sa.Column("active_seconds", sa.Double(), nullable=True),
        sa.Column("ingest_id", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('submitted', 'withdrawn')", name=op.f("ck_submission_kind")),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name="fk_submission_assignment_id"
        ),
        sa.ForeignKeyConstraint(
            ["guideline_id"], ["guideline.id"], name="fk_submission_guideline_id"
        ),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingest.id"], name="fk_submission_ingest_id"),
        sa.PrimaryKeyConstraint("id", name="pk_submission"),
        sa.UniqueConstraint(
            "assignment_id", "revision", name="uq_submission_assignment_id_revision"
        ),
        sa.UniqueConstraint("key", name="uq_submission_key"),
    )
    op.create_table(
        "submission_text",
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submission.id"], name="fk_submission_text_submission_id"
        ),
        sa.PrimaryKeyConstraint("submission_id", "field", name="pk_submission_text"),
    )
    _refuse_changes()


def downgrade() -> None:
    op.drop_table("submission_text")
    op.drop_table("submission")
    op.drop_table("draft")
    op.drop_table("task_response")
    op.drop_index(
        "ix_assignment_expiry",
        table_name="assignment",
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.drop_index(
        "ix_assignment_lease",
        table_name="assignment",
        sqlite_where=sa.text("state = 'leased'"),
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.drop_index("ix_assignment_account", table_name="assignment")
    op.drop_table("assignment")
    op.drop_index(
        "ix_task_queue",
        table_name="task",
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.drop_index("ix_task_asked", table_name="task")
    op.drop_index("ix_task_prompt_id", table_name="task")
    op.drop_table("task")
    op.drop_index("ix_response_prompt_id", table_name="response")
    op.drop_table("response")
    op.drop_table("seat")
    op.drop_table("left_out")
    op.drop_index("ix_prompt_user_id", table_name="prompt")
    op.drop_index("ix_prompt_normal_sha256", table_name="prompt")
    op.drop_index("ix_prompt_choice", table_name="prompt")
    op.drop_table("prompt")
    op.drop_index("ix_invitation_account_id", table_name="invitation")
    op.drop_table("invitation")
    op.drop_index("ix_consent_user_id", table_name="consent")
    op.drop_table("consent")
    op.drop_table("acknowledgement")
    op.drop_table("prompt_user")
    op.drop_table("key_check")
    op.drop_table("project")
    op.drop_table("policy")
    op.drop_table("ingest")
    op.drop_table("guideline")
    op.drop_table("export")
    op.drop_table("account")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change")


def _refuse_changes() -> None:
    """Labels and consent are added, never changed: not even by a bug of ours."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        )
        for table in APPEND_ONLY:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
                f"ON {table} EXECUTE FUNCTION refuse_change()"
            )
        return
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
