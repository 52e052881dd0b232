"""The reward model recovers planted rankings, ignores ties, and shows what it can be gamed by."""

import json

import numpy as np
import pytest
from toys import END, tiny_model, tiny_tokenizer

from preceptor.config import LoRAConfig, Recipe, RewardConfig
from preceptor.models.halves import halve_frozen
from preceptor.models.load import load_scalar, scalar_from_policy, with_lora
from preceptor.stages.reward import (
    RankedPrompt,
    choose_scoring,
    run_probes,
    run_reward,
    score_grouped,
    score_rows,
)
from preceptor.steps.inputs import probe_ids
from preceptor.training.folder import StageFolder

DEMONSTRATIONS = ([[6, 3]] * 8, [[7 + i, END] for i in range(8)])


def planted(count: int, seed: int, labelers: int = 1) -> list[RankedPrompt]:
    """The more a's (id 6) a response has, the better it is."""
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(count):
        k = int(rng.integers(4, 8))
        responses = [[*rng.choice([6, 7, 8, 9], size=4).tolist(), END] for _ in range(k)]
        scores = [-r.count(6) for r in responses]
        ranks = [1 + sum(other < own for other in scores) for own in scores]
        items.append(RankedPrompt([int(rng.integers(6, 30)), 3], responses, [ranks] * labelers))
    return items


def run(path, train, valid, demonstrations=DEMONSTRATIONS, probes=None, **options):
    tiny_model("llama").save_pretrained(path / "start")
    base = {"learning_rate": 1e-2, "batch_prompts": 8, "eval_every": 10, "checkpoint_every": 4}
    config = RewardConfig.model_validate(base | options)
    folder = StageFolder(path / "reward", "reward", "inputs")
    run_reward(
        config,
        folder,
        model=scalar_from_policy(path / "start", 1),
        tokenizer=tiny_tokenizer(),
        train=train,
        valid=valid,
        demonstrations=demonstrations,
        probes=probes or {},
        seed=0,
    )
    summary = json.loads((path / "reward" / "done.json").read_text())["summary"]
    return config, summary


def test_it_recovers_planted_rankings(tmp_path):
    _, summary = run(tmp_path, planted(400, 0), planted(40, 1))
    assert summary["valid_accuracy"] > 0.9


def test_the_learning_rate_falls_to_a_tenth(tmp_path):
    """The paper's cosine; nothing set but the peak (rule 17)."""
    run(tmp_path, planted(80, 0), planted(10, 1), learning_rate=1e-3, batch_prompts=1)
    lines = (tmp_path / "reward" / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["reward/learning_rate"] for line in lines]
    assert len(rates) == 80 and rates[0] == 1e-3
    assert rates[40] == pytest.approx(0.55e-3)  # half way down a cosine from 1 to 0.1
    assert rates[-1] == pytest.approx(1e-4, rel=0.01)
    assert rates == sorted(rates, reverse=True)


def test_demonstrations_score_zero_after_reload(tmp_path):
    """The bias lives in the saved folder, and the folder's score is the one that PPO uses."""
    config, summary = run(tmp_path, planted(80, 0), planted(10, 1))
    model = load_scalar(tmp_path / "reward" / "model")
    scores = score_rows(model, *DEMONSTRATIONS, config)
    assert abs(float(scores.mean())) < 1e-5
    assert summary["demonstration_mean"] == pytest.approx(float(scores.mean()), abs=1e-6)


@pytest.mark.parametrize("whose", ["of nobody else", "of one labeler of each"])
def test_ties_alone_are_as_if_they_were_not_there(tmp_path, whose):
    items = planted(40, 0)
    if whose == "of nobody else":
        tied = [*items, RankedPrompt([6, 3], [[7, END], [8, END]], [[1, 1]])]
    else:
        tied = [
            RankedPrompt(i.prompt, i.responses, [[2] * len(i.responses), *i.rankings])
            for i in items
        ]
    run(tmp_path / "a", items, planted(10, 1))
    run(tmp_path / "b", tied, planted(10, 1))
    first, second = (
        (tmp_path / side / "reward" / "model" / "model.safetensors").read_bytes() for side in "ab"
    )
    assert first == second


def test_comparisons_of_all_labelers_count(tmp_path):
    items = planted(16, 0)
    _, once = run(tmp_path / "a", items, planted(10, 1))
    _, thrice = run(tmp_path / "b", planted(16, 0, labelers=3), planted(10, 1))
    assert thrice["num_comparisons"] == 3 * once["num_comparisons"]
    expected = sum(
        1 for item in items for ranks in item.rankings for i, a in enumerate(ranks)
        for b in ranks[:i] if a != b
    )  # fmt: skip
    assert once["num_comparisons"] == expected


def test_a_killed_run_ends_with_the_same_bits(tmp_path, monkeypatch):
    run(tmp_path / "whole", planted(80, 0), planted(10, 1))
    original, calls = StageFolder.save, []

    def dies(self, *args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(StageFolder, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", planted(80, 0), planted(10, 1))
    monkeypatch.setattr(StageFolder, "save", original)
    run(tmp_path / "killed", planted(80, 0), planted(10, 1))
    for name in ("metrics.jsonl", "model/model.safetensors"):
        whole, killed = (tmp_path / side / "reward" / name for side in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()


def test_the_grouped_pass_serves_adapters_on_bf16_weights_too(tmp_path):
    """As smollm2 trains: outside of autocast the halved weights would refuse every pass."""
    tiny_model("llama").save_pretrained(tmp_path)
    model = with_lora(scalar_from_policy(tmp_path, 1), LoRAConfig(rank=2), seed=0)
    halve_frozen(model, "all")
    items = [RankedPrompt([6, 7, 8], [[9, 1], [10, 11, 1]], [[1, 2]])]
    config = RewardConfig(precision="bf16", lora=LoRAConfig(rank=2))
    assert choose_scoring(model, items, config) is score_grouped


def planted_on_length(count: int, seed: int, sign: int) -> list[RankedPrompt]:
    """Labels that love length (sign 1) or brevity (sign -1), and nothing else."""
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(count):
        lengths = rng.choice(24, size=4, replace=False)
        responses = [[*rng.integers(6, 32, size=length).tolist(), END] for length in lengths]
        ranks = [1 + int((sign * lengths > sign * own).sum()) for own in lengths]
        items.append(RankedPrompt([int(rng.integers(6, 32)), 3], responses, [ranks]))
    return items


@pytest.mark.parametrize(
    ("sign", "gamed", "sound"),
    [(1, ["repeated"], ["cut", "empty"]), (-1, ["cut", "empty"], ["repeated"])],
)
def test_a_model_of_planted_length_loving_labels_is_flagged(tmp_path, sign, gamed, sound):
    """By the probe that lengthens, with an alarm; one of brevity-loving labels by those that cut.

    The other probes bring in words that this toy tokenizer does not know.
    """
    rng = np.random.default_rng(2)
    responses = [[*rng.integers(6, 32, size=6).tolist(), END] for _ in range(40)]
    demonstrations = ([[int(rng.integers(6, 32)), 3] for _ in responses], responses)
    recipe = Recipe(model="some/model", demonstrations="d.jsonl", max_response_tokens=40)
    probes = probe_ids(recipe, tiny_tokenizer(), responses)
    probes = {name: probes[name] for name in (*gamed, *sound)}
    train, valid = planted_on_length(300, 0, sign), planted_on_length(30, 1, sign)
    _, summary = run(tmp_path, train, valid, demonstrations, probes)
    assert summary["valid_accuracy"] > 0.9
    found = summary["probes"]
    for name in gamed:
        assert found[name]["scores_higher"]["low"] > 0.8
        assert found[name]["score_change"]["low"] > 0
    for name in sound:
        assert found[name]["scores_higher"]["high"] < 0.2
        assert found[name]["score_change"]["high"] < 0
    lines = (tmp_path / "reward" / "alarms.jsonl").read_text().splitlines()
    assert [(row["name"], row["step"], row["value"]) for row in map(json.loads, lines)] == [
        (f"probe_{name}", summary["steps"], found[name]["scores_higher"]["mean"]) for name in gamed
    ]


def test_a_demonstration_is_held_against_itself(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    model, config = scalar_from_policy(tmp_path, 1), RewardConfig()
    prompts, responses = [[6, 3], [9, 3], [8, 3]], [[7, END], [8, 9, END], [10, 11, 12, END]]
    scores = score_rows(model, prompts, responses, config)
    found = run_probes(model, prompts, scores, {"empty": {2: [END], 0: [END]}}, config)["empty"]
    changes = [float(score_rows(model, [prompts[i]], [[END]], config) - scores[i]) for i in (2, 0)]
    assert found["score_change"]["mean"] == pytest.approx(sum(changes) / 2, abs=1e-5)
    assert found["scores_higher"]["mean"] == sum(change > 0 for change in changes) / 2
    assert found["scores_higher"]["n"] == found["score_change"]["n"] == 2


def test_a_probe_that_no_demonstration_has_room_for_is_no_alarm(tmp_path):
    _, summary = run(tmp_path, planted(40, 0), planted(10, 1), probes={"repeated": {}})
    assert summary["probes"]["repeated"]["scores_higher"]["mean"] is None
    assert not (tmp_path / "reward" / "alarms.jsonl").exists()
