"""What the REST interface takes and gives: one shape a class, labelers' first.

A key that is not known is an error in what is sent.
"""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from preceptor.data.records import Messages
from preceptor.store import logins
from preceptor.store.accounts import GROUPS
from preceptor.store.desk import OwnTask
from preceptor.store.forms import TASK_TYPES, require_storable
from preceptor.store.questions import PAPER, Questions, filled


def _storable(text: str) -> str:
    require_storable(text, "It")
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""What a database can hold: no NUL, no half characters."""
KeyId = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Version = Annotated[int, Field(ge=0, le=2**31 - 1)]
TaskType = Annotated[str, Field(pattern=f"^({'|'.join(TASK_TYPES)})$")]
Split = Literal["train", "valid", "test"]
Purpose = Literal["train", "eval", "screening", "practice"]
Kind = Literal["prompts", "demonstrations", "rankings", "evaluations", "toxicity"]
Group = Annotated[str, Field(pattern=f"^({'|'.join(GROUPS)})$")]


class Body(BaseModel):
    """What is sent: a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


class Me(BaseModel):
    """The account that asks; `csrf` is what a browser's requests carry in X-CSRF-Token."""

    login: str
    pseudonym: str
    role: str
    group: str
    state: str
    accepts_sensitive: bool
    csrf: str | None


class ProjectToWorkIn(BaseModel):
    """A project that is for you; its name, which may tell a model, is not told.

    `held` is the task in hand, `unread` the guideline that is to be read first, `has_work` whether
    a claim would find something now.
    """

    id: uuid.UUID
    task_type: str
    screening: bool
    practice: bool
    num_done: int
    held: uuid.UUID | None
    unread: str | None
    has_work: bool


class ProjectsToWorkIn(BaseModel):
    items: list[ProjectToWorkIn]


class GuidelineText(BaseModel):
    """What a project's next task is done under, as markdown."""

    id: uuid.UUID
    name: str
    markdown: str
    confirmed: bool


class TaskView(BaseModel):
    """All that a labeler may see of a task: texts by position, nothing of models.

    `key` goes into the form that is sent next; `kept_drafts` are older ones, by version, that no
    page saw before a newer one came.
    """

    id: uuid.UUID
    project_id: uuid.UUID
    task_type: str
    state: str
    sensitive: bool
    practice: bool
    prompt: str | Messages
    responses: list[str]
    key: uuid.UUID
    draft: Any
    draft_version: int
    kept_drafts: dict[int, Any]
    guideline: str | None
    form: Questions = Field(description="What is asked of responses and of the prompt.")
    lease_expires: datetime


class AlikeView(BaseModel):
    """Of the pairs of responses that both order, how many alike."""

    num_agreed: int
    num_judged: int
    num_tasks: int


class FeedbackView(BaseModel):
    """In a practice: the researchers' answer beside one's own, as forms, and why it is so."""

    own: dict[str, Any]
    answer: dict[str, Any]
    explanation: str
    here: AlikeView
    so_far: AlikeView


class Held(BaseModel):
    """Whether the task is still in the labeler's hands, and until when without another word."""

    held: bool
    lease_expires: datetime


class DraftBody(Body):
    body: dict[str, Any] = Field(description="The form as it stands.")


class DraftVersion(BaseModel):
    version: int


class SubmitBody(Body):
    key: uuid.UUID = Field(description="Of the task's view; the same form sent twice is one label.")
    body: dict[str, Any] = Field(description="The form, by position.")
    draft_version: Version = Field(0, description="Of the draft that the form began with.")
    active_seconds: Seconds | None = Field(None, description="Time at work, null if not known.")


class ReceiptView(BaseModel):
    """What became of a form: counted, surplus (the task had enough) or repeated (was there)."""

    outcome: str
    submission_id: uuid.UUID
    revision: int
    at: datetime
    message: str


class SkipBody(Body):
    reason: Text
    comment: Text = Field("", max_length=10_000)


class FormAgain(BaseModel):
    """A form to be sent again, with the key that it goes under."""

    assignment_id: uuid.UUID
    form: Any
    key: uuid.UUID


class OwnTasks(BaseModel):
    """A page of them; `next` is the cursor of the next one, null at the end."""

    items: list[OwnTask]
    next: str | None


# For those who lead


class ProjectBody(Body):
    """A new project; what is left out is as `preceptor label add` has it."""

    name: Text = Field(min_length=1, max_length=200)
    task_type: TaskType
    purpose: Purpose = "train"
    overlap: int = Field(1, ge=1, le=1000)
    overlap_more: int | None = Field(None, ge=2, le=1000)
    overlap_fraction: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    calibration_fraction: float = Field(0.15, ge=0, le=1, allow_inf_nan=False)
    attention_fraction: float = Field(0.02, ge=0, le=1, allow_inf_nan=False)
    lease_seconds: int = Field(3600, ge=60, le=7 * 86_400)
    undo_seconds: int = Field(60, ge=0, le=86_400)
    groups: list[Group] = Field(["training", "researcher"], min_length=1)
    guideline: Text | None = Field(None, min_length=1, max_length=200)
    form: Annotated[Questions | None, BeforeValidator(filled)] = Field(
        None, description="What it leaves out, and null, is as in the paper's."
    )
    seed: int = Field(0, ge=0, le=2**62)


class ProjectChange(Body):
    state: Literal["open", "paused", "closed"]


class ProjectView(BaseModel):
    """A project as those who lead it see it."""

    id: uuid.UUID
    name: str
    task_type: str
    purpose: str
    state: str
    overlap: int
    overlap_more: int | None
    overlap_fraction: float
    groups: list[str]
    guideline: str | None
    form: Questions


class WritingBody(Body):
    """Tasks to write prompts in: so many more, or one for each description of a use case."""

    num_tasks: int = Field(0, ge=0, le=10_000)
    descriptions: list[Text] = Field([], max_length=10_000)
    sensitive: bool = False


class ProjectViews(BaseModel):
    items: list[ProjectView]


class EstimateView(BaseModel):
    """A number with its 95 % interval, or why there is none."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int | None
    method: str
    reason: str


class Agreement(BaseModel):
    """Of pairs of responses that two labelers judged, how many alike; Krippendorff's alphas.

    `pairwise` counts pairs that both order, `pairwise_with_ties` all of them.
    """

    num_labels: int
    num_tasks: int
    pairwise: EstimateView
    pairwise_with_ties: EstimateView
    likert_alpha: EstimateView
    rank_alpha: EstimateView


class LabelerView(BaseModel):
    """One labeler's record in a project; an alert is to be looked at, and decides nothing."""

    pseudonym: str
    group: str
    state: str
    num_labels: int
    num_skips: int
    consensus: EstimateView
    gold: EstimateView
    attention: EstimateView
    ties: EstimateView
    flagged: EstimateView
    median_seconds: float | None
    alerts: list[str]


class Labelers(BaseModel):
    items: list[LabelerView]


class Gold(Body):
    assignment_id: uuid.UUID
    explanation: Text = Field("", max_length=10_000)


class PromptView(BaseModel):
    id: uuid.UUID
    prompt: str | Messages
    split: str
    status: str
    reason: str
    use_case: str
    origin: str
    language: str = Field(description="Its code; empty if it was not looked for.")
    masked: dict[str, int] | None = Field(
        description="Personal data that became placeholders, by kind; null if none was looked for."
    )
    labels: dict[str, Any] = Field(description="What those who lead said of it.")


class PromptLabels(Body):
    """Yes or no by name, the use case by its name; null takes one back."""

    labels: dict[Text, bool | Text | None] = Field(min_length=1, max_length=len(PAPER.label_names))


class LabelsOfPrompt(BaseModel):
    """All that holds of a prompt now."""

    labels: dict[str, Any]


class Prompts(BaseModel):
    """A page of them; `next` is what `after` is to be for the next one, null at the end."""

    items: list[PromptView]
    next: uuid.UUID | None


class Counts(BaseModel):
    """What became of the lines, by reason."""

    counts: dict[str, int]


# For admins


class AccountView(BaseModel):
    id: uuid.UUID
    login: str | None
    pseudonym: str
    role: str
    group: str
    state: str
    accepts_sensitive: bool


class AccountViews(BaseModel):
    items: list[AccountView]


class AccountChange(Body):
    state: Literal["screening", "active", "paused", "left"]


class Invite(Body):
    """Somebody to invite; `screened` if they need no screening here."""

    login: Text = Field(min_length=1, max_length=200)
    role: Literal["labeler", "researcher", "admin"] = "labeler"
    group: Group = "training"
    screened: bool = False


class Invited(BaseModel):
    """The token is told only here: /invitation/TOKEN is the page to accept it on."""

    account_id: uuid.UUID
    token: str


class KeyBody(Body):
    """A key of your own."""

    name: Text = Field(min_length=1, max_length=200)
    scopes: list[Literal["label", "research", "admin"]] = Field(min_length=1, max_length=3)
    days: int | None = Field(None, ge=1, le=3650)


class NewKey(BaseModel):
    """The key is told only here."""

    id: str
    key: str


class KeyViews(BaseModel):
    items: list[logins.KeyView]


class GuidelineBody(Body):
    name: Text = Field(min_length=1, max_length=200, pattern=r"^[^@]+$")
    markdown: Text = Field(min_length=1, max_length=200_000)


class GuidelineName(BaseModel):
    """What labels made under it call it: name@version."""

    name: str


class ExportBody(Body):
    kind: Kind
    split: Literal["train", "valid", "test"] = "train"
    project: Text | None = Field(None, min_length=1, max_length=200)
    include_surplus: bool = False


class EraseBody(Body):
    """Whom: a user of prompts by name and source, anybody by pseudonym, or a labeler by login."""

    user: Text | None = Field(None, min_length=1, max_length=1000)
    source: Text = Field("", max_length=200)
    pseudonym: Text | None = Field(None, min_length=1, max_length=200)
    labeler: Text | None = Field(None, min_length=1, max_length=200)
    texts: bool = Field(False, description="Of a labeler: demonstrations and prompts as well.")
    dry_run: bool = Field(False, description="Tell what would go, and change nothing.")


class HoldingView(BaseModel):
    """An exported file that holds their text, or may: older files do not note their rows."""

    kind: str
    file_name: str
    sha256: str
    at: datetime
    certain: bool


class Erased(BaseModel):
    """What went, rows by what they were. `swept`: its bytes are out of the database's file, too."""

    pseudonym: str
    counts: dict[str, int]
    exports: list[HoldingView]
    dry_run: bool
    swept: bool
