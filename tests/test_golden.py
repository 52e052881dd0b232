"""Twenty recorded steps of every stage: a change that is not meant to alter numbers keeps them.

On the machine that recorded them they come again to the last digit; another processor rounds
otherwise, and the tolerance is for that alone. After a change that is meant to alter numbers,
record them anew and say in the change why:  python tests/test_golden.py
"""

import json
import math
import tempfile
from pathlib import Path

import pytest
import torch

from preceptor.pipeline import run_pipeline
from preceptor.recipes import load_recipe

GOLDEN = Path(__file__).parent / "golden"
STAGES = ("pretrain", "sft", "reward", "ppo_start", "ppo", "ppo_ptx")


def run_all(out: Path) -> dict[str, list[dict[str, float]]]:
    """The metrics of all stages, rounded to what can be compared."""
    threads = torch.get_num_threads()
    try:
        run_pipeline(load_recipe(str(GOLDEN / "recipe.yaml")), out, only=["data", *before_ppo()])
    finally:
        torch.set_num_threads(threads)
    return {stage: read(out / stage / "metrics.jsonl") for stage in STAGES}


def before_ppo() -> list[str]:
    return ["pretrain", "sft", "sample", "rank", "reward", "ppo_start", "ppo", "ppo_ptx"]


def read(path: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: float(f"{value:.8g}") for key, value in line.items()} for line in lines]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("golden") / "run")


@pytest.mark.parametrize("stage", STAGES)
def test_twenty_steps_are_those_recorded(found, stage):
    recorded = read(GOLDEN / f"{stage}.jsonl")
    assert len(recorded) == 20
    for new, old in zip(found[stage], recorded, strict=True):
        assert new.keys() == old.keys()
        for key, value in old.items():
            assert math.isclose(new[key], value, rel_tol=1e-4, abs_tol=1e-4), (
                f"{stage} step {old['step']:.0f}: {key} is {new[key]}, recorded {value}"
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for stage, lines in run_all(Path(folder) / "run").items():
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (GOLDEN / f"{stage}.jsonl").write_text(text)
            print(f"recorded {stage}: {len(lines)} steps")
