"""The command in a process of its own, which may kill itself at a chosen instant.

The processes are forked from one that has imported everything, so that a start costs no seconds.
An instant is the n-th call of anything, or of a function of one name, within one step of the run.
"""

import json
import multiprocessing
import os
import runpy
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from preceptor import pipeline

IMPORTED = ["preceptor.pipeline", "preceptor.miniature.tokenizer", "preceptor.report.plots"]
Instant = tuple[str, str | None, int]
"""A step, a function of it or any, and which of its calls."""


def start(
    arguments: Sequence[str], log: Path, instant: Instant | None = None, *, counted: bool = False
) -> int:
    """`python -m preceptor ARGUMENTS` in a fresh process that speaks into `log`.

    Returns its exit status, negative for a signal. What is `counted` comes through and says in
    calls.json how many calls each step made before the report, whose plots make millions.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=run, args=(list(arguments), log, instant, counted))
    process.start()
    process.join(300)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def run(arguments: list[str], log: Path, instant: Instant | None, counted: bool) -> None:
    """The command in this process, killed at its instant."""
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
        watched = counted and name != "report" if instant is None else name == instant[0]
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
        if counted:
            log.with_name("calls.json").write_text(json.dumps(counts))
