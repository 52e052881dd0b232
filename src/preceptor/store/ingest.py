"""Files of records into the store: all of a file or nothing of it, each row's fate counted.

What an export wrote comes back with every id that it had. What others wrote gets pseudonyms for its
names, and ids made of its content, so that the same file again adds nothing.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from preceptor.data import formats
from preceptor.data.compressed import open_bytes, suffix_of
from preceptor.data.conversations import GROUP
from preceptor.data.hygiene import IN_WORDS, Looked
from preceptor.data.records import (
    Demonstration,
    Prompt,
    Ranking,
    file_hash,
    parse_line,
    parse_record,
    text_of,
)
from preceptor.errors import DataError, StoreError
from preceptor.store.consent import erased_people
from preceptor.store.forms import (
    LONGEST,
    check_groups,
    groups_of,
    prompt_labels_of,
    ranks_of,
    ratings_of,
    require_storable,
)
from preceptor.store.layout import is_own, own_part, read_manifest
from preceptor.store.names import SiteKey, sha256_of
from preceptor.store.projects import ERASED, SLOTS, ProjectOptions, create_project
from preceptor.store.prompt_labels import said_of_meta
from preceptor.store.questions import PAPER, Questions, questions_of, read_questions
from preceptor.store.rows import ANEW, BROKEN, Label, Provenance, Rows
from preceptor.store.tables import Project
from preceptor.store.toxicity import toxicity_of

SHOWN_PROBLEMS = 5
TOO_LONG = IN_WORDS["too_long"]
Hygiene = Callable[[Sequence[Prompt]], Sequence[Looked]]
"""For each prompt of a file what is to be known before it is stored (`preceptor.data.hygiene`)."""


@dataclass(frozen=True)
class Line:
    """One record with where it stands and, if it is a label, what the store keeps of it."""

    where: str
    record: Any
    label: Label | None
    digest: str = ""  # of the record as it stands in the file
    looked: Looked | None = None  # what hygiene found


@dataclass(frozen=True)
class FileRead:
    """A file's records, read and judged before anybody else has to wait for them."""

    provenance: Provenance
    kind: type[Any]
    sha256: str
    lines: list[Line]
    broken: Counter[str]
    manifest: dict[str, Any]
    cleaned: bool  # prompts that repeat others, and over 200 of a user, are not asked about
    too_long: tuple[str, ...] = ()  # lines that were left out for it, each with its place


def read_file(
    provenance: Provenance,
    kind: type[Prompt] | type[Demonstration] | type[Ranking],
    *,
    skip_broken: bool = False,
    keep_meta: bool = False,
    hygiene: Hygiene | None = None,
    format: str | None = None,
    forms: Mapping[str, Questions] | None = None,
    keep_all: bool = False,
    max_chars: int = LONGEST,
) -> FileRead:
    """All that needs no database. Without `keep_meta` only what we know the meaning of is kept.

    With `keep_all` prompts that repeat others in the store, and over 200 of a user, are kept. A
    record with a text of over `max_chars` characters is left out, of whatever kind it is.
    `forms` are those that the store has, by what lines call them; the manifest may bring others.

    Files of other tools are read by their adapters; `format` names one that the keys do not tell.

    Raises:
        DataError: lines are broken and are not to be skipped; it names the first few.
    """
    manifest = {} if kind is Prompt else read_manifest(provenance.path)
    lines, broken, too_long = read_lines(
        provenance,
        kind,
        skip_broken=skip_broken,
        keep_meta=keep_meta,
        format=format,
        forms={**(forms or {}), **forms_of(manifest)},
        max_chars=max_chars,
    )
    if hygiene:
        # What an export wrote was looked at when it came in, or kept on purpose.
        others = [line for line in lines if not is_own(line.record.meta)]
        seen = iter(hygiene([_asked(line.record) for line in others]))
        lines = [
            line if is_own(line.record.meta) else replace(line, looked=next(seen)) for line in lines
        ]
    digest = file_hash(provenance.path)
    cleaned = hygiene is not None and not keep_all
    return FileRead(provenance, kind, digest, lines, broken, manifest, cleaned, tuple(too_long))


def require_none_too_long(file: FileRead, way_out: str) -> None:
    """For whom half of a file is none.

    Raises:
        StoreError: lines were left out for their length; it names the first few.
    """
    if file.too_long:
        raise StoreError("\n".join([*shown_few(file.too_long), way_out]))


def shown_few(problems: Sequence[str]) -> list[str]:
    """The first few of them, and how many more there are."""
    more = len(problems) - SHOWN_PROBLEMS
    return [*problems[:SHOWN_PROBLEMS], *([f"and {more:,} more"] if more > 0 else [])]


def import_prompts(session: Session, site_key: SiteKey, file: FileRead) -> Counter[str]:
    """Prompts with user, consent and provenance; what hygiene leaves out is kept as rejected.

    What an earlier file had left out is judged by this one, too (`Rows.judge_anew`).
    """
    counts = Counter(file.broken) + Counter({TOO_LONG: len(file.too_long)})
    rows = Rows(site_key, file.provenance, "prompts", file.sha256)
    ids = []
    for line in file.lines:
        prompt = line.looked.prompt if line.looked else line.record
        own = own_part(line.record.meta, line.where)
        ids.append(rows.add_prompt(prompt, own, looked=line.looked))
        rows.add_said(ids[-1], said_of_meta(own))
    rows.take_turn(session)  # the first word to the database: other processes wait from here on
    erased = rows.leave_erased(session)
    rows.judge_anew(session, _doubles(file, ids), cleaned=file.cleaned)
    new = rows.insert(session, cleaned=file.cleaned)
    counts.update(rows.prompts[id]["reason"] or "added" for id in new)
    counts[ERASED] = sum(id in erased for id in ids)
    counts[ANEW] = len(rows.taken_in)
    counts["there already"] += len(file.lines) - len(new) - counts[ERASED] - counts[ANEW]
    for id in new:
        for kind, num in (rows.prompts[id]["masked"] or {}).items():
            counts[f"masked: {kind.lower()}"] += num
    return rows.finish(session, counts)


def import_labels(
    session: Session, site_key: SiteKey, file: FileRead, *, project: str | None = None
) -> Counter[str]:
    """Demonstrations or rankings, with prompts, responses and labelers; each label is added once.

    A second label of one labeler for the same task is counted and left out: labels do not change.
    A newer revision, which an export wrote, is added to the ones that are there.
    """
    kind, provenance = file.kind, file.provenance
    name = kind.__name__.lower() + "s"
    counts = Counter(file.broken) + Counter({TOO_LONG: len(file.too_long)})
    rows = Rows(site_key, provenance, name, file.sha256, file.manifest)
    rows.take_turn(session)
    erased = erased_people(session)
    projects: dict[str, Project] = {}
    unnamed: Counter[str] = Counter()
    for line in file.lines:
        record, label = line.record, line.label
        assert label is not None
        if not label.labeler:
            # A line is its labeler's only name: equal ones in a file are several people's, and
            # other lines before it, in this file or an earlier one, change nothing.
            unnamed[line.digest] += 1
            label = replace(label, labeler=f"unnamed\0{line.digest}\0{unnamed[line.digest]}")
        asked = line.looked.prompt if line.looked else _asked(record)
        if {rows.user_of(asked), *rows.people_of(label)} & erased:
            counts[ERASED] += 1
            continue
        into = project or label.own.get("project") or f"imported {name}"
        if into not in projects:
            purpose = label.own.get("purpose", "train")
            task_type = "demonstration" if kind is Demonstration else "ranking"
            if purpose == "eval" and kind is Ranking:
                task_type = label.own.get("task_type") or "evaluation"
            options = ProjectOptions(purpose=purpose, form=label.form)
            id = create_project(session, into, task_type, options, now=provenance.now)
            # Held like a claim holds it: labels from elsewhere take places, too.
            projects[into] = session.get_one(Project, id, with_for_update=True)
        says = label.body.get("prompt_labels") or label.body.get("ratings")
        if says and label.form != questions_of(projects[into]):
            raise StoreError(
                f"{line.where}: its label was given under another form than that of the project "
                f"{into}. Import it into one of another name, with --project."
            )
        prompt = rows.add_prompt(asked, label.own, looked=line.looked)
        responses = record.responses if isinstance(record, Ranking) else []
        task = rows.add_task(projects[into], prompt, responses, label)
        counts[rows.add_label(task, label)] += 1
    rows.insert(session)
    counts.update(rows.insert_labels(session))
    del counts["new"]
    return rows.finish(session, counts)


def _doubles(file: FileRead, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, set[uuid.UUID]]:
    """The prompts that hygiene looked at, each with those that it leaves out as repeating it."""
    looked = [(id, line.looked) for id, line in zip(ids, file.lines, strict=True) if line.looked]
    found: dict[uuid.UUID, set[uuid.UUID]] = {id: set() for id, _ in looked}
    for id, one in looked:
        if one.of is not None:
            found[looked[one.of][0]].add(id)
    return found


def _asked(record: Any) -> Prompt:
    """A record's prompt, without what is the label's."""
    if isinstance(record, Prompt):
        return record
    return Prompt(record.prompt, record.user, record.use_case)


def read_lines(
    provenance: Provenance,
    kind: type[Any],
    *,
    skip_broken: bool,
    keep_meta: bool,
    forms: Mapping[str, Questions],
    max_chars: int,
    format: str | None = None,
) -> tuple[list[Line], Counter[str], list[str]]:
    """The records of a file, the broken lines by reason if they are to be skipped, and the places
    of those that are too long.
    """
    path, name = provenance.path, kind.__name__.lower()
    if not path.is_file():
        raise DataError(f"{path}: no such file. A file of {name}s is needed.")
    lines: list[Line] = []
    problems: list[str] = []
    too_long: list[str] = []
    reasons: Counter[str] = Counter()
    for where, record in _placed(path, kind, format):
        try:
            if isinstance(record, DataError):
                raise record
            require_storable(vars(record), f"{where}: it")
            own = own_part(record.meta, where)
            if kind is Prompt:
                _require_said(own, where)
            label = None if kind is Prompt else read_label(record, where, provenance.now, forms)
            if (longest := max(map(len, _texts(record, label)))) > max_chars:
                too_long.append(
                    f"{where}: a text of {longest:,} characters; {max_chars:,} are the most."
                )
                continue
            digest = sha256_of(asdict(record))
            if not keep_meta and not is_own(record.meta):
                record = replace(record, meta={})
                label = label and replace(label, kept=())
            lines.append(Line(where, record, label, digest))
        except (DataError, StoreError) as error:
            problems.append(str(error))
            reasons[f"{BROKEN}{str(error).removeprefix(where + ': ')}"] += 1
    if problems and not skip_broken:
        more = len(problems) - SHOWN_PROBLEMS
        shown = problems[:SHOWN_PROBLEMS] + ([f"{path}: and {more} more"] if more > 0 else [])
        raise DataError(
            "\n".join(shown) + f"\n{path}: nothing was imported. Mend what is broken, or leave it "
            "out with --skip-broken."
        )
    if not lines and not too_long:
        raise DataError(f"{path}: no {name} in it. Nothing was imported.")
    return lines, reasons, too_long


def _require_said(own: dict[str, Any], where: str) -> None:
    try:
        said_of_meta(own)
    except StoreError as error:
        raise StoreError(f"{where}: {error}") from None


def _texts(record: Any, label: Label | None) -> list[str]:
    """Everything in a record that people will read."""
    responses = record.responses if isinstance(record, Ranking) else []
    said = label.texts.values() if label else ()
    return [text_of(record.prompt), record.use_case, *responses, *said]


def _placed(path: Path, kind: type[Any], format: str | None) -> Iterator[tuple[str, Any]]:
    """Every record with its place, or what is wrong with it."""
    if _is_ours(path, kind, format):
        with open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                where = f"{path}:{number}"
                if line.strip():
                    try:
                        yield where, parse_record(parse_line(line, where), kind, where)
                    except DataError as error:
                        yield where, error
        return
    for where, found in formats.read_file(path, kind, format=format):
        if isinstance(found, DataError):
            yield where, found
        elif not found:
            yield where, DataError(f"{where}: it has none of the {formats.kind_name(kind)}.")
        else:
            yield from ((where, _together(record)) for record in found)


def _is_ours(path: Path, kind: type[Any], format: str | None) -> bool:
    """Whether it is JSON Lines of our own records; of what nobody can tell ours says what is wrong.

    Raises:
        DataError: several formats fit, or the one that is named does not.
    """
    try:
        told, _ = formats.tell_format(path, kind, format=format)
    except DataError as error:
        unclear = isinstance(error, formats.SeveralFormats)
        if unclear or format is not None or suffix_of(path) != ".jsonl":
            raise
        return True
    return told == formats.OWN and suffix_of(path) == ".jsonl"


def _together(record: Any) -> Any:
    """Turns of one conversation as one user's, so that no split parts them."""
    group = record.meta.get(GROUP)
    return record if record.user or not group else replace(record, user=f"{GROUP}: {group}")


def forms_of(manifest: Mapping[str, Any]) -> dict[str, Questions]:
    """The forms that an export's labels were given under, by what its lines call them.

    Raises:
        StoreError: one of them is none, or goes by another's name.
    """
    found = {}
    for name, form in manifest.get("forms", {}).items():
        found[name] = read_questions(json.dumps(form), f"the manifest's form {name}")
        if found[name].digest != name:
            raise StoreError(f"the manifest's form {name} was changed: it is {found[name].digest}.")
    return found


def read_label(
    record: Demonstration | Ranking, where: str, now: datetime, forms: Mapping[str, Questions]
) -> Label:
    """The label of one line: what an export wrote is taken at its word, and checked.

    `forms` are those that such a line may name; without a name it is the paper's.

    Raises:
        DataError: more responses than can be compared, or a meta that contradicts itself.
    """
    own = own_part(record.meta, where)
    try:
        form = PAPER
        if own.get("form"):
            if own["form"] not in forms:
                raise StoreError(
                    f"its label was given under the form {own['form']}, which stands in the "
                    "export's manifest. Keep that beside the file, under its name."
                )
            form = forms[own["form"]]
        texts = {"comment": str(own["comment"])} if own.get("comment") else {}
        body: dict[str, Any] = {}
        if own.get("prompt_labels"):
            body["prompt_labels"] = prompt_labels_of(own["prompt_labels"], form)
        if isinstance(record, Demonstration):
            texts["response"] = record.response
        else:
            body |= _ranking_body(record, own, where, form)
        # Whoever wrote a demonstration stands in its meta, there is no other place for them.
        labeler = record.labeler if isinstance(record, Ranking) else record.meta.get("labeler", "")
        if labeler and not isinstance(labeler, str):
            raise DataError(f"{where}: the labeler must be text, not {type(labeler).__name__}.")
        return Label(
            own=own,
            labeler=labeler or "",
            kept=tuple(record.meta),
            foreign=record.meta,
            body=body,
            texts=texts,
            revision=int(own.get("revision", 1)),
            submitted_at=_time(own.get("submitted_at"), now),
            started_at=_time(own.get("started_at"), now),
            guideline=_guideline(own.get("guideline")),
            form=form,
        )
    except StoreError as error:
        raise DataError(f"{where}: {str(error).removeprefix(where + ': ')}") from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: meta is not what an export writes ({error}).") from error


def _ranking_body(
    record: Ranking, own: dict[str, Any], where: str, form: Questions
) -> dict[str, Any]:
    if len(record.responses) > len(SLOTS):
        raise DataError(
            f"{where}: {len(record.responses)} responses; labelers compare 2 to {len(SLOTS)}."
        )
    slots = SLOTS[: len(record.responses)]
    groups = groups_of(record.ranks, slots)
    unacceptable = own.get("unacceptable", [])
    # Choices are never erased, so nothing but choices comes in.
    groups = check_groups(own.get("rank_groups", groups), unacceptable, slots)
    if "rank_groups" in own and [ranks_of(groups)[slot] for slot in slots] != record.ranks:
        # Ranks are made of the groups; a reader of both checks them.
        raise DataError(f"{where}: ranks and meta.rank_groups say different things.")
    if strange := sorted(set(own.get("display_order", [])) - set(slots)):
        raise DataError(f"{where}: meta.display_order has {strange[0]!r}, which is no slot.")
    if own.get("task_type") == "toxicity":
        return {"rank_groups": groups, **toxicity_of(own, slots)}
    body = {"rank_groups": groups, "unacceptable": unacceptable}
    of_two = own.get("task_type") == "evaluation_ab"
    if own.get("ratings") or of_two:
        body["ratings"] = ratings_of(own.get("ratings"), slots, form, optional=of_two)
    return body | ({"confidence": own["confidence"]} if own.get("confidence") else {})


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
