"""`preceptor label attention`: obvious tasks among the others, to see whether labelers read."""

from pathlib import Path
from typing import Annotated

import typer

from preceptor.label_store import STORE, Where, now, opened

attention_app = typer.Typer()


@attention_app.command()
def attention(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Rankings, a JSON object a line: prompt, responses, and ranks, of which equal "
            "ones may stand in either order.",
        ),
    ],
    fraction: Annotated[
        float | None,
        typer.Option(
            "--fraction", min=0, max=1, help="Of a labeler's tasks, while any is left.  [0.02]"
        ),
    ] = None,
    store: Where = STORE,
) -> None:
    """Add attention tasks to a project whose tasks compare responses.

    Each labeler gets each of them once, among their other tasks and not to be told from them. Who
    passed stands on the lead's page Labelers. Their labels are in no export and in no agreement.
    Prints what was added.
    """
    from preceptor.store.attention import add_attention, read_answers, set_attention_fraction
    from preceptor.store.projects import project_named

    read = read_answers(file, now=now())
    with opened(store) as there, there.write() as session:
        found = project_named(session, project)
        counts = add_attention(session, there.site_key, found.id, read)
        if fraction is not None:
            set_attention_fraction(session, found.id, fraction)
        share = found.attention_fraction
    for reason, count in counts.items():
        typer.echo(f"{count:>8,}  {reason}")
    typer.echo(f"{share:.1%} of each labeler's tasks, while any is left", err=True)
