"""What a build costs: seconds of a processor by pass and by step, and the largest process."""

import resource
import time
from collections import defaultdict
from typing import Any

from preceptor.corpus.plan import TEXT_PASSES, Plan
from preceptor.corpus.texts import read_json, write_json

_BEGAN: list[float] = []
"""The processor's time when this process began its task; a process has one task at a time."""


def begin_cost(*_: Any) -> None:
    """Before a task of a pass."""
    _BEGAN[:] = [time.process_time()]


def note_cost(plan: Plan, name: str, _: Any, task: int, __: int) -> None:
    """After a task of a pass: its processor's seconds, and the largest this process has been."""
    cost = {
        "seconds": time.process_time() - _BEGAN[0],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    write_json(plan.work / "cost" / name / f"{task:05d}.json", cost)


def write_timing(plan: Plan, seconds: dict[str, float], workers: int | None) -> None:
    """Leave timing.json: what passes and steps cost; how long a pass took, if anybody waited."""
    passes: dict[str, Any] = {}
    for path in (plan.work / "cost").iterdir():
        passes[path.name] = of_pass(plan, path.name)
        if path.name in seconds:
            passes[path.name]["seconds"] = round(seconds[path.name], 3)
    waited = {} if workers is None else {"workers": workers}
    write_json(plan.out / "timing.json", waited | {"passes": passes, "steps": of_steps(plan)})


def of_steps(plan: Plan) -> dict[str, Any]:
    """What each step of each pass over documents cost, in seconds of a processor."""
    found: dict[str, Any] = {}
    for name in TEXT_PASSES:
        steps: dict[str, float] = defaultdict(float)
        for path in sorted((plan.work / "tally" / name).glob("*.cost.json")):
            cost = read_json(path)
            before = 0.0
            # A step's clock runs while the steps before it work; the difference is its own.
            for step, seconds in [*cost["steps"], ("rest", cost["total"])]:
                steps[step] += seconds - before
                before = seconds
        if steps:
            found[name] = {step: round(seconds, 3) for step, seconds in steps.items()}
    return found


def of_pass(plan: Plan, name: str) -> dict[str, Any]:
    """All tasks of a pass together: the processor's seconds, and the largest of its processes."""
    found = [read_json(path) for path in (plan.work / "cost" / name).glob("*.json")]
    return {
        "core_seconds": round(sum(cost["seconds"] for cost in found), 3),
        "peak_memory_bytes": max((cost["peak_memory_bytes"] for cost in found), default=0),
    }
