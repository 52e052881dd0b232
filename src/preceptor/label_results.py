"""`preceptor label results`: what labelers say of each model, for whoever has the store's file."""

from typing import Annotated, Literal

import typer

from preceptor.label_store import STORE, Where, now, opened

results_app = typer.Typer()


@results_app.command()
def results(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    split: Annotated[
        Literal["train", "valid", "test"], typer.Option("--split", help="Whose users' prompts.")
    ] = "test",
    store: Where = STORE,
) -> None:
    """Print the figures of each model in a project that compares them.

    They are counted over the labels that an export would hold: toxicity of the prompts and of the
    responses, beside the prompt, and continuity; in evaluations the quality; and how often one was
    ranked above the others. Intervals of 95 % are for other prompts and other labelers than these.
    """
    from preceptor.labeling.results import WORDS, read_results

    with opened(store) as there, there.read() as session:
        found = read_results(session, project, split, now=now())
    for reason, count in sorted(found.left_out.items()):
        typer.echo(f"{count:>8,}  left out: {reason}", err=True)
    typer.echo(
        f"{project}, {split}: labels {found.num_labels:,}, of prompts {found.num_prompts:,}, "
        f"by labelers {found.num_labelers:,}"
    )
    model, reasons = "", set()
    for figure in found.figures:
        if figure.model != model:
            model = figure.model
            typer.echo(model)
        estimate = figure.estimate
        interval = "no interval"
        if estimate.low is not None:
            interval = f"{estimate.low:.2f} to {estimate.high:.2f}"
        else:
            reasons.add(estimate.reason)
        typer.echo(f"  {WORDS[figure.measure]:<32}{estimate.mean:>6.2f}  {interval}")
    for reason in sorted(reasons):
        typer.echo(f"no interval: {reason}", err=True)
