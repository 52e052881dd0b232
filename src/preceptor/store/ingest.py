"""Files of records into the store: all of a file or nothing of it, each row's fate counted.

What an export wrote comes back with every id that it had. What others wrote gets pseudonyms for its
names, and ids made of its content, so that the same file again adds nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from preceptor.data.records import Demonstration, Prompt, Ranking, parse_line, parse_record
from preceptor.errors import DataError, StoreError
from preceptor.store.forms import check_groups, groups_of, ranks_of, require_storable
from preceptor.store.layout import is_own, read_manifest
from preceptor.store.names import SiteKey
from preceptor.store.projects import SLOTS, ProjectOptions, create_project
from preceptor.store.rows import Label, Provenance, Rows
from preceptor.store.tables import Project

SHOWN_PROBLEMS = 5
Hygiene = Callable[[Sequence[Prompt]], Sequence[str | None]]
"""For each prompt of a file: why it is to be left out, or None."""


@dataclass(frozen=True)
class Line:
    """One record with where it stands and, if it is a label, what the store keeps of it."""

    where: str
    record: Any
    label: Label | None


def import_prompts(
    session: Session,
    site_key: SiteKey,
    provenance: Provenance,
    *,
    skip_broken: bool = False,
    hygiene: Hygiene | None = None,
) -> Counter[str]:
    """Prompts with user, consent and provenance; what hygiene leaves out is kept as rejected."""
    lines, counts = read_lines(provenance, Prompt, skip_broken=skip_broken)
    rows = Rows(site_key, provenance, "prompts")
    prompts = [line.record for line in lines]
    reasons = hygiene(prompts) if hygiene else [None] * len(prompts)
    for prompt, reason in zip(prompts, reasons, strict=True):
        rows.add_prompt(prompt, reason=reason or "")
    new = rows.insert(session)
    counts.update(rows.prompts[id]["reason"] or "added" for id in new)
    counts["there already"] += len(prompts) - len(new)
    return rows.finish(session, counts)


def import_labels(
    session: Session,
    site_key: SiteKey,
    provenance: Provenance,
    kind: type[Demonstration] | type[Ranking],
    *,
    project: str | None = None,
    skip_broken: bool = False,
) -> Counter[str]:
    """Demonstrations or rankings, with prompts, responses and labelers; each label is added once.

    A second label of one labeler for the same task is counted and left out: labels do not change.
    """
    name = kind.__name__.lower() + "s"
    lines, counts = read_lines(provenance, kind, skip_broken=skip_broken)
    rows = Rows(site_key, provenance, name, read_manifest(provenance.path))
    projects: dict[str, Project] = {}
    unnamed: Counter[Any] = Counter()
    for line in lines:
        record, label = line.record, line.label
        assert label is not None
        into = project or label.own.get("project") or f"imported {name}"
        if into not in projects:
            purpose = label.own.get("purpose", "train")
            task_type = "demonstration" if kind is Demonstration else "ranking"
            if purpose == "eval" and kind is Ranking:
                task_type = "evaluation"
            options = ProjectOptions(purpose=purpose)
            id = create_project(session, into, task_type, options, now=provenance.now)
            # Held like a claim holds it: labels from elsewhere take places, too.
            projects[into] = session.get_one(Project, id, with_for_update=True)
        prompt = rows.add_prompt(Prompt(record.prompt, record.user, record.use_case), label.own)
        responses = record.responses if isinstance(record, Ranking) else []
        task = rows.add_task(projects[into], prompt, responses, label)
        labeler = record.labeler if isinstance(record, Ranking) else label.own.get("labeler", "")
        if not labeler:  # each in turn is somebody else's view of the same responses
            unnamed[task] += 1
            labeler = f"unnamed-{unnamed[task]}"
        counts[rows.add_label(task, labeler, label)] += 1
    rows.insert(session)
    counts.update(rows.insert_labels(session))
    del counts["new"]
    return rows.finish(session, counts)


def read_lines(
    provenance: Provenance,
    kind: type[Any],
    *,
    skip_broken: bool,
) -> tuple[list[Line], Counter[str]]:
    """The records of a file, and the broken lines by reason if they are to be skipped.

    Raises:
        DataError: lines are broken and are not to be skipped; it names the first few.
    """
    path, name = provenance.path, kind.__name__.lower()
    if not path.is_file():
        raise DataError(f"{path}: no such file. A JSONL file of {name}s is needed.")
    lines: list[Line] = []
    problems: list[str] = []
    reasons: Counter[str] = Counter()
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            where = f"{path}:{number}"
            try:
                record: Any = parse_record(parse_line(text, where), kind, where)
                require_storable(vars(record), f"{where}: it")
                label = None if kind is Prompt else read_label(record, where, provenance.now)
                lines.append(Line(where, record, label))
            except (DataError, StoreError) as error:
                problems.append(str(error))
                reasons[f"broken: {str(error).removeprefix(where + ': ')}"] += 1
    if problems and not skip_broken:
        more = len(problems) - SHOWN_PROBLEMS
        shown = problems[:SHOWN_PROBLEMS] + ([f"{path}: and {more} more"] if more > 0 else [])
        raise DataError(
            "\n".join(shown) + f"\n{path}: nothing was imported. Mend what is broken, or leave it "
            "out with --skip-broken."
        )
    if not lines:
        raise DataError(f"{path}: no {name} in it. Nothing was imported.")
    return lines, reasons


def read_label(record: Demonstration | Ranking, where: str, now: datetime) -> Label:
    """The label of one line: what an export wrote is taken at its word, and checked.

    Raises:
        DataError: more responses than can be compared, or a meta that contradicts itself.
    """
    own = record.meta if is_own(record.meta) else {}
    try:
        texts = {"comment": str(own["comment"])} if own.get("comment") else {}
        body: dict[str, Any] = {}
        if own.get("prompt_labels"):
            body["prompt_labels"] = own["prompt_labels"]
        if isinstance(record, Demonstration):
            texts["response"] = record.response
        else:
            body |= _ranking_body(record, own, where)
        return Label(
            own=own,
            foreign=record.meta,
            body=body,
            texts=texts,
            revision=int(own.get("revision", 1)),
            submitted_at=_time(own.get("submitted_at"), now),
            started_at=_time(own.get("started_at"), now),
            guideline=_guideline(own.get("guideline")),
        )
    except StoreError as error:
        raise DataError(f"{where}: {error}") from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: meta is not what an export writes ({error}).") from error


def _ranking_body(record: Ranking, own: dict[str, Any], where: str) -> dict[str, Any]:
    if len(record.responses) > len(SLOTS):
        raise DataError(
            f"{where}: {len(record.responses)} responses; labelers compare 2 to {len(SLOTS)}."
        )
    slots = SLOTS[: len(record.responses)]
    groups = groups_of(record.ranks, slots)
    unacceptable = own.get("unacceptable", [])
    if "rank_groups" in own:  # ranks are made of the groups; a reader of both checks them
        groups = check_groups(own["rank_groups"], unacceptable, slots)
        if [ranks_of(groups)[slot] for slot in slots] != record.ranks:
            raise DataError(f"{where}: ranks and meta.rank_groups say different things.")
    body = {"rank_groups": groups, "unacceptable": unacceptable}
    return body | ({"ratings": own["ratings"]} if own.get("ratings") else {})


def _time(text: str | None, otherwise: datetime) -> datetime:
    found = datetime.fromisoformat(text) if text else otherwise
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return found


def _guideline(name: str | None) -> tuple[str, int] | None:
    if name is None:
        return None
    base, _, version = name.rpartition("@")
    return base, int(version)
