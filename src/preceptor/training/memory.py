"""How the C library keeps the memory of freed tensors: for speed, or for little of it."""

import contextlib
import ctypes
import gc

MAPPED = 2**18
"""Bytes from which on a block is mapped by itself to spare memory, and given back when freed.

On the heap, blocks of up to a MiB leave gaps that nothing fits into: 0.4 GB of 5.8 at 135M.
"""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # malloc.h


def keep_freed_memory(spare: bool = False) -> None:
    """Let glibc keep freed memory within a step: tensors of changing sizes ask for it right again.

    Given back and fetched each time, its fresh pages cost up to half of a step's time. `spare` is
    for who has more time than memory. It lasts as long as the process; glibc has no way to ask what
    was set before. Elsewhere than with glibc nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_MAX, 2**16 if spare else 0)  # glibc's own number; none: all from the heap
        if spare:
            mallopt(_MMAP_THRESHOLD, MAPPED)


def return_memory() -> None:
    """Give freed memory back to the system, so that one step's peak does not stand on another's."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
