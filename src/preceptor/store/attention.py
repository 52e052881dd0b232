"""Attention tasks: obvious ones, sprinkled among a labeler's others, whose right answer is known.

A file of them is one of rankings: the ranks say which response must stand above which, and equal
ranks that either order is right.

    {"prompt": "What is 2 + 2?", "responses": ["4.", "Bananas are yellow."], "ranks": [1, 2]}

The answer is kept as a gold answer is, so that the same figures can be counted of it. What is
asked is asked for this alone: no project asks about such a prompt, and no export holds it.
"""

import uuid
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import insert
from sqlalchemy.orm import Session

from preceptor.data.records import Prompt, Ranking
from preceptor.errors import StoreError
from preceptor.store import tables
from preceptor.store.forms import COMPARISONS
from preceptor.store.ingest import FileRead, read_file, require_none_too_long
from preceptor.store.names import SiteKey
from preceptor.store.rows import OTHER, Provenance, Rows

SOURCE = "attention tasks"
"""Whose prompts these are, so that equal ones of real users stay theirs."""
MADE_UP = "made up for attention tasks"
"""Their licence, and what their writer agreed to."""
ANSWERS = "attention answers"
"""The account that has the right answers; nobody signs in to it."""


def read_answers(path: Path, *, now: datetime) -> FileRead:
    """A file of attention tasks, before anybody has to wait for it.

    Raises:
        DataError: lines are broken; it names the first few.
        StoreError: or too long.
    """
    file = read_file(Provenance(path, MADE_UP, MADE_UP, now, source=SOURCE), Ranking)
    require_none_too_long(file, f"{path}: nothing was added. Shorten what is too long.")
    return file


def add_attention(
    session: Session, site_key: SiteKey, project_id: uuid.UUID, file: FileRead
) -> Counter[str]:
    """Tasks of a file that was read, each with its answer; the same again adds nothing.

    Raises:
        StoreError: labelers compare nothing there, or a line has no answer that could be wrong.
    """
    rows = Rows(site_key, file.provenance, "rankings", file.sha256)
    rows.take_turn(session)  # before the project, as imports do
    project = session.get_one(tables.Project, project_id, with_for_update=True)
    if project.task_type not in COMPARISONS:
        raise StoreError(
            f"{project.name}: a {project.task_type} has no answer that is known to be right. "
            "Attention tasks go with tasks that compare responses."
        )
    if project.purpose == "practice":
        raise StoreError(
            f"{project.name}: a practice shows the answer of each task, and who reads it must not "
            "learn which are attention tasks. Add them to the project that follows."
        )
    asked: dict[uuid.UUID, str] = {}
    for line in file.lines:
        record, label = line.record, line.label
        assert label is not None
        _require_answer(record, project.task_type, line.where)
        prompt = rows.add_prompt(Prompt(record.prompt, record.user, record.use_case), {})
        rows.prompts[prompt]["normal_sha256"] = ""  # what a user sends later repeats nothing
        # None of the models' names, and no word of an earlier export: the ranks alone.
        body = {"rank_groups": label.body["rank_groups"], "unacceptable": []}
        answer = replace(
            label, own={}, foreign={}, kept=(), labeler=ANSWERS, body=body, texts={}, revision=1
        )
        task = rows.add_task(project, prompt, record.responses, answer)
        rows.tasks[task] |= {"kind": "attention", "target": None}
        if rows.add_label(task, answer) == OTHER:
            raise StoreError(f"{line.where}: the task of {asked[task]} again, with another answer.")
        asked.setdefault(task, line.where)
    rows.insert(session)
    if rows.insert_labels(session)[OTHER]:
        raise StoreError(
            f"{file.provenance.path}: a task of it is in {project.name} already, with another "
            "answer. An answer stays; word the task otherwise."
        )
    gold = [
        {
            "task_id": row["task_id"],
            "assignment_id": row["id"],
            "account_id": row["account_id"],
            "explanation": "",
            "at": file.provenance.now,
        }
        for row in rows.assignments.values()
        if row["task_id"] in rows.new_tasks
    ]
    if gold:
        session.execute(insert(tables.GoldAnswer), gold)
    counts = Counter({"added": len(gold), "there already": len(file.lines) - len(gold)})
    return rows.finish(session, counts)


def set_attention_fraction(session: Session, project_id: uuid.UUID, fraction: float) -> None:
    """From the next claim on, so many of a labeler's tasks are attention tasks, while any is left.

    Raises:
        StoreError: it is no share.
    """
    if not 0 <= fraction <= 1:
        raise StoreError(f"the share of attention tasks is 0 to 1, not {fraction}.")
    session.get_one(tables.Project, project_id).attention_fraction = fraction


def _require_answer(record: Ranking, task_type: str, where: str) -> None:
    texts = [text.strip() for text in record.responses]
    if len(set(texts)) < len(texts):
        raise StoreError(f"{where}: two responses are equal, and labelers see equal ones once.")
    if len(set(record.ranks)) == 1:
        raise StoreError(
            f"{where}: all ranks are equal, so no order would be wrong. Say which response must "
            'stand above which: "ranks": [1, 2].'
        )
    if task_type == "evaluation_ab" and len(texts) != 2:
        raise StoreError(f"{where}: {len(texts)} responses; an evaluation_ab compares two.")
