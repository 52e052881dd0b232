"""Prompts with the responses of models into a project, in one step: what a run or a program asks.

A line is a prompt with what labelers shall judge:

    {"prompt": ..., "user": "...", "responses": ["...", "..."],
     "sources": ["sft", "ppo"], "finished": [true, false]}

`sources` and `finished` are left out where they are not known, `responses` where labelers write.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from preceptor.data.hygiene import without_personal
from preceptor.data.records import Prompt, parse_line, parse_record, text_of
from preceptor.errors import DataError, StoreError
from preceptor.store.consent import erased_people
from preceptor.store.forms import PROMPT_TYPES, require_short, require_storable
from preceptor.store.layout import SCHEMAS, with_foreign
from preceptor.store.names import SiteKey
from preceptor.store.projects import ERASED, SLOTS, Candidate, add_policy, add_tasks
from preceptor.store.rows import Provenance, Rows
from preceptor.store.tables import Ingest, Project, Task

BESIDE = ("responses", "sources", "finished")


@dataclass(frozen=True)
class Question:
    """A prompt, and the responses to it with the models' names where they are known."""

    prompt: Prompt
    responses: tuple[str, ...] = ()
    sources: tuple[str, ...] | None = None
    finished: tuple[bool, ...] | None = None


def read_question(record: Prompt, where: str) -> Question:
    """The question of one line.

    Raises:
        StoreError: responses that are no texts or too many, or lists that do not belong together.
    """
    meta = {key: value for key, value in record.meta.items() if key not in BESIDE}
    prompt = replace(record, meta=meta)
    require_storable(vars(prompt), f"{where}: it")
    responses = record.meta.get("responses") or []
    if not isinstance(responses, list) or not all(isinstance(text, str) for text in responses):
        raise StoreError(f'{where}: "responses" is a list of texts.')
    if responses and not 2 <= len(responses) <= len(SLOTS):
        raise StoreError(
            f"{where}: {len(responses)} responses; labelers compare 2 to {len(SLOTS)}."
        )
    beside: dict[str, Any] = {}
    for key, kind in (("sources", str), ("finished", bool)):
        values = record.meta.get(key)
        if values is None:
            continue
        right = isinstance(values, list) and all(type(value) is kind for value in values)
        if not right or len(values) != len(responses):
            raise StoreError(f'{where}: "{key}" has one {kind.__name__} for each response.')
        require_storable(values, f'{where}: "{key}"')
        beside[key] = tuple(values)
    return Question(prompt, tuple(responses), **beside)


def read_asked(body: bytes) -> list[Question]:
    """The questions of JSON Lines.

    Raises:
        StoreError: a line that is none; it says which and why.
    """
    found = []
    try:
        for number, line in enumerate(body.split(b"\n"), 1):
            if line.strip():
                where = f"line {number}"
                record = parse_record(parse_line(line, where), Prompt, where)
                question = read_question(record, where)
                for text in (text_of(record.prompt), record.use_case, *question.responses):
                    require_short(text, f"{where}: a text of it")
                found.append(question)
    except DataError as error:
        raise StoreError(str(error)) from None
    if not found:
        raise StoreError("There is no line. Each is a JSON object with a prompt.")
    return found


def ask(
    session: Session,
    site_key: SiteKey,
    project_id: uuid.UUID,
    questions: Sequence[Question],
    provenance: Provenance,
    *,
    sha256: str,
    split: str | None = None,
    origin: str = "import",
    weights: Mapping[str, str] | None = None,
    in_order: bool = False,
    sensitive: bool = False,
    keep_personal: bool = False,
) -> dict[str, int]:
    """Store the prompts and a task for each; says how many tasks were added, or why not.

    Asking the same again adds nothing. `split` is the side of users who are new here, drawn where
    it is None; `weights` the hash of each source's weights; `in_order` asks in this order;
    `sensitive` tasks are for labelers who accept such. Personal data in prompts become placeholders
    without `keep_personal`; those in responses stay.
    """
    rows = Rows(site_key, provenance, "prompts", sha256)
    rows.take_turn(session)  # before the project, as imports do
    project = session.get(Project, project_id, with_for_update=True)
    if project is None:
        raise StoreError("There is no such project.")
    if project.task_type in PROMPT_TYPES:
        raise StoreError(f"{project.name}: prompts are written there, none is asked about.")
    writes = project.task_type == "demonstration"
    for number, question in enumerate(questions, 1):
        if bool(question.responses) == writes:
            need = "has no responses: labelers write them" if writes else "needs responses to rank"
            raise StoreError(f"line {number}: a {project.task_type} {need}.")
    erased = erased_people(session)
    num_asked = len(questions)
    questions = [q for q in questions if rows.user_of(q.prompt) not in erased]
    own = {"schema": SCHEMAS["prompts"], "origin": origin} | ({"split": split} if split else {})
    prompts = [question.prompt for question in questions]
    looked = [None] * len(prompts) if keep_personal else without_personal(prompts)
    ids = []
    for raw, found in zip(prompts, looked, strict=True):
        prompt = found.prompt if found else raw
        kept = replace(prompt, meta=with_foreign(own, prompt.meta))
        ids.append(rows.add_prompt(kept, own, looked=found))
    seen = (Ingest.sha256 == sha256, Ingest.source == provenance.source)
    if session.scalar(select(Ingest.id).where(*seen).limit(1)) is None:
        new = rows.insert(session)
        rows.finish(session, Counter({"added": len(new), "there already": len(ids) - len(new)}))
    policies = {
        name: add_policy(
            session, name, run=provenance.source, weights_sha256=(weights or {}).get(name, "")
        )
        for name in dict.fromkeys(n for q in questions for n in q.sources or ())
    }
    counts = Counter({ERASED: num_asked - len(questions)})
    first = _lowest_priority(session, project_id) - 1
    for wave in _waves(ids, questions, policies):
        counts.update(
            add_tasks(
                session,
                project_id,
                wave,
                sensitive=sensitive,
                first_priority=first if in_order else None,
            )
        )
        first -= len(wave)
    return dict(counts)


def _lowest_priority(session: Session, project_id: uuid.UUID) -> int:
    lowest = select(func.min(Task.priority)).where(Task.project_id == project_id)
    return session.scalar(lowest) or 0


def _waves(
    ids: Sequence[uuid.UUID],
    questions: Sequence[Question],
    policies: Mapping[str, uuid.UUID],
) -> list[dict[uuid.UUID, list[Candidate]]]:
    """Tasks by prompt; a prompt that is asked about twice, with other responses, comes twice."""
    waves: list[dict[uuid.UUID, list[Candidate]]] = []
    times: Counter[uuid.UUID] = Counter()
    for id, question in zip(ids, questions, strict=True):
        if times[id] == len(waves):
            waves.append({})
        waves[times[id]][id] = _candidates(question, policies)
        times[id] += 1
    return waves


def _candidates(question: Question, policies: Mapping[str, uuid.UUID]) -> list[Candidate]:
    return [
        Candidate(
            text,
            policy_id=policies[question.sources[i]] if question.sources else None,
            finished=question.finished[i] if question.finished else None,
        )
        for i, text in enumerate(question.responses)
    ]
