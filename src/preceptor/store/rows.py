"""The rows that a file becomes, gathered by id and inserted in the order of their references."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, or_, select, text
from sqlalchemy.orm import Session

from preceptor.data.duplicates import normal_form
from preceptor.data.hygiene import IN_WORDS, MAX_PER_USER, Looked, split_of
from preceptor.data.records import Messages, Prompt, text_of
from preceptor.errors import StoreError
from preceptor.store import tables
from preceptor.store.consent import erased_people, still_willing
from preceptor.store.judgements import note_labels
from preceptor.store.layout import foreign_part, is_own
from preceptor.store.names import SiteKey, bare, canonical, identify, prompt_id, sha256_of
from preceptor.store.projects import (
    SLOTS,
    Candidate,
    chunks,
    insert_missing,
    response_rows,
    task_row,
)
from preceptor.store.prompt_labels import Said, add_newer
from preceptor.store.questions import PAPER, Questions

SCOPES = ("train", "evaluate")
OTHER = "another label of the same labeler"
ANEW = "left out before, added now"
BROKEN = "broken: "
"""What the reason of a broken line begins with."""
Values = dict[uuid.UUID, dict[str, Any]]


@dataclass(frozen=True)
class Provenance:
    """Where a file came from, as the person who imports it declares."""

    path: Path
    licence: str
    consent: str
    now: datetime
    source: str = ""
    """Whose names of people these are; the same name of another source is somebody else."""
    scopes: tuple[str, ...] = SCOPES
    """What the consent covers."""

    def __post_init__(self) -> None:
        if not self.scopes or not set(self.scopes) <= set(SCOPES):
            raise StoreError(
                f"{self.path}: consent covers {' or '.join(SCOPES)}, or both; it cannot cover "
                f"{', '.join(self.scopes) or 'nothing'}."
            )
        for name in ("licence", "consent"):
            if not getattr(self, name).strip():
                raise StoreError(
                    f"{self.path}: under what {name} are these texts used? Say it with --{name}; "
                    "it is kept beside every row."
                )


@dataclass(frozen=True)
class Label:
    """What the store keeps of one line. `own` is its meta if an export of ours wrote it."""

    own: dict[str, Any]
    foreign: dict[str, Any]
    kept: tuple[str, ...]  # keys of `foreign` that stay with the label
    labeler: str
    body: dict[str, Any]
    texts: dict[str, str]
    revision: int
    submitted_at: datetime
    started_at: datetime
    guideline: tuple[str, int] | None
    form: Questions = PAPER  # that its choices are of


@dataclass
class Rows:
    site_key: SiteKey
    provenance: Provenance
    kind: str
    sha256: str
    manifest: dict[str, Any] = field(default_factory=dict)
    users: Values = field(default_factory=dict)
    prompts: Values = field(default_factory=dict)
    accounts: Values = field(default_factory=dict)
    policies: Values = field(default_factory=dict)
    guidelines: Values = field(default_factory=dict)
    responses: Values = field(default_factory=dict)
    tasks: Values = field(default_factory=dict)
    said: dict[tuple[uuid.UUID, str], tuple[Said, uuid.UUID]] = field(default_factory=dict)
    places: list[dict[str, Any]] = field(default_factory=list)
    assignments: Values = field(default_factory=dict)
    labels: Values = field(default_factory=dict)
    texts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ingest = uuid.uuid4()  # an event: the same file again is another one
        self.left_out: dict[uuid.UUID, tables.Prompt] = {}  # by an earlier import, to be judged
        self.taken_in: set[uuid.UUID] = set()  # of these

    def take_turn(self, session: Session) -> None:
        """Imports come one after the other, or each would take the other's rows for new."""
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("LOCK TABLE ingest IN EXCLUSIVE MODE"))

    def user_of(self, prompt: Prompt) -> uuid.UUID:
        """The id of a prompt's user."""
        return identify("user", pseudonym_of(self.site_key, prompt, self.provenance.source))

    def people_of(self, label: Label) -> set[uuid.UUID]:
        """The accounts of a label: who made it, and who wrote what it is about."""
        authors = {own.get("author") for own in label.own.get("slots", {}).values()}
        return {self._account_of(name)[0] for name in {label.labeler, *authors} if name}

    def leave_erased(self, session: Session) -> set[uuid.UUID]:
        """Take the prompts of people who were erased out again; returns their ids."""
        gone = erased_people(session)
        left = {id for id, row in self.prompts.items() if row["user_id"] in gone}
        self.prompts = {id: row for id, row in self.prompts.items() if id not in left}
        self.users = {id: row for id, row in self.users.items() if id not in gone}
        self.accounts = {id: row for id, row in self.accounts.items() if id not in gone}
        self.said = {
            (id, key): (one, by)
            for (id, key), (one, by) in self.said.items()
            if id not in left and by not in gone
        }
        return left

    def add_prompt(
        self, prompt: Prompt, own: dict[str, Any], *, looked: Looked | None = None
    ) -> uuid.UUID:
        """A prompt of its user; without one, the split is one by prompt.

        `own` is what an export said of it, `looked` what hygiene did.
        """
        pseudonym = pseudonym_of(self.site_key, prompt, self.provenance.source)
        user = identify("user", pseudonym)
        self.users.setdefault(
            user,
            {
                "id": user,
                "pseudonym": pseudonym,
                "split": str(own.get("split") or split_of(pseudonym)),
                "policy": "opt_in",
                "first_seen": self.provenance.now,
            },
        )
        id = prompt_id(pseudonym, prompt.prompt)
        self.prompts.setdefault(
            id,
            {
                "id": id,
                "user_id": user,
                "ingest_id": self.ingest,
                "origin": own.get("origin", "import"),
                "kind": own.get("kind", "customer"),
                "content": prompt.prompt,
                "normal_sha256": normal_hash(prompt.prompt),
                "use_case": prompt.use_case,
                "split": self.users[user]["split"],
                "status": "rejected" if looked and looked.reason else "active",
                "reason": looked.reason if looked else "",
                "language": looked.language if looked else own.get("language", ""),
                "masked": looked.masked if looked else own.get("masked"),
                "received_at": self.provenance.now,
                "meta": foreign_part(prompt.meta),
            },
        )
        return id

    def add_said(self, prompt: uuid.UUID, said: Mapping[str, Said]) -> None:
        """What leads said of the prompt elsewhere; of two lines the newer word counts."""
        for key, one in said.items():
            known = self.said.get((prompt, key))
            if known is None or known[0].at < one.at:
                account = self._add_account(one.labeler, one.labeler_group)
                self.said[prompt, key] = (one, account)

    def add_task(
        self, project: tables.Project, prompt: uuid.UUID, texts: Sequence[str], label: Label
    ) -> uuid.UUID:
        responses = response_rows(prompt, self._candidates(texts, label))
        self.responses |= {row["id"]: row for row in responses}
        task = task_row(project, prompt, [row["id"] for row in responses])
        id: uuid.UUID = task["id"]
        if id not in self.tasks:
            if label.own.get("task_kind") == "calibration":
                task |= {"kind": "calibration", "target": None}
            self.tasks[id] = task
            self.places += [
                {"task_id": id, "slot": SLOTS[i], "response_id": row["id"]}
                for i, row in enumerate(responses)
            ]
        return id

    def add_label(self, task: uuid.UUID, label: Label) -> str:
        """Says what became of it: new, there already, or another one of the same labeler."""
        account = self._add_account(label.labeler, label.own.get("labeler_group", "imported"))
        assignment = identify("assignment", task, account)
        id = identify("submission", assignment, label.revision)
        digest = sha256_of([label.body, label.texts])
        if assignment in self.assignments:
            known = self.labels.get(id, {}).get("form_sha256")
            return "there already" if known == digest else OTHER
        guideline = self._add_guideline(label)
        is_ranked = "rank_groups" in label.body
        self.assignments[assignment] = {
            "id": assignment,
            "task_id": task,
            "account_id": account,
            "state": "submitted",
            "counted": not label.own.get("surplus", False),
            "lease_expires": label.submitted_at,
            "display_order": label.own.get("display_order", []) if is_ranked else [],
            "display_seed": label.own.get("display_seed", 0),
            "guideline_id": guideline,
            "started_at": label.started_at,
            "last_seen": label.submitted_at,
            "draft_version": 0,
            "meta": foreign_part(self._without_origins(label)),
        }
        self.labels[id] = {
            "id": id,
            "assignment_id": assignment,
            "revision": label.revision,
            "kind": "submitted",
            "key": identify("form", assignment, label.revision),
            "form_sha256": digest,
            "body": label.body,
            "guideline_id": guideline,
            "active_seconds": label.own.get("active_seconds"),
            "ingest_id": self.ingest,
            "at": label.submitted_at,
        }
        self.texts += [
            {"submission_id": id, "field": name, "text": words}
            for name, words in label.texts.items()
        ]
        return "new"

    def judge_anew(
        self,
        session: Session,
        doubles: Mapping[uuid.UUID, Collection[uuid.UUID]],
        *,
        cleaned: bool,
    ) -> None:
        """Let `insert` take in what an earlier import left out and this one does not.

        That is what was in another language, or too many of its user, and repetitions where none
        goes for that. Nothing that was erased, that its writer took back, or whose user agrees to
        no use any more. `doubles` has the prompts that hygiene looked at, each with those that it
        leaves out for them: where one of these is asked about, it stays the one.
        """
        reasons = [IN_WORDS["language"], IN_WORDS["cap"]] if cleaned else list(IN_WORDS.values())
        table = tables.Prompt
        for chunk in chunks(sorted(doubles.keys() & self.prompts.keys())):
            found = select(table).where(
                table.id.in_(chunk),
                table.status == "rejected",
                table.reason.in_(reasons),
                or_(*map(still_willing, SCOPES)),
            )
            self.left_out |= {row.id: row for row in session.scalars(found.with_for_update())}
        others = sorted({other for id in self.left_out for other in doubles[id]})
        asked: set[uuid.UUID] = set()
        for chunk in chunks(others):
            active = select(table.id).where(table.id.in_(chunk), table.status == "active")
            asked |= set(session.scalars(active))
        self.left_out = {
            id: row for id, row in self.left_out.items() if asked.isdisjoint(doubles[id])
        }

    def insert(self, session: Session, *, cleaned: bool = False) -> set[uuid.UUID]:
        """Everything but the labels, if it is not there yet; returns the new prompts.

        `cleaned` prompts are held to those of earlier files, too: equal ones but for case and
        spacing, whoever wrote them, and so many of a user.
        """
        provenance = self.provenance
        session.add(
            tables.Ingest(
                id=self.ingest,
                kind=self.kind,
                file_name=provenance.path.name,
                sha256=self.sha256,
                licence=provenance.licence,
                source=provenance.source,
                consent=provenance.consent,
                may_train="train" in provenance.scopes,
                may_evaluate="evaluate" in provenance.scopes,
                counts={},
                at=provenance.now,
            )
        )
        session.flush()
        new_users = insert_missing(session, tables.PromptUser, self.users)
        # A user who is known already keeps the side of the split that was drawn then.
        splits = _splits(session, list(self.users.keys() - new_users))
        for prompt in self.prompts.values():
            prompt["split"] = splits.get(prompt["user_id"], prompt["split"])
        self._declare_consent(session)
        for table, rows in (
            (tables.Account, self.accounts),
            (tables.Policy, self.policies),
            (tables.Guideline, self.guidelines),
        ):
            insert_missing(session, table, rows)
        self._leave_other_guidelines(session)
        if cleaned:
            self._reject_repetitions(session)
        new_prompts = insert_missing(session, tables.Prompt, self.prompts)
        self._take_in()
        self._fill_in(session, sorted(self.prompts.keys() - new_prompts))
        add_newer(session, self.said)
        insert_missing(session, tables.Response, self.responses)
        self.new_tasks = insert_missing(session, tables.Task, self.tasks)
        if places := [place for place in self.places if place["task_id"] in self.new_tasks]:
            session.execute(insert(tables.TaskResponse), places)
        return new_prompts

    def insert_labels(self, session: Session) -> Counter[str]:
        """Labels that are new, each with its place in its task."""
        there: dict[uuid.UUID, list[tables.Submission]] = {}
        known: set[uuid.UUID] = set()
        for chunk in chunks(list(self.assignments)):
            known |= set(
                session.scalars(select(tables.Assignment.id).where(tables.Assignment.id.in_(chunk)))
            )
            for row in session.scalars(
                select(tables.Submission).where(tables.Submission.assignment_id.in_(chunk))
            ):
                there.setdefault(row.assignment_id, []).append(row)
        counts: Counter[str] = Counter()
        kept: Values = {}
        for id, label in self.labels.items():
            revisions = there.get(label["assignment_id"], [])
            newest = max(revisions, key=lambda row: row.revision, default=None)
            same = [r for r in revisions if r.id == id or r.form_sha256 == label["form_sha256"]]
            if label["assignment_id"] not in known:
                kept[id] = label
                counts["added"] += 1
            elif any(row.body == label["body"] for row in same):
                counts["there already"] += 1
            elif (
                newest is not None
                and newest.kind == "submitted"
                and newest.revision < label["revision"]
            ):
                kept[id] = label
                counts["newer revision"] += 1
            else:
                counts[OTHER] += 1
        ours = {
            label["assignment_id"]: self.assignments[label["assignment_id"]]
            for label in kept.values()
            if label["assignment_id"] not in known
        }
        self._take_places(session, Counter(r["task_id"] for r in ours.values() if r["counted"]))
        insert_missing(session, tables.Assignment, ours)
        insert_missing(session, tables.Submission, kept)
        if texts := [row for row in self.texts if row["submission_id"] in kept]:
            session.execute(insert(tables.SubmissionText), texts)
        note_labels(session, sorted({label["assignment_id"] for label in kept.values()}))
        return counts

    def finish(self, session: Session, counts: Counter[str]) -> Counter[str]:
        """What became of the lines, as it is told and as it is kept."""
        counts = +counts
        # Why a line is broken may quote it, and nobody could tell later whose words these are.
        kept = Counter({why: n for why, n in counts.items() if not why.startswith(BROKEN)})
        if num_broken := counts.total() - kept.total():
            kept["broken"] = num_broken
        session.get_one(tables.Ingest, self.ingest).counts = dict(kept)
        return counts

    def _take_places(self, session: Session, places: Counter[uuid.UUID]) -> None:
        for chunk in chunks(list(places)):
            for task in session.scalars(
                select(tables.Task).where(tables.Task.id.in_(chunk)).with_for_update()
            ):
                count = task.taken + places[task.id]
                if task.target is not None:
                    # Labels from elsewhere are all there are of a task that came with them; to a
                    # task of ours they add what is wanted of it, should they be more.
                    new = task.id in self.new_tasks
                    task.target = count if new else max(task.target, count)
                    task.state = "full" if count >= task.target else task.state
                task.taken = count
        session.flush()

    def _declare_consent(self, session: Session) -> None:
        """What the importer declares, of users who have said nothing of such a use yet.

        Whether it covers a prompt is asked of the prompt's own file, too.
        """
        digest = sha256_of(self.provenance.consent)
        known: set[tuple[uuid.UUID, str]] = set()
        for chunk in chunks(list(self.users)):
            said = select(tables.Consent.user_id, tables.Consent.scope).distinct()
            rows = session.execute(said.where(tables.Consent.user_id.in_(chunk)))
            known |= {(user, scope) for user, scope in rows}
        events = [
            {
                "user_id": id,
                "scope": scope,
                "channel": "declared",
                "event": "given",
                "text_sha256": digest,
                "at": self.provenance.now,
            }
            for id in sorted(self.users)
            for scope in self.provenance.scopes
            if (id, scope) not in known
        ]
        if events:
            session.execute(insert(tables.Consent), events)

    def _leave_other_guidelines(self, session: Session) -> None:
        """Labels made under another text of that name and version do not refer to ours."""
        table = tables.Guideline
        found = session.execute(
            select(table.id, table.markdown).where(table.id.in_(list(self.guidelines)))
        )
        for id, markdown in found:
            if self.guidelines[id]["markdown"] not in ("", markdown):
                for row in (*self.labels.values(), *self.assignments.values()):
                    row["guideline_id"] = None if row["guideline_id"] == id else row["guideline_id"]

    def _take_in(self) -> None:
        for id, row in self.left_out.items():
            judged = self.prompts[id]
            row.status, row.reason = judged["status"], judged["reason"]
            row.language = judged["language"]
            if judged["masked"] is not None and row.masked is None:
                # It came with its personal data, and this time nobody asked to keep them.
                row.content, row.masked = judged["content"], judged["masked"]
            if row.status == "active":
                self.taken_in.add(id)

    def _fill_in(self, session: Session, ids: Sequence[uuid.UUID]) -> None:
        """Tell of prompts that were there what this file knows and the one before did not.

        One that came with labels has no language, and of its kind an export of labels says nothing.
        What was kept on purpose with its personal data stays so.
        """
        table = tables.Prompt
        open_still = or_(table.language == "", table.masked.is_(None), table.kind == "customer")
        for chunk in chunks(ids):
            chosen = select(table).where(table.id.in_(chunk), table.status != "erased", open_still)
            for row in session.scalars(chosen):
                told = self.prompts[row.id]
                row.language = row.language or told["language"]
                if row.masked is None and row.content == told["content"]:
                    row.masked = told["masked"]
                if row.kind == "customer":
                    row.kind = told["kind"]

    def _reject_repetitions(self, session: Session) -> None:
        table = tables.Prompt
        there: set[uuid.UUID] = set()
        seen: set[str] = set()
        own: Counter[uuid.UUID] = Counter()
        for chunk in chunks(list(self.prompts)):
            there |= set(session.scalars(select(table.id).where(table.id.in_(chunk))))
        for part in chunks(sorted({row["normal_sha256"] for row in self.prompts.values()})):
            active = (table.status == "active", table.normal_sha256.in_(part))
            seen |= set(session.scalars(select(table.normal_sha256).where(*active)))
        for chunk in chunks(list(self.users)):
            rows = session.execute(
                select(table.user_id, func.count())
                .where(table.status == "active", table.user_id.in_(chunk))
                .group_by(table.user_id)
            )
            own.update({user: count for user, count in rows})
        for id, row in self.prompts.items():
            if row["reason"] or (id in there and id not in self.left_out):
                continue
            if row["normal_sha256"] in seen:
                row |= {"status": "rejected", "reason": IN_WORDS["same"]}
            elif own[row["user_id"]] >= MAX_PER_USER:
                row |= {"status": "rejected", "reason": IN_WORDS["cap"]}
            else:
                own[row["user_id"]] += 1
                seen.add(row["normal_sha256"])

    def _candidates(self, texts: Sequence[str], label: Label) -> list[Candidate]:
        """Responses with what is known of their origin: an export's word, a run's, or nothing."""
        slots = label.own.get("slots", {})
        finished = _each(label.foreign.get("finished"), len(texts), bool)
        sources = _each(label.foreign.get("sources"), len(texts), str)
        found = []
        for i, words in enumerate(texts):
            own = slots.get(SLOTS[i], {})
            policy = own.get("policy") or (sources[i] and {"name": sources[i]})
            author = own.get("author")
            found.append(
                Candidate(
                    words,
                    policy_id=self._add_policy(policy) if policy else None,
                    author_id=self._add_account(author, "imported") if author else None,
                    finished=own.get("finished", finished[i]),
                    sampling=own.get("sampling", {}),
                )
            )
        return found

    def _without_origins(self, label: Label) -> dict[str, Any]:
        """A run's `finished` and `sources` went to the responses, and come back from there."""
        if is_own(label.foreign):
            return label.foreign
        kept = {key: value for key, value in label.foreign.items() if key in label.kept}
        num = sum(len(group) for group in label.body.get("rank_groups", []))
        taken = {
            key
            for key, kind in (("finished", bool), ("sources", str))
            if _each(label.foreign.get(key), num, kind)[:1] not in ([], [None])
        }
        return {key: value for key, value in kept.items() if key not in taken}

    def _add_policy(self, policy: dict[str, str]) -> uuid.UUID:
        values = {key: policy.get(key, "") for key in ("name", "run", "weights_sha256")}
        id = identify("policy", *values.values())
        self.policies[id] = {"id": id, **values}
        return id

    def _account_of(self, name: str) -> tuple[uuid.UUID, str]:
        """Id and pseudonym."""
        pseudonym = self.site_key.labeler(name, f"import {self.provenance.source}")
        return identify("account", pseudonym), pseudonym

    def _add_account(self, name: str, group: str) -> uuid.UUID:
        id, pseudonym = self._account_of(name)
        row = {
            "id": id,
            "pseudonym": pseudonym,
            "role": "labeler",
            "labeler_group": group,
            "state": "left",
            "accepts_sensitive": False,
            "created_at": self.provenance.now,
        }
        known = self.accounts.setdefault(id, row)
        if known["labeler_group"] == "imported":  # named as an author before as a labeler
            known["labeler_group"] = group
        return id

    def _add_guideline(self, label: Label) -> uuid.UUID | None:
        if label.guideline is None:
            return None
        name, version = label.guideline
        id = identify("guideline", name, version)
        markdown = self.manifest.get("guidelines", {}).get(f"{name}@{version}", "")
        self.guidelines[id] = {
            "id": id,
            "name": name,
            "version": version,
            "markdown": markdown,
            "sha256": sha256_of(markdown),
            "imported": True,
            "at": self.provenance.now,
        }
        return id


def pseudonym_of(site_key: SiteKey, prompt: Prompt, source: str) -> str:
    """Of a prompt's user; without one, it is a user of its own."""
    return site_key.user(prompt.user or f"prompt\0{canonical(bare(prompt.prompt))}", source)


def normal_hash(prompt: str | Messages) -> str:
    """Equal for prompts that differ in case, spacing and personal data only."""
    return sha256_of(normal_form(text_of(bare(prompt))))


def _each(value: Any, count: int, kind: type) -> list[Any]:
    """One value a response, or nothing: somebody else's file may mean another thing by the key."""
    if isinstance(value, list) and len(value) == count and all(type(v) is kind for v in value):
        return value
    return [None] * count


def _splits(session: Session, users: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    table = tables.PromptUser
    found: dict[uuid.UUID, str] = {}
    for chunk in chunks(users):
        rows = session.execute(select(table.id, table.split).where(table.id.in_(chunk)))
        found.update({id: split for id, split in rows})
    return found
