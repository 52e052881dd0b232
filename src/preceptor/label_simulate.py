"""`preceptor label simulate`: simulated labelers at the app's door."""

import os
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from preceptor.errors import StoreError
from preceptor.label_store import opened

simulate_app = typer.Typer()


@simulate_app.command()
def simulate(
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where the app is served.")],
    labelers: Annotated[int, typer.Option("--labelers", metavar="N", min=1)] = 4,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="RUN", help="Whose prompts they know, and by whose judge they work."
        ),
    ] = None,
    habit: Annotated[
        list[str] | None,
        typer.Option(
            "--habit", metavar="NAME=N", help="So many of them are no good: random=1, speeder=2."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Another seed, another team.  [the run's]")
    ] = None,
    accounts: Annotated[
        Path, typer.Option("--accounts", metavar="FILE", help="Their logins and passwords.")
    ] = Path("simulated-labelers.json"),
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="PATH|URL",
            help="To invite them by.  [PRECEPTOR_API_KEY, an admin's]",
        ),
    ] = None,
) -> None:
    """Let simulated labelers do the work that an app has.

    Each accepts an invitation, signs in, and claims, saves drafts, rates, ranks, skips and undoes
    over HTTP. They see the shown texts alone, and judge them by the run's judge (without --run by
    the rubric) through noise, taste and slips. Habits: straight_liner, random, all_tie, speeder,
    flag_everything. They get tasks of projects that are for the group simulated. Prints what
    became of the tasks. The same command again goes on.
    """
    from preceptor.labeling.client import Client
    from preceptor.recipes import load_recipe
    from preceptor.simulation import shift
    from preceptor.simulation.work import Accounts

    told = [] if seed is None else [f"seed={seed}"]
    path = "smollm2" if run is None else str(run / "recipe.yaml")
    recipe = load_recipe(path, told)
    people = shift.workers(recipe, labelers, shift.read_habits(habit or ()))
    logins = {f"{one.labeler.name}-{recipe.seed}@simulated": one for one in people}
    known = shift.knowledge_of(recipe, run)
    with ExitStack() as leaving:
        if store is not None:
            invite = shift.invited_by_store(leaving.enter_context(opened(store)))
        elif key := os.environ.get("PRECEPTOR_API_KEY"):
            admin = leaving.enter_context(closing(Client(url, key)))
            invite = shift.invited_by_admin(admin)
        else:
            raise StoreError(
                "they need invitations: name the --store of the app, or set PRECEPTOR_API_KEY to "
                "an admin's key."
            )
        coming = shift.signed_in(url, logins, Accounts(accounts), invite)
        done = shift.work_shift(leaving.enter_context(coming), known)
    for (kind, outcome), count in sorted(done.items()):
        typer.echo(f"{count:>8,}  {kind} {outcome}")
    if not done:
        typer.echo("no work for them; `preceptor label add --group simulated` makes some", err=True)
