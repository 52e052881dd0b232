"""Fixtures of the corpus's tests."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """A build syncs hundreds of small files; no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("preceptor.corpus.texts.os.fsync", lambda number: None)
        yield
