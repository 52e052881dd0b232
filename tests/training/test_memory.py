"""Where freed memory goes, in a process of its own: the setting lasts as long as it does."""

import subprocess
import sys

import pytest

FREED = """
import os, sys, torch
from pathlib import Path
from preceptor.training.memory import keep_freed_memory, return_memory

def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20

keep_freed_memory(spare=sys.argv[1] == "True")
blocks = [torch.ones(2**18) for _ in range(128)]  # of 1 MiB
last = torch.ones(2**10)  # above them on the heap, so that what is freed is a gap
full = resident()
del blocks
freed = resident()
return_memory()
print(full - freed, full - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told where to keep memory")
@pytest.mark.parametrize("spare", [True, False])
def test_spared_memory_goes_back_at_once_else_when_the_step_ends(spare: bool):
    command = [sys.executable, "-c", FREED, str(spare)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    at_once, at_the_end = map(float, done.stdout.split())
    assert at_once > 120 if spare else at_once < 8  # of 128 MiB
    assert at_the_end > 120
