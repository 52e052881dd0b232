"""PPO and PPO-ptx against the reward model (InstructGPT section 3.5, eq. 2, and appendix C.4).

    maximize  E[ score - kl_coef * log(policy / ref_policy) ] + ptx_coef * E[ log policy(text) ]

A bandit: a prompt comes, the policy responds, the response is scored, the episode ends. With
`ptx_coef: 0` nothing of the second term is computed, and this is plain PPO.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import PPOConfig
from preceptor.data.dataset import Judge
from preceptor.data.records import Prompt
from preceptor.data.shards import PackedText
from preceptor.errors import TrainingError
from preceptor.functional import (
    Moments,
    adapt_kl_coef,
    add_to_moments,
    gae,
    scale_scores,
    shape_rewards,
    whiten,
)
from preceptor.generation import row_uniforms, sample
from preceptor.models.forward import (
    Sequences,
    held_out_losses,
    response_logprobs,
    response_values,
)
from preceptor.models.load import save_model
from preceptor.models.lora import adapters_off
from preceptor.models.precision import precision, ratio_tolerance, sampling_tolerance
from preceptor.models.tokenizers import decode
from preceptor.randomness import batch_indices
from preceptor.stages.experience import (
    Experience,
    forward_all,
    forward_groups,
    minibatch_order,
    policy_losses,
    response_mask,
    token_table,
    value_losses,
)
from preceptor.stages.ppo_metrics import console_line, explained_variance, extremes, summarize
from preceptor.stages.pretrain import next_text, sequence_losses
from preceptor.training.alarms import overoptimization_alarm, ppo_alarms, ratio_alarm
from preceptor.training.folder import StageFolder
from preceptor.training.optimization import (
    accumulate,
    load_trainable,
    load_training,
    make_optimizer,
    scheduled_rate,
    take_step,
    trainable_state,
    trainable_weights,
    training_tensors,
    update_average,
)
from preceptor.training.progress import Progress, say

WRONG = 4
"""So many times its tolerance the sampler can be off by no rounding; the run stops."""

Score = Callable[[Sequence[Prompt], Sequence[list[int]], list[list[int]], list[str]], Tensor]
"""(prompts, prompts as ids, responses as ids, responses as texts) -> scores [B]."""


@dataclass(frozen=True)
class HeldOut:
    """What the looks at held-out data need."""

    prompts: Sequence[Prompt]
    prompt_ids: Sequence[list[int]]
    judge: Judge
    sequences: Sequences | None


def run_ppo(
    config: PPOConfig,
    folder: StageFolder,
    *,
    policy: PreTrainedModel,
    ref_policy: PreTrainedModel | None,
    value_model: PreTrainedModel,
    score: Score,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    prompt_ids: Sequence[list[int]],
    pretraining: PackedText | None,
    held_out: HeldOut,
    max_response_tokens: int,
    seed: int,
) -> None:
    """Train the policy; the moving average that the held-out judge liked best is kept.

    Without a `ref_policy` the reference is the policy with its adapters off.
    """
    name = folder.stage
    policy_optimizer = make_optimizer(policy, config)
    value_optimizer = make_optimizer(value_model, config, config.value_learning_rate)
    # What is looked at, chosen and kept: the moving average, or where there is none the policy.
    average = trainable_state(policy) if config.ema_decay else None
    start, best, first = 0, 0, None  # best: the look that the held-out judge liked best
    kl_coef, moments = config.kl_coef, Moments()
    keep_sampled = config.old_logprobs == "sampling"  # until the sampler turns out too imprecise
    looks: list[dict[str, float]] = []
    if checkpoint := folder.resume():
        start = checkpoint.step
        load_training("policy", policy, policy_optimizer, checkpoint)
        load_training("value", value_model, value_optimizer, checkpoint)
        best = checkpoint.values["best"]
        average = checkpoint.group("average") if config.ema_decay else None
        looks, first = checkpoint.values["looks"], checkpoint.values["first"]
        kl_coef, moments = checkpoint.values["kl_coef"], Moments(**checkpoint.values["moments"])
        keep_sampled = checkpoint.values["keep_sampled"]
    else:
        looks.append(
            look(config, policy, average, tokenizer, held_out, score, seed, 0, max_response_tokens)
        )
        folder.keep_best(0, average or trainable_weights(policy))
    eos = int(tokenizer.eos_token_id)
    progress = Progress(name, config.num_iterations, start)

    for step in range(start, config.num_iterations):
        began = time.monotonic()
        where = f"{name} step {step + 1}"
        # 1. Sample. Prompts are reused in fresh shuffles; the policy's own distribution, T as set.
        picks = batch_indices(len(prompts), config.batch_size, step, seed=seed, purpose="ppo")
        asked = [prompt_ids[i] for i in picks]
        uniforms = row_uniforms(
            seed, "ppo/sample", [(step, row) for row in range(len(picks))], max_response_tokens
        )
        with precision(config.precision):
            rollout = sample(
                policy,
                asked,
                uniforms,
                stop_ids=[eos],
                temperature=config.temperature,
                spare_memory=config.spare_memory,
            )
        sample_seconds = time.monotonic() - began

        # 2. Score each whole response. One that did not end gets a fixed low score instead.
        texts = [decode(tokenizer, response) for response in rollout.responses]
        scores = score([prompts[i] for i in picks], asked, rollout.responses, texts)
        refuse_bad_scores(scores, where)
        if config.missing_eos_score is not None:
            finished = torch.tensor(rollout.finished)
            scores = torch.where(finished, scores, torch.tensor(config.missing_eos_score))
        moments = add_to_moments(moments, scores)
        scale = moments.std if config.scale_scores else None
        paid = scale_scores(scores, scale=scale, clip=config.score_clip)

        # 3. Old log-probabilities and values, before any weight moves, by the training forward
        #    (or the sampler's own: then only the first iteration has both, to hold them together).
        #    They are computed in the very groups of the first pass over the batch: other shapes
        #    round otherwise, and the first ratio would be 1 only nearly.
        order = minibatch_order(config, seed, step, epoch=0)
        groups = forward_groups(asked, rollout.responses, order, config.microbatch_tokens)
        temperature = config.temperature
        mask = response_mask(rollout.responses)
        old_logprobs = token_table(rollout.logprobs, mask)
        sampling_gap = None
        update_policy = step >= config.value_warmup_iterations
        if step == 0 or not keep_sampled or not update_policy:
            trained_logprobs = forward_all(
                response_logprobs, policy, asked, rollout.responses, groups, config, temperature
            )
            sampling_gap = float((old_logprobs - trained_logprobs).abs().max())
            keep_sampled = keep_sampled and sampler_agrees(sampling_gap, config, where)
            old_logprobs = old_logprobs if keep_sampled else trained_logprobs
        with nullcontext() if ref_policy is not None else adapters_off(policy):
            ref_logprobs = forward_all(
                response_logprobs,
                policy if ref_policy is None else ref_policy,
                asked,
                rollout.responses,
                groups,
                config,
                temperature,
            )
        old_values = forward_all(
            response_values, value_model, asked, rollout.responses, groups, config
        )
        if step == 0:
            refuse_moved_reference(trained_logprobs, ref_logprobs, mask, config)
        are_sampled = keep_sampled

        # 4. Rewards: the KL penalty on every token, the score on the last; then advantages.
        rewards = shape_rewards(paid, old_logprobs, ref_logprobs, mask, kl_coef=kl_coef)
        advantages, returns = gae(
            rewards, old_values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        if config.whiten_advantages:
            advantages = whiten(advantages, mask)
        experience = Experience(
            asked, rollout.responses, mask, old_logprobs, old_values, advantages, returns
        )

        # 5. Improve policy and value, minibatch by minibatch; text and RL share one step.
        update_began = time.monotonic()
        own = max(0, step - config.value_warmup_iterations)  # its schedule begins when it learns
        own_steps = config.num_iterations - config.value_warmup_iterations
        rate = scheduled_rate(config, own, own_steps, config.learning_rate)
        value_rate = scheduled_rate(config, step, config.num_iterations, config.value_learning_rate)
        history: list[dict[str, float]] = []
        for epoch in range(config.num_epochs):
            minibatches = minibatch_order(config, seed, step, epoch)
            for number, rows in enumerate(minibatches):
                update = (step * config.num_epochs + epoch) * config.num_minibatches + number
                stats: dict[str, float] = {}
                accumulate(
                    value_losses(value_model, experience, rows, config, stats), f"{where}, value"
                )
                stats["value_grad_norm"] = take_step(
                    value_optimizer,
                    learning_rate=value_rate,
                    max_grad_norm=config.max_grad_norm,
                    where=f"{where}, value model",
                )
                if update_policy:
                    accumulate(
                        policy_losses(policy, experience, rows, config, stats), f"{where}, policy"
                    )
                    if not history and are_sampled:
                        sampling_gap = max(ratio_gap(stats), sampling_gap or 0.0)
                        keep_sampled = sampler_agrees(sampling_gap, config, where)
                        refuse_bad_ratio(stats, WRONG * sampling_tolerance(config.precision), where)
                    elif not history:
                        refuse_bad_ratio(stats, ratio_tolerance(config.precision), where)
                    if config.ptx_coef and pretraining is not None:  # eq. 2, the second term
                        count = max(1, round(len(rows) * config.ptx_ratio))
                        text_rows = next_text(pretraining, count, update, seed=seed, purpose="ptx")
                        losses = sequence_losses(
                            policy,
                            text_rows,
                            config.microbatch_tokens,
                            config.precision,
                            weight=config.ptx_coef,
                        )
                        stats["ptx_loss"] = accumulate(losses, f"{where}, ptx") / config.ptx_coef
                    stats["grad_norm"] = take_step(
                        policy_optimizer,
                        learning_rate=rate,
                        max_grad_norm=config.max_grad_norm,
                        where=f"{where}, policy",
                    )
                    if average is not None:
                        update_average(average, policy, config.ema_decay)
                history.append(stats)
        update_seconds = time.monotonic() - update_began

        # 6. Say what happened.
        done = step + 1
        metrics = summarize(scores, old_logprobs, ref_logprobs, rewards, rollout, mask, history)
        metrics |= {
            "ppo/explained_variance": explained_variance(old_values, returns, mask),
            "ppo/kl_coef": kl_coef,
            "ppo/learning_rate": rate,
        }
        if sampling_gap is not None:
            metrics["ppo/sampling_gap"] = sampling_gap
        if config.old_logprobs == "sampling":
            metrics["ppo/sampling_kept"] = float(are_sampled)
        if config.scale_scores:
            metrics["ppo/score_scale"] = moments.std
        if config.kl_target is not None and update_policy:  # the next iteration's
            kl_coef = adapt_kl_coef(
                kl_coef,
                metrics["ppo/ref_kl"],
                target=config.kl_target,
                num_episodes=config.batch_size,
                horizon=config.kl_horizon,
            )
        first = first or metrics
        alarms = ppo_alarms(metrics, first)
        is_look = done % config.eval_every == 0 or done == config.num_iterations
        if is_look:
            looks.append(
                look(
                    config,
                    policy,
                    average,
                    tokenizer,
                    held_out,
                    score,
                    seed,
                    done,
                    max_response_tokens,
                )
            )
            metrics |= looks[-1]
            if looks[-1]["ppo/valid_judge_score"] > max(
                earlier["ppo/valid_judge_score"] for earlier in looks[:-1]
            ):
                best = done
                folder.keep_best(done, average or trainable_weights(policy))
            alarms += overoptimization_alarm(
                [entry["ppo/valid_score"] for entry in looks],
                [entry["ppo/valid_judge_score"] for entry in looks],
            )
        tokens = sum(len(response) for response in rollout.responses)
        seconds = time.monotonic() - began
        folder.log(
            done,
            metrics,
            {
                "seconds": seconds,
                "sample_seconds": sample_seconds,
                "update_seconds": update_seconds,
                "tokens_per_second": tokens / seconds,
            },
        )
        folder.log_alarms(done, alarms)
        folder.log_samples(
            done, extremes(scores, old_logprobs, ref_logprobs, asked, texts, tokenizer)
        )
        progress.step(done, console_line(metrics, tokens / seconds), always=is_look)

        # 7. Make it durable; stop when the held-out judge has not been pleased for too long.
        if is_look and out_of_patience(looks, config.patience):
            break
        if done % config.checkpoint_every == 0 and done < config.num_iterations:
            tensors = training_tensors("policy", policy, policy_optimizer)
            tensors |= training_tensors("value", value_model, value_optimizer)
            tensors |= {f"average/{key}": value for key, value in (average or {}).items()}
            values = {"looks": looks, "first": first, "kl_coef": kl_coef, "best": best}
            values |= {"keep_sampled": keep_sampled, "moments": asdict(moments)}
            folder.save(done, tensors, values, best=best)

    save_model(policy, tokenizer, folder.path / "model", folder.best(best))
    chosen = max(looks, key=lambda entry: entry["ppo/valid_judge_score"])
    folder.finish(
        {
            "steps": folder.metrics()[-1]["step"],
            "chosen_step": int(chosen["ppo/look"]),
            "valid_judge_score": chosen["ppo/valid_judge_score"],
            "start_valid_judge_score": looks[0]["ppo/valid_judge_score"],
            "looks": looks,
        }
    )


def refuse_bad_scores(scores: Tensor, where: str) -> None:
    """A score that is no number would become a gradient that is none."""
    bad = int((~scores.isfinite()).sum())
    if bad:
        raise TrainingError(
            f"{where}: {bad} of {len(scores)} scores are not finite. Stopped before the optimizer "
            "step; the last checkpoint is good. Usual cause: the reward model has diverged."
        )


def refuse_moved_reference(
    old_logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, config: PPOConfig
) -> None:
    """At step 0 policy and reference are the same model: KL 0, or something is wired wrongly."""
    gap = float(((old_logprobs - ref_logprobs) * mask).abs().max())
    if gap > ratio_tolerance(config.precision):
        raise TrainingError(
            f"ppo step 0: policy and reference differ by {gap:.3g} nats on a token before any "
            "update, the KL must be 0. The policy must start from the very model it refers to."
        )


def ratio_gap(stats: dict[str, float]) -> float:
    """How far from 1 the ratios of a minibatch reach, which is the gap in nats as long as it is
    small; told beside its other figures.
    """
    stats["first_ratio_gap"] = max(stats["ratio_max"] - 1, 1 - stats["ratio_min"])
    return stats["first_ratio_gap"]


def sampler_agrees(gap: float, config: PPOConfig, where: str) -> bool:
    """Whether the sampler's log-probabilities may stand for the training forward's."""
    agrees = gap <= sampling_tolerance(config.precision)
    if not agrees:
        say(f"{where}: sampling is off by {gap:.2g} nats; old log-probabilities are computed again")
    return agrees


def refuse_bad_ratio(stats: dict[str, float], tolerance: float, where: str) -> None:
    """On the first minibatch new and old log-probabilities are of the same weights: ratio 1."""
    alarms = ratio_alarm(ratio_gap(stats), tolerance)
    if alarms:
        raise TrainingError(f"{where}: {alarms[0].describe()} Stopped before the optimizer step.")


@torch.no_grad()
def look(
    config: PPOConfig,
    policy: PreTrainedModel,
    average: dict[str, Tensor] | None,
    tokenizer: PreTrainedTokenizerBase,
    held_out: HeldOut,
    score: Score,
    seed: int,
    step: int,
    max_response_tokens: int,
) -> dict[str, float]:
    """Measure the moving average, if there is one, else the policy, on validation prompts.

    InstructGPT chose its models by people, not by reward (appendix E.9); here the held-out judge
    stands for them. The same uniform numbers are used at every look.
    """
    if average is not None:
        current = trainable_state(policy)
        load_trainable(policy, average)
    uniforms = row_uniforms(
        seed, "ppo/look", [(i,) for i in range(len(held_out.prompt_ids))], max_response_tokens
    )
    with precision(config.precision):
        generated = sample(
            policy,
            held_out.prompt_ids,
            uniforms,
            stop_ids=[int(tokenizer.eos_token_id)],
            temperature=config.temperature,
            spare_memory=config.spare_memory,
        )
    texts = [decode(tokenizer, response) for response in generated.responses]
    pairs = zip(held_out.prompts, texts, strict=True)
    scores = score(held_out.prompts, held_out.prompt_ids, generated.responses, texts)
    found = {
        "ppo/look": float(step),
        "ppo/valid_judge_score": float(np.mean([held_out.judge(p, t).score for p, t in pairs])),
        "ppo/valid_score": float(scores.mean()),
        "ppo/valid_length": float(np.mean([len(response) for response in generated.responses])),
    }
    if held_out.sequences is not None:
        losses = held_out_losses(policy, held_out.sequences, config.precision)
        found["ppo/valid_pretraining_loss"] = float(losses.mean())
    if average is not None:
        load_trainable(policy, current)
    return found


def out_of_patience(looks: list[dict[str, float]], patience: int | None) -> bool:
    """Whether the last `patience` looks all stayed below an earlier one."""
    judged = [entry["ppo/valid_judge_score"] for entry in looks]
    return patience is not None and len(judged) - 1 - int(np.argmax(judged)) >= patience
