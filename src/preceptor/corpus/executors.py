"""Where the passes run: datatrove's executors, on this machine, on Ray, or through Slurm.

The one file that meets datatrove. Each pass is one of its pipelines; a task that ended leaves a
mark in the pass's folder of logs, and is skipped the next time.
"""

import functools
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import multiprocess
from datatrove.executor import (
    LocalPipelineExecutor,
    RayPipelineExecutor,
    SlurmPipelineExecutor,
)
from loguru import logger

from preceptor.corpus import costs, passes, stream
from preceptor.corpus.card import write_card
from preceptor.corpus.plan import TEXT_PASSES, Plan, clear
from preceptor.corpus.recipe import ExecutorName
from preceptor.corpus.texts import read_json, write_json
from preceptor.data.telling import told_meanwhile
from preceptor.errors import RecipeError


@dataclass(frozen=True)
class Pass:
    """A pipeline of datatrove, and how many tasks share it."""

    name: str
    pipeline: list[Any]
    tasks: int


def passes_of(plan: Plan) -> list[Pass]:
    """The passes that the recipe needs, in order."""
    recipe, count = plan.recipe, len(plan.pieces)

    def of_texts(name: str) -> Pass:
        return Pass(name, [partial(passes.run_texts, name, plan)], count)

    def alone(name: str, task: Callable[..., None]) -> Pass:
        return Pass(name, [partial(task, plan)], 1)

    found = []
    # What a recipe names beside its sources comes first: a broken file of it is told at once.
    if recipe.decontaminate is not None:
        found.append(alone("benchmarks", passes.index_benchmarks))
    if recipe.toxicity is not None:
        found.append(alone("toxicity", passes.train_toxicity))
    if recipe.classifier is not None:
        found += [of_texts("read"), alone("train", passes.train_classifier)]
    if recipe.duplicates is not None:
        bands = Pass("bands", [partial(passes.find_candidates, plan)], recipe.duplicates.num_bands)
        found += [of_texts("score"), bands, alone("duplicates", passes.find_duplicates)]
    if recipe.decontaminate is not None:
        found += [of_texts("unique"), alone("common", passes.find_common)]
    found += [of_texts("tokens"), alone("mixture", stream.mix)]
    found.append(Pass("shards", [partial(stream.write_my_shards, plan)], max(count, 8)))
    found.append(alone("card", write_card))
    return [_whole(plan, one, [before.name for before in found[:at]])
            for at, one in enumerate(found)]  # fmt: skip


def _whole(plan: Plan, one: Pass, before: list[str]) -> Pass:
    """A pass with what it costs; and a task that is alone removes what nobody reads any more.

    Slurm's jobs do that, too: none begins before all of the pass before have ended.
    """
    pipeline = [costs.begin_cost, *one.pipeline, partial(costs.note_cost, plan, one.name)]
    if one.tasks == 1 and one.name not in TEXT_PASSES:
        pipeline.insert(0, partial(clear, plan, before))
    if one.name == "card":
        pipeline += [partial(_timed, plan), partial(clear, plan, ["card"])]
    return Pass(one.name, pipeline, one.tasks)


def _timed(plan: Plan, _: Any, __: int, ___: int) -> None:
    """For Slurm, where nobody waits; a build that does writes it anew, with the seconds."""
    costs.write_timing(plan, {}, None)


def run_passes(
    plan: Plan,
    executor: ExecutorName,
    workers: int,
    say: Callable[[str], None],
    after: Callable[[str, float], None],
) -> None:
    """Run every pass that is not done; `after` gets the name of each and the seconds it took.

    Raises:
        RecipeError: Slurm is asked for, and the recipe does not say how.
    """
    found = passes_of(plan)
    if executor == "slurm":
        _submit(plan, found, workers, say)
        return
    with _cluster() if executor == "ray" else nullcontext():
        for one in found:
            logs = plan.work / "logs" / one.name
            began = time.monotonic()
            if _num_done(logs) < one.tasks:
                with _progress(one, logs, say):
                    engine = _local if executor == "local" else _ray
                    engine(one, logs, min(workers, one.tasks)).run()
                if (done := _num_done(logs)) < one.tasks:
                    raise RecipeError(
                        f"corpus {one.name}: {one.tasks - done} of {one.tasks} tasks failed; "
                        f"{logs}/logs says why. The same command goes on with them."
                    )
            after(one.name, time.monotonic() - began)


def _num_done(logs: Path) -> int:
    return sum(1 for _ in (logs / "completions").glob("*")) if logs.is_dir() else 0


@contextmanager
def _progress(one: Pass, logs: Path, say: Callable[[str], None]) -> Iterator[None]:
    """A line when a pass begins, and one now and then as long as its tasks run."""

    def tell() -> None:
        say(f"corpus {one.name} {_num_done(logs)}/{one.tasks}")

    tell()
    with told_meanwhile(tell):
        yield


class Quiet(LocalPipelineExecutor):  # type: ignore[misc]  # it ships no types
    """On this machine: what a pass has to say is ours; a refused row is no traceback of theirs."""

    def run(self) -> Any:
        logger.disable("datatrove")
        self.home = os.getpid()
        if self.workers > 1:
            # Workers are forked of a process that has imported all this already.
            multiprocess.set_forkserver_preload([__name__])
            with _children_end_with_us():
                return super().run()
        for task in self.get_incomplete_ranks(range(self.tasks)):
            self._run_for_rank(task)  # here, without a pool and its manager
        return None

    def _run_for_rank(self, *args: Any, **options: Any) -> Any:
        logger.disable("datatrove")
        # A worker for each core is there already; a tokenizer's own threads would only wait.
        os.environ.setdefault("RAYON_NUM_THREADS", "1")
        _end_with(self.home)
        return super()._run_for_rank(*args, **options)


@functools.cache
def _end_with(home: int) -> None:
    """Let a worker end when the build was killed; a pool's workers do not notice that."""
    if home != os.getpid():
        _watch(home)


_HOMES: list[int] = []
"""The process of the pool that runs, if one does."""


@contextmanager
def _children_end_with_us() -> Iterator[None]:
    """The pool's manager, too: it is forked of this process, and has the folder's lock with it."""
    _HOMES[:] = [os.getpid()]
    try:
        yield
    finally:
        _HOMES.clear()


def _after_fork() -> None:
    if _HOMES:
        _watch(_HOMES[0])


os.register_at_fork(after_in_child=_after_fork)


def _watch(home: int) -> None:
    def watch() -> None:
        while Path(f"/proc/{home}").exists() or not Path("/proc/self").exists():
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _local(one: Pass, logs: Path, workers: int) -> Any:
    return Quiet(one.pipeline, tasks=one.tasks, workers=workers, logging_dir=str(logs))


@contextmanager
def _cluster() -> Iterator[None]:
    """The Ray that RAY_ADDRESS names or that runs here, or else one of our own for this build.

    Raises:
        RecipeError: Ray is not installed, and a library would say so in a traceback.
    """
    # A process of a task imports much. On a busy machine that took longer than the minute which
    # Ray gives it, and then Ray began another one, and no task ever began.
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "600")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of it
    try:
        import ray
    except ImportError:
        raise RecipeError(
            "--executor ray: it is not installed. Install it: pip install ray"
        ) from None
    if ray.is_initialized():
        yield
        return
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


def _ray(one: Pass, logs: Path, workers: int) -> Any:
    logger.disable("datatrove")
    return RayPipelineExecutor(
        one.pipeline, tasks=one.tasks, workers=workers, logging_dir=str(logs), mem_per_cpu_gb=1
    )


def _submit(plan: Plan, found: Sequence[Pass], workers: int, say: Callable[[str], None]) -> None:
    """Hand all passes to Slurm at once, each to begin when the one before has ended.

    Jobs that were handed over before and are still in the queue are not handed over again: two
    that do the same would change each other's list of tasks.
    """
    options = plan.recipe.slurm
    if options is None:
        raise RecipeError(
            f"{plan.recipe.name}: --executor slurm needs a slurm section with at least partition."
        )
    if shutil.which("sbatch") is None:
        raise RecipeError(
            "--executor slurm: there is no sbatch here. Give the command where Slurm takes jobs."
        )
    if queued := _queued(plan):
        done = sum(_num_done(plan.work / "logs" / one.name) for one in found)
        say(f"corpus: {done} of {sum(one.tasks for one in found)} tasks are done")
        say(f"  Slurm has {len(queued)} of its jobs yet, and nothing was submitted. Jobs that wait")
        say("  for one that failed go by scancel; the same command then submits the rest:")
        say(f"  scancel {' '.join(queued)}")
        return
    engines: list[Any] = []
    for one in found:
        engine = SlurmPipelineExecutor(
            one.pipeline,
            tasks=one.tasks,
            workers=workers,
            time=options.time,
            partition=options.partition,
            cpus_per_task=options.cpus_per_task,
            mem_per_cpu_gb=options.mem_per_cpu_gb,
            qos=options.qos,
            env_command=options.env_command,
            job_name=f"{plan.recipe.name}-{one.name}",
            logging_dir=str(plan.work / "logs" / one.name),
            depends=engines[-1] if engines else None,
        )
        engines.append(engine)
    try:
        engines[-1].run()
    finally:  # what was submitted before one that was refused, too
        jobs = [str(engine.job_id) for engine in engines if engine.job_id not in (None, -1)]
        write_json(plan.work / "slurm.json", jobs)
    say(f"corpus: {len(found)} passes are queued, one behind the other; the card comes last")


def _queued(plan: Plan) -> list[str]:
    """Those of the corpus's jobs that Slurm has in its queue; none where it does not tell."""
    path = plan.work / "slurm.json"
    jobs = read_json(path) if path.is_file() else []
    command = ["squeue", "--noheader", "--format=%F", "--user", str(os.getuid())]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return []
    return [job for job in jobs if job in told.stdout.split()]
