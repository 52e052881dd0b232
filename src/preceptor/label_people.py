"""`preceptor label invite, account, guideline, serve`: the people, and the pages they work on."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from preceptor.errors import DataError, StoreError
from preceptor.label_store import STORE, Where, now, opened

people_app = typer.Typer()


@people_app.command()
def guideline(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Markdown.  [the paper's rules for its task type]"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="As labelers see it; projects may share one.  [the task type]"),
    ] = None,
    store: Where = STORE,
) -> None:
    """Publish a guideline, or its next version, for a project.

    Labelers read it and confirm before their next task, and have it beside every task. Each label
    keeps the version it was made under. Prints name and version.
    """
    from preceptor.store.accounts import publish_guideline
    from preceptor.store.projects import project_named, set_guideline

    with opened(store) as there, there.write() as session:
        found = project_named(session, project)
        path = file or Path(__file__).parent / "labeling" / "guidelines" / f"{found.task_type}.md"
        try:
            markdown = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as text: {error}.") from None
        if not markdown.strip():
            raise DataError(f"{path}: empty. Labelers need something to go by.")
        named = name or found.guideline or found.task_type
        published = publish_guideline(session, named, markdown, now=now())
        set_guideline(session, found.id, named)
    typer.echo(published)


@people_app.command()
def invite(
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="An e-mail address, or a name.")],
    role: Annotated[
        Literal["labeler", "researcher", "admin"] | None,
        typer.Option(
            "--role", help="A researcher leads the work, an admin accounts too.  [labeler]"
        ),
    ] = None,
    group: Annotated[
        Literal["training", "heldout", "researcher"] | None,
        typer.Option("--group", help="Held-out labelers only evaluate.  [training]"),
    ] = None,
    screened: Annotated[
        bool, typer.Option("--screened", help="Chosen already: they begin without screening.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="A new link for somebody who did not use theirs.")
    ] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="A link to choose a new password, if it is forgotten.")
    ] = False,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="Where people reach the app.")
    ] = "http://127.0.0.1:8080",
    store: Where = STORE,
) -> None:
    """Invite somebody, and print their link.

    With it they choose a password. It works once, for 14 days. Nobody can sign up without one, and
    a new store has no account: begin with `--role admin`. Labelers of training data begin in
    screening; researchers, admins and held-out labelers are not screened.

    Who forgot their password gets a new link by --reset; when they choose one, the old password
    and sign-ins end.
    """
    from preceptor.store.accounts import (
        INVITATION_DAYS,
        account_named,
        invite_again,
        invite_to_reset,
    )
    from preceptor.store.accounts import invite as invite_new

    if reset and (again or screened or group is not None or role is not None):
        raise StoreError(
            "--reset: a new password alone; role and group stay as they are. Leave out --role, "
            "--group, --screened and --again."
        )
    wanted = group or ("training" if role in (None, "labeler") else "researcher")
    ready = screened or wanted != "training"
    with opened(store) as there, there.write() as session:
        if reset:
            token = invite_to_reset(session, account_named(session, login).id, now=now())
        elif again:
            account = account_named(session, login)
            token = invite_again(
                session, account.id, now=now(), role=role, group=group, screened=screened
            )
        else:
            _, token = invite_new(
                session,
                there.site_key,
                login,
                now=now(),
                role=role or "labeler",
                group=wanted,
                screened=ready,
            )
    typer.echo(f"for {login} alone, works once, for {INVITATION_DAYS} days:", err=True)
    typer.echo(f"{url.rstrip('/')}/invitation/{token}")


@people_app.command()
def account(
    login: Annotated[str, typer.Argument(metavar="LOGIN")],
    state: Annotated[
        Literal["screening", "active", "paused", "left"] | None,
        typer.Option("--state", help="What it is from now on."),
    ] = None,
    store: Where = STORE,
) -> None:
    """Say how an account stands, or change that.

    After screening a person decides, and this is how they say so.
    """
    from preceptor.store.accounts import account_named
    from preceptor.store.standing import set_state

    with opened(store) as there, there.write() as session:
        found = account_named(session, login)
        if state is not None:
            set_state(session, found.id, state, now=now())
        told = f"{found.login}  {found.role}, {found.labeler_group}, {found.state}"
    typer.echo(told)


@people_app.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8080,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", metavar="URL", help="Where people reach it, behind a proxy that speaks https."
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="For https without a proxy."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The certificate's key.")
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Other machines without https: passwords can be read on the way."
        ),
    ] = False,
    exports: Annotated[
        Path, typer.Option("--exports", metavar="DIR", help="Where files go that a lead exports.")
    ] = Path("exports"),
    store: Where = STORE,
) -> None:
    """Serve the labelers' pages.

    For this machine alone, unless it is told how passwords are protected on their way: by a proxy
    with https (--url https://HOST), by a certificate, or not at all (--insecure).
    """
    from preceptor.store.accounts import has_accounts

    try:
        from preceptor.labeling.server import address_of, listen, run_server, settings_for
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("preceptor"):
            raise
        raise StoreError(
            f"The labeling app needs {error.name}: pip install 'preceptor[label]'."
        ) from None
    settings = settings_for(
        host, url=url, certificate=certificate, key=key, insecure=insecure, exports=exports
    )
    with opened(store) as there:
        with there.read() as session:
            if not has_accounts(session):
                typer.echo(
                    "nobody has an account yet: `preceptor label invite LOGIN --role admin`",
                    err=True,
                )
        with listen(host, port) as listening:
            own = address_of(host, listening.getsockname()[1], https=settings.https)
            typer.echo(
                f"{url or own}   (Ctrl-C stops it; requests that have begun are finished)", err=True
            )
            run_server(
                there,
                settings,
                listening,
                behind_proxy=url is not None and certificate is None,
                certificate=certificate,
                key=key,
            )
