"""Labels out of the store as files that training reads: same labels and filter, same hash."""

import contextlib
import json
import shutil
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, func, insert, select
from sqlalchemy.orm import Session

import preceptor
from preceptor.data.records import manifest_path, write_records, write_text
from preceptor.errors import StoreError
from preceptor.store.consent import covered, willing_users
from preceptor.store.database import Store
from preceptor.store.examples import examples_of
from preceptor.store.forms import in_whole_numbers, ranks_of
from preceptor.store.layout import SCHEMAS, with_foreign
from preceptor.store.names import canonical, identify, prompt_id
from preceptor.store.projects import is_made_up
from preceptor.store.prompt_labels import said_as_meta, said_in
from preceptor.store.questions import own_forms, questions_of
from preceptor.store.tables import (
    Account,
    Assignment,
    Export,
    ExportRow,
    GoldAnswer,
    Guideline,
    Policy,
    Project,
    Prompt,
    PromptUser,
    Response,
    Submission,
    SubmissionText,
    Task,
    TaskResponse,
    Written,
)

TASK_TYPES = {
    "demonstrations": ("demonstration", "prompt_few_shot"),  # its pairs are examples
    "rankings": ("ranking",),
    "evaluations": ("evaluation", "evaluation_ab"),
    "toxicity": ("toxicity",),
}


@dataclass(frozen=True)
class Filter:
    """Which rows an export has. Evaluations are of held-out users: their split is test."""

    kind: str
    split: str = "train"
    project: str | None = None
    include_surplus: bool = False


UNDER_WAY = ".writing-"
"""How the folder begins in which an export is written until it is whole."""
ABANDONED_AFTER = 3600.0
"""Seconds; the largest export takes minutes."""


@dataclass(frozen=True)
class Exported:
    path: Path
    sha256: str
    num_rows: int
    left_out: dict[str, int]
    num_simulated: int  # of the rows, labels of simulated labelers


def export_records(store: Store, wanted: Filter, folder: Path, *, now: datetime) -> Exported:
    """Write KIND-SPLIT-HASH.jsonl and its manifest; writers wait for the note of it alone.

    Raises:
        StoreError: no row is left; it says what was left out, and why.
    """
    if wanted.kind not in SCHEMAS:
        raise StoreError(f"{wanted.kind}: nothing of this kind. There are {', '.join(SCHEMAS)}.")
    left_out: Counter[str] = Counter()
    with store.read() as session:
        if wanted.kind == "prompts":
            records = list(_prompts(session, wanted, left_out))
            guidelines, forms = {}, {}
        else:
            records = sorted(label_records(session, wanted, left_out, now), key=_by_label)
            guidelines = _markdown(session, {r["meta"]["guideline"] for r in records} - {None})
            forms = _forms(session, {r["meta"]["form"] for r in records if "form" in r["meta"]})
    if not records:
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        raise StoreError(
            f"No {wanted.kind} to export in split {wanted.split}. "
            + (f"Left out: {reasons}." if reasons else "There are none yet.")
        )
    # Keys in one order, so that equal rows are equal bytes.
    lines = [json.loads(canonical(record)) for record in records]
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    # In a folder of its own until it is whole: another export may be under way.
    with tempfile.TemporaryDirectory(prefix=UNDER_WAY, dir=folder) as own:
        partial = Path(own) / "rows.jsonl"
        digest = write_records(partial, lines)
        path = folder / f"{wanted.kind}-{wanted.split}-{digest[:12]}.jsonl"
        # Of prompts there are none.
        groups = Counter(
            r["meta"]["labeler_group"] for r in records if "labeler_group" in r["meta"]
        )
        manifest = {
            "sha256": digest,
            "num_rows": len(lines),
            "schema": SCHEMAS[wanted.kind],
            "filter": asdict(wanted),
            "left_out": dict(sorted(left_out.items())),
            "labelers": dict(groups),
            "num_simulated": groups["simulated"],
            "guidelines": guidelines,
            "forms": forms,
            "version": preceptor.__version__,
        }
        # Noted before it has its name: there is no file that nobody knows of.
        with store.write() as session:
            of_same = select(ExportRow.export_id).join(Export).where(Export.sha256 == digest)
            is_noted = session.scalar(of_same.limit(1)) is not None
            export = Export(
                kind=wanted.kind,
                filters=asdict(wanted),
                file_name=path.name,
                num_rows=len(lines),
                sha256=digest,
                at=now,
            )
            session.add(export)
            session.flush()
            if not is_noted:
                key = "prompt_id" if wanted.kind == "prompts" else "label_id"
                ids = [uuid.UUID(line["meta"][key]) for line in lines]
                rows = [{"record_id": id, "export_id": export.id} for id in ids]
                session.execute(insert(ExportRow), rows)
        noted = manifest_path(partial)
        write_text(noted, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        noted.replace(manifest_path(path))
        partial.replace(path)
    return Exported(path, digest, len(lines), dict(left_out), groups["simulated"])


def _remove_abandoned(folder: Path) -> None:
    """What exports left that were killed: texts that an erasure would not find."""
    # Before they had folders, the file was named so.
    for abandoned in [*folder.glob(f"{UNDER_WAY}*"), *folder.glob("*.jsonl.writing*")]:
        with contextlib.suppress(OSError):  # another export is as quick
            if time.time() - abandoned.stat().st_mtime <= ABANDONED_AFTER:
                continue
            if abandoned.is_dir():
                shutil.rmtree(abandoned)
            else:
                abandoned.unlink()


def _prompts(session: Session, wanted: Filter, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    willing = set(session.scalars(willing_users(_scope(wanted))))
    said = said_in(session, wanted.split)
    rows = session.execute(
        select(Prompt, PromptUser, covered(_scope(wanted)), is_made_up())
        .join(PromptUser)
        .where(Prompt.split == wanted.split)
        .order_by(Prompt.id)
    )
    for prompt, user, is_covered, made_up in rows:
        if made_up:
            left_out["of attention tasks"] += 1
        elif prompt.status != "active":
            left_out[f"{prompt.status}: {prompt.reason}".removesuffix(": ")] += 1
        elif user.id not in willing or not is_covered:
            left_out["no consent"] += 1
        else:
            own = {
                "schema": SCHEMAS["prompts"],
                "prompt_id": str(prompt.id),
                "split": prompt.split,
                "origin": prompt.origin,
            }
            own |= _looked(prompt) | said_as_meta(said.get(prompt.id, {}))
            yield {
                "prompt": prompt.content,
                "user": user.pseudonym,
                "use_case": prompt.use_case,
                "meta": with_foreign(own, prompt.meta),
            }


def _looked(prompt: Prompt) -> dict[str, Any]:
    """What is known of a prompt beyond what every one has."""
    found: dict[str, Any] = {} if prompt.kind == "customer" else {"kind": prompt.kind}
    found |= {"language": prompt.language} if prompt.language else {}
    return found | ({} if prompt.masked is None else {"masked": prompt.masked})


def label_records(
    session: Session, wanted: Filter, left_out: Counter[str], now: datetime
) -> Iterator[dict[str, Any]]:
    """The newest revision of each label that counts, as a line of the file; others by reason."""
    willing = set(session.scalars(willing_users(_scope(wanted))))
    slots = _slots(session, wanted)
    texts = _texts(session, wanted)
    for row in session.execute(_chosen(wanted)):
        if reason := _reason(row, wanted, willing, now):
            left_out[reason] += 1
            continue
        label, responses = row.Submission, slots[row.Task.id]
        is_gone = any(response["erased_at"] is not None for response in responses)
        if is_gone or (
            wanted.kind == "demonstrations" and not texts[label.id].keys() - {"comment"}
        ):
            left_out["erased"] += 1  # its writer was, and the prompt is there still
            continue
        own = {
            "schema": SCHEMAS[wanted.kind],
            "label_id": str(label.id),
            "task_id": str(row.Task.id),
            "prompt_id": str(row.Prompt.id),
            "project": row.Project.name,
            "purpose": row.Project.purpose,
            "task_kind": row.Task.kind,
            "split": row.Prompt.split,
            "origin": row.Prompt.origin,
            "labeler": row.Account.pseudonym,
            "labeler_group": row.Account.labeler_group,
            "guideline": row.guideline and f"{row.guideline}@{row.version}",
            "started_at": row.Assignment.started_at.isoformat(),
            "submitted_at": label.at.isoformat(),
            "active_seconds": label.active_seconds,
            "revision": label.revision,
            "surplus": not row.Assignment.counted,
            "comment": texts[label.id].get("comment"),
            "prompt_labels": label.body.get("prompt_labels", {}),
        }
        if row.Project.form is not None:
            own["form"] = questions_of(row.Project).digest
        if row.Project.task_type == "prompt_few_shot":
            yield from _examples(row, own, texts[label.id])
            continue
        record = {
            "prompt": row.Prompt.content,
            "user": row.PromptUser.pseudonym,
            "use_case": row.Prompt.use_case,
        }
        if wanted.kind == "demonstrations":
            record["response"] = texts[label.id]["response"]
        else:
            ranks = ranks_of(label.body["rank_groups"])
            record |= {
                "responses": [response["text"] for response in responses],
                "ranks": [ranks[response["slot"]] for response in responses],
                "labeler": row.Account.pseudonym,
            }
            own |= _ranking_meta(in_whole_numbers(label.body), responses, row.Assignment)
            if row.Project.task_type == "evaluation_ab":
                own["task_type"] = row.Project.task_type
                own["confidence"] = in_whole_numbers(label.body.get("confidence"))
            if row.Project.task_type == "toxicity":
                own["task_type"] = row.Project.task_type
                own["input_toxicity"] = label.body["input_toxicity"]
        yield record | {"meta": with_foreign(own, row.Prompt.meta | row.Assignment.meta)}


def _forms(session: Session, digests: set[str]) -> dict[str, Any]:
    """The projects' own forms, by what the lines call them."""
    forms = own_forms(session)
    return {digest: forms[digest].as_json() for digest in sorted(digests)}


def _by_label(record: dict[str, Any]) -> str:
    return str(record["meta"]["label_id"])


def _examples(
    row: Row[Any], own: dict[str, Any], texts: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """A few-shot prompt as its K examples, with the ids that they will have where they come in."""
    project = f"{row.Project.name}, examples"
    for example in examples_of(texts):
        prompt = prompt_id(row.PromptUser.pseudonym, example.prompt)
        task = identify("task", identify("project", project), prompt, [])
        label = identify(
            "submission", identify("assignment", task, row.Account.id), row.Submission.revision
        )
        ids = {"label_id": str(label), "task_id": str(task), "prompt_id": str(prompt)}
        yield {
            "prompt": example.prompt,
            "response": example.response,
            "user": row.PromptUser.pseudonym,
            "use_case": row.Prompt.use_case,
            "meta": with_foreign(own | ids | {"project": project}, example.meta),
        }


def _chosen(wanted: Filter) -> Any:
    newest = (
        select(Submission.assignment_id, func.max(Submission.revision).label("revision"))
        .group_by(Submission.assignment_id)
        .subquery()
    )
    return (
        select(
            Submission,
            Assignment,
            Task,
            Project,
            Prompt,
            PromptUser,
            Account,
            Guideline.name.label("guideline"),
            Guideline.version,
            covered(_scope(wanted)).label("covered"),
            exists().where(GoldAnswer.task_id == Task.id).label("is_gold"),
        )
        .join(
            newest,
            (newest.c.assignment_id == Submission.assignment_id)
            & (newest.c.revision == Submission.revision),
        )
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .outerjoin(Written, Written.assignment_id == Assignment.id)
        .join(Prompt, Prompt.id == func.coalesce(Task.prompt_id, Written.prompt_id))
        .join(PromptUser, PromptUser.id == Prompt.user_id)
        .join(Account, Account.id == Assignment.account_id)
        .outerjoin(Guideline, Guideline.id == Submission.guideline_id)
        .where(Prompt.split == wanted.split, *_of_project(wanted))
    )


def _of_project(wanted: Filter) -> list[ColumnElement[bool]]:
    named = [] if wanted.project is None else [Project.name == wanted.project]
    return [Project.task_type.in_(TASK_TYPES[wanted.kind]), *named]


def _reason(row: Row[Any], wanted: Filter, willing: set[uuid.UUID], now: datetime) -> str | None:
    """Why a label stays here; None if it goes out."""
    if row.Submission.kind == "withdrawn":
        return "withdrawn"
    if row.Project.purpose in ("screening", "practice"):
        return str(row.Project.purpose)
    if row.Task.kind == "attention":
        return "of attention tasks"
    if row.is_gold:
        return "of a task with a gold answer"
    if row.Project.purpose == "train" and row.Account.labeler_group == "heldout":
        return "of held-out labelers"
    if row.Prompt.status != "active":
        return f"prompt {row.Prompt.status}"
    if row.PromptUser.id not in willing or not row.covered:
        return "no consent"
    if not row.Assignment.counted and not wanted.include_surplus:
        return "surplus"
    can_change = row.Submission.ingest_id is None and row.Project.state != "closed"
    if can_change and abs(now - row.Submission.at) < timedelta(seconds=row.Project.undo_seconds):
        return "can still be undone"
    return None


def _scope(wanted: Filter) -> str:
    return "evaluate" if wanted.kind in ("evaluations", "toxicity") else "train"


def _slots(session: Session, wanted: Filter) -> dict[uuid.UUID, list[dict[str, Any]]]:
    """The responses of every task, in the order of slots, with their origin."""
    found: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    rows = session.execute(
        select(
            TaskResponse.task_id,
            TaskResponse.slot,
            Response.id,
            Response.text,
            Response.finished,
            Response.sampling,
            Response.erased_at,
            Policy.name,
            Policy.run,
            Policy.weights_sha256,
            Account.pseudonym,
        )
        .join(Response, Response.id == TaskResponse.response_id)
        .join(Task, Task.id == TaskResponse.task_id)
        .join(Project, Project.id == Task.project_id)
        .outerjoin(Policy, Policy.id == Response.policy_id)
        .outerjoin(Account, Account.id == Response.author_id)
        .where(*_of_project(wanted))
        .order_by(TaskResponse.task_id, TaskResponse.slot)
    )
    for row in rows:
        found[row.task_id].append(row._asdict())
    return found


def _texts(session: Session, wanted: Filter) -> dict[uuid.UUID, dict[str, str]]:
    found: dict[uuid.UUID, dict[str, str]] = defaultdict(dict)
    rows = session.execute(
        select(SubmissionText.submission_id, SubmissionText.field, SubmissionText.text)
        .join(Submission)
        .join(Assignment)
        .join(Task)
        .join(Project)
        .where(*_of_project(wanted), SubmissionText.erased_at.is_(None))
    )
    for submission, field, text in rows:
        found[submission][field] = text
    return found


def _ranking_meta(
    body: dict[str, Any], responses: list[dict[str, Any]], assignment: Assignment
) -> dict[str, Any]:
    slots = {}
    for response in responses:
        slots[response["slot"]] = {
            "response_id": str(response["id"]),
            "policy": {k: response[k] for k in ("name", "run", "weights_sha256")}
            if response["name"] is not None
            else None,
            "author": response["pseudonym"],
            "finished": response["finished"],
            "sampling": response["sampling"],
        }
    meta = {
        "rank_groups": body["rank_groups"],
        "unacceptable": body.get("unacceptable", []),
        "ratings": body.get("ratings", {}),
        "display_order": assignment.display_order,
        "display_seed": assignment.display_seed,
        "slots": slots,
    }
    # The two keys that the reward model reads, where they are known of every response.
    finished = [response["finished"] for response in responses]
    if None not in finished:
        meta["finished"] = finished
    sources = [response["name"] for response in responses]
    if None not in sources:
        meta["sources"] = sources
    return meta


def _markdown(session: Session, names: set[str]) -> dict[str, str]:
    rows = session.execute(select(Guideline.name, Guideline.version, Guideline.markdown))
    known = {f"{name}@{version}": markdown for name, version, markdown in rows}
    return {name: known[name] for name in sorted(names)}
