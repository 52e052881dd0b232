"""How the C library keeps the memory of freed tensors: for speed, or for little of it."""

import contextlib
import ctypes
import gc

LARGE = 50_000_000
"""Weights from which on a step's products outweigh the fetching of fresh pages (docs/log.md)."""
MAPPED = 2**18
"""Bytes from which on a block is mapped by itself beside a large model, and given back when freed.

On the heap, blocks of one to four MiB leave gaps that nothing fits into: 0.4 GB of 5.8 at 135M.
"""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # malloc.h


def keep_freed_memory(num_weights: int = 0) -> None:
    """Let glibc keep freed memory within a step: tensors of changing sizes ask for it right again.

    Given back and fetched each time, its fresh pages cost up to a tenth of a small model's step.
    Beside `num_weights` of a large model they cost nothing that was measured, and the gaps between
    kept blocks would. It lasts as long as the process; glibc has no way to ask what was set before.
    Elsewhere than with glibc nothing happens.
    """
    large = num_weights >= LARGE
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_MAX, 2**16 if large else 0)  # glibc's own number; none: all from the heap
        if large:
            mallopt(_MMAP_THRESHOLD, MAPPED)


def return_memory() -> None:
    """Give freed memory back to the system, so that one step's peak does not stand on another's."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
