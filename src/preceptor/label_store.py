"""Where the commands of `preceptor label` find their store."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from preceptor.store.database import Store

Where = Annotated[
    str,
    typer.Option("--store", metavar="PATH|URL", help="An SQLite file, or a server's address."),
]
STORE = "labels.db"


@contextmanager
def opened(where: str) -> "Iterator[Store]":
    """An open store that is closed at the end, whatever happened."""
    from preceptor.store.database import open_store

    store = open_store(where)
    try:
        yield store
    finally:
        store.close()


def now() -> datetime:
    return datetime.now(UTC)
