"""PPO learns what it is paid for, stays where it is held, and resumes to the very same bits."""

import json

import numpy as np
import pytest
import torch
from tiny_ppo import PROMPTS, count_a, run, text_sequences
from toys import END, tiny_model, tiny_tokenizer

from preceptor.config import LoRAConfig
from preceptor.data.dataset import Judgement
from preceptor.errors import TrainingError
from preceptor.generation import Generated, row_uniforms, sample
from preceptor.models.forward import response_logprobs
from preceptor.models.load import load_policy, save_model, with_lora
from preceptor.models.tokenizers import decode, encode_prompt
from preceptor.stages import ppo as stage
from preceptor.stages.experience import forward_all
from preceptor.training.folder import StageFolder


class Later:
    """A judge to whom every text is better than the one before: the last look is the best."""

    def __init__(self):
        self.count = 0

    def __call__(self, prompt, text):
        self.count += 1
        return Judgement(float(self.count), {})


def test_it_learns_what_is_paid_for(tmp_path):
    lines, *_ = run(tmp_path, num_iterations=40, batch_size=32, kl_coef=0.001, eval_every=40)
    first = np.mean([line["ppo/score_mean"] for line in lines[:5]])
    last = np.mean([line["ppo/score_mean"] for line in lines[-5:]])
    assert last > first + 0.2
    done = json.loads((tmp_path / "ppo" / "done.json").read_text())
    assert done["summary"]["valid_judge_score"] > done["summary"]["start_valid_judge_score"]


def test_a_huge_kl_coef_holds_the_policy_at_the_reference(tmp_path):
    free, *_ = run(tmp_path / "free", num_iterations=20, batch_size=32, kl_coef=0.0)
    held, *_ = run(tmp_path / "held", num_iterations=20, batch_size=32, kl_coef=100.0)
    assert abs(held[-1]["ppo/ref_kl"]) < 0.1 * free[-1]["ppo/ref_kl"]


def test_the_first_iteration_starts_at_kl_zero_and_ratio_one(tmp_path):
    lines, *_ = run(tmp_path, num_minibatches=1)
    assert lines[0]["ppo/ref_kl"] == 0.0
    for line in lines:
        assert line["ppo/first_ratio_gap"] < 1e-5
        assert line["ppo/clip_fraction"] == 0.0  # one minibatch, one epoch: all at ratio 1
        assert abs(line["ppo/update_kl"]) < 1e-9
        assert line["ppo/sampling_gap"] < 1e-4


def test_the_reference_never_moves(tmp_path):
    before = {k: v.clone() for k, v in tiny_model("llama").state_dict().items()}
    *_, ref = run(tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in ref.state_dict().items())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dropout_of_the_config_is_off_through_four_epochs_of_two_minibatches(tmp_path, seed):
    """GPT-2 as people have it, dropout 0.1: the ratio begins at 1 all the same, the score rises."""
    save_model(tiny_model("gpt2", seed), tiny_tokenizer(), tmp_path / "gpt2")
    start, _ = load_policy(tmp_path / "gpt2")
    assert start.config.resid_pdrop == 0.1
    lines, *_ = run(
        tmp_path, start=start, seed=seed, num_iterations=10, batch_size=32, num_epochs=4
    )
    for line in lines:
        assert line["ppo/first_ratio_gap"] < 1e-5
        assert np.isfinite(list(line.values())).all()
    first, last = (np.mean([x["ppo/score_mean"] for x in part]) for part in (lines[:3], lines[-3:]))
    assert last > first


def test_advantages_are_whitened_over_the_whole_batch_and_returns_are_not(tmp_path, monkeypatch):
    original, seen = stage.policy_losses, []

    def spy(policy, experience, *rest):
        seen.append(experience)
        return original(policy, experience, *rest)

    monkeypatch.setattr(stage, "policy_losses", spy)
    run(tmp_path, num_iterations=1, microbatch_tokens=16)
    assert len(seen) == 2 and seen[0] is seen[1]  # two minibatches of one batch
    advantages = seen[0].advantages[seen[0].mask]
    assert float(advantages.mean()) == pytest.approx(0, abs=1e-6)
    assert float(advantages.std(correction=0)) == pytest.approx(1, abs=1e-5)
    raw = (seen[0].returns - seen[0].old_values)[seen[0].mask]  # advantages are these, whitened
    torch.testing.assert_close((raw - raw.mean()) / raw.std(correction=0), advantages)


def test_with_nothing_to_gain_not_a_bit_moves(tmp_path, monkeypatch):
    """Advantages of zero: an entropy bonus, or a decay not asked for, would move the weights."""
    monkeypatch.setattr(stage, "whiten", lambda advantages, mask: torch.zeros_like(advantages))
    run(tmp_path, judge=Later(), kl_coef=0.1, num_epochs=2)
    before, after = (load_policy(tmp_path / x)[0].state_dict() for x in ("start", "ppo/model"))
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_what_is_kept_is_the_moving_average(tmp_path):
    """After one step at a decay of 0.75: three quarters of the start and one of the new weights."""
    options = {"num_iterations": 1, "num_minibatches": 1, "eval_every": 1}
    run(tmp_path / "average", judge=Later(), ema_decay=0.75, **options)
    run(tmp_path / "last", judge=Later(), ema_decay=0.0, **options)
    start, last, average = (
        load_policy(tmp_path / name)[0].state_dict()
        for name in ("last/start", "last/ppo/model", "average/ppo/model")
    )
    assert any(not torch.equal(start[name], last[name]) for name in start)
    for name, value in average.items():
        torch.testing.assert_close(value, 0.75 * start[name] + 0.25 * last[name])


def test_the_gradient_is_linear_in_ptx_coef_and_takes_one_step_a_minibatch(tmp_path, monkeypatch):
    original, gradients, steps = stage.take_step, [], []

    def spy(optimizer, *, where, **options):
        steps.append(where)
        if where.endswith("policy") and len(steps) == 2:  # the value model's comes first
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            gradients.append(torch.cat([p.grad.flatten() for p in parameters]))
        return original(optimizer, where=where, **options)

    monkeypatch.setattr(stage, "take_step", spy)
    for coefficient in (0.0, 1.0, 3.0):
        steps.clear()
        options = {"ptx_coef": coefficient, "num_iterations": 1, "pretraining": text_sequences()}
        run(tmp_path / str(coefficient), **options)
        assert len(steps) == 4  # two minibatches, two models
    plain, once, thrice = gradients
    assert float((once - plain).norm()) > 0.1
    torch.testing.assert_close(thrice - plain, 3 * (once - plain), atol=1e-5, rtol=1e-4)


def test_adapters_on_a_model_that_adapters_made_refer_to_it_and_not_to_its_base(tmp_path):
    """Fine-tuned by LoRA, saved merged: with PPO's own adapters off that is what is left."""
    tuned = with_lora(tiny_model("llama"), LoRAConfig(rank=2), seed=0)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    save_model(tuned, tiny_tokenizer(), tmp_path / "sft")
    start, _ = load_policy(tmp_path / "sft")
    options = {"start": start, "lora": {"rank": 4}, "num_iterations": 2, "learning_rate": 3e-2}
    own, metrics, *_ = run(tmp_path / "own", reference=False, **options)
    assert own[0]["ppo/ref_kl"] == 0.0
    _, same, *_ = run(tmp_path / "two", **options)  # with the fine-tuned model as its reference
    assert metrics == same


def test_without_ptx_text_changes_no_bit(tmp_path):
    _, _, with_text, _ = run(tmp_path / "a", pretraining=text_sequences(), ptx_coef=0.0)
    _, _, without, _ = run(tmp_path / "b", pretraining=None, ptx_coef=0.0)
    assert with_text == without


def test_ptx_holds_the_pretraining_loss(tmp_path):
    """The same run with and without the second term of eq. 2, on text with a pattern in it."""
    text = np.tile(np.array([6, 7, 8, 9, 6, 7, 8, 9], dtype=np.int32), (40, 1))
    options = {"num_iterations": 25, "batch_size": 16, "pretraining": text, "kl_coef": 0.0}
    plain, *_ = run(tmp_path / "plain", ptx_coef=0.0, **options)
    ptx, *_ = run(tmp_path / "ptx", ptx_coef=1.0, **options)
    key = "ppo/valid_pretraining_loss"
    last = [[line[key] for line in lines if key in line][-1] for lines in (plain, ptx)]
    assert last[1] < last[0] - 0.5


def test_microbatches_change_memory_not_results(tmp_path):
    whole, *_ = run(tmp_path / "a", microbatch_tokens=100_000)
    split, *_ = run(tmp_path / "b", microbatch_tokens=16)
    for a, b in zip(whole[:2], split[:2], strict=True):
        for key in a:
            # Some are large (explained variance is near -300 here): fp32 is relative.
            assert a[key] == pytest.approx(b[key], rel=1e-3, abs=2e-4), key


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapters_off_are_the_reference_to_the_bit(tmp_path, precision):
    """With adapters no second copy of the weights is needed: KL and result stay the same."""
    options = {"lora": {"rank": 4}, "learning_rate": 3e-2, "precision": precision}
    two, metrics, weights, _ = run(tmp_path / "two", **options)
    _, own_metrics, own_weights, _ = run(tmp_path / "own", reference=False, **options)
    assert two[-1]["ppo/ref_kl"] > 0.01  # the policy has left its reference
    assert own_metrics == metrics
    assert own_weights == weights


def off_by(gaps):
    """A sampler whose log-probabilities are wrong by a gap of its own at each call."""
    given = iter(gaps)

    def careless(*args, **options):
        drawn = sample(*args, **options)
        gap = next(given, 0.0)
        shifted = [[x - gap for x in row] for row in drawn.logprobs]
        return Generated(drawn.responses, shifted, drawn.finished)

    return careless


def test_log_probabilities_of_sampling_are_kept_where_they_only_round_otherwise(
    tmp_path, monkeypatch
):
    trained, *_ = run(tmp_path / "a", num_iterations=3)
    passes = []

    def counted(*args):
        passes.append(args[0])
        return forward_all(*args)

    monkeypatch.setattr(stage, "forward_all", counted)
    kept, *_ = run(tmp_path / "b", num_iterations=3, old_logprobs="sampling")
    assert [line["ppo/sampling_kept"] for line in kept] == [1.0, 1.0, 1.0]
    # The first iteration holds both together; from then on there is the reference's pass alone.
    assert passes.count(response_logprobs) == 2 + 1 + 1
    assert all(line["ppo/sampling_gap"] < 1e-5 for line in kept)
    for a, b in zip(trained, kept, strict=True):
        assert a["ppo/score_mean"] == pytest.approx(b["ppo/score_mean"], abs=1e-4)
        assert a["ppo/policy_loss"] == pytest.approx(b["ppo/policy_loss"], rel=1e-2, abs=1e-4)


def test_small_errors_of_the_sampler_are_told_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "sample", off_by([0.0, 2e-5]))  # the first call is a look
    near, *_ = run(tmp_path / "n", num_iterations=2, old_logprobs="sampling")
    assert near[0]["ppo/sampling_kept"] == 1.0
    assert near[0]["ppo/first_ratio_gap"] == pytest.approx(2e-5, rel=0.3)


def test_a_sampler_that_is_wrong_from_the_start_is_not_believed(tmp_path, monkeypatch, capsys):
    trained, *_ = run(tmp_path / "a", num_iterations=2)
    monkeypatch.setattr(stage, "sample", off_by([0.0, 1e-3, 1e-3]))
    dropped, *_ = run(tmp_path / "c", num_iterations=2, old_logprobs="sampling")
    assert dropped[0]["ppo/sampling_kept"] == 0.0
    assert dropped[0]["ppo/sampling_gap"] == pytest.approx(1e-3, rel=0.1)
    assert [row["ppo/policy_loss"] for row in dropped] == [r["ppo/policy_loss"] for r in trained]
    assert "ppo step 1: sampling is off by 0.001 nats" in capsys.readouterr().err


def test_a_sampler_that_goes_wrong_later_is_not_believed_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stage, "sample", off_by([0.0, 0.0, 2e-4]))
    options = {"num_iterations": 4, "eval_every": 100, "old_logprobs": "sampling"}
    found, *_ = run(tmp_path / "l", **options)
    assert [row["ppo/sampling_kept"] for row in found] == [1.0, 1.0, 0.0, 0.0]
    assert found[1]["ppo/sampling_gap"] == pytest.approx(2e-4, rel=0.1)
    assert "ppo step 2: sampling is off" in capsys.readouterr().err


def test_that_it_is_not_believed_outlives_a_kill(tmp_path, monkeypatch):
    options = {"num_iterations": 4, "eval_every": 100, "old_logprobs": "sampling"}
    options |= {"checkpoint_every": 2}
    monkeypatch.setattr(stage, "sample", off_by([0.0, 0.0, 2e-4]))
    _, metrics, weights, _ = run(tmp_path / "whole", **options)
    log = StageFolder.log

    def dies(self, step, *args):
        if step == 3:
            raise Killed
        return log(self, step, *args)

    monkeypatch.setattr(stage, "sample", off_by([0.0, 0.0, 2e-4]))
    monkeypatch.setattr(StageFolder, "log", dies)
    with pytest.raises(Killed):
        run(tmp_path / "killed", **options)
    monkeypatch.setattr(StageFolder, "log", log)
    monkeypatch.setattr(stage, "sample", sample)
    _, again_metrics, again_weights, _ = run(tmp_path / "killed", **options)
    assert again_metrics == metrics
    assert again_weights == weights


def test_a_sampler_that_is_off_by_more_than_rounding_can_be_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "sample", off_by([0.0, 0.0, 1e-2]))
    with pytest.raises(TrainingError, match="ppo step 2: first_ratio_gap 0.01"):
        run(tmp_path, num_iterations=4, eval_every=100, old_logprobs="sampling")


def test_while_the_policy_waits_for_its_value_model_the_sampler_is_checked_too(tmp_path):
    options = {"num_iterations": 3, "value_warmup_iterations": 2, "old_logprobs": "sampling"}
    found, *_ = run(tmp_path, **options)
    assert all(row["ppo/sampling_gap"] < 1e-5 for row in found)


def test_an_adaptive_coefficient_brings_the_kl_to_its_target(tmp_path):
    """From far too weak: the free run goes on for nats, the adaptive one stops at the target."""
    options = {"num_iterations": 80, "batch_size": 32, "kl_coef": 0.001, "eval_every": 80}
    free, *_ = run(tmp_path / "free", **options)
    aimed, *_ = run(tmp_path / "aimed", kl_target=0.5, kl_horizon=64, **options)
    last = [np.mean([line["ppo/ref_kl"] for line in lines[-20:]]) for lines in (free, aimed)]
    assert last[0] > 1.0
    assert last[1] == pytest.approx(0.5, abs=0.2)
    assert aimed[0]["ppo/kl_coef"] == 0.001 < aimed[-1]["ppo/kl_coef"]


def test_scaled_scores_are_paid_in_units_of_their_spread(tmp_path):
    """A reward model a thousand times as loud changes nothing but what is said of its scores."""

    def loud(*args):
        return 1000 * count_a(*args)

    quiet, *_ = run(tmp_path / "quiet", scale_scores=True, num_iterations=3)
    shouted, *_ = run(tmp_path / "loud", scale_scores=True, score=loud, num_iterations=3)
    for a, b in zip(quiet, shouted, strict=True):
        assert b["ppo/score_mean"] == pytest.approx(1000 * a["ppo/score_mean"], rel=1e-4)
        assert b["ppo/score_scale"] == pytest.approx(1000 * a["ppo/score_scale"], rel=1e-4)
        assert b["ppo/rewards_mean"] == pytest.approx(a["ppo/rewards_mean"], rel=1e-3)


@pytest.mark.parametrize("value", [-1.0, 7.0])
def test_scores_that_are_all_alike_are_not_blown_up(tmp_path, value):
    """A first batch in which nothing ended has a spread of 0, and nothing to be divided by."""

    def constant(prompts, prompt_ids, response_ids, texts):
        return torch.full((len(texts),), value)

    lines, *_ = run(tmp_path, scale_scores=True, score=constant, num_iterations=2, kl_coef=0.0)
    assert [line["ppo/rewards_mean"] for line in lines] == [value, value]


def test_the_coefficient_stands_still_while_the_policy_does(tmp_path):
    lines, *_ = run(tmp_path, value_warmup_iterations=3, kl_target=6.0, kl_horizon=8, kl_coef=0.1)
    coefficients = [line["ppo/kl_coef"] for line in lines]
    assert coefficients[:4] == [0.1] * 4  # the fourth is the first that moves anything
    assert coefficients[4] < 0.1


def test_without_adapters_there_must_be_a_reference(tmp_path):
    with pytest.raises(ValueError, match="give a ref_policy"):
        run(tmp_path, reference=False)


def test_clipped_scores_pay_no_more_than_the_clip(tmp_path):
    lines, *_ = run(tmp_path, score_clip=0.01, kl_coef=0.0, num_iterations=2)
    assert all(line["ppo/rewards_mean"] <= 0.01 for line in lines)
    assert max(line["ppo/score_mean"] for line in lines) > 0.01  # the metric is of the scores


class Killed(Exception):
    pass


@pytest.mark.parametrize("instant", ["sample", "gae", "take_step", "log", "save"])
@pytest.mark.parametrize("times", [1, 2])  # of the few calls that every instant has
def test_a_run_killed_anywhere_ends_with_the_same_bits(tmp_path, monkeypatch, instant, times):
    options = {"pretraining": text_sequences(), "ptx_coef": 0.5, "checkpoint_every": 2}
    options |= {"kl_target": 0.1, "kl_horizon": 16, "scale_scores": True}  # these have memories too
    _, metrics, weights, _ = run(tmp_path / "whole", **options)

    owner = StageFolder if instant in ("log", "save") else stage
    original, calls = getattr(owner, instant), []

    def dies(*args, **kwargs):
        calls.append(1)
        if len(calls) == times:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, instant, dies)
    with pytest.raises(Killed):
        run(tmp_path / "killed", **options)
    monkeypatch.setattr(owner, instant, original)
    _, again_metrics, again_weights, _ = run(tmp_path / "killed", **options)
    assert again_metrics == metrics
    assert again_weights == weights


def test_a_killed_run_with_adapters_and_no_reference_ends_with_the_same_bits(tmp_path, monkeypatch):
    options = {"lora": {"rank": 4}, "reference": False, "old_logprobs": "sampling"}
    options |= {"checkpoint_every": 2, "learning_rate": 3e-2}
    _, metrics, weights, _ = run(tmp_path / "whole", **options)
    original, calls = StageFolder.log, []

    def dies(self, *args):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(StageFolder, "log", dies)
    with pytest.raises(Killed):
        run(tmp_path / "killed", **options)
    monkeypatch.setattr(StageFolder, "log", original)
    _, again_metrics, again_weights, _ = run(tmp_path / "killed", **options)
    assert again_metrics == metrics
    assert again_weights == weights


def test_a_non_finite_score_stops_before_the_step(tmp_path):
    def broken(prompts, prompt_ids, response_ids, texts):
        return torch.full((len(texts),), float("nan"))

    with pytest.raises(TrainingError, match="ppo step 1: 8 of 8 scores are not finite"):
        run(tmp_path, score=broken)
    assert not (tmp_path / "ppo" / "done.json").exists()


def test_a_response_without_an_end_gets_the_fixed_score(tmp_path):
    seen = []

    def spy(scores, *rest, **options):
        seen.append(scores.clone())
        return original(scores, *rest, **options)

    original = stage.shape_rewards
    stage.shape_rewards = spy
    try:
        lines, *_ = run(tmp_path, missing_eos_score=-3.0, num_iterations=1)
    finally:
        stage.shape_rewards = original
    truncated = lines[0]["ppo/truncated_fraction"]
    assert truncated > 0
    assert float((seen[0] == -3.0).float().mean()) == pytest.approx(truncated)


def test_the_policy_s_schedule_begins_when_it_begins_to_learn(tmp_path):
    lines, *_ = run(
        tmp_path,
        num_iterations=8,
        value_warmup_iterations=2,
        warmup_fraction=0.5,
        schedule="constant",
    )
    rates = [line["ppo/learning_rate"] for line in lines]
    # Six iterations of its own, three of them warm-up from a tenth of the peak.
    assert rates[2] == pytest.approx(0.1 * 3e-3)
    assert rates[2] < rates[3] < rates[4] < rates[5] == pytest.approx(3e-3)


def test_the_best_look_is_kept_not_the_last(tmp_path):
    """A judge that likes the start best: the model kept is the one PPO began with."""

    def disappointed(prompt, text):
        score = 1.0 - text.split().count("a") / 8
        return Judgement(score, {"task": score})

    run(tmp_path, judge=disappointed, num_iterations=20, batch_size=32, kl_coef=0.0)
    summary = json.loads((tmp_path / "ppo" / "done.json").read_text())["summary"]
    judged = [entry["ppo/valid_judge_score"] for entry in summary["looks"]]
    assert summary["valid_judge_score"] == max(judged)
    assert summary["chosen_step"] < 20
    # And it is in the folder: the saved model says again what was judged best.
    model, tokenizer = load_policy(tmp_path / "ppo" / "model")
    uniforms = row_uniforms(0, "ppo/look", [(i,) for i in range(4)], 8)
    ids = [encode_prompt(tokenizer, p.prompt) for p in PROMPTS[:4]]
    said = sample(model, ids, uniforms, stop_ids=[END]).responses
    scores = [disappointed(None, decode(tokenizer, response)).score for response in said]
    assert np.mean(scores) == pytest.approx(summary["valid_judge_score"])
    alarms = (tmp_path / "ppo" / "alarms.jsonl").read_text()
    assert "held_out_fall" in alarms


def test_patience_stops_early(tmp_path):
    def disappointed(prompt, text):
        score = 1.0 - text.split().count("a") / 8
        return Judgement(score, {"task": score})

    lines, *_ = run(
        tmp_path, judge=disappointed, num_iterations=40, batch_size=32, kl_coef=0.0, patience=2
    )
    assert lines[-1]["step"] < 40


def test_every_response_ends_with_its_end_token_in_the_mask(tmp_path):
    lines, *_ = run(tmp_path, num_iterations=1)
    samples = [
        json.loads(line) for line in (tmp_path / "ppo" / "samples.jsonl").read_text().splitlines()
    ]
    assert {s["kind"] for s in samples} == {"best", "worst"}
    assert "<end>" not in samples[0]["response"]
    assert lines[0]["ppo/length_mean"] <= 8 and END == 1
