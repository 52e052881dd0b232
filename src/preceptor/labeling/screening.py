"""Score cards of people in screening, and held-out labelers apart (InstructGPT, appendix B.1).

Cut-offs are soft: 75 % on flagging sensitive text, 75 % on rankings, 6 of 7 for demonstrations on
sensitive prompts. A card shows the figure with its interval; a person decides.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from preceptor.data.records import Messages
from preceptor.statistics.clusters import mean_of_clusters
from preceptor.statistics.estimate import Estimate
from preceptor.statistics.quality import student_mean
from preceptor.statistics.rankings import pair_counts
from preceptor.store.questions import Questions, questions_of
from preceptor.store.tables import (
    Account,
    Assignment,
    GoldAnswer,
    Judgement,
    Project,
    Prompt,
    ScreeningScore,
    Submission,
    SubmissionText,
    Task,
)

CUT_OFFS = {"flags": 0.75, "rankings": 0.75, "demonstrations": 6.0}


@dataclass(frozen=True)
class Card:
    """What is known of one person.

    flags           of responses with a gold answer, how often both or neither saw sensitive content
    rankings        of the pairs that they and the gold answer order, the share ordered alike
    demonstrations  mean score, 1 to 7, of their demonstrations in screening
    competence      how well that covers what is asked, as a researcher noted it last, 1 to 7
    topics          that they say they know, and languages; None: they have not said
    """

    account_id: uuid.UUID
    pseudonym: str
    group: str
    state: str
    flags: Estimate
    rankings: Estimate
    demonstrations: Estimate
    num_unscored: int
    competence: float | None
    topics: tuple[str, ...] | None
    languages: tuple[str, ...] | None
    decision: bool | None
    decided_at: datetime | None

    def figures(self) -> dict[str, Any]:
        """As they are kept with a decision."""
        parts = ("flags", "rankings", "demonstrations")
        found: dict[str, Any] = {name: getattr(self, name).as_dict() for name in parts}
        # Not what they know: it is theirs to change, and this is kept for good.
        return found | {"competence": self.competence, "cut_offs": CUT_OFFS}


@dataclass(frozen=True)
class Demonstration:
    """A demonstration of a screening project, to be scored."""

    assignment_id: uuid.UUID
    prompt: str | Messages
    response: str
    scores: dict[str, int]  # the newest of each researcher, by pseudonym


def read_cards(session: Session, account_id: uuid.UUID | None = None) -> list[Card]:
    """People in screening or once decided upon, and held-out labelers; by state and pseudonym."""
    scores: dict[uuid.UUID, dict[str, ScreeningScore]] = defaultdict(dict)
    for score in session.scalars(select(ScreeningScore).order_by(ScreeningScore.id)):
        if score.part != "demonstration":
            scores[score.account_id][score.part] = score
    accounts = session.scalars(
        select(Account)
        .where(
            (Account.state == "screening")
            | (Account.labeler_group == "heldout")
            | Account.id.in_(list(scores)),
            Account.role == "labeler",
        )
        .order_by(Account.state.desc(), Account.pseudonym)
    ).all()
    chosen = [a for a in accounts if account_id in (None, a.id)]
    gold = _against_gold(session, [a.id for a in chosen])
    written = _demonstration_scores(session, [a.id for a in chosen])
    found = []
    for account in chosen:
        flags, rankings = gold[account.id]
        demonstrations, unscored = written[account.id]
        competence = scores[account.id].get("competence")
        decision = scores[account.id].get("decision")
        found.append(
            Card(
                account_id=account.id,
                pseudonym=account.pseudonym,
                group=account.labeler_group,
                state=account.state,
                flags=flags,
                rankings=rankings,
                demonstrations=demonstrations,
                num_unscored=unscored,
                competence=competence.value if competence else None,
                topics=None if account.topics is None else tuple(account.topics),
                languages=None if account.languages is None else tuple(account.languages),
                decision=bool(decision.value) if decision else None,
                decided_at=decision.at if decision else None,
            )
        )
    return found


def read_demonstrations(session: Session, account_id: uuid.UUID) -> list[Demonstration]:
    """What somebody wrote in screening projects, the newest revision of each."""
    newest = (
        select(Submission.assignment_id, func.max(Submission.revision).label("revision"))
        .join(Assignment, Assignment.id == Submission.assignment_id)
        .where(Assignment.account_id == account_id)
        .group_by(Submission.assignment_id)
        .subquery()
    )
    rows = session.execute(
        select(Assignment.id, Prompt.content, SubmissionText.text)
        .join(Submission, Submission.assignment_id == Assignment.id)
        .join(
            newest,
            (newest.c.assignment_id == Submission.assignment_id)
            & (newest.c.revision == Submission.revision),
        )
        .join(SubmissionText, SubmissionText.submission_id == Submission.id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Project, Project.id == Task.project_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(
            Project.purpose == "screening",
            Project.task_type == "demonstration",
            Submission.kind == "submitted",
            SubmissionText.field == "response",
        )
        .order_by(Assignment.id)
    ).all()
    scorer = aliased(Account)
    given: dict[uuid.UUID, dict[str, int]] = defaultdict(dict)
    for assignment, name, value in session.execute(
        select(ScreeningScore.assignment_id, scorer.pseudonym, ScreeningScore.value)
        .join(scorer, scorer.id == ScreeningScore.decided_by)
        .where(ScreeningScore.account_id == account_id, ScreeningScore.part == "demonstration")
        .order_by(ScreeningScore.id)
    ):
        if assignment is not None:
            given[assignment][name] = int(value)
    return [Demonstration(id, prompt, response, given.get(id, {})) for id, prompt, response in rows]


def _against_gold(
    session: Session, accounts: Sequence[uuid.UUID]
) -> dict[uuid.UUID, tuple[Estimate, Estimate]]:
    """(flags, rankings) of each account; a task is a cluster."""
    own, gold = aliased(Judgement), aliased(Judgement)
    rows = session.execute(
        select(own.account_id, own.project_id, own.ranks, own.flags, gold.ranks, gold.flags)
        .join(GoldAnswer, GoldAnswer.task_id == own.task_id)
        .join(gold, gold.assignment_id == GoldAnswer.assignment_id)
        .where(own.account_id.in_(accounts), own.assignment_id != gold.assignment_id)
        .where(own.task_kind != "attention")  # too easy to tell who judges well
        .join(Project, Project.id == own.project_id)
        .where(Project.purpose != "practice")  # who is learning still is not judged
    )
    flags: dict[uuid.UUID, list[tuple[float, float]]] = defaultdict(list)
    pairs: dict[uuid.UUID, list[tuple[float, float]]] = defaultdict(list)
    asked: dict[uuid.UUID, Questions] = {}
    for account, project, ranks, own_flags, gold_ranks, gold_flags in rows:
        if project not in asked:
            asked[project] = questions_of(session.get_one(Project, project))
        same, num = _sensitive_alike(own_flags, gold_flags, asked[project])
        if num:
            flags[account].append((same, num))
        if len(ranks) == len(gold_ranks) > 1:
            counts = pair_counts(_row(ranks), _row(gold_ranks))
            pairs[account].append((float(counts.strict_agreed[0]), float(counts.strict[0])))
    none = "no task with a gold answer is done yet"
    no_flags = "no task with a gold answer asked for flags of sensitive content"
    return {
        id: (
            _mean(flags[id], no_flags if pairs[id] else none),
            _mean(pairs[id], "no ranking with a gold answer is done yet"),
        )
        for id in accounts
    }


def _sensitive_alike(own: str, gold: str, asked: Questions) -> tuple[float, float]:
    """(alike, responses) of two labels' flags: both or neither saw anything sensitive."""
    size = len(asked.flags)
    alike = num = 0
    places = [asked.flag_names.index(name) for name in asked.sensitive_flags]
    if len(own) != len(gold) or not places:
        return 0.0, 0.0
    for start in range(0, len(own), size):
        mine, theirs = ([text[start + p] for p in places] for text in (own, gold))
        if "-" in mine or "-" in theirs:
            continue
        num += 1
        alike += ("1" in mine) == ("1" in theirs)
    return float(alike), float(num)


def _demonstration_scores(
    session: Session, accounts: Sequence[uuid.UUID]
) -> dict[uuid.UUID, tuple[Estimate, int]]:
    """The mean of each one's scored demonstrations, and how many wait for a score."""
    newest: dict[tuple[uuid.UUID, uuid.UUID | None], dict[uuid.UUID, float]] = defaultdict(dict)
    for score in session.scalars(
        select(ScreeningScore)
        .where(ScreeningScore.account_id.in_(accounts), ScreeningScore.part == "demonstration")
        .order_by(ScreeningScore.id)
    ):
        newest[score.account_id, score.assignment_id][score.decided_by] = score.value
    written: dict[uuid.UUID, int] = defaultdict(int)
    for account, num in session.execute(
        select(Judgement.account_id, func.count())
        .join(Project, Project.id == Judgement.project_id)
        .where(
            Judgement.account_id.in_(accounts),
            Project.purpose == "screening",
            Project.task_type == "demonstration",
        )
        .group_by(Judgement.account_id)
    ):
        written[account] = num
    found = {}
    for id in accounts:
        means = [float(np.mean(list(of.values()))) for (who, _), of in newest.items() if who == id]
        found[id] = (student_mean(means), max(0, written[id] - len(means)))
    return found


def _mean(rows: Sequence[tuple[float, float]], why: str) -> Estimate:
    if not sum(num for _, num in rows):
        return Estimate.undefined(why)
    return mean_of_clusters([s for s, _ in rows], [n for _, n in rows])


def _row(ranks: str) -> Any:
    return np.array([[int(digit) for digit in ranks]], dtype=np.float64)
