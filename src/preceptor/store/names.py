"""Ids made of what a row is about, and pseudonyms that hide whom it is about."""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import uuid
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from preceptor.data.personal import mask_personal
from preceptor.errors import StoreError

NAMESPACE = uuid.UUID("6f1d3c5e-5b0a-4a53-9d5c-0f3d6a0c7b21")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PSEUDONYM = re.compile(r"(usr|lab)_[a-z2-7]{26}")
KEY_VARIABLE = "PRECEPTOR_SITE_KEY"
PLACEHOLDERS = (
    "changeme",
    "changethis",
    "replaceme",
    "password",
    "passphrase",
    "secret",
    "placeholder",
    "example",
    "insecure",
    "default",
    "sitekey",
    "qwertyuiop",
)
"""What a key has in it that stands in somebody's manual."""


def identify(kind: str, *parts: Any) -> uuid.UUID:
    """The id of the row that these parts make; equal parts, equal id, on every machine."""
    return uuid.uuid5(NAMESPACE, canonical([kind, *parts]))


def prompt_id(pseudonym: str, prompt: Any) -> uuid.UUID:
    """A user's prompt; the same whether personal data in it were masked or kept."""
    return identify("prompt", pseudonym, bare(prompt))


def bare(prompt: Any) -> Any:
    """A prompt as it is told from others: with placeholders for personal data."""
    return mask_personal(prompt)[0]


def canonical(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def sha256_of(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def seeded(seed: int, *parts: Any) -> int:
    """63 bits that depend on the seed and the parts alone."""
    key = canonical([seed, *parts]).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


class SiteKey:
    """Turns names into pseudonyms; without the key nobody can tell whose they are."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise StoreError(
                f"the site key has {len(secret)} bytes; at least 16 random ones keep pseudonyms "
                "from being guessed. `openssl rand -hex 32` makes some."
            )
        self._secret = secret

    def require_strong(self) -> None:
        """Refuse what people put where a key goes for the time being: for a new database.

        A store that has such a key is still opened: another one would give other pseudonyms.
        """
        text = self._secret.decode("latin-1").casefold()
        bare = re.sub(r"[^a-z0-9]", "", text)
        steps = Counter(ord(b) - ord(a) for a, b in pairwise(text))
        why = ""
        if any(word in bare for word in PLACEHOLDERS):
            why = "has a word of examples in it"
        elif 2 * max(steps.values()) > len(text):
            why = "goes through the characters in their order, or repeats one"
        elif any(text[n:] == text[:-n] for n in range(1, len(text) // 2 + 1)):
            why = "repeats its beginning"
        if why:
            raise StoreError(
                f"The site key {why}: whoever tries that can tell whose pseudonyms are. "
                "`openssl rand -hex 32` makes one that nobody guesses."
            )

    def check_value(self) -> str:
        """Tells whether it is the same key, and nothing of the key itself."""
        return hmac.digest(self._secret, b"check", "sha256").hex()

    def user(self, name: str, source: str = "") -> str:
        return self._pseudonym("usr", name, source)

    def labeler(self, name: str, source: str = "") -> str:
        return self._pseudonym("lab", name, source)

    def _pseudonym(self, prefix: str, name: str, source: str) -> str:
        """The same name of another source is somebody else."""
        # What an export holds is a pseudonym already, and stays the one it is.
        if PSEUDONYM.fullmatch(name) and name.startswith(prefix):
            return name
        whole = "\0".join([prefix, source, name] if source else [prefix, name])
        digest = hmac.digest(self._secret, whole.encode(), "sha256")
        return f"{prefix}_{base64.b32encode(digest).decode().lower()[:26]}"


def read_site_key(path: Path | None) -> SiteKey:
    """The key from the environment, or from its file beside the database.

    Raises:
        StoreError: there is none, or others can read it.
    """
    if secret := os.environ.get(KEY_VARIABLE, "").strip():
        return SiteKey(secret.encode())
    if path is None:
        raise StoreError(
            f"{KEY_VARIABLE} is not set. A database by URL has no file beside it for the site key, "
            "so it comes from the environment; `openssl rand -hex 32` makes one."
        )
    if not path.is_file():
        raise StoreError(
            f"{path}: the site key is missing. Bring it back from where you keep it, or set "
            f"{KEY_VARIABLE}. With another key the same people would get other pseudonyms."
        )
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StoreError(f"{path}: others can read the site key. Run: chmod 600 {path}")
    return SiteKey(path.read_bytes().strip())


def make_site_key(path: Path) -> None:
    """Write a new random key that only its owner can read, unless there is one.

    It gets its name when it is written, so that half a key is never taken for one.
    """
    if path.exists():
        return
    partial = path.with_name(path.name + ".writing")
    partial.unlink(missing_ok=True)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as stream:
        stream.write(secrets.token_hex(32) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
