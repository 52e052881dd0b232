"""Whole runs whose labels come through the app: the same models, or people who are waited for."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.data.records import Ranking, read_records
from preceptor.pipeline import run_pipeline
from preceptor.recipes import load_recipe

GOLDEN = str(Path(__file__).parent / "golden" / "recipe.yaml")
STEPS = ["data", "pretrain", "sft", "sample", "rank", "reward"]
SMALL = [
    "data.corpus_tokens=4000",
    "data.num_demonstrations=30",
    "data.num_reward_prompts=12",
    "data.num_reward_valid_prompts=6",
    "data.num_ppo_prompts=8",
    "data.num_valid_prompts=4",
    "data.num_test_prompts=6",
]


@pytest.mark.slow
def test_a_run_through_the_app_trains_the_very_same_reward_model(tmp_path: Path):
    for labels in ("simulated", "store"):
        recipe = load_recipe(GOLDEN, [f"labels={labels}", "rank.num_labelers=9"])
        run_pipeline(recipe, tmp_path / labels, only=STEPS)
    direct, stored = tmp_path / "simulated", tmp_path / "store"
    for name in ("demonstrations-train", "demonstrations-valid", "responses-train"):
        file = f"data/{name}.jsonl"
        assert (direct / file).read_bytes() == (stored / file).read_bytes()
    for part in ("train", "valid"):
        file = f"data/rankings-{part}.jsonl"
        one, other = (
            [replace(r, labeler="") for r in read_records(folder / file, Ranking)]
            for folder in (direct, stored)
        )
        assert one == other
    for file in ("reward/metrics.jsonl", "reward/model/model.safetensors"):
        assert (direct / file).read_bytes() == (stored / file).read_bytes()


def run(out: Path, *more: str) -> tuple[int, str]:
    keys = [word for key in SMALL for word in ("--set", key)]
    result = CliRunner().invoke(app, ["run", "miniature", "--out", str(out), *keys, *more])
    return result.exit_code, result.stderr


def test_with_people_a_run_ends_where_their_labels_are_missing(tmp_path: Path):
    status, said = run(tmp_path / "run", "--labels", "people", "--store", str(tmp_path / "t.db"))
    assert status == 2
    assert "error: 33 of 33 labels are missing:\n  30 in miniature demonstrations train " in said
    assert "The same run goes on when the labels are there." in said
    assert (tmp_path / "t.db").is_file() and not (tmp_path / "run" / "pretrain").exists()
    # The recipe that is kept says it, so that the run can be continued from it.
    kept = load_recipe(str(tmp_path / "run" / "recipe.yaml"))
    assert (kept.labels, kept.label_store) == ("people", str(tmp_path / "t.db"))


def test_what_cannot_be_a_store_is_told_before_anything_is_made(tmp_path: Path):
    (tmp_path / "notes.db").write_text("somebody's notes, and no database")
    status, said = run(
        tmp_path / "run", "--labels", "people", "--store", str(tmp_path / "notes.db")
    )
    assert status == 2 and "not a database" in said
    assert not (tmp_path / "run").exists()
    status, said = run(tmp_path / "run", "--store", "x.db")
    assert status == 2 and "label_store is for labels store or people" in said
    assert json.dumps(said).count("Traceback") == 0
