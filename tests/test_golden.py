"""Twenty recorded steps of every stage: a change that is not meant to alter numbers keeps them.

On a processor of the kind that recorded them every number comes again. Another one rounds
otherwise: there the stages that sample nothing are compared within 1e-4, and those after the
sampling are not, since one draw that falls to the other side changes everything behind it.

After a change that is meant to alter numbers, record them anew, in a commit that says why:
python tests/test_golden.py
"""

import json
import math
import tempfile
from pathlib import Path

import pytest
import torch

from preceptor.models.kernels import available
from preceptor.pipeline import run_pipeline
from preceptor.recipes import load_recipe

GOLDEN = Path(__file__).parent / "golden"
WITHOUT_SAMPLING = ("pretrain", "sft", "ppo_start")
STAGES = (*WITHOUT_SAMPLING, "reward", "ppo", "ppo_ptx")
STEPS = ["data", "pretrain", "sft", "sample", "rank", "reward", "ppo_start", "ppo", "ppo_ptx"]


def run_all(out: Path) -> dict[str, list[dict[str, float]]]:
    """The metrics of all stages, to eight digits."""
    threads = torch.get_num_threads()
    try:
        run_pipeline(load_recipe(str(GOLDEN / "recipe.yaml")), out, only=STEPS)
    finally:
        torch.set_num_threads(threads)
    return {stage: read(out / stage / "metrics.jsonl") for stage in STAGES}


def read(path: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: float(f"{value:.8g}") for key, value in line.items()} for line in lines]


def processor() -> str:
    """What the rounding depends on: the model of the processor, torch's build, and kernels."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "?")
    kernels = "kernels" if available() else "no kernels"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{model}, {capability}, torch {torch.__version__}, {kernels}"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("golden") / "run")


@pytest.mark.parametrize("stage", STAGES)
def test_twenty_steps_are_those_recorded(found, stage):
    recorded = read(GOLDEN / f"{stage}.jsonl")
    assert len(found[stage]) == len(recorded) == 20
    at_home = processor() == (GOLDEN / "processor.txt").read_text().strip()
    if not at_home and stage not in WITHOUT_SAMPLING:
        return  # the docstring says why
    relative, absolute = (1e-6, 1e-9) if at_home else (1e-4, 1e-6)
    for new, old in zip(found[stage], recorded, strict=True):
        assert new.keys() == old.keys()
        for key, value in old.items():
            assert math.isclose(new[key], value, rel_tol=relative, abs_tol=absolute), (
                f"{stage} step {old['step']:.0f}: {key} is {new[key]}, recorded {value}"
            )


if __name__ == "__main__":
    (GOLDEN / "processor.txt").write_text(processor() + "\n")
    with tempfile.TemporaryDirectory() as folder:
        for stage, lines in run_all(Path(folder) / "run").items():
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (GOLDEN / f"{stage}.jsonl").write_text(text)
            print(f"recorded {stage}: {len(lines)} steps")
