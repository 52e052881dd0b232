"""One side works while the other waits: a worker's end of the pipe to the comparison.

The comparison writes a line for each turn; the worker answers how long it took and what it did.
"""

import json
import os
import sys
import time
from collections.abc import Callable


class Turns:
    """Waits for the word to go on, and tells what was done since."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever else is printed goes to the log
        self.began, self.worked = 0.0, 0.0

    def begin(self, measure: Callable[[], None] | None = None) -> None:
        """Wait for a turn; the process ends where there are no more.

        `measure` runs with the machine to itself, as the turn does, and is no part of it.
        """
        if not sys.stdin.readline():
            os._exit(0)
        if measure is not None:
            measure()
        self.began, self.worked = time.perf_counter(), time.process_time()

    def end(self, amount: float, **parts: float) -> None:
        """The turn is over: so much was done (in the work's unit), some seconds of it in parts."""
        line = {
            "seconds": time.perf_counter() - self.began,
            "processor": time.process_time() - self.worked,
            "amount": amount,
            "parts": parts,
            "memory": peak_memory(),
        }
        print(json.dumps(line), file=self.answers, flush=True)


def peak_memory() -> int:
    """The most memory that this program has held so far, bytes; getrusage counts its parent's."""
    with open("/proc/self/status", encoding="utf-8") as file:
        [line] = [line for line in file if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
