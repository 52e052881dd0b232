"""The server process: where it listens, and whether passwords are safe on their way to it."""

import contextlib
import errno
import ipaddress
import socket
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from preceptor.errors import StoreError
from preceptor.labeling.app import create_app
from preceptor.labeling.settings import LOOPBACK, Settings
from preceptor.store.database import Store


def settings_for(
    host: str,
    *,
    url: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    insecure: bool = False,
    exports: Path = Path("exports"),
) -> Settings:
    """What the app is told, from how it is served.

    Raises:
        StoreError: other machines could reach it, and nobody said how passwords are protected.
    """
    if (certificate is None) != (key is None):
        raise StoreError("--certificate and --key go together.")
    for file in (certificate, key):
        if file is not None and not file.is_file():
            raise StoreError(f"{file}: no such file.")
    parts = urlsplit(url or "")
    if url is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise StoreError(f"--url {url}: the whole address, as in https://label.example.org.")
    if url is not None and parts.path not in ("", "/"):
        raise StoreError(f"--url {url}: the app needs a name of its own, not a path below one.")
    https = certificate is not None or parts.scheme == "https"
    reached = not is_loopback(host) or not is_loopback(parts.hostname or "localhost")
    if reached and not https and not insecure:
        raise StoreError(
            f"--host {host}: other machines could reach it, and passwords would travel in the "
            "open. Put a proxy with https before it and name its address with --url https://..., "
            "give --certificate and --key, or say --insecure."
        )
    if host in ("0.0.0.0", "::") and url is None:  # noqa: S104 - it is refused here
        raise StoreError(
            f"--host {host}: every address of this machine. Name the one that people use with "
            "--url, as in --url http://192.168.1.5:8080; the app answers to no other name."
        )
    names = {*LOOPBACK, *([parts.hostname] if parts.hostname else [])}
    if not is_loopback(host):
        names |= {host, socket.gethostname(), socket.getfqdn()}
    hosts = tuple(sorted(_in_url(name) for name in names))
    return Settings(https=https, hosts=hosts, exports=exports)


def listen(host: str, port: int) -> socket.socket:
    """The socket that is served on, made before anybody is told the address; port 0 is any.

    Raises:
        StoreError: the port is taken, or is not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = "another program listens there, perhaps this one. Stop that, or take another"
        elif error.errno == errno.EACCES:
            why = "a port below 1024 is the administrator's. Take another"
        else:
            raise StoreError(
                f"--host {host}: cannot be listened on ({error.strerror}). Name an address of "
                "this machine."
            ) from None
        raise StoreError(f"--port {port} on {host}: {why} with --port.") from None


def run_server(
    store: Store,
    settings: Settings,
    listening: socket.socket,
    *,
    behind_proxy: bool,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Serve until it is told to stop; requests that have begun are finished."""
    config = uvicorn.Config(
        create_app(store, settings),
        log_level="warning",
        access_log=False,  # an invitation's token stands in its path
        server_header=False,
        # Only a proxy on this machine is believed about who is asking.
        proxy_headers=behind_proxy,
        forwarded_allow_ips="127.0.0.1",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=10,
    )
    # Ctrl-C is how it is stopped, not a failure.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def address_of(host: str, port: int, *, https: bool) -> str:
    return f"{'https' if https else 'http'}://{_in_url(host)}:{port}"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _in_url(name: str) -> str:
    """A name as it stands in a request's Host header."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name.lower()
