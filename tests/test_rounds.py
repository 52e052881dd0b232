"""Rounds of collection: who ranks whose responses, what learns from what, what the page shows."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import dying
import pytest

from preceptor.chat import models_of
from preceptor.config import Recipe
from preceptor.errors import DataError, RecipeError
from preceptor.pipeline import needed_by, reads, run_pipeline
from preceptor.recipes import load_recipe
from preceptor.recipes.summary import stages_of

TINY = Path(__file__).parent / "tiny.yaml"


def recipe_of(*overrides: str) -> Recipe:
    return load_recipe(str(TINY), overrides)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of two rounds."""
    out = tmp_path_factory.mktemp("twice") / "run"
    log = out.with_suffix(".log")
    command = ["run", str(TINY), "--set", "rounds=2", "--out", str(out)]
    assert dying.start(command, log) == 0, log.read_text()
    return out


def test_the_policies_of_all_rounds_can_be_talked_to(twice: Path):
    models = models_of(twice, load_recipe(str(twice / "recipe.yaml")))
    assert list(models) == ["gpt", "sft", "round-1", "ppo", "ppo_ptx"]
    assert models["round-1"] == twice / "rounds" / "1" / "ppo_ptx" / "model"


def homes(out: Path) -> list[Path]:
    return [out / "rounds" / "1", out]


def test_one_round_has_no_steps_of_rounds():
    assert stages_of(recipe_of()) == [
        *("data", "pretrain", "sft", "sample", "rank", "reward"),
        *("ppo", "ppo_ptx", "evaluate", "report"),
    ]


def test_every_earlier_round_samples_ranks_and_trains_before_the_next():
    earlier = [f"rounds/{n}/{k}" for n in (1, 2) for k in ("sample", "rank", "reward", "ppo_ptx")]
    steps = stages_of(recipe_of("rounds=3"))
    assert steps[3:11] == earlier
    assert steps[11:14] == ["sample", "rank", "reward"]


def test_without_ptx_the_policy_of_ppo_is_ranked():
    assert "rounds/1/ppo" in stages_of(recipe_of("rounds=2", "ppo_ptx=null"))


def test_a_round_samples_the_policy_before_it_and_learns_from_all_rankings():
    recipe = recipe_of("rounds=3")
    assert "sft" in reads(recipe, "rounds/1/sample")
    assert "rounds/1/ppo_ptx" in reads(recipe, "rounds/2/sample")
    assert "rounds/2/ppo_ptx" in reads(recipe, "sample")
    ranks = ["rounds/1/rank", "rounds/2/rank", "rank"]
    assert [name for name in reads(recipe, "rounds/2/reward") if "rank" in name] == ranks[:2]
    assert [name for name in reads(recipe, "reward") if "rank" in name] == ranks
    # PPO starts from the SFT model again, not from the policy of the round before.
    assert not [name for name in reads(recipe, "ppo_ptx") if "ppo" in name]


def test_the_last_policy_needs_every_round():
    needed = needed_by(recipe_of("rounds=2"), ["ppo_ptx"])
    assert {"rounds/1/ppo_ptx", "rounds/1/rank", "rank", "reward", "sft"} <= set(needed)
    assert "ppo" not in needed


@pytest.mark.parametrize("part", ["train", "valid"])
def test_rounds_share_out_the_prompts(twice, part):
    asked = [
        json.dumps(row["prompt"]) for row in rows_of(twice / f"data/prompts-reward-{part}.jsonl")
    ]
    ranked = [
        [json.dumps(row["prompt"]) for row in rows_of(home / f"data/responses-{part}.jsonl")]
        for home in homes(twice)
    ]
    assert sorted(ranked[0] + ranked[1]) == sorted(asked)
    assert abs(len(ranked[0]) - len(ranked[1])) <= 1


def test_each_round_ranks_the_policy_so_far(twice):
    sources = [
        {
            source
            for row in rows_of(home / "data/rankings-train.jsonl")
            for source in row["meta"]["sources"]
        }
        for home in homes(twice)
    ]
    assert sources == [{"sft"}, {"ppo_ptx, round 1"}]


def test_each_reward_model_learns_from_all_rankings_so_far(twice):
    pairs, so_far = [], 0
    for home in homes(twice):
        so_far += sum(
            a != b
            for row in rows_of(home / "data/rankings-train.jsonl")
            for a, b in combinations(row["ranks"], 2)
        )
        pairs.append(so_far)
    summaries = [json.loads((home / "reward/done.json").read_text()) for home in homes(twice)]
    assert [summary["summary"]["num_comparisons"] for summary in summaries] == pairs


def test_every_round_starts_from_the_sft_model_again(twice):
    """The same weights, prompts and draws say the same, whatever reward model is listening."""
    looks = [
        json.loads((home / "ppo_ptx/done.json").read_text())["summary"]["looks"][0]
        for home in homes(twice)
    ]
    for key in ("ppo/valid_pretraining_loss", "ppo/valid_judge_score", "ppo/valid_length"):
        assert looks[0][key] == looks[1][key]
    first, last = (home / "ppo_ptx/model/model.safetensors" for home in homes(twice))
    assert first.read_bytes() != last.read_bytes()


def test_more_rounds_than_prompts_are_refused(tmp_path):
    with pytest.raises(DataError, match="16 prompts for rounds: 17.*fewer rounds"):
        run_pipeline(recipe_of("rounds=17"), tmp_path / "run", only=["data"])


def test_the_results_compare_the_rounds_on_the_same_pairs(twice):
    results = json.loads((twice / "evaluation/results.json").read_text())
    first, last = results["rounds"]["1"], results["rounds"]["2"]
    assert first["accuracy_on_labels"]["n"] == last["accuracy_on_labels"]["n"]
    assert set(first["by_source"]) == {"sft", "ppo_ptx, round 1"}
    # The last round is the run's own policy and reward model.
    assert last["gold_score"] == results["gold_score"]["ppo_ptx"]
    assert last["win_rate_vs_sft"] == results["win_rate"]["ppo_ptx_vs_sft"]
    assert last["accuracy_on_labels"] == results["reward_model"]["accuracy_on_labels"]


def test_the_report_shows_the_rounds(twice):
    page = (twice / "report.html").read_text()
    assert "Rankings were collected 2 times" in page
    assert "Round 1: Reward model" in page


def test_a_second_run_does_nothing_again(twice, capsys):
    run_pipeline(recipe_of("rounds=2"), twice)
    said = capsys.readouterr().err
    skipped = [line.split()[0] for line in said.splitlines() if line.endswith("is done, skipped")]
    assert skipped == stages_of(recipe_of("rounds=2"))[:-1]


def test_rounds_that_nobody_could_rank_are_refused(tmp_path):
    rankings = tmp_path / "rankings.jsonl"
    rankings.write_text("")
    with pytest.raises(RecipeError, match=r"labelers cannot be asked.*rounds: 1"):
        load_recipe("smollm2", [f"rankings={rankings}", "rounds=2"])
    with pytest.raises(RecipeError, match="no ppo or ppo_ptx"):
        recipe_of("rounds=2", "ppo=null", "ppo_ptx=null")


def test_rounds_below_one_are_refused():
    with pytest.raises(RecipeError, match="rounds"):
        recipe_of("rounds=0")
