"""kill -9 at any instant of any step: the next start ends with the very same bytes."""

import json
import random
import signal
from collections.abc import Mapping
from pathlib import Path

import dying
import pytest

TINY = Path(__file__).parent / "tiny.yaml"
OPTIONS = {  # everything that has a memory
    "ppo_start": "{}",
    "ppo.missing_eos_score": "null",
    "ppo.scale_scores": "true",
    "ppo.kl_target": "0.05",
    "ppo.kl_horizon": "32",
    "ppo.checkpoint_every": "2",
    "ppo.num_epochs": "2",
    "ppo_ptx.lora": "{rank: 2}",
    "ppo_ptx.old_logprobs": "sampling",
}
STEPS = ["data", "pretrain", "sft", "ppo_start", "sample", "rank", "reward", "ppo", "ppo_ptx"]
STEPS += ["evaluate"]
LENGTHS = {"pretrain": 16, "sft": 8, "reward": 15, "ppo_start": 8, "ppo": 4, "ppo_ptx": 4}
CLOCK = {"timing.json", "timing.jsonl", "done.json", "results.json", "report.html"}
"""Files that also say how long something took."""

PINNED = [
    ("data", "write_records", 3),
    ("pretrain", "take_step", 1),  # the first step
    ("pretrain", "write_json", 3),  # mid-write: the second checkpoint has weights, no state.json
    ("sft", "take_step", 4),  # the last step of the first epoch
    ("sft", "log", 3),  # the first step of the second epoch, resumed at the edge between them
    ("sft", "write_done", 1),  # after the last step
    ("sft", "keep_best", 1),  # the best weights are whole, and no checkpoint knows of them yet
    ("ppo_start", "save_model", 1),
    ("sample", "write_records", 2),
    ("rank", "write_records", 2),
    ("reward", "_sync", 4),  # mid-write: the checkpoint is whole and not yet in its place
    ("reward", "rmtree", 4),  # two checkpoints lie side by side
    ("ppo", "draw", 20),  # mid-rollout of the first look
    ("ppo", "draw", 80),  # mid-rollout of the second iteration
    ("ppo", "take_step", 6),  # the middle of the second iteration, and of its epochs
    ("ppo", "keep_best", 1),
    ("ppo", "log_samples", 3),  # after its metrics are written, before its checkpoint
    ("ppo", "take_step", 3),  # the second resume in a row from the same checkpoint
    ("ppo_ptx", "sequence_losses", 3),  # PPO's gradient is there, that of the text is not
    ("ppo_ptx", "held_out_losses", 1),  # mid-look, when the average stands in the policy's place
    ("evaluate", "draw", 50),
    ("evaluate", "write_json", 1),
    ("report", "write_text", 1),
]


def start(
    out: Path,
    instant: dying.Instant | None = None,
    options: Mapping[str, str] = OPTIONS,
    *,
    counted: bool = False,
) -> int:
    """One start of the command with these options; its exit status, negative for a signal."""
    overrides = [f"--set={key}={value}" for key, value in options.items()]
    arguments = ["run", str(TINY), "--out", str(out), *overrides]
    return dying.start(arguments, out.with_suffix(".log"), instant, counted=counted)


def killed(out: Path, instant: dying.Instant, options: Mapping[str, str] = OPTIONS) -> None:
    status = start(out, instant, options)
    assert status == -signal.SIGKILL, f"{instant}: {status}\n{out.with_suffix('.log').read_text()}"


def files(out: Path) -> dict[str, bytes | None]:
    """All that a run leaves; of what also tells the time, only that it is there."""
    paths = [path for path in out.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(out)): None if path.name in CLOCK else path.read_bytes()
        for path in paths
    }


def assert_same(out: Path, whole: Path) -> None:
    found, expected = files(out), files(whole)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    results = [json.loads((x / "evaluation" / "results.json").read_text()) for x in (out, whole)]
    for key in ("timing", "peak_memory_bytes"):
        assert all(result.pop(key) for result in results)
    assert results[0] == results[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One unbroken run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert start(out) == 0, out.with_suffix(".log").read_text()
    return out


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many calls each step of an unbroken run makes."""
    out = tmp_path_factory.mktemp("counted") / "run"
    assert start(out, counted=True) == 0, out.with_suffix(".log").read_text()
    found: dict[str, int] = json.loads(out.with_name("calls.json").read_text())
    return found


def test_success_means_that_every_step_was_taken(whole):
    for stage, length in LENGTHS.items():
        lines = (whole / stage / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, length + 1))
    lines = [json.loads(x) for x in (whole / "ppo" / "metrics.jsonl").read_text().splitlines()]
    for key in ("ppo/kl_coef", "ppo/score_scale"):  # there was something to remember
        assert len({line[key] for line in lines}) > 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_twice_at_random_in_every_step_it_ends_with_the_same_bytes(
    whole, calls, tmp_path, seed
):
    assert list(calls) == STEPS
    rng = random.Random(seed)
    for step in STEPS:
        first = rng.randint(1, calls[step])
        killed(tmp_path / "run", (step, None, first))
        # What is left takes at least so many calls again.
        killed(tmp_path / "run", (step, None, rng.randint(1, max(1, calls[step] - first))))
    assert start(tmp_path / "run") == 0
    assert_same(tmp_path / "run", whole)


def test_killed_where_others_lose_work_it_ends_with_the_same_bytes(whole, tmp_path):
    for instant in PINNED:
        killed(tmp_path / "run", instant)
    assert start(tmp_path / "run") == 0
    assert_same(tmp_path / "run", whole)


@pytest.mark.slow
def test_killed_in_its_rounds_it_ends_with_the_same_bytes(tmp_path):
    options = {"rounds": "2"}
    assert start(tmp_path / "whole", options=options) == 0
    for instant in (
        ("rounds/1/sample", "write_records", 2),
        ("rounds/1/reward", "take_step", 5),
        ("rounds/1/ppo_ptx", "take_step", 6),
        ("sample", "write_records", 2),
        ("rank", "write_records", 1),
        ("reward", "take_step", 9),
        ("ppo_ptx", "draw", 80),
        ("evaluate", "draw", 200),
    ):
        killed(tmp_path / "run", instant, options)
    assert start(tmp_path / "run", options=options) == 0
    assert_same(tmp_path / "run", tmp_path / "whole")
