"""The tables. People's free text stands only in columns that say so, so that it can be erased.

Ids are made of what a row is about (`preceptor.store.names.identify`), so the same row has the same
id wherever it is imported. Times are UTC. A migration says what changes; this says what is.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

APPEND_ONLY = (
    "consent",
    "guideline",
    "acknowledgement",
    "submission",
    "export",
    "export_row",
    "screening_score",
    "access_log",
    "prompt_label",
)
"""Triggers refuse UPDATE and DELETE on these, in both databases."""


class UTCDateTime(TypeDecorator[datetime]):
    """An aware time. SQLite keeps no zone, so the zone is UTC on the way in and on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; pass datetime.now(UTC).")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        uuid.UUID: Uuid(),
        datetime: UTCDateTime(),
        str: Text(),
        dict[str, Any]: JSON(),
        list[str]: JSON(none_as_null=True),
        Any: JSON(none_as_null=True),
    }


def one_of(column: str, *values: str) -> CheckConstraint:
    names = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({names})", name=column)


def reference(table: str, **options: Any) -> Any:
    return mapped_column(ForeignKey(f"{table}.id"), **options)


class KeyCheck(Base):
    """One row: what the site key makes of a known word, so that another key is noticed."""

    __tablename__ = "key_check"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str]


class PromptUser(Base):
    """Who wrote prompts, by pseudonym only."""

    __tablename__ = "prompt_user"
    __table_args__ = (
        one_of("split", "train", "valid", "test"),
        one_of("policy", "opt_in", "never"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    pseudonym: Mapped[str] = mapped_column(unique=True)
    split: Mapped[str]  # drawn once from the pseudonym, never changed
    policy: Mapped[str]
    first_seen: Mapped[datetime]
    erased_at: Mapped[datetime | None]


# Who was erased is asked before every import, of all users there are.
Index(
    "ix_prompt_user_erased",
    PromptUser.erased_at,
    sqlite_where=text("erased_at IS NOT NULL"),
    postgresql_where=text("erased_at IS NOT NULL"),
)


class Consent(Base):
    """Append-only; the newest event of a scope counts."""

    __tablename__ = "consent"
    __table_args__ = (
        one_of("scope", "train", "evaluate", "publish"),
        one_of("channel", "api_store", "chat_page", "contract", "declared"),
        one_of("event", "given", "withdrawn"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)  # the order of events, whatever the clock did
    user_id: Mapped[uuid.UUID] = reference("prompt_user", index=True)
    scope: Mapped[str]
    channel: Mapped[str]
    event: Mapped[str]
    text_sha256: Mapped[str]  # of the consent text that the user was shown
    at: Mapped[datetime]


class Ingest(Base):
    """A file that was imported: where its rows came from, what became of each."""

    __tablename__ = "ingest"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    file_name: Mapped[str]
    sha256: Mapped[str]
    licence: Mapped[str]
    source: Mapped[str]  # whose names these are: the same name elsewhere is somebody else
    consent: Mapped[str]  # what the person who imported declares
    may_train: Mapped[bool]  # what that covers
    may_evaluate: Mapped[bool]
    counts: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class Prompt(Base):
    __tablename__ = "prompt"
    __table_args__ = (
        one_of("origin", "api", "chat_page", "labeler", "import", "miniature"),
        one_of("kind", "customer", "plain", "few_shot", "user_based"),
        one_of("status", "active", "quarantined", "rejected", "erased"),
        Index("ix_prompt_choice", "status", "split", "use_case"),
        Index("ix_prompt_normal_sha256", "normal_sha256"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = reference("prompt_user", index=True)
    author_id: Mapped[uuid.UUID | None] = reference("account")  # a labeler who wrote it
    ingest_id: Mapped[uuid.UUID | None] = reference("ingest")
    origin: Mapped[str]
    kind: Mapped[str] = mapped_column(default="customer", server_default="customer")
    content: Mapped[Any]  # free text: a string or messages
    normal_sha256: Mapped[str] = mapped_column(default="")  # of the text without case and spacing
    use_case: Mapped[str]
    split: Mapped[str]  # its user's
    status: Mapped[str]
    reason: Mapped[str]  # why it is not active
    language: Mapped[str] = mapped_column(default="", server_default="")  # "": not looked
    masked: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # how many personal data of each kind became placeholders; null: none was looked for
    received_at: Mapped[datetime]
    meta: Mapped[dict[str, Any]]


class PromptLabel(Base):
    """What those who lead say of a prompt; append-only, the newest of a key counts."""

    __tablename__ = "prompt_label"
    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[uuid.UUID] = reference("prompt", index=True)
    key: Mapped[str]
    value: Mapped[Any | None]  # a choice; null: taken back
    account_id: Mapped[uuid.UUID] = reference("account")
    at: Mapped[datetime]


class Policy(Base):
    """One row a model version; never shown to labelers."""

    __tablename__ = "policy"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    run: Mapped[str]
    weights_sha256: Mapped[str]


class Response(Base):
    __tablename__ = "response"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    prompt_id: Mapped[uuid.UUID] = reference("prompt", index=True)
    policy_id: Mapped[uuid.UUID | None] = reference("policy")  # null: a person's, or unknown
    author_id: Mapped[uuid.UUID | None] = reference("account")
    text: Mapped[str]  # free text
    finished: Mapped[bool | None]  # it ended by itself; null: unknown
    sampling: Mapped[dict[str, Any]]
    erased_at: Mapped[datetime | None]


class Account(Base):
    __tablename__ = "account"
    __table_args__ = (
        one_of("role", "labeler", "researcher", "admin"),
        one_of("labeler_group", "training", "heldout", "researcher", "simulated", "imported"),
        one_of("state", "invited", "screening", "active", "paused", "left"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    login: Mapped[str | None] = mapped_column(unique=True)  # null: only known from an import
    password_hash: Mapped[str | None]
    pseudonym: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    labeler_group: Mapped[str]
    state: Mapped[str]
    accepts_sensitive: Mapped[bool]
    topics: Mapped[list[str] | None]  # that they say they know; null: not asked yet
    languages: Mapped[list[str] | None]
    created_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]


class Invitation(Base):
    __tablename__ = "invitation"
    token_sha256: Mapped[str] = mapped_column(primary_key=True)  # the token itself is never kept
    account_id: Mapped[uuid.UUID] = reference("account", index=True)
    expires: Mapped[datetime]
    used_at: Mapped[datetime | None]
    screened: Mapped[bool] = mapped_column(default=False)  # elsewhere: the account begins active


class LoginSession(Base):
    """Somebody signed in on a page. It ends by signing out, by idleness or by age."""

    __tablename__ = "login_session"
    token_sha256: Mapped[str] = mapped_column(primary_key=True)  # the token itself is never kept
    account_id: Mapped[uuid.UUID] = reference("account", index=True)
    created_at: Mapped[datetime]
    last_seen: Mapped[datetime]


class ApiKey(Base):
    """A program's key to an account, for what its scopes name."""

    __tablename__ = "api_key"
    id: Mapped[str] = mapped_column(primary_key=True)  # the part of the key that may be shown
    secret_sha256: Mapped[str]
    account_id: Mapped[uuid.UUID] = reference("account", index=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires: Mapped[datetime | None]
    last_used: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Guideline(Base):
    """Append-only: a label keeps the version that its labeler saw."""

    __tablename__ = "guideline"
    __table_args__ = (UniqueConstraint("name", "version"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    markdown: Mapped[str]
    sha256: Mapped[str]
    imported: Mapped[bool]  # came with labels: theirs to refer to, never the one that is shown
    at: Mapped[datetime]


class Acknowledgement(Base):
    __tablename__ = "acknowledgement"
    account_id: Mapped[uuid.UUID] = reference("account", primary_key=True)
    guideline_id: Mapped[uuid.UUID] = reference("guideline", primary_key=True)
    at: Mapped[datetime]


class Project(Base):
    __tablename__ = "project"
    __table_args__ = (
        one_of(
            "task_type",
            "demonstration",
            "ranking",
            "evaluation",
            "evaluation_ab",
            "toxicity",
            "prompt_plain",
            "prompt_few_shot",
            "prompt_user_based",
        ),
        one_of("purpose", "train", "eval", "screening", "practice"),
        one_of("state", "open", "paused", "closed"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    task_type: Mapped[str]
    purpose: Mapped[str]
    overlap: Mapped[int]  # labels wanted of each task
    overlap_more: Mapped[int | None]  # and of a share of them; null: of none
    overlap_fraction: Mapped[float] = mapped_column(default=0.0, server_default="0")
    calibration_fraction: Mapped[float]  # share of a labeler's tasks from the pool all of them get
    attention_fraction: Mapped[float] = mapped_column(  # share of tasks that look who is reading
        default=0.02, server_default="0.02"
    )
    lease_seconds: Mapped[int]
    undo_seconds: Mapped[int]
    groups: Mapped[list[str]]  # of accounts that may claim
    guideline: Mapped[str | None]  # its name; the newest version is the one shown
    form: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # what its pages ask; null: what the paper's do
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    created_at: Mapped[datetime]


class Seat(Base):
    """One labeler in one project: counts claims, so that the calibration draw has an index."""

    __tablename__ = "seat"
    project_id: Mapped[uuid.UUID] = reference("project", primary_key=True)
    account_id: Mapped[uuid.UUID] = reference("account", primary_key=True)
    claims: Mapped[int]


class Task(Base):
    __tablename__ = "task"
    __table_args__ = (
        one_of("kind", "normal", "calibration", "attention"),
        one_of("state", "open", "full", "closed"),
        CheckConstraint("target IS NULL OR taken <= target", name="taken"),
        Index("ix_task_asked", "project_id", "prompt_id"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    project_id: Mapped[uuid.UUID] = reference("project")
    prompt_id: Mapped[uuid.UUID | None] = reference("prompt", index=True)  # null: one is written
    brief: Mapped[str | None]  # the lead's, of a prompt that is to be written
    kind: Mapped[str]
    target: Mapped[int | None]  # labels wanted; null: everybody's (calibration)
    taken: Mapped[int]  # assignments that count: live leases and labels; open when below target
    state: Mapped[str]
    priority: Mapped[int]
    draw: Mapped[int] = mapped_column(BigInteger)  # the order within a priority, from the seed
    sensitive: Mapped[bool]


# What a claim walks through: open tasks, partly filled ones first.
Index(
    "ix_task_queue",
    Task.project_id,
    Task.kind,
    Task.taken.desc(),
    Task.priority.desc(),
    Task.draw,
    sqlite_where=text("state = 'open'"),
    postgresql_where=text("state = 'open'"),
)


class LeftOut(Base):
    """A prompt that a project does not ask about, so that it is not chosen again and again."""

    __tablename__ = "left_out"
    project_id: Mapped[uuid.UUID] = reference("project", primary_key=True)
    prompt_id: Mapped[uuid.UUID] = reference("prompt", primary_key=True)
    reason: Mapped[str]


class TaskResponse(Base):
    __tablename__ = "task_response"
    task_id: Mapped[uuid.UUID] = reference("task", primary_key=True)
    slot: Mapped[str] = mapped_column(primary_key=True)  # A..I; labelers see positions instead
    response_id: Mapped[uuid.UUID] = reference("response")


class Assignment(Base):
    __tablename__ = "assignment"
    __table_args__ = (
        UniqueConstraint("task_id", "account_id"),
        one_of("state", "leased", "submitted", "skipped", "expired", "released"),
        Index(
            "ix_assignment_lease",
            "account_id",
            "lease_expires",
            sqlite_where=text("state = 'leased'"),
            postgresql_where=text("state = 'leased'"),
        ),
        Index(
            "ix_assignment_expiry",
            "lease_expires",
            sqlite_where=text("state = 'leased'"),
            postgresql_where=text("state = 'leased'"),
        ),
        Index("ix_assignment_account", "account_id"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    task_id: Mapped[uuid.UUID] = reference("task")
    account_id: Mapped[uuid.UUID] = reference("account")
    state: Mapped[str]
    counted: Mapped[bool]  # has one of the task's places; a submitted label without is surplus
    lease_expires: Mapped[datetime]
    display_order: Mapped[list[str]]  # position -> slot; equal texts are shown once
    display_seed: Mapped[int] = mapped_column(BigInteger)
    guideline_id: Mapped[uuid.UUID | None] = reference("guideline")
    started_at: Mapped[datetime]
    last_seen: Mapped[datetime]
    skip_reason: Mapped[str | None]
    skip_comment: Mapped[str | None]  # free text
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)  # what an imported row had besides
    draft_version: Mapped[int] = mapped_column(default=0)  # of the last draft; never starts again


class Written(Base):
    """The prompt that a labeler wrote in a task: what the newest revision of the label made."""

    __tablename__ = "written"
    assignment_id: Mapped[uuid.UUID] = reference("assignment", primary_key=True)
    prompt_id: Mapped[uuid.UUID] = reference("prompt", index=True)


class Draft(Base):
    """A form as it stood; the newest version is the draft, others were set aside unseen."""

    __tablename__ = "draft"
    assignment_id: Mapped[uuid.UUID] = reference("assignment", primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[Any]  # free text: by position
    saved_at: Mapped[datetime]


class Submission(Base):
    """Append-only. The newest revision of an assignment counts; a withdrawal is one too."""

    __tablename__ = "submission"
    __table_args__ = (
        UniqueConstraint("assignment_id", "revision"),
        one_of("kind", "submitted", "withdrawn"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    assignment_id: Mapped[uuid.UUID] = reference("assignment")
    revision: Mapped[int]
    kind: Mapped[str]
    key: Mapped[uuid.UUID] = mapped_column(unique=True)  # the form's; the same again is a repeat
    form_sha256: Mapped[str]  # of the form as it was sent, texts included
    body: Mapped[dict[str, Any]]  # choices only, by slot
    guideline_id: Mapped[uuid.UUID | None] = reference("guideline")
    restores: Mapped[int | None]  # the revision that it is again, after an undo of a later one
    active_seconds: Mapped[float | None]  # null without JavaScript
    ingest_id: Mapped[uuid.UUID | None] = reference("ingest")
    at: Mapped[datetime]


class SubmissionText(Base):
    __tablename__ = "submission_text"
    submission_id: Mapped[uuid.UUID] = reference("submission", primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]  # free text
    erased_at: Mapped[datetime | None]


class Export(Base):
    """Append-only: the files that were written."""

    __tablename__ = "export"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    filters: Mapped[dict[str, Any]]
    file_name: Mapped[str]
    num_rows: Mapped[int]
    sha256: Mapped[str]
    at: Mapped[datetime]


class ExportRow(Base):
    """Append-only: which file holds whose text. Of equal files only the first has rows."""

    __tablename__ = "export_row"
    record_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # a prompt's or a submission's
    export_id: Mapped[int] = reference("export", primary_key=True)


COMMENTED: dict[str, Any] = {
    "sqlite_where": text("commented = 1"),
    "postgresql_where": text("commented"),
}


class Judgement(Base):
    """The newest label of an assignment in short, for counting over all; none if it was withdrawn.

    A projection of `submission.body`, a character a slot (preceptor.store.judgements makes it).
    """

    __tablename__ = "judgement"
    __table_args__ = (
        Index("ix_judgement_project", "project_id", "at"),
        # The lead's page of comments walks from the newest on, whosever and wherever.
        Index("ix_judgement_comment", "at", "assignment_id", **COMMENTED),
        Index("ix_judgement_comment_project", "project_id", "at", "assignment_id", **COMMENTED),
        Index("ix_judgement_comment_account", "account_id", "at", "assignment_id", **COMMENTED),
        # The lead's counts read no row.
        Index("ix_judgement_counts", "project_id", "account_id", "task_kind", "counted", "at"),
    )
    assignment_id: Mapped[uuid.UUID] = reference("assignment", primary_key=True)
    project_id: Mapped[uuid.UUID] = reference("project")
    task_id: Mapped[uuid.UUID] = reference("task", index=True)
    account_id: Mapped[uuid.UUID] = reference("account", index=True)
    task_kind: Mapped[str]
    use_case: Mapped[str]
    counted: Mapped[bool]
    ranks: Mapped[str]  # "1224": places of slots A, B, ..; empty for a demonstration
    positions: Mapped[str]  # "3142": where they stood on the page; empty where that is not known
    likert: Mapped[str]  # "53-6"
    flags: Mapped[str]  # of each slot all flags: 1 yes, 0 no, - not asked
    num_unacceptable: Mapped[int]
    num_chars: Mapped[int]  # of the prompt and the responses
    active_seconds: Mapped[float | None]
    commented: Mapped[bool] = mapped_column(  # whether it says something to the lead
        default=False, server_default=false()
    )
    at: Mapped[datetime]


class GoldAnswer(Base):
    """A researcher's label that others are held against. Its task makes no training data."""

    __tablename__ = "gold_answer"
    task_id: Mapped[uuid.UUID] = reference("task", primary_key=True)
    assignment_id: Mapped[uuid.UUID] = reference("assignment")  # whose newest label it is
    account_id: Mapped[uuid.UUID] = reference("account")  # who said so
    explanation: Mapped[str]  # for whoever asks why
    at: Mapped[datetime]


class ScreeningScore(Base):
    """What a researcher says of somebody in screening; append-only, the newest of a part counts."""

    __tablename__ = "screening_score"
    __table_args__ = (one_of("part", "demonstration", "competence", "decision"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[uuid.UUID] = reference("account", index=True)
    part: Mapped[str]
    assignment_id: Mapped[uuid.UUID | None] = reference("assignment")  # the demonstration
    value: Mapped[float]  # 1 to 7; of a decision 1 is yes
    card: Mapped[dict[str, Any]]  # of a decision: the figures that it was made on
    decided_by: Mapped[uuid.UUID] = reference("account")
    at: Mapped[datetime]


class AccessLog(Base):
    """Who read people's texts outside of their own tasks, or erased them; append-only."""

    __tablename__ = "access_log"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[uuid.UUID | None] = reference("account", index=True)  # null: by command
    what: Mapped[str]
    object: Mapped[str]
    at: Mapped[datetime]


# What the lead's pages count without reading a row.
Index("ix_task_progress", Task.project_id, Task.kind, Task.state, Task.target, Task.taken)
Index(
    "ix_prompt_reason",
    Prompt.status,
    Prompt.reason,
    sqlite_where=text("status <> 'active'"),
    postgresql_where=text("status <> 'active'"),
)
# The lead's page of comments walks from the newest on, as over those of labels.
Index(
    "ix_assignment_comment",
    Assignment.last_seen,
    Assignment.id,
    sqlite_where=text("state = 'skipped' AND skip_comment != ''"),
    postgresql_where=text("state = 'skipped' AND skip_comment != ''"),
)
Index(
    "ix_assignment_skip",
    Assignment.account_id,
    Assignment.skip_reason,
    Assignment.task_id,
    sqlite_where=text("state = 'skipped'"),
    postgresql_where=text("state = 'skipped'"),
)
