"""A file's records in one list, which the program itself never holds."""

from dataclasses import dataclass, field
from typing import Any

from preceptor.data.formats import LeftOut, nothing_in, stream_records


@dataclass
class Loaded(LeftOut):
    """The records, and what was left out."""

    records: list[Any] = field(default_factory=list)


def load_records(path, kind, *, format=None, on_error="refuse") -> Loaded:
    """All records of one kind, as a step reads them."""
    loaded = Loaded()
    loaded.records += stream_records(path, kind, format=format, on_error=on_error, left_out=loaded)
    if not loaded.records:
        raise nothing_in(path, kind, loaded)
    return loaded
