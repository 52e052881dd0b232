"""Labels through the label store and its app: questions in, answered by people or simulated ones.

With simulated labelers what comes out is what the labelers in process give, but for their names.
With people the step ends until their labels are in, and goes on when the run is started again.
"""

import importlib.util
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import preceptor
from preceptor.config import Recipe
from preceptor.errors import StoreError
from preceptor.evaluation.labelers import Labeler
from preceptor.labeling.local import local_app
from preceptor.simulation.answers import Knowledge, Worker
from preceptor.simulation.shift import invited_by_store, signed_in
from preceptor.simulation.work import Accounts, finish_held, read_guidelines, work_in_turns
from preceptor.store.accounts import newest_guideline, publish_guideline
from preceptor.store.asking import Question, ask
from preceptor.store.database import Store, create_store, open_store, shown, url_of
from preceptor.store.export import Filter, export_records
from preceptor.store.projects import ProjectOptions, create_project, set_project_state
from preceptor.store.rows import Provenance
from preceptor.store.status import ProjectStatus, project_status
from preceptor.training.progress import say

LEASE_SECONDS = 24 * 3600
"""Of simulated labelers: one who was interrupted finds their task again."""
OFTEN = 1000
"""Labels between two lines that say how far it is."""


GUIDELINES = Path(preceptor.__file__).parent / "labeling" / "guidelines"


class LabelsMissing(StoreError):
    """People have not yet answered everything; the same command goes on when they have."""


@dataclass(frozen=True)
class Work:
    """One part's questions in order, and who of a simulated team gives each label.

    title   what it is called before people, such as "rank train"
    digest  of all that is asked: other questions are another project
    turns   a place in `team` for each label, in the order of the questions
    """

    title: str
    part: Literal["train", "valid"]
    task_type: Literal["ranking", "demonstration"]
    questions: list[Question]
    digest: str
    overlap: int
    team: list[Labeler]
    turns: list[int]

    def project(self, recipe: Recipe) -> str:
        """Its project's name in the store."""
        return f"{recipe.name} {self.title} {self.digest[:8]}"


def collect(
    recipe: Recipe, out: Path, works: Sequence[Work], known: Knowledge, folder: Path
) -> list[Path]:
    """Ask, have it answered, and export each part's labels into the folder; the files' paths.

    Raises:
        LabelsMissing: people are asked, and labels are missing still.
    """
    where = recipe.label_store or str(out / "labels.db")
    if recipe.label_store is None or not _is_there(where):
        create_store(where)
    with closing(open_store(where)) as store:
        projects = [_ask(store, recipe, work) for work in works]
        if recipe.labels == "store":
            _let_them_work(store, where, recipe, out, works, projects, known)
        _require_all(store, where, recipe, works)
        for project in projects:
            # From here on labels stay as they are: none can be undone.
            with store.write() as session:
                set_project_state(session, project, "closed")
        return [_export(store, recipe, work, folder) for work in works]


def require_store(recipe: Recipe) -> None:
    """What a run needs to ask labelers, looked for before anything is trained.

    Raises:
        StoreError: the app is not installed, or the store cannot be opened.
    """
    if recipe.labels == "simulated":
        return
    if importlib.util.find_spec("fastapi") is None:
        raise StoreError(
            f"labels {recipe.labels} goes through the labeling app: pip install 'preceptor[label]'."
        )
    if recipe.label_store is not None and _is_there(recipe.label_store):
        open_store(recipe.label_store).close()


def _is_there(where: str) -> bool:
    url = url_of(where)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


def _ask(store: Store, recipe: Recipe, work: Work) -> uuid.UUID:
    """The part's questions as tasks of a project; again changes nothing."""
    now = datetime.now(UTC)
    options = ProjectOptions(
        purpose="train" if work.part == "train" or work.task_type == "demonstration" else "eval",
        overlap=work.overlap,
        calibration_fraction=0.0,
        groups=_groups(work),
        seed=recipe.seed,
        guideline=work.task_type,
        lease_seconds=LEASE_SECONDS if recipe.labels == "store" else ProjectOptions.lease_seconds,
    )
    provenance = Provenance(
        Path(f"{recipe.name} {work.title}"),
        licence="that of the run's data",
        consent=f"the run's own data: {recipe.prompts or recipe.demonstrations}",
        now=now,
        # A part's users are other people than another part's, as far as the store can tell.
        source=f"run {recipe.name}, {work.title}",
    )
    rules = (GUIDELINES / f"{work.task_type}.md").read_text(encoding="utf-8")
    with store.write() as session:
        if newest_guideline(session, work.task_type) is None:  # else the lead's own stay
            publish_guideline(session, work.task_type, rules, now=now)
        project = create_project(session, work.project(recipe), work.task_type, options, now=now)
        counts = ask(
            session,
            store.site_key,
            project,
            work.questions,
            provenance,
            sha256=work.digest,
            split=work.part,
            origin="miniature" if recipe.judge == "miniature" else "import",
            in_order=True,
            keep_personal=True,  # the run's own prompts: its labels are joined to them by text
        )
    for reason, count in counts.items():
        if count and reason not in ("added", "there already"):
            say(f"{work.title}: {count:,} prompts left out: {reason}")
    return project


def _groups(work: Work) -> tuple[str, ...]:
    """Who may answer: held-out labelers rank what is never trained on."""
    held_out = work.part == "valid" and work.task_type == "ranking"
    return (*(("heldout",) if held_out else ()), "training", "simulated")


def _let_them_work(
    store: Store,
    where: str,
    recipe: Recipe,
    out: Path,
    works: Sequence[Work],
    projects: Sequence[uuid.UUID],
    known: Knowledge,
) -> None:
    """Serve the app, and have each simulated labeler sign in and work, as people would."""
    if not any(_missing(status) for status in _statuses(store, recipe, works).values()):
        return
    accounts = Accounts(out / "simulated-labelers.json")
    with local_app(where) as url:
        for work, project in zip(works, projects, strict=True):
            logins = {f"{who.name}@{recipe.name}": Worker(who) for who in work.team}
            with signed_in(url, logins, accounts, invited_by_store(store)) as people:
                for person in people:
                    read_guidelines(person, person.client.projects())
                    finish_held(person, known)
                done = _statuses(store, recipe, [work])[work.project(recipe)].num_labels
                turns = work.turns[done:]
                say(f"{work.title}: {len(turns):,} labels of {len(people)} labelers at {url}")
                work_in_turns(people, str(project), turns, known, progress=_aloud(work.title, done))


def _aloud(title: str, done: int) -> Callable[[int], None]:
    def tell(number: int) -> None:
        if number % OFTEN == 0:
            say(f"{title}: {done + number:,} labels")

    return tell


def _statuses(store: Store, recipe: Recipe, works: Sequence[Work]) -> dict[str, ProjectStatus]:
    names = {work.project(recipe) for work in works}
    with store.read() as session:
        return {found.name: found for found in project_status(session) if found.name in names}


def _missing(status: ProjectStatus) -> int:
    return status.num_wanted - status.num_labels


def _require_all(store: Store, where: str, recipe: Recipe, works: Sequence[Work]) -> None:
    statuses = _statuses(store, recipe, works)
    missing = {name: _missing(found) for name, found in statuses.items() if _missing(found)}
    if not missing:
        return
    wanted = sum(found.num_wanted for found in statuses.values())
    lines = [f"{sum(missing.values()):,} of {wanted:,} labels are missing:"]
    lines += [f"  {count:,} in {name}" for name, count in missing.items()]
    lines += [
        f"`preceptor label serve --store {shown(url_of(where))}` asks for them,",
        "`preceptor label invite` brings people in.",
        "The same run goes on when the labels are there.",
    ]
    raise LabelsMissing("\n".join(lines))


def _export(store: Store, recipe: Recipe, work: Work, folder: Path) -> Path:
    kind = "rankings" if work.task_type == "ranking" else "demonstrations"
    wanted = Filter(kind, work.part, work.project(recipe))
    exported = export_records(store, wanted, folder, now=datetime.now(UTC))
    for reason, count in sorted(exported.left_out.items()):
        say(f"{work.title}: {count:,} labels left out: {reason}")
    say(f"{work.title}: {exported.num_rows:,} labels, {exported.path.name}")
    return exported.path
