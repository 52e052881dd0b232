"""Best-of-n from the command: what it prints, what it leaves, and what it asks for first."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from preceptor.cli import app
from preceptor.pipeline import run_pipeline
from preceptor.recipes import load_recipe

TINY = Path(__file__).parents[1] / "tiny.yaml"


def command(out, *options):
    return CliRunner().invoke(app, ["sample", str(TINY), "--out", str(out), *options])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("best") / "run"
    stages = ["data", "pretrain", "sft", "sample", "rank", "reward"]
    run_pipeline(load_recipe(str(TINY), ["ppo=null", "ppo_ptx=null"]), out, only=stages)
    return out


def test_a_line_for_each_n_with_its_kl_and_the_score_rises(finished):
    told = command(finished, "--best-of", "6")
    assert told.exit_code == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0].split()[:3] == ["n", "KL,", "nats"]
    rows = json.loads((finished / "evaluation" / "best_of_n-sft.json").read_text())["rows"]
    assert [row["n"] for row in rows] == [1, 2, 4, 6]
    assert [round(row["kl"], 2) for row in rows] == [0.0, 0.19, 0.64, 0.96]
    scores = [row["score"]["mean"] for row in rows]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    assert len(lines) == 6 and all(len(line) <= 80 for line in lines[:5])
    assert lines[-1].endswith("evaluation/best_of_n-sft.json")


def test_the_same_seed_says_the_same(finished):
    assert command(finished, "--best-of", "3").stdout == command(finished, "--best-of", "3").stdout


def test_what_is_not_there_is_named(finished, tmp_path):
    told = command(finished, "--best-of", "2", "--model", "ppo")
    assert told.exit_code == 2 and "step ppo is not done with this recipe" in told.stderr
    told = command(tmp_path / "nowhere", "--best-of", "2")
    assert told.exit_code == 2 and "step data is not done" in told.stderr
    assert told.stdout == "" and not (tmp_path / "nowhere").exists()
    assert command(finished, "--best-of", "0").exit_code == 2
    told = command(finished, "--model", "ppo")
    assert told.exit_code == 2 and "--model ppo goes with --best-of" in told.stderr


def test_models_of_another_recipe_are_not_measured(finished):
    told = command(finished, "--best-of", "2", "--set", "sft.num_epochs=1")
    assert told.exit_code == 2 and "step sft is not done with this recipe" in told.stderr
