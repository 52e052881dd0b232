"""Compressed files as if they were plain ones: gzip, bzip2, xz and zstandard."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, Any, cast

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
LARGEST_WINDOW = 2**31
"""Bytes that a Zstandard frame may look back, as `zstd --long=31` makes them; memory it takes."""
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What reading a file raises that is damaged or cut off."""
BUFFER_BYTES = 2**20
PIECE = 2**10
"""Compressed bytes at a time: few, since a file made for it grows thirty thousandfold."""


def suffix_of(path: Path) -> str:
    """What kind of file it is, by its name without the compression's ending."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return Path(name).suffix


def what_stopped(error: BaseException) -> str:
    """For people: why the rest of a file cannot be read, and what to do."""
    if isinstance(error, PermissionError):
        return "it may not be read by this user."
    return f"damaged or cut off after this ({error}). Copy it again."


def open_bytes(path: Path) -> IO[bytes]:
    """A file's bytes, decompressed; the first bytes tell how, whatever the name says."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if start.startswith(b"BZh"):
        return bz2.open(path)
    if start == b"\xfd7zXZ\x00":
        return lzma.open(path)
    # A frame to be skipped (RFC 8878, 3.1.2) may stand before the first one.
    is_skipped = start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F
    if start.startswith(b"\x28\xb5\x2f\xfd") or is_skipped:
        return io.BufferedReader(_Zstandard(path), BUFFER_BYTES)
    return path.open("rb")


class _Zstandard(io.RawIOBase):
    """Zstandard frames as a file; one that is cut off is an EOFError, which the library's is not.

    `stream_reader` ends a truncated file in silence, and half of the data would be trained on.
    """

    def __init__(self, path: Path) -> None:
        import zstandard

        self._file = path.open("rb")
        self._new = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj
        self._frame = self._new()
        self._error = zstandard.ZstdError
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            rest = self._frame.unused_data if self._frame.eof else b""
            piece = rest or self._file.read(PIECE)
            if self._frame.eof and piece:
                self._frame = self._new()
            if not piece:
                if self._frame.eof:
                    return 0
                raise EOFError("the compressed data ends in the middle")
            try:
                self._ready = memoryview(self._frame.decompress(piece))
            except self._error as error:
                raise OSError(str(error)) from error
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
