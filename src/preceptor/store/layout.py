"""What an exported line has besides the public keys, and the manifest beside an exported file."""

import json
import re
from pathlib import Path
from typing import Any

from preceptor.data.records import file_hash
from preceptor.errors import StoreError

SCHEMAS = {
    "prompts": "preceptor.prompt/1",
    "demonstrations": "preceptor.demonstration/1",
    "rankings": "preceptor.ranking/1",
    "evaluations": "preceptor.ranking/1",
}
OWN_KEYS = {  # of `meta`; whatever else stands there was somebody else's, and comes back as it was
    "schema",
    "prompt_id",
    "task_id",
    "label_id",
    "project",
    "purpose",
    "task_kind",
    "split",
    "origin",
    "labeler",
    "labeler_group",
    "guideline",
    "rank_groups",
    "unacceptable",
    "ratings",
    "prompt_labels",
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


def is_own(meta: dict[str, Any]) -> bool:
    """Whether an export of ours wrote this line."""
    return meta.get("schema") in SCHEMAS.values()


def foreign_part(meta: dict[str, Any]) -> dict[str, Any]:
    """What of a line's meta is not ours to write: kept with the row, and exported again."""
    if not is_own(meta):
        return meta
    shown = {k: v for k, v in meta.items() if k not in OWN_KEYS}
    return shown | dict(meta.get("extra", {}))


def with_foreign(own: dict[str, Any], foreign: dict[str, Any]) -> dict[str, Any]:
    """The other way round; keys that ours would hide go under "extra"."""
    hidden = {k: v for k, v in foreign.items() if k in OWN_KEYS}
    shown = {k: v for k, v in foreign.items() if k not in OWN_KEYS}
    return shown | own | ({"extra": hidden} if hidden else {})


def manifest_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".jsonl") + ".manifest.json")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest beside a file, if there is one; it must be of this very file.

    Raises:
        StoreError: the file is not the one that was exported.
    """
    beside = manifest_path(path)
    if not re.search(r"-[0-9a-f]{12}\.jsonl$", path.name) or not beside.is_file():
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
