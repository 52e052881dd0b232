"""A built corpus as the stages read it: tokens in shards, mapped and never copied.

The folder that `preceptor corpus build` leaves has `corpus.json`, which comes last and names the
shards: train-00000.npy, .. and valid-00000.npy, .. are the stream of tokens in the order of
training, each document ended by the separator; train-00000.index.npy says where each document
begins, out of which source, and the hash of its text.
"""

import bisect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from preceptor.errors import DataError

CARD = "corpus.json"
FORMAT = "preceptor corpus 1"
PARTS = ("train", "valid")
SHARD_INDEX = np.dtype([("start", "<u8"), ("origin", "<u8"), ("source", "<u2")])
"""A document of a shard: its first token, the hash of its text, the number of its source."""


def shard_name(part: str, number: int) -> str:
    """The file with a shard's tokens."""
    return f"{part}-{number:05d}.npy"


def index_name(part: str, number: int) -> str:
    """The file with a shard's documents."""
    return f"{part}-{number:05d}.index.npy"


def write_header(file: BinaryIO, count: int, descr: str = "<i4") -> None:
    """The header of a .npy file of so many numbers; NumPy leaves it room for any count."""
    fields = {"descr": descr, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, fields)


def is_built(path: str | Path | None) -> bool:
    """Whether this is a folder of shards."""
    return path is not None and (Path(path) / CARD).is_file()


def read_card(folder: str | Path) -> dict[str, Any]:
    """What the folder's corpus.json says.

    Raises:
        DataError: it is none of ours.
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Build the corpus again.") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise DataError(f"{path}: not a corpus of this version. Build it again.")
    return card


@dataclass(frozen=True)
class ShardedText:
    """Packed text [N, L] over several shards, indexed as an array is; rows come as int32.

    The shards are one stream: a sequence may begin in one and end in the next.
    """

    streams: tuple[npt.NDArray[Any], ...]
    starts: tuple[int, ...]  # where each begins in the whole stream
    shape: tuple[int, int]

    @classmethod
    def open(cls, folder: str | Path, part: str, sequence_length: int) -> "ShardedText":
        """Map the shards of one part; the last partial sequence is left out.

        Raises:
            DataError: a shard is missing or of another length, or the text is too short.
        """
        streams, starts, total = [], [], 0
        for shard in read_card(folder)["shards"][part]:
            path = Path(folder) / shard["file"]
            try:
                stream = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise DataError(f"{path}: cannot be read ({error}). Build it again.") from None
            if len(stream) != shard["tokens"]:
                raise DataError(
                    f"{path}: {len(stream):,} tokens, {CARD} says {shard['tokens']:,}. The file "
                    "was changed or cut off. Copy the folder again, or build it again."
                )
            if len(stream):
                streams.append(stream)
                starts.append(total)
            total += len(stream)
        count = total // sequence_length
        if count == 0:
            raise DataError(
                f"{folder}: {total:,} tokens in {part}, fewer than one sequence of "
                f"{sequence_length}. Give more text, a larger valid_fraction, or a shorter "
                "sequence_length."
            )
        return cls(tuple(streams), tuple(starts), (count, sequence_length))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Sequence[int]) -> npt.NDArray[np.int32]:
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows
        length = self.shape[1]
        found = np.empty((len(numbers), length), dtype=np.int32)
        for place, row in enumerate(numbers):
            if not -len(self) <= row < len(self):
                raise IndexError(f"row {row} of {len(self)}")
            self._read(row % len(self) * length, found[place])
        return found

    def _read(self, start: int, into: npt.NDArray[np.int32]) -> None:
        shard, filled = bisect.bisect_right(self.starts, start) - 1, 0
        at = start - self.starts[shard]
        while filled < len(into):
            piece = self.streams[shard][at : at + len(into) - filled]
            into[filled : filled + len(piece)] = piece
            filled += len(piece)
            shard, at = shard + 1, 0


PackedText = npt.NDArray[np.int32] | ShardedText
"""Packed text [N, L] as token ids: one mapped array, or several as one."""
