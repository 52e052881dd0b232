"""What is held out of all embedded text: titles, the same ones in every set and every run."""

import hashlib

HELDOUT_PERCENT = 6


def title_hash(text: str) -> int:
    """A number of 64 bits, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def is_heldout(title: str) -> bool:
    """Whether no training text and no training prompt is about this title."""
    return title_hash(f"heldout {title}") % 100 < HELDOUT_PERCENT
