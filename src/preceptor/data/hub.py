"""Data sets of the hub, as the library `datasets` reads them: `hf:NAME[:CONFIG][@SPLIT]`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preceptor.errors import DataError

HUB = "hf:"


def is_hub(path: str | Path) -> bool:
    """Whether a data set of the hub is named, not a file."""
    return str(path).startswith(HUB)


def require_hub(name: str) -> Any:
    """The library that reads data sets of the hub.

    Raises:
        DataError: it is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{name}: data sets of the hub are read by the library datasets, which is not "
            "installed. Install it: pip install 'preceptor[hub]'"
        ) from None
    return datasets


def read_hub(name: str) -> Iterator[tuple[str, Any]]:
    """The rows of a data set as the library has them, each with its place.

    Raises:
        DataError: the library is not installed, or whatever it met.
    """
    datasets = require_hub(name)
    place, _, split = name.removeprefix(HUB).partition("@")
    place, _, config = place.partition(":")
    if not place:
        raise DataError(f"{name}: no name. It looks like {HUB}NAME[:CONFIG][@SPLIT].")
    split = split or "train"
    try:
        rows = datasets.load_dataset(place, config or None, split=split, streaming="[" not in split)
        for number, row in enumerate(rows, 1):
            yield f"{name}:{number}", row
    except Exception as error:  # of the hub, of the net, of the script: whatever the library meets
        first = str(error).strip().split("\n")[0]
        raise DataError(f"{name}: cannot be read ({type(error).__name__}: {first}).") from None
