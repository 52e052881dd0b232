"""`preceptor label erase`: a person's texts out of the store, for good."""

from typing import TYPE_CHECKING, Annotated

import typer

from preceptor.label_store import STORE, Where, now, opened

if TYPE_CHECKING:
    from preceptor.store.erase import Erasure

erase_app = typer.Typer()


@erase_app.command()
def erase(
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="Whose prompts, as the file names them."),
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="With --user: the source named at their import.")
    ] = "",
    pseudonym: Annotated[
        str | None,
        typer.Option("--pseudonym", metavar="P", help="Of a user or labeler: usr_.. or lab_.."),
    ] = None,
    labeler: Annotated[
        str | None, typer.Option("--labeler", metavar="LOGIN", help="Whose account.")
    ] = None,
    texts: Annotated[
        bool,
        typer.Option("--texts", help="Of a labeler, also demonstrations and prompts they wrote."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: Where = STORE,
) -> None:
    """Erase a person: their texts go, and do not come in again.

    Of a user of prompts: the prompts, every response to them, and what labelers wrote about them.
    Of a labeler: login and password, comments and drafts. Choices stay under the pseudonym, so that
    figures do. Prints what goes, and the exported files that hold their texts: these are yours to
    delete and export again. The same command again takes away what may be left.
    """
    from preceptor.store.erase import Wanted, erase, preview

    wanted = Wanted(user, source, pseudonym, labeler, texts)
    with opened(store) as there:
        with there.read() as session:
            found = preview(session, there.site_key, wanted)
        if not dry_run and not yes:
            _print(found, "has", err=True)
            typer.confirm(f"Erase {found.pseudonym} for good?", abort=True, err=True)
        if dry_run:
            _print(found, "has")
            typer.echo("nothing was erased: --dry-run", err=True)
            return
        with there.write() as session:
            found = erase(session, there.site_key, wanted, by=None, now=now())
        is_swept = there.sweep()
    _print(found, "erased")
    if not is_swept:
        typer.echo(
            "The texts are erased, but their bytes may lie in the file still: others were using "
            "it, or the disk has no room for a second one. Stop `preceptor label serve`, then do "
            "the same again.",
            err=True,
        )


def _print(found: "Erasure", what: str, *, err: bool = False) -> None:
    typer.echo(f"{found.pseudonym} {what}", err=err)
    for name, count in found.counts.items():
        if count:
            typer.echo(f"{count:>8,}  {name}", err=err)
    if not any(found.counts.values()):
        since = f", erased {found.erased_before:%Y-%m-%d}" if found.erased_before else ""
        typer.echo(f"       0  texts{since}", err=err)
    for export in found.exports:
        hold = "hold" if export.certain else "may hold"
        typer.echo(f"{hold:>8}  {export.kind} {export.file_name}", err=err)
        typer.echo(f"          sha256 {export.sha256}", err=err)
