"""`preceptor label results`: what labelers say of each model, for whoever has the store's file."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from preceptor.label_store import STORE, Where, now, opened

if TYPE_CHECKING:
    from preceptor.labeling.results import Figure

results_app = typer.Typer()


@results_app.command()
def results(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    split: Annotated[
        Literal["train", "valid", "test", "all"],
        typer.Option("--split", help="Whose users' prompts."),
    ] = "test",
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="MODEL", help="With whom to compare; sft if there is."),
    ] = None,
    prompt_label: Annotated[
        str | None,
        typer.Option(
            "--prompt-label",
            metavar="NAME",
            help="Only labels that say so of the prompt: closed_domain, for hallucinations.",
        ),
    ] = None,
    group: Annotated[
        Literal["training", "heldout", "researcher", "simulated", "imported"] | None,
        typer.Option("--group", help="Only labels of these labelers; otherwise of all."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same, for programs.")] = False,
    store: Where = STORE,
) -> None:
    """Print the figures of each model in a project that compares them.

    They are counted over the labels that an export would hold: quality and flags (toxicity and
    continuity, where those are asked), how often one was ranked above the others, and against one
    baseline: won, tied and lost, at equal length, and strengths from all comparisons. Intervals of
    95 % are for other prompts and other labelers than these.
    """
    from preceptor.labeling.results import read_results

    with opened(store) as there, there.read() as session:
        found = read_results(
            session,
            project,
            split,
            now=now(),
            baseline=baseline,
            prompt_label=prompt_label,
            group=group,
        )
    if as_json:
        typer.echo(json.dumps({"project": project, "split": split} | found.as_dict(), indent=2))
        return
    for reason, count in sorted(found.left_out.items()):
        typer.echo(f"{count:>8,}  left out: {reason}", err=True)
    typer.echo(
        f"{project}, {split}: labels {found.num_labels:,}, of prompts {found.num_prompts:,}, "
        f"by labelers {found.num_labelers:,}"
    )
    typer.echo("labelers: " + ", ".join(f"{g} {n:,} labels" for g, n in found.groups.items()))
    if found.baseline is not None:
        typer.echo(f"the baseline is {found.baseline}")
    _print_figures(found.figures)
    for few in found.too_few():
        typer.echo(f"of {few} only: intervals are rough", err=True)
    if found.baseline is None:
        typer.echo("no baseline: --baseline MODEL tells how often it was beaten", err=True)
    if len(found.islands) > 1:
        apart = "; ".join(", ".join(models) for models in found.islands)
        typer.echo(f"never compared, not even by way of others: {apart}", err=True)
        typer.echo("strengths are each among their own", err=True)


def _print_figures(figures: "Sequence[Figure]") -> None:
    """A line for each, below its model; why one has no interval, or is not known, in the end."""
    model, reasons = "", set()
    width = max(len(figure.words) for figure in figures) + 2
    typer.echo(f"{'':<{width}}{'mean':>8}  {'95 %':<14}{'of':>8}")
    for figure in figures:
        if figure.model != model:
            model = figure.model
            typer.echo(model)
        estimate = figure.estimate
        number = "" if estimate.mean is None else f"{estimate.mean:.2f}"
        interval = "no interval" if number else "not known"
        if estimate.low is not None:
            interval = f"{estimate.low:.2f} to {estimate.high:.2f}"
        elif figure.measure == "detectable" and number:
            interval = "in 80 of 100"
        else:
            reasons.add(f"{interval}: {estimate.reason}")
        typer.echo(f"  {figure.words:<{width}}{number:>6}  {interval:<14}{estimate.n:>8,}")
    for reason in sorted(reasons):
        typer.echo(reason, err=True)
