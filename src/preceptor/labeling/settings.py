"""What a server of the app is told when it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Settings:
    """How the app is reached, and what it takes from a request."""

    https: bool = False  # browsers reach it by https: cookies are for that alone
    hosts: tuple[str, ...] = LOOPBACK  # names that it answers to, without ports
    max_body_bytes: int = 1_000_000
    exports: Path = Path("exports")  # where a lead's exports go, and what may be taken from there
    now: Callable[[], datetime] = utc_now  # tests set the clock
