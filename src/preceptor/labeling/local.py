"""The app for this machine alone, in a process of its own, for as long as a block lasts.

    with local_app("labels.db") as url:
        ...

The socket is made here and handed down: its port is known before there is a server, and requests
that come while one starts again wait in its queue.
"""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

from preceptor.errors import StoreError
from preceptor.labeling.client import Client, Unreachable

STORE = "PRECEPTOR_LOCAL_STORE"
"""In the environment, not among the arguments, which anybody on the machine can read."""
START_SECONDS = 60


@contextlib.contextmanager
def local_app(where: str) -> Iterator[str]:
    """Serve the store at a path or URL; gives the app's address.

    Raises:
        StoreError: the app did not start; what it said stands on the error stream.
    """
    if importlib.util.find_spec("fastapi") is None:
        raise StoreError("The labeling app needs fastapi: pip install 'preceptor[label]'.")
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        process = start(where, listening)
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            _wait_for(url, process)
            yield url
        finally:
            stop(process)


def start(where: str, listening: socket.socket) -> "subprocess.Popen[bytes]":
    """A server process on this socket; it ends with its standard input, should we be killed."""
    number = listening.fileno()
    return subprocess.Popen(  # noqa: S603 - this program itself, by a list
        [sys.executable, "-m", "preceptor.labeling.local", str(number)],
        stdin=subprocess.PIPE,
        pass_fds=[number],
        env=os.environ | {STORE: where},
    )


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Let it finish what it began, and make sure that it is gone."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Until it answers, or has ended."""
    for _ in range(START_SECONDS):
        # The socket takes the question at once, and the answer comes when there is a server.
        with (
            contextlib.suppress(Unreachable),
            contextlib.closing(Client(url, timeout=1.0, patience=1.0)) as client,
        ):
            client.health()
            return
        if process.poll() is not None:
            break
    raise StoreError("The labeling app did not start. Try `preceptor label serve` to see why.")


def main() -> None:
    """Serve on the socket that was handed down."""
    import uvicorn

    from preceptor.labeling.app import create_app
    from preceptor.store.database import open_store

    listening = socket.socket(fileno=int(sys.argv[1]))
    store = open_store(os.environ.pop(STORE))
    config = uvicorn.Config(
        create_app(store),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)

    def until_told() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=until_told, daemon=True).start()
    try:
        server.run(sockets=[listening])
    finally:
        store.close()


if __name__ == "__main__":
    main()
