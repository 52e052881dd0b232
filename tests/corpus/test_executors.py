"""The passes and who runs them: two workers, a Slurm that is played, Ray where it is."""

import importlib.util
import json
import os
import stat
import sys
from pathlib import Path

import dill
import pytest
from corpora import built, everything, files_of, recipe_of

from preceptor.corpus import costs
from preceptor.corpus.build import build
from preceptor.corpus.executors import passes_of
from preceptor.corpus.pieces import Piece, plan_pieces
from preceptor.corpus.plan import Plan
from preceptor.corpus.recipe import SlurmConfig
from preceptor.errors import DataError, RecipeError

ALL = [
    "benchmarks", "toxicity", "read", "train", "score", "bands", "duplicates", "unique", "common",
    "tokens", "mixture", "shards", "card",
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr("preceptor.corpus.pieces.PIECE_BYTES", 40_000)


def test_passes_are_those_that_the_recipe_needs(tmp_path):
    values = everything(tmp_path)
    recipe = recipe_of(tmp_path, **values)
    plan = Plan(recipe, tuple(plan_pieces(recipe)[0]), tmp_path / "out")
    assert [one.name for one in passes_of(plan)] == ALL
    for source in values["sources"]:
        source.pop("is_good", None)
        source.pop("classify", None)
    off = dict.fromkeys(("classifier", "duplicates", "decontaminate", "toxicity"))
    bare = recipe_of(tmp_path, **values | off)
    plan = Plan(bare, tuple(plan_pieces(bare)[0]), tmp_path / "out")
    assert [one.name for one in passes_of(plan)] == ["tokens", "mixture", "shards", "card"]


def test_a_task_is_sent_the_plan_without_its_pieces(tmp_path):
    """They would go with every task: the square of their number, and dill takes 20 us a piece."""
    source = {"name": "a", "files": "x"}
    recipe = recipe_of(tmp_path, sources=[source, source | {"name": "b"}])
    sizes = []
    for count in (3, 3000):
        pieces = tuple(Piece(recipe.sources[n % 2], (f"{n}.txt", "y")) for n in range(count))
        plan = Plan(recipe, pieces, tmp_path / "out")
        plan.write_pieces()
        sent = dill.dumps(plan)
        sizes.append(len(sent))
        assert dill.loads(sent) == plan
        assert dill.loads(sent).pieces is dill.loads(sent).pieces  # read once
    assert sizes[0] == sizes[1]


def test_what_is_said_fits_a_terminal_and_has_no_lines_of_the_library(tmp_path, capfd):
    lines: list[str] = []
    recipe = recipe_of(tmp_path, **everything(tmp_path))
    build(recipe, tmp_path / "out", workers=2, say=lines.append)
    table = lines.index("corpus test")
    assert list(dict.fromkeys(line.split()[1] for line in lines[:table])) == ALL
    # Of these two steps "came in" is not what the step above kept.
    assert "  The classifier is asked about raw sources alone." in lines
    assert "  A document that is cut goes on as its pieces." in lines
    assert all(len(line) < 80 for line in lines)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_row_comes_out_of_a_worker_as_one_message(tmp_path, workers, capfd):
    values = everything(tmp_path) | {"on_error": "refuse"}
    with (tmp_path / "good.jsonl").open("a") as file:
        file.write("{broken\n")
    recipe = recipe_of(tmp_path, **values)
    with pytest.raises(DataError, match=r"good\.jsonl:61: not JSON"):
        build(recipe, tmp_path / "out", workers=workers, say=lambda line: None)
    assert "Traceback" not in capfd.readouterr().err


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def play_slurm(folder: Path) -> None:
    """Programs that take a job as Slurm's do, and run its tasks at once, one after another."""
    folder.mkdir()
    text = f"""#!{sys.executable}
import os, re, sys
import dill
script = open(sys.argv[-1]).read()
jobs = open({str(folder / "jobs")!r}, "a+")
jobs.write(" ".join(sys.argv[1:-1]) + chr(10))
jobs.seek(0)
print("Submitted batch job", len(jobs.readlines()), flush=True)
if "merge_stats" not in script:
    assert "--partition=cpu" in script
    os.environ.update(SLURM_NODELIST="here", RUN_OFFSET="0")
    pickled = re.search(r"launch_pickled_pipeline (\\S+)", script)[1]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for task in range(1 + int(re.search(r"--array=0-(\\d+)", script)[1])):
        os.environ["SLURM_ARRAY_TASK_ID"] = str(task)
        with open(pickled, "rb") as file:
            dill.load(file).run()
"""
    program(folder, "sbatch", text)
    program(folder, "scontrol", "#!/bin/sh\necho here\n")


@pytest.mark.parametrize("without", [(), ("duplicates",), ("classifier",), ("decontaminate",)])
def test_the_disk_holds_two_copies_of_the_text_at_most(tmp_path, monkeypatch, without):
    """Looked at when each pass has ended, with what the pass after it is to read."""
    values = everything(tmp_path) | dict.fromkeys(without) | {"shard_tokens": 10**6}
    if "classifier" in without:
        for source in values["sources"]:
            source.pop("is_good", None), source.pop("classify", None)
    copies, seen = ("read", "score", "unique", "tokens", "bands", "lists"), {}
    note = costs.note_cost

    def noting(plan, name, *task):
        seen[name] = {one for one in copies if (plan.work / one).is_dir()}
        note(plan, name, *task)

    monkeypatch.setattr("preceptor.corpus.costs.note_cost", noting)
    built(recipe_of(tmp_path, **values), tmp_path / "out")
    for name, there in seen.items():
        assert len(there & {"read", "score", "unique", "tokens"}) <= 2, name
    assert seen["shards"] == {"tokens", "lists"}
    if not without:
        assert seen["duplicates"] == {"score"} and seen["common"] == {"unique"}


@pytest.mark.slow
def test_slurm_s_jobs_write_the_same_bytes(tmp_path, monkeypatch):
    """Each pass is a job that waits for the one before; the tasks are fresh processes."""
    values = everything(tmp_path) | {"slurm": {"partition": "cpu", "qos": ""}}
    values["duplicates"] = {"num_bands": 3}
    recipe = recipe_of(tmp_path, **values)
    built(recipe, tmp_path / "local")
    play_slurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    lines: list[str] = []
    build(recipe, tmp_path / "out", executor="slurm", workers=2, say=lines.append)
    assert (
        lines[-1]
        == f"corpus: {len(ALL)} passes are queued, one behind the other; the card comes last"
    )
    jobs = (tmp_path / "bin" / "jobs").read_text().splitlines()
    waiting = [line for line in jobs if "RUN_OFFSET" in line and "--dependency=afterok:" in line]
    assert len(waiting) == len(ALL) - 1
    assert files_of(tmp_path / "out") == files_of(tmp_path / "local")
    # The jobs themselves have removed every copy of the text, and told what they cost.
    left = {path.name for path in (tmp_path / "out" / "work").iterdir() if path.is_dir()}
    assert left == {"logs", "cost", "tally", "shards", "toxicity"}
    here, there = (json.loads((tmp_path / n / "timing.json").read_text()) for n in ("local", "out"))
    assert set(there["passes"]) == set(here["passes"]) == set(ALL)
    assert set(there["steps"]) == set(here["steps"])
    build(recipe, tmp_path / "out", executor="slurm", workers=2, say=lines.append)
    assert "nothing to do" in lines[-1] and not (tmp_path / "out" / "work").exists()


def test_jobs_that_slurm_has_in_its_queue_are_not_submitted_again(tmp_path, monkeypatch):
    values = everything(tmp_path) | {"slurm": {"partition": "cpu"}}
    recipe = recipe_of(tmp_path, **values)
    play, queue, jobs = tmp_path / "bin", tmp_path / "queue", tmp_path / "jobs"
    play.mkdir()
    program(play, "sbatch", f"#!/bin/sh\necho x >> {jobs}\necho job number $(wc -l < {jobs})\n")
    program(play, "squeue", f"#!/bin/sh\ncat {queue}\n")
    monkeypatch.setenv("PATH", f"{play}:{os.environ['PATH']}")

    def submitted() -> tuple[int, list[str]]:
        lines: list[str] = []
        before = len(jobs.read_text().split()) if jobs.exists() else 0
        build(recipe, tmp_path / "out", executor="slurm", workers=2, say=lines.append)
        return len(jobs.read_text().split()) - before, lines

    queue.write_text("")
    count, _ = submitted()
    assert count == 2 * len(ALL)  # each pass, and its statistics
    queue.write_text("3\n999\n5\n5\n")  # another's job, and two tasks of one
    count, lines = submitted()
    assert count == 0 and lines[0].startswith("corpus: 0 of ") and lines[-1] == "  scancel 3 5"
    assert max(map(len, lines)) <= 80
    queue.write_text("999\n")
    count, lines = submitted()
    assert count == 2 * len(ALL) and "passes are queued" in lines[-1]
    program(play, "squeue", "#!/bin/sh\nexit 1\n")
    assert submitted()[0] == 2 * len(ALL)


def test_slurm_needs_to_be_told_where_and_to_be_there(tmp_path):
    recipe = recipe_of(tmp_path, **everything(tmp_path))
    with pytest.raises(RecipeError, match="needs a slurm section"):
        build(recipe, tmp_path / "out", executor="slurm", say=lambda line: None)
    recipe = recipe.model_copy(update={"slurm": SlurmConfig(partition="cpu")})
    with pytest.raises(RecipeError, match="there is no sbatch here"):
        build(recipe, tmp_path / "out", executor="slurm", say=lambda line: None)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_s_tasks_write_the_same_bytes(tmp_path):
    recipe = recipe_of(tmp_path, **everything(tmp_path))
    built(recipe, tmp_path / "local")
    build(recipe, tmp_path / "out", executor="ray", workers=2, say=lambda line: None)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "local")


def test_ray_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    recipe = recipe_of(tmp_path, **everything(tmp_path))
    with pytest.raises(RecipeError, match="pip install ray"):
        build(recipe, tmp_path / "out", executor="ray", say=lambda line: None)
