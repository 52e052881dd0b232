"""The command in a process of its own that kills itself at a chosen instant, so that it can again.

An instant is the n-th call of anything, or of a function of one name, within one step of the run.
"""

import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from preceptor import pipeline


def run(arguments: list[str], log: Path, instant: tuple[str, str | None, int] | None) -> None:
    """`python -m preceptor ARGUMENTS`, killed at (step, function or any, n); it speaks into `log`.

    Without an instant it comes through, and says in calls.json how many calls each step made before
    the report, whose plots make millions.
    """
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    counts: Counter[str] = Counter()
    step = ""

    def count(frame: FrameType, event: str, function: Any) -> None:
        if event not in ("call", "c_call"):
            return
        name = frame.f_code.co_name if event == "call" else function.__name__
        if instant and instant[1] not in (None, name):
            return
        counts[step] += 1
        if instant and counts[step] == instant[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    whole = pipeline.run_step

    def run_step(recipe: Any, out: Path, name: str) -> None:
        nonlocal step
        step = name
        watched = name != "report" if instant is None else name == instant[0]
        sys.setprofile(count if watched else None)
        try:
            whole(recipe, out, name)
        finally:
            sys.setprofile(None)

    pipeline.run_step = run_step
    sys.argv = ["preceptor", *arguments]
    try:
        runpy.run_module("preceptor", run_name="__main__")
    finally:
        if instant is None:
            log.with_name("calls.json").write_text(json.dumps(counts))
