"""Weights that lie in a mapped file, read without holding the file in memory.

transformers maps a safetensors file and makes its weights views of it. A page of the mapping that
has been touched counts as memory of this process until the last of those views is gone: a model
of half a gigabyte takes a whole one while it is copied, and for as long as one weight stays a view.
Read through the file instead, the mapping stays untouched. Where the system does not tell what is
mapped (only Linux does) weights are read as they are, and only the peak is higher.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

PART = 2**16
"""Numbers that are read at a time: what is freed after them leaves no gaps that count."""


@dataclass(frozen=True)
class Mapping:
    """A part of a file in memory: addresses [begin, end), of which the first is `offset` in it."""

    begin: int
    end: int
    offset: int
    inode: int
    path: str


def mappings(maps: Path = Path("/proc/self/maps")) -> list[Mapping]:
    """The safetensors files that this process has mapped; none where the system does not say."""
    try:
        lines = maps.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        if line.endswith(".safetensors"):
            addresses, _, offset, _, inode, path = line.split(maxsplit=5)
            begin, end = (int(address, 16) for address in addresses.split("-"))
            found.append(Mapping(begin, end, int(offset, 16), int(inode), path))
    return found


def read(weight: Tensor, dtype: torch.dtype, files: list[Mapping]) -> tuple[Tensor, bool]:
    """A copy of a weight in this precision, and whether it holds every number of it exactly."""
    copy = torch.empty(weight.shape, dtype=dtype)
    flat, place, exact = copy.view(-1), 0, True
    for part in _parts(weight.detach(), files):
        target = flat[place : place + len(part)]
        target.copy_(part)
        exact = exact and (dtype == part.dtype or torch.equal(target.to(part.dtype), part))
        place += len(part)
    return copy, exact


def _parts(weight: Tensor, files: list[Mapping]) -> Iterator[Tensor]:
    """All numbers of a weight in order, PART at a time; each part takes the place of the last."""
    begin = weight.data_ptr()
    for file in files:
        inside = file.begin <= begin and begin + weight.nbytes <= file.end
        if inside and weight.is_contiguous():
            try:
                with open(file.path, "rb") as source:
                    if os.fstat(source.fileno()).st_ino != file.inode:
                        break  # another file has this name by now; the mapping has the right one
                    source.seek(file.offset + begin - file.begin)
                    size = max(1, min(PART * weight.itemsize, weight.nbytes))
                    buffer = torch.empty(size, dtype=torch.uint8)
                    for start in range(0, weight.nbytes, size):
                        part = buffer[: weight.nbytes - start]
                        if source.readinto(cast(Any, part.numpy())) != part.numel():
                            raise OSError(f"{file.path} ends too soon.")
                        yield part.view(weight.dtype)
                return
            except FileNotFoundError:
                break
    yield from weight.reshape(-1).split(PART)
