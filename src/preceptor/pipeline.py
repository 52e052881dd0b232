"""The recipe's steps in order: what is done is skipped, what was interrupted continues.

A step is done when its done file names the hash of its present inputs (its part of the recipe, and
the outputs of the steps before it) and its outputs are as it left them.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import preceptor
from preceptor.config import PPOConfig, Recipe, TrainConfig
from preceptor.data.records import file_hash, write_text
from preceptor.data.shards import is_built, read_card
from preceptor.data.sources import GENERATED
from preceptor.errors import RecipeError
from preceptor.models import kernels
from preceptor.recipes import dump_recipe
from preceptor.recipes.files import require_files
from preceptor.recipes.rounds import (
    home_of,
    kind_of,
    policy_of,
    round_of,
    step_name,
)
from preceptor.recipes.summary import stages_of
from preceptor.steps import evaluate, facts, labels, scores, train
from preceptor.steps.best_of_n import best_of_n
from preceptor.training.folder import (
    StageFolder,
    claimed,
    is_done,
    read_json,
    write_done,
    write_json,
)
from preceptor.training.memory import keep_freed_memory, return_memory
from preceptor.training.progress import say

DONE = {
    "sample": "data/sample.done.json",
    "rank": "data/rank.done.json",
    "evaluate": "evaluation/done.json",
}


def run_pipeline(recipe: Recipe, out: Path, *, only: Sequence[str] | None = None) -> Path:
    """Run the recipe into `out`; returns the report, or the run folder when it has none.

    Raises:
        RecipeError: a step in `only` is not in the recipe, or what it needs is not done.
    """
    wanted = stages_of(recipe)
    for name in only or ():
        if name not in wanted:
            raise RecipeError(f"{recipe.name}: it has no step {name}. It has {', '.join(wanted)}.")
    if only != ["report"]:
        require_files(recipe)
        require_rewards(recipe, out, [name for name in wanted if not only or name in only])
        require_labelers(recipe)
    if only:
        require_earlier_steps(recipe, out, wanted, only)
    with at_work(recipe, out):
        if only != ["report"]:
            write_text(out / "recipe.yaml", dump_recipe(recipe))
        for name in wanted:
            if not only or name in only:
                run_step(recipe, out, name)
    report = out / "report.html"
    return report if report.is_file() else out


def run_best_of_n(recipe: Recipe, out: Path, model: str, largest: int) -> list[dict[str, Any]]:
    """Best-of-n of one of the run's models, with this very recipe; rows as `best_of_n` gives them.

    Raises:
        RecipeError: the model, the reward model or the data are not done with this recipe.
    """
    for name in ("data", "reward", model):
        if name not in stages_of(recipe) or not is_done(*_done(recipe, out, name)):
            raise RecipeError(
                f"{out}: step {name} is not done with this recipe, and best-of-n needs it. "
                "Run `preceptor run` or that step first."
            )
    with at_work(recipe, out):
        return best_of_n(recipe, out, model, largest)


@contextlib.contextmanager
def at_work(recipe: Recipe, out: Path) -> Iterator[None]:
    """The run folder for this process alone, and the process as the recipe wants it."""
    if recipe.num_threads is not None:
        torch.set_num_threads(recipe.num_threads)
    with claimed(out):
        # Numbers below 1e-38 cost a hundred times a normal one; Adam's averages are full of them.
        torch.set_flush_denormal(True)
        keep_freed_memory()
        if why := kernels.missing():
            say(f"note: no compiled kernels ({why}), so this takes a third longer; g++ makes them")
        try:
            yield
        finally:
            torch.set_flush_denormal(False)  # what else this process does is not ours to change


def require_rewards(recipe: Recipe, out: Path, names: Sequence[str]) -> None:
    """A reward that cannot be imported, or a service that is not there, is told before anything.

    Raises:
        RecipeError: it names the reward and what is wrong with it.
    """
    for name in names:
        if kind_of(name) not in ("ppo", "ppo_ptx"):
            continue
        config: PPOConfig = getattr(recipe, kind_of(name))
        if config.is_service:
            if not (os.path.isdir(out) and is_done(*_done(recipe, out, name))):
                scores.require_listener(config.reward)
        elif config.reward != "reward_model":
            scores.reward_function(config.reward)


def require_labelers(recipe: Recipe) -> None:
    """A label store that is not there, or an app that is not installed, is told before anything."""
    if recipe.labels != "simulated":
        from preceptor.steps.collect import require_store

        require_store(recipe)


def require_earlier_steps(
    recipe: Recipe, out: Path, wanted: Sequence[str], only: Sequence[str]
) -> None:
    """Look whether what the asked steps read is there, before anything is written.

    Raises:
        RecipeError: a step that they need is not done with this recipe.
    """
    asked = [name for name in only if name != "data"]
    if asked == ["report"] and not any(_done_file(out, name).is_file() for name in wanted):
        raise RecipeError(f"{out}: nothing to report, no step of a run is done there.")
    needed = needed_by(recipe, asked)
    # What was trained on other data is not done, and new data would only hide that.
    stale = "data" in needed and not is_done(*_done(recipe, out, "data"))
    for name in needed:
        if name in only or (is_done(*_done(recipe, out, name)) and not stale):
            continue
        raise RecipeError(
            f"{out}: step {name} is not done with this recipe, and {asked[-1]} needs it. "
            f"Run `preceptor run`{'' if '/' in name else ' or that step'} first."
        )


def needed_by(recipe: Recipe, only: Sequence[str]) -> list[str]:
    """Steps whose outputs the asked ones read, directly or through others, in order."""
    needed: set[str] = set()
    waiting = [name for name in only if name != "report"]
    while waiting:
        new = set(reads(recipe, waiting.pop())) - needed
        needed |= new
        waiting += new
    return [name for name in stages_of(recipe) if name in needed]


def run_step(recipe: Recipe, out: Path, name: str) -> None:
    """Do one step unless it is done already."""
    if name == "report":
        from preceptor.report import write_report  # its plots are memory that no training needs

        say(f"report {write_report(out)}")
        return
    done, digest = _done(recipe, out, name)
    if is_done(done, digest):
        say(f"{name} is done, skipped")
        return
    began = time.monotonic()
    kind = kind_of(name)
    config = getattr(recipe, kind, None)
    training = config if isinstance(config, TrainConfig) else recipe.sft
    keep_freed_memory(training.spare_memory)
    if kind == "sample" and recipe.rounds > 1:
        say(f"round {round_of(recipe, name)} of {recipe.rounds}")
    if kind in ("pretrain", "sft", "reward", "ppo_start", "ppo", "ppo_ptx"):
        folder = StageFolder(done.parent, name, digest)
        if kind in ("ppo", "ppo_ptx"):
            train.ppo(recipe, out, folder, name)
        elif kind == "reward":
            train.reward(recipe, out, folder, name)
        elif kind == "pretrain":
            train.pretrain(recipe, out, folder)
        else:
            train.sft(recipe, out, folder, kind)
        seconds = max(time.monotonic() - began, folder.seconds())
    else:
        done.unlink(missing_ok=True)
        writers: dict[str, Callable[[], list[Path]]] = {
            "data": lambda: labels.make_data(recipe, out),
            "sample": lambda: labels.sample_responses(recipe, out, name),
            "rank": lambda: rank(recipe, out, name),
            "evaluate": lambda: evaluate_run(recipe, out),
        }
        written = writers[kind]()
        write_done(done, stage=name, input_hash=digest, outputs=written, summary={})
        seconds = time.monotonic() - began
    _note_timing(out, name, seconds)
    return_memory()


def rank(recipe: Recipe, out: Path, step: str) -> list[Path]:
    """Let the responses be ranked: in this process, or through the label store."""
    if recipe.labels == "simulated":
        return labels.rank(recipe, out, step)
    from preceptor.steps.asked import rank_in_store  # needs the app, which is an extra

    return rank_in_store(recipe, out, step)


def input_hash(recipe: Recipe, out: Path, name: str) -> str:
    """Hash of what a step reads: its own keys, files the recipe names, outputs of earlier steps."""
    whole = recipe.model_dump(mode="json")
    kind = kind_of(name)
    general = ("seed", "num_threads", "model", "max_prompt_tokens", "max_response_tokens")
    own = {
        "data": (
            *("corpus", "prompts", "demonstrations", "rankings", "judge", "data"),
            *(("labels", "label_store") if labels.asks_for_demonstrations(recipe) else ()),
        ),
        "sample": ("sample", "sft", "rounds"),
        "rank": ("rank", "judge", "labels", "label_store"),
        "ppo": ("ppo", "reward", "judge"),
        "ppo_ptx": ("ppo_ptx", "reward", "judge"),
        "evaluate": ("evaluate", "judge", "sft", "reward", "name"),
    }.get(kind, (kind,))
    values: dict[str, Any] = {key: whole[key] for key in (*general, *own)}
    values["version"] = preceptor.__version__  # another version may make other data
    if name == "data":
        named = (recipe.corpus, recipe.prompts, recipe.demonstrations, recipe.rankings)
        values["files"] = {
            path: file_hash(Path(path))
            for path in named
            if path and path not in GENERATED and Path(path).is_file()
        }
        if is_built(recipe.corpus):
            values["corpus"] = read_card(str(recipe.corpus))["sha256"]
    values["before"] = {
        before: read_json(_done_file(out, before)).get("outputs", "absent")
        for before in reads(recipe, name)
    }
    if isinstance(recipe.model, str):
        values["model_files"] = _files_of(recipe.model)
    if recipe.tokenizer is not None:
        values["tokenizer"] = whole["tokenizer"]
    if isinstance(recipe.tokenizer, str):
        values["tokenizer_files"] = _files_of(recipe.tokenizer)
    tuned = getattr(recipe, kind) if kind in ("sft", "ppo_start") else None
    if tuned is not None and tuned.reward_model:
        values["reward_model_files"] = _files_of(tuned.reward_model)
    if kind in ("ppo", "ppo_ptx"):
        values["reward_source"] = scores.source_hash(getattr(recipe, kind))
        values["num_tax_sequences"] = recipe.evaluate.num_tax_sequences
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _files_of(folder: str) -> dict[str, str]:
    """The hash of every file of a model folder: another template or tokenizer is another model."""
    if not Path(folder).is_dir():
        return {}
    return {path.name: file_hash(path) for path in sorted(Path(folder).iterdir()) if path.is_file()}


def reads(recipe: Recipe, name: str) -> list[str]:
    """The earlier steps whose files a step opens."""
    number = round_of(recipe, name)
    rankings = [step_name(recipe, earlier, "rank") for earlier in range(1, number + 1)]
    policies = [
        step_name(recipe, earlier, kind)
        for earlier in range(1, recipe.rounds)
        for kind in ("reward", policy_of(recipe))
        if kind is not None
    ]
    ranked = [step_name(recipe, number - 1, str(policy_of(recipe)))] if number > 1 else ["sft"]
    start = ["data", "sft", step_name(recipe, number, "reward"), "ppo_start"]
    table = {
        "data": [],
        "pretrain": ["data"],
        "sft": ["data", "pretrain"],
        "ppo_start": ["data", "pretrain"],
        "sample": ["data", *ranked],
        "rank": [step_name(recipe, number, "sample")],
        "reward": ["data", "sft", *rankings],
        "ppo": start,
        "ppo_ptx": start,
        "evaluate": [
            "data", "pretrain", "sft", *rankings, *policies, "reward", "ppo", "ppo_ptx",
        ],
    }  # fmt: skip
    present = stages_of(recipe)
    return [before for before in table[kind_of(name)] if before in present]


def evaluate_run(recipe: Recipe, out: Path) -> list[Path]:
    """Compare the run's models and write results.json with timing, versions and alarms."""
    folder = out / "evaluation"
    found = evaluate.compare_models(recipe, out)
    timing = read_json(out / "timing.json")
    found |= {
        "timing": {
            step: seconds
            for step, seconds in timing.get("seconds", {}).items()
            if step in stages_of(recipe)  # not those of an earlier recipe in this folder
        },
        "peak_memory_bytes": max(facts.peak_memory(), int(timing.get("peak_memory_bytes", 0))),
        "versions": facts.versions(),
        "machine": facts.machine(),
        "alarms": facts.read_alarms(out, stages_of(recipe)),
    }
    from preceptor.report import validate_results

    validate_results(found)
    write_json(folder / "results.json", found)
    named = [*found["models"], *(f"round-{number}" for number in range(1, recipe.rounds))]
    responses = [folder / f"responses-{name}.jsonl" for name in named]
    return [folder / "results.json", *responses]


def _done_file(out: Path, name: str) -> Path:
    kind = kind_of(name)
    return home_of(out, name) / DONE.get(kind, f"{kind}/done.json")


def _done(recipe: Recipe, out: Path, name: str) -> tuple[Path, str]:
    return _done_file(out, name), input_hash(recipe, out, name)


def _note_timing(out: Path, name: str, seconds: float) -> None:
    path = out / "timing.json"
    noted = read_json(path)
    noted.setdefault("seconds", {})[name] = seconds
    noted["peak_memory_bytes"] = max(facts.peak_memory(), int(noted.get("peak_memory_bytes", 0)))
    write_json(path, noted)
