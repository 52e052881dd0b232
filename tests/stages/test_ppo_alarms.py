"""Training that is bad in one way, each time really run: the alarm of that fault is raised.

Gamed reward models are provoked in test_reward.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_ppo import PROMPTS, run
from toys import tiny_model, tiny_tokenizer

from preceptor.config import SFTConfig
from preceptor.data.dataset import Judgement
from preceptor.errors import TrainingError
from preceptor.models.forward import response_logprobs
from preceptor.models.load import load_policy
from preceptor.models.tokenizers import encode_prompt
from preceptor.stages import ppo as stage
from preceptor.stages.sft import run_sft
from preceptor.training.folder import StageFolder


def alarms(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The alarms of a run by name."""
    file = path / "ppo" / "alarms.jsonl"
    found: dict[str, list[dict[str, Any]]] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        row = json.loads(line)
        found.setdefault(row["name"], []).append(row)
    return found


def length(prompts, prompt_ids, response_ids, texts):
    return torch.tensor([len(response) / 8 for response in response_ids])


def shortness(prompts, prompt_ids, response_ids, texts):
    return -length(prompts, prompt_ids, response_ids, texts)


def judge_short(prompt, text):
    score = 1 - len(text.split()) / 16
    return Judgement(score, {"task": score})


def test_a_sound_run_raises_none(tmp_path):
    run(tmp_path, batch_size=32)
    assert alarms(tmp_path) == {}


def test_sampling_at_another_temperature_makes_the_kl_negative(tmp_path, monkeypatch):
    original = stage.sample

    def hot(*arguments, **options):
        return original(*arguments, **options | {"temperature": 30.0})

    monkeypatch.setattr(stage, "sample", hot)
    run(tmp_path, num_iterations=20, batch_size=32, kl_coef=0.0, learning_rate=1e-2)
    assert set(alarms(tmp_path)) >= {"ref_kl"}
    assert alarms(tmp_path)["ref_kl"][0]["value"] < -1.0


def test_responses_that_have_no_room_to_end(tmp_path):
    run(tmp_path, num_iterations=1, batch_size=32, max_response_tokens=1)
    assert alarms(tmp_path)["truncated_fraction"][0]["step"] == 1


def test_a_model_that_was_never_taught_to_end(tmp_path):
    """Fine-tuned with its end token masked away, as a pad that is the end token does it."""
    ids = [encode_prompt(tiny_tokenizer(), prompt.prompt) for prompt in PROMPTS]
    pairs = (ids, [[6 + i] + 7 * [9] for i in range(len(ids))])
    run_sft(
        SFTConfig(num_epochs=40, batch_size=12, learning_rate=1e-2),
        StageFolder(tmp_path / "sft", "sft", "inputs"),
        policy=tiny_model("llama"),
        tokenizer=tiny_tokenizer(),
        train=pairs,
        valid=pairs,
        valid_prompts=ids,
        pretraining=None,
        max_response_tokens=8,
        seed=0,
    )
    run(tmp_path, start=load_policy(tmp_path / "sft" / "model")[0], num_iterations=1, batch_size=32)
    assert alarms(tmp_path)["truncated_fraction"][0]["step"] == 1


def test_a_score_that_likes_silence_ends_in_it(tmp_path):
    run(
        tmp_path,
        score=shortness,
        num_iterations=60,
        batch_size=32,
        kl_coef=0.0,
        learning_rate=2e-2,
    )
    assert alarms(tmp_path)["empty_responses"]


def test_a_policy_that_is_paid_to_run_away_is_told_of_its_distance_and_of_the_judge(tmp_path):
    """Without a KL penalty it says ever more of what pays; the judge wants three at most."""

    def three_at_most(prompt, text):
        count = text.split().count("a")
        score = (count if count <= 3 else 3 - count) / 8
        return Judgement(score, {"task": score})

    options = {"kl_coef": 0.0, "num_iterations": 40, "batch_size": 32, "learning_rate": 1e-2}
    run(tmp_path, judge=three_at_most, **options)
    found = alarms(tmp_path)
    for name in ("held_out_fall", "ref_kl_a_token"):
        assert found[name][0]["step"] < 40  # before the end
    summary = json.loads((tmp_path / "ppo" / "done.json").read_text())["summary"]
    assert summary["chosen_step"] < found["held_out_fall"][0]["step"]


def test_a_score_that_is_always_the_same(tmp_path):
    def dead(prompts, prompt_ids, response_ids, texts):
        return torch.full((len(texts),), 0.3)

    run(tmp_path, num_iterations=2, score=dead)
    assert len(alarms(tmp_path)["score_std"]) == 2


def test_a_high_rate_and_many_passes_clip_most_tokens(tmp_path):
    run(tmp_path, num_iterations=1, batch_size=32, learning_rate=2e-2, num_epochs=8, kl_coef=0.0)
    assert alarms(tmp_path)["clip_fraction"][0]["value"] > 0.5


def test_a_score_that_likes_length_makes_it_run_away(tmp_path):
    options = {"batch_size": 32, "kl_coef": 0.0, "learning_rate": 1e-2, "max_response_tokens": 16}
    run(tmp_path / "short", score=shortness, judge=judge_short, num_iterations=15, **options)
    short, _ = load_policy(tmp_path / "short" / "ppo" / "model")
    assert "length_mean" not in alarms(tmp_path / "short")
    run(tmp_path / "long", start=short, score=length, num_iterations=25, **options)
    found = alarms(tmp_path / "long")["length_mean"][0]
    assert found["value"] > found["threshold"] > 2.0


def test_old_log_probabilities_of_another_pass_stop_the_run(tmp_path, monkeypatch):
    original = stage.forward_all

    def other_pass(function, *arguments, **options):
        found = original(function, *arguments, **options)
        return found * 1.001 if function is response_logprobs else found

    monkeypatch.setattr(stage, "forward_all", other_pass)
    with pytest.raises(TrainingError, match=r"ppo step 1.*ratio"):
        run(tmp_path)
    assert not (tmp_path / "ppo" / "done.json").exists()


@pytest.mark.parametrize("losses", ["policy_losses", "value_losses"])
def test_a_loss_that_is_no_number_stops_before_the_step_and_the_checkpoint_goes_on(
    tmp_path, monkeypatch, losses
):
    """Stopped in step 4 by a NaN; mended, the same folder ends as if nothing had been."""
    _, metrics, weights, _ = run(tmp_path / "sound")
    original = getattr(stage, losses)
    calls = 0

    def broken(*arguments, **options):
        nonlocal calls
        calls += 1
        for loss in original(*arguments, **options):
            yield loss * float("nan") if calls == 7 else loss

    with monkeypatch.context() as planted:
        planted.setattr(stage, losses, broken)
        with pytest.raises(TrainingError, match=r"ppo step 4, \w+: the loss is nan"):
            run(tmp_path / "broken")
    assert not (tmp_path / "broken" / "ppo" / "done.json").exists()
    _, same_metrics, same_weights, _ = run(tmp_path / "broken")
    assert (same_metrics, same_weights) == (metrics, weights)
