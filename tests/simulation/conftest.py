"""An app with a store, and simulated labelers who have signed in to it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from live import served

from preceptor.labeling.app import create_app
from preceptor.simulation.answers import Worker
from preceptor.simulation.shift import invited_by_store, signed_in
from preceptor.simulation.work import Accounts, SignedIn
from preceptor.store.database import Store, create_store, open_store

Team = Callable[[Sequence[Worker]], list[SignedIn]]
"""Has workers accept their invitations and sign in."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setitem(os.environ, "PRECEPTOR_SITE_KEY", "a key that is only known to tests")
    # Hashing passwords is slow on purpose, and these are nobody's.
    monkeypatch.setattr("preceptor.labeling.security.HASHER", cheap_hasher())
    create_store(str(tmp_path / "labels.db"))
    opened = open_store(str(tmp_path / "labels.db"))
    yield opened
    opened.close()


def cheap_hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    with served(create_app(store)) as address:
        yield address


@pytest.fixture
def enter(url: str, store: Store, tmp_path: Path) -> Iterator[Team]:
    with ExitStack() as leaving:

        def enter(workers: Sequence[Worker]) -> list[SignedIn]:
            logins = {f"{worker.labeler.name}@simulated": worker for worker in workers}
            accounts = Accounts(tmp_path / "simulated.json")
            invite = invited_by_store(store)
            return leaving.enter_context(signed_in(url, logins, accounts, invite))

        yield enter
