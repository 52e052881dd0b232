"""`preceptor label`: the label store from the command line.

Everything heavy is imported where it is used; only `add` with a model needs torch.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from preceptor.errors import DataError, StoreError
from preceptor.label_attention import attention_app
from preceptor.label_erase import erase_app
from preceptor.label_people import people_app
from preceptor.label_results import results_app
from preceptor.label_simulate import simulate_app
from preceptor.label_store import STORE, Where, now, opened

if TYPE_CHECKING:
    import uuid

    from sqlalchemy.orm import Session

    from preceptor.store.database import Store
    from preceptor.store.projects import AskedPrompt, ProjectOptions

DEFAULT_GROUPS = {
    "ranking": ("training", "researcher"),
    "demonstration": ("training", "researcher"),
    "evaluation": ("training", "researcher", "heldout"),
    "evaluation_ab": ("training", "researcher", "heldout"),
    "toxicity": ("training", "researcher", "heldout"),
    "prompt_plain": ("training", "researcher"),
    "prompt_few_shot": ("training", "researcher"),
    "prompt_user_based": ("training", "researcher"),
}
OPTIONS = {
    "overlap": "--overlap",
    "overlap_more": "--overlap-more",
    "overlap_fraction": "--overlap-fraction",
    "groups": "--group",
    "form": "--form",
}
PROJECTS = {
    "evaluation_ab": "comparisons",
    "toxicity": "toxicity",
    "prompt_plain": "plain prompts",
    "prompt_few_shot": "few-shot prompts",
    "prompt_user_based": "user-based prompts",
}
"""What a project is called if nobody names it; of other tasks their plural."""

label_app = typer.Typer(
    help="Prompts, tasks for labelers, and their labels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@label_app.command()
def init(store: Where = STORE) -> None:
    """Make a store, or bring an older one up to date.

    Beside an SQLite file lies the site key, FILE.key, that turns names into pseudonyms: keep a copy
    of it apart from the database. For a server it is PRECEPTOR_SITE_KEY in the environment.
    """
    from preceptor.store.database import create_store, open_store

    create_store(store)
    open_store(store).close()  # its key can be read, too
    typer.echo(store)


@label_app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Records, of any format `data check` knows.")
    ],
    kind: Annotated[
        Literal["prompts", "demonstrations", "rankings"],
        typer.Option("--kind", help="What the lines are."),
    ],
    licence: Annotated[str, typer.Option("--licence", help="Under which you may use the texts.")],
    consent: Annotated[
        str, typer.Option("--consent", help="What their writers agreed to, in words or a link.")
    ],
    project: Annotated[
        str | None, typer.Option("--project", help="For labels.  [the file's, or 'imported KIND']")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Count broken lines and import the others.")
    ] = False,
    keep_all: Annotated[
        bool,
        typer.Option("--keep-all", help="Prompts that repeat others, and over 200 of a user, too."),
    ] = False,
    keep_personal: Annotated[
        bool,
        typer.Option(
            "--keep-personal", help="Prompts with e-mail addresses, numbers and keys as they are."
        ),
    ] = False,
    language: Annotated[
        list[str] | None,
        typer.Option(
            "--language", help="Ask only about prompts in it, such as en; repeat it.  [any]"
        ),
    ] = None,
    region: Annotated[
        str, typer.Option("--region", help="Whose phone numbers may stand without a country code.")
    ] = "US",
    max_chars: Annotated[
        int | None,
        typer.Option(
            "--max-chars", min=1, help="Leave out what has a longer text.  [100,000 characters]"
        ),
    ] = None,
    keep_meta: Annotated[
        bool,
        typer.Option("--keep-meta", help="Keep and export keys that mean nothing to Preceptor."),
    ] = False,
    source: Annotated[
        str,
        typer.Option(
            "--source", help="Whose names of people these are; equal names elsewhere are others'."
        ),
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", help="What the consent covers, train or evaluate; repeat it.  [both]"
        ),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Such as argilla.  [told by its keys]")
    ] = None,
    store: Where = STORE,
) -> None:
    """Import records: all of a file, or nothing.

    Names of users and labelers become pseudonyms. The same file again adds nothing. Of prompts that
    repeat others the first is asked about, and at most 200 of a user; the rest is kept with the
    reason. E-mail addresses, phone, card and account numbers, IP addresses and keys in prompts
    become placeholders, such as <EMAIL_1>, without --keep-personal. Other keys of a line are
    dropped without --keep-meta: they may hold names. Prints what became of the lines.
    """
    from preceptor.data.hygiene import look_at, without_personal
    from preceptor.data.personal import check_region
    from preceptor.data.records import Demonstration, Prompt, Ranking
    from preceptor.store.forms import LONGEST
    from preceptor.store.ingest import import_labels, import_prompts, read_file, shown_few
    from preceptor.store.questions import own_forms
    from preceptor.store.rows import SCOPES, Provenance
    from preceptor.store.status import empty_splits

    if keep_all and kind != "prompts":
        raise StoreError("--keep-all goes with prompts; of labels all are kept.")
    if kind != "prompts" and language:
        raise StoreError("--language goes with prompts; of labels all are kept.")
    if kind == "prompts" and project:
        raise StoreError("--project goes with labels; `preceptor label add` asks about prompts.")
    region = check_region(region)
    hygiene = partial(
        look_at,
        keep_all=keep_all,
        keep_personal=keep_personal,
        languages=language or (),
        region=region,
    )
    of_labels = None if keep_personal else partial(without_personal, region=region)
    provenance = Provenance(
        file, licence, consent, now(), source=source, scopes=tuple(scope or SCOPES)
    )
    kinds: dict[str, Any] = {
        "prompts": Prompt,
        "demonstrations": Demonstration,
        "rankings": Ranking,
    }
    with opened(store) as there:
        with there.read() as session:
            forms = own_forms(session)
        # Before the transaction: nobody waits while a file is read.
        read = read_file(
            provenance,
            kinds[kind],
            skip_broken=skip_broken,
            keep_meta=keep_meta,
            hygiene=hygiene if kind == "prompts" else of_labels,
            forms=forms,
            keep_all=keep_all,
            format=format_name,
            max_chars=max_chars or LONGEST,
        )
        with there.write() as session:
            if kind == "prompts":
                counts = import_prompts(session, there.site_key, read)
            else:
                counts = import_labels(session, there.site_key, read, project=project)
        with there.read() as session:
            empty = empty_splits(session)
    _print_counts(counts)
    if read.too_long:
        way_out = "Import the file again with --max-chars to take them in as well."
        typer.echo("\n".join([*shown_few(read.too_long), way_out]), err=True)
    for split in empty:
        typer.echo(f"{0:>8,}  prompts of users in split {split}", err=True)


@label_app.command()
def add(
    task: Annotated[
        Literal[
            "ranking",
            "demonstration",
            "evaluation",
            "evaluation_ab",
            "toxicity",
            "prompt_plain",
            "prompt_few_shot",
            "prompt_user_based",
        ],
        typer.Option(
            "--task",
            metavar="TASK",
            help="What labelers do with each prompt: ranking, demonstration, evaluation, "
            "evaluation_ab or toxicity; or that they write some: prompt_plain, prompt_few_shot or "
            "prompt_user_based.",
        ),
    ] = "ranking",
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="The run folder with the models.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Whose responses; repeat it to mix.  [sft]"),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k", min=2, max=9, help="Responses to a prompt.  [4; 2 for evaluation_ab, always]"
        ),
    ] = None,
    prompts: Annotated[
        int, typer.Option("--prompts", metavar="N", min=1, help="At most so many new tasks.")
    ] = 500,
    split: Annotated[
        Literal["train", "valid", "test"] | None,
        typer.Option("--split", help="Whose users' prompts.  [train; test for evaluations]"),
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="Its name.  [the task, in plural]")
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option("--overlap", min=1, help="Labels of each task, in a new project.  [1]"),
    ] = None,
    overlap_more: Annotated[
        int | None,
        typer.Option(
            "--overlap-more", min=2, help="Labels of a share of tasks, in a new project.  [none]"
        ),
    ] = None,
    overlap_fraction: Annotated[
        float | None,
        typer.Option(
            "--overlap-fraction", metavar="SHARE", help="That share, 0 to 1; drawn by the seed."
        ),
    ] = None,
    calibration: Annotated[
        int, typer.Option("--calibration", min=0, help="So many go to the pool of all labelers.")
    ] = 0,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="Of sampling; 0 takes the likeliest.")
    ] = 1.0,
    descriptions: Annotated[
        Path | None,
        typer.Option(
            "--descriptions", metavar="FILE", help="For prompt_user_based: a purpose on each line."
        ),
    ] = None,
    form: Annotated[
        Path | None,
        typer.Option(
            "--form",
            metavar="FILE",
            help="What is asked of responses and prompts, in a new project: a YAML file as "
            "`preceptor label form` prints it.  [the paper's]",
        ),
    ] = None,
    practice: Annotated[
        bool,
        typer.Option("--practice", help="Show labelers the researchers' answer after each task."),
    ] = False,
    sensitive: Annotated[
        bool,
        typer.Option("--sensitive", help="They may disturb: only for labelers who accept such."),
    ] = False,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            help="Who may answer, in a new project; repeat it.  "
            "[training, researcher; for evaluations heldout, too]",
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source", help="Only prompts that were imported under it; repeat it.  [all]"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Same seed, same tasks.  [0]")
    ] = None,
    store: Where = STORE,
) -> None:
    """Ask labelers about prompts and models' responses, or for prompts.

    Rankings and evaluations need --run; several models share the K responses in turn. Prompts that
    the project asks about already are left out; tasks to write prompts in are added to those that
    are there. Simulated labelers get none without --group simulated. A project that is there keeps
    what it was made with: another --overlap or --group is refused. With one label of most tasks and
    more of a share (--overlap-more 3 --overlap-fraction 0.1), agreement is known at little cost.
    With --practice researchers answer first, on the labelers' pages, and make the answers gold;
    then labelers get the same tasks. Prints what was added.
    """
    from preceptor.store.accounts import GROUPS
    from preceptor.store.forms import EVALUATIONS, PROMPT_TYPES
    from preceptor.store.projects import ProjectOptions
    from preceptor.store.questions import PAPER, read_questions_file

    if strange := sorted(set(group or ()) - set(GROUPS)):
        raise StoreError(f"--group {strange[0]}: no such group. There are {', '.join(GROUPS)}.")
    evaluation = task in EVALUATIONS
    asked_for = read_questions_file(form) if form else None
    options = ProjectOptions(
        purpose="practice" if practice else "eval" if evaluation else "train",
        overlap=overlap or 1,
        overlap_more=overlap_more,
        overlap_fraction=overlap_fraction or 0.0,
        seed=seed or 0,
        form=asked_for or PAPER,
        groups=tuple(group or DEFAULT_GROUPS["ranking" if practice else task]),
    )
    named = {
        "overlap": overlap,
        "overlap_more": overlap_more,
        "overlap_fraction": overlap_fraction,
        "groups": group and sorted(set(group)),
        "form": asked_for,
    }
    named = {key: value for key, value in named.items() if value}
    lines = _descriptions(task, descriptions)
    if task in PROMPT_TYPES:
        if practice:
            raise StoreError(
                f"--practice does not go with {task}: no answer there is the right one."
            )
        if run or model or k or split or source or calibration:
            raise StoreError(
                f"--run, --model, --k, --split, --source and --calibration do not go with {task}: "
                "labelers write."
            )
        name = project or PROJECTS[task]
        with opened(store) as there:
            counts = _add_writing(there, name, task, options, named, prompts, lines, sensitive)
        _print_counts(counts)
        return
    if task == "demonstration" and (run or model or k):
        raise StoreError(
            "--run, --model and --k go with rankings; a demonstration is written by hand."
        )
    if task != "demonstration" and run is None:
        raise StoreError(
            f"{task if task == 'toxicity' else f'a {task}'} compares responses of models: name the "
            "run with --run RUN."
        )
    if task == "evaluation_ab" and k not in (None, 2):
        raise StoreError("an evaluation_ab compares two responses: leave --k out.")
    k = k or (2 if task == "evaluation_ab" else 4)
    names = model or ["sft"]
    if len(names) > k or len(set(names)) < len(names):
        raise StoreError(f"--k {k} responses of {', '.join(names)}: name each once, at most K.")
    usual = PROJECTS.get(task, f"{task}s")
    name = project or (f"{usual}, practice" if practice else usual)
    folders = _folders(run, names) if run else {}
    with opened(store) as there:
        side = split or ("test" if evaluation else "train")
        asked = _prompts(there, name, task, options, named, side, source or [], prompts)
        sampled: Any = [[] for _ in asked]
        if run:
            from preceptor.chat import read_run
            from preceptor.steps.responses import responses_of_models

            sampled = responses_of_models(
                read_run(run),
                folders,
                [prompt.prompt for prompt in asked],
                num_responses=k,
                temperature=temperature,
                seed=seed or 0,
            )
        counts = _add_tasks(
            there, name, task, options, named, run, folders, asked, sampled, calibration, sensitive
        )
    if counts["too long"] == len(asked):
        raise StoreError(
            f"every prompt of the {len(asked):,} chosen is longer than the run's "
            "max_prompt_tokens; none was sampled. The next time others are chosen."
        )
    _print_counts(counts)


@label_app.command("form")
def print_form(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A form to be checked.  [the paper's is printed]"),
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="Print this one's, out of the store.")
    ] = None,
    store: Where = STORE,
) -> None:
    """Print what labelers are asked, as YAML; or check a file of it.

    Change a copy, and make a project with it: `preceptor label add --form FILE`. Flags, labels of
    the prompt and all words are yours; the quality is 1 to 7 always. What a file leaves out is as
    in the paper's form. With FILE that file is checked, and printed whole.
    """
    from preceptor.store.projects import project_named
    from preceptor.store.questions import PAPER_FILE, questions_of, read_questions_file

    if file is not None and project is not None:
        raise StoreError(f"{file} and --project {project}: name one of them.")
    if project is not None:
        with opened(store) as there, there.read() as session:
            typer.echo(questions_of(project_named(session, project)).as_yaml(), nl=False)
    elif file is not None:
        typer.echo(read_questions_file(file).as_yaml(), nl=False)
    else:
        typer.echo(PAPER_FILE.read_text(encoding="utf-8"), nl=False)


@label_app.command()
def export(
    kind: Annotated[
        Literal["prompts", "demonstrations", "rankings", "evaluations", "toxicity"],
        typer.Argument(
            metavar="KIND", help="prompts, demonstrations, rankings, evaluations or toxicity."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder.")] = Path(),
    split: Annotated[
        Literal["train", "valid", "test"] | None,
        typer.Option(
            "--split", help="Whose users' texts.  [train; test for evaluations, toxicity]"
        ),
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="Only this one's.")] = None,
    surplus: Annotated[
        bool, typer.Option("--surplus", help="Also labels beyond what a task wanted.")
    ] = False,
    store: Where = STORE,
) -> None:
    """Write labels to a file that a recipe takes.

    The name holds the hash: the same labels give the same file. A manifest beside it says how many
    rows were left out, and why. Prints the path.
    """
    from preceptor.store.export import Filter, export_records
    from preceptor.store.projects import project_named

    with opened(store) as there:
        if project is not None:
            with there.read() as session:
                project_named(session, project)
        default = "test" if kind in ("evaluations", "toxicity") else "train"
        wanted = Filter(kind, split or default, project, surplus)
        exported = export_records(there, wanted, out, now=now())
    for reason, count in sorted(exported.left_out.items()):
        typer.echo(f"{count:>8,}  left out: {reason}", err=True)
    if exported.num_simulated:
        typer.echo(f"{exported.num_simulated:>8,}  rows are of simulated labelers", err=True)
    typer.echo(f"{exported.num_rows:>8,}  rows, sha256 {exported.sha256}", err=True)
    typer.echo(exported.path)


@label_app.command()
def status(store: Where = STORE) -> None:
    """Say what is in the store and how far each project is."""
    from preceptor.store.status import empty_splits, project_status, prompt_status

    with opened(store) as there, there.read() as session:
        prompts = dict.fromkeys(empty_splits(session), 0) | prompt_status(session)
        projects = project_status(session)
    for name, count in prompts.items():
        typer.echo(f"{count:>8,}  prompts {name}")
    for project in projects:
        typer.echo(
            f"{project.name} ({project.task_type}, {project.state})\n"
            f"  tasks {project.num_tasks:,}, done {project.num_full:,}; "
            f"labels {project.num_labels:,} of labelers {project.num_labelers:,}\n"
            f"  leased {project.num_leased:,}, skipped {project.num_skipped:,}, "
            f"surplus {project.num_surplus:,}"
        )
    if not projects:
        typer.echo(
            "no project yet; `preceptor label add` or `preceptor label import` makes one", err=True
        )


for more in (attention_app, results_app, people_app, erase_app, simulate_app):
    label_app.registered_commands += more.registered_commands


def _folders(run: Path, names: list[str]) -> dict[str, Path | str]:
    from preceptor.chat import models_of, read_run

    models = models_of(run, read_run(run))
    if missing := [name for name in names if name not in models]:
        raise DataError(f"{', '.join(missing)}: no such model. {run} has {', '.join(models)}.")
    return {name: models[name] for name in names}


def _prompts(
    store: "Store",
    project: str,
    task: str,
    options: "ProjectOptions",
    named: Mapping[str, Any],
    split: str,
    sources: list[str],
    limit: int,
) -> "list[AskedPrompt]":
    """Prompts to ask about; what is wrong with the project is told before anything is sampled."""
    from sqlalchemy import select

    from preceptor.store.forms import EVALUATIONS
    from preceptor.store.projects import prompts_without_task
    from preceptor.store.status import empty_splits
    from preceptor.store.tables import Project

    with store.write() as session:
        is_new = session.scalar(select(Project).where(Project.name == project)) is None
        id, order = _project(session, project, task, options, named)
        if is_new:  # it is made with its tasks: else a stop before would keep its options for good
            session.rollback()
    if options.seed and options.seed != order:
        typer.echo(
            f"{project} asks in the order of seed {order}, since it was made; prompts and "
            f"responses are drawn by {options.seed}",
            err=True,
        )
    with store.read() as session:
        chosen = prompts_without_task(
            session,
            id,
            split=split,
            limit=limit,
            seed=options.seed,
            scope="evaluate" if task in EVALUATIONS else "train",
            sources=sources,
        )
        empty = [] if chosen else empty_splits(session)
    if split in empty:
        other = task in EVALUATIONS and split != "valid" and "valid" not in empty
        way_out = ", or take --split valid, here and of `results` and `export`" if other else ""
        raise StoreError(
            f"split {split} is empty: no user whose prompts are there was drawn for it. "
            f"`preceptor label import FILE --kind prompts` brings more users{way_out}."
        )
    if not chosen:
        of = f" of source {' or '.join(sources)}" if sources else ""
        raise StoreError(
            f"no prompt{of} in split {split} that {project} does not ask about already. "
            "`preceptor label import FILE --kind prompts` brings more."
        )
    return chosen


def _project(
    session: "Session", name: str, task: str, options: "ProjectOptions", named: Mapping[str, Any]
) -> "tuple[uuid.UUID, int]":
    """The project of this name and its seed, made if there is none; what was `named` must fit."""
    from preceptor.store.projects import create_project, require_same
    from preceptor.store.tables import Project

    id = create_project(session, name, task, options, now=now())
    way_out = f"leave out {' and '.join(OPTIONS[key] for key in named)}, or take another"
    found = session.get_one(Project, id)
    require_same(found, named, f"{way_out} --project.")
    return id, found.seed


def _descriptions(task: str, file: Path | None) -> list[str]:
    """The lines of the lead's file; what is wrong with it is told before the store is opened."""
    if task != "prompt_user_based":
        if file:
            raise StoreError("--descriptions goes with --task prompt_user_based.")
        return []
    if file is None:
        raise StoreError(
            "prompt_user_based: labelers write after purposes told in general words. Name a file "
            "with one on each line: --descriptions FILE."
        )
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text: {error}.") from None


def _add_writing(
    store: "Store",
    name: str,
    task: str,
    options: "ProjectOptions",
    named: Mapping[str, Any],
    num: int,
    descriptions: list[str],
    sensitive: bool,
) -> dict[str, int]:
    from preceptor.store.writing import add_writing

    with store.write() as session:
        id, _ = _project(session, name, task, options, named)
        return add_writing(session, id, num=num, descriptions=descriptions, sensitive=sensitive)


def _add_tasks(
    store: "Store",
    name: str,
    task: str,
    options: "ProjectOptions",
    named: Mapping[str, Any],
    run: Path | None,
    folders: Mapping[str, Path | str],
    asked: "list[AskedPrompt]",
    sampled: Any,
    calibration: int,
    sensitive: bool,
) -> dict[str, int]:
    from preceptor.store.projects import Candidate, add_policy, add_tasks, leave_out

    hashes = {}
    for model, folder in folders.items():  # before the transaction: it takes its time
        from preceptor.steps.responses import weights_hash

        hashes[model] = weights_hash(folder)
    with store.write() as session:
        id, _ = _project(session, name, task, options, named)  # somebody may have made it by now
        policies = {
            model: add_policy(session, model, run=str(run), weights_sha256=digest)
            for model, digest in hashes.items()
        }
        tasks = {
            prompt.id: [
                Candidate(
                    response.text,
                    policy_id=policies[response.model],
                    finished=response.finished,
                    sampling=response.sampling,
                )
                for response in responses
            ]
            for prompt, responses in zip(asked, sampled, strict=True)
            if responses or task == "demonstration"
        }
        counts = add_tasks(session, id, tasks, num_calibration=calibration, sensitive=sensitive)
        too_long = [prompt.id for prompt in asked if prompt.id not in tasks]
        leave_out(session, id, dict.fromkeys(too_long, "too long"))
    return counts | {"too long": len(too_long)}


def _print_counts(counts: Mapping[str, int]) -> None:
    for reason, count in counts.items():
        if count:
            typer.echo(f"{count:>8,}  {reason}")
