"""A word now and then while something takes long that tells nothing itself."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_SECONDS = 10.0


@contextmanager
def told_meanwhile(tell: Callable[[], None]) -> Iterator[None]:
    """As long as the block runs, `tell` is called every ten seconds, by a thread of its own."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY_SECONDS):
            tell()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
