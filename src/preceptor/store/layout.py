"""What an exported line has besides the public keys, and the manifest beside an exported file."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from preceptor.data.records import digest_in_name, file_hash, manifest_path
from preceptor.errors import StoreError

SCHEMAS = {
    "prompts": "preceptor.prompt/1",
    "demonstrations": "preceptor.demonstration/1",
    "rankings": "preceptor.ranking/1",
    "evaluations": "preceptor.ranking/1",
    "toxicity": "preceptor.ranking/1",
}
OWN_KEYS = {  # of `meta`; whatever else stands there was somebody else's, and comes back as it was
    "schema",
    "prompt_id",
    "task_id",
    "label_id",
    "project",
    "purpose",
    "task_kind",
    "task_type",
    "form",
    "language",
    "masked",
    "confidence",
    "input_toxicity",
    "split",
    "origin",
    "kind",
    "labeler",
    "labeler_group",
    "guideline",
    "rank_groups",
    "unacceptable",
    "ratings",
    "prompt_labels",
    "prompt_labels_by",
    "comment",
    "display_order",
    "display_seed",
    "finished",
    "sources",
    "slots",
    "started_at",
    "submitted_at",
    "active_seconds",
    "revision",
    "surplus",
    "extra",
}


class OwnSlot(BaseModel):
    """Where an exported response came from."""

    model_config = ConfigDict(extra="ignore", strict=True)
    policy: dict[str, str] | None = None
    author: str | None = None
    finished: bool | None = None
    sampling: dict[str, Any] = {}


Group = Literal["training", "heldout", "researcher", "simulated", "imported"]


class OwnBy(BaseModel):
    """Which of the leads said something of a prompt, and when."""

    model_config = ConfigDict(extra="ignore", strict=True)
    labeler: Annotated[str, Field(min_length=1)]
    labeler_group: Group = "imported"
    at: AwareDatetime

    @field_validator("at", mode="before")
    @classmethod
    def _read(cls, text: Any) -> Any:
        return datetime.fromisoformat(text) if isinstance(text, str) else text


class OwnMeta(BaseModel):
    """What an exported line says of itself; anybody may have edited it since."""

    model_config = ConfigDict(extra="ignore", strict=True)
    project: str | None = None
    purpose: Literal["train", "eval", "screening"] = "train"
    task_kind: Literal["normal", "calibration"] = "normal"
    task_type: Literal["evaluation_ab", "toxicity"] | None = None
    form: Annotated[str, Field(pattern="^[0-9a-f]{12}$")] | None = None
    confidence: Annotated[int, Field(ge=1, le=9)] | None = None
    input_toxicity: Annotated[int, Field(ge=0, le=2)] | None = None
    split: Literal["train", "valid", "test"] | None = None
    origin: Literal["api", "chat_page", "labeler", "import", "miniature"] = "import"
    language: Annotated[str, Field(pattern="^([a-z]{2,3})?$")] = ""
    masked: (
        dict[Literal["EMAIL", "KEY", "IBAN", "CARD", "IP", "PHONE"], Annotated[int, Field(ge=0)]]
        | None
    ) = None
    kind: Literal["customer", "plain", "few_shot", "user_based"] = "customer"
    labeler: str = ""
    labeler_group: Group = "imported"
    guideline: Annotated[str, Field(pattern=r"^.+@[1-9][0-9]{0,8}$")] | None = None
    prompt_labels: dict[str, Any] = {}
    prompt_labels_by: dict[str, OwnBy] = {}
    ratings: dict[str, Any] = {}
    comment: str | None = None
    display_order: list[str] = []
    display_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    slots: dict[str, OwnSlot] = {}
    started_at: str | None = None
    submitted_at: str | None = None
    active_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    revision: Annotated[int, Field(ge=1, le=10**6)] = 1
    surplus: bool = False
    extra: dict[str, Any] = {}


def own_part(meta: dict[str, Any], where: str) -> dict[str, Any]:
    """What an export of ours wrote; nothing if none did.

    Raises:
        StoreError: a value in it is none that an export writes.
    """
    if not is_own(meta):
        return {}
    try:
        OwnMeta.model_validate(meta)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in ("meta", *first["loc"]))
        raise StoreError(
            f"{where}: {place} is not what an export writes: {first['msg']}."
        ) from None
    return meta


def is_own(meta: dict[str, Any]) -> bool:
    """Whether an export of ours wrote this line."""
    return meta.get("schema") in SCHEMAS.values()


def foreign_part(meta: dict[str, Any]) -> dict[str, Any]:
    """What of a line's meta is not ours to write: kept with the row, and exported again."""
    if not is_own(meta):
        return {k: v for k, v in meta.items() if k != "labeler"}  # a name, which has its own place
    shown = {k: v for k, v in meta.items() if k not in OWN_KEYS}
    return shown | dict(meta.get("extra", {}))


def with_foreign(own: dict[str, Any], foreign: dict[str, Any]) -> dict[str, Any]:
    """The other way round; keys that ours would hide go under "extra"."""
    hidden = {k: v for k, v in foreign.items() if k in OWN_KEYS}
    shown = {k: v for k, v in foreign.items() if k not in OWN_KEYS}
    return shown | own | ({"extra": hidden} if hidden else {})


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest beside a file, if there is one; it must be of this very file.

    Raises:
        StoreError: the file is not the one that was exported.
    """
    beside = manifest_path(path)
    if digest_in_name(path) is None or not beside.is_file():
        return {}
    try:
        manifest = json.loads(beside.read_text(encoding="utf-8"))
        told = manifest["sha256"]
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{beside}: not a manifest. Remove it to import {path.name}.") from None
    if told != file_hash(path):
        raise StoreError(
            f"{path}: not the file that was exported; its sha256 is not the one of {beside.name}. "
            "If you changed it on purpose, remove the manifest."
        )
    return dict(manifest)
