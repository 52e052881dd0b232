"""PPO and PPO-ptx against the reward model (InstructGPT section 3.5, eq. 2, and appendix C.4).

    maximize  E[ score - kl_coef * log(policy / ref_policy) ] + ptx_coef * E[ log policy(text) ]

A bandit: a prompt comes, the policy responds, the response is scored, the episode ends. With
`ptx_coef: 0` nothing of the second term is computed, and this is plain PPO.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import PPOConfig
from preceptor.data.batching import split_by_tokens
from preceptor.data.dataset import Judge
from preceptor.data.records import Prompt
from preceptor.errors import TrainingError
from preceptor.functional import (
    entropy,
    gae,
    kl_k1,
    kl_k3,
    masked_mean,
    policy_loss,
    shape_rewards,
    token_logprobs,
    value_loss,
    whiten,
)
from preceptor.generation import Generated, row_uniforms, sample
from preceptor.models.forward import (
    Sequences,
    held_out_losses,
    make_rows,
    response_logits,
    response_logprobs,
    response_values,
)
from preceptor.models.load import save_model
from preceptor.models.precision import precision, ratio_tolerance
from preceptor.models.tokenizers import decode
from preceptor.randomness import batch_indices, numpy_generator
from preceptor.stages.pretrain import sequence_losses
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
    training_tensors,
    update_average,
)
from preceptor.training.progress import Progress

Score = Callable[[Sequence[Prompt], list[list[int]], list[list[int]], list[str]], Tensor]
"""(prompts, prompts as ids, responses as ids, responses as texts) -> scores [B]."""


@dataclass(frozen=True)
class Experience:
    """One batch of episodes, everything that the update needs; B episodes, T response tokens.

    prompts, responses  B lists of ids each
    mask                [B, T] True on response tokens, the end token included
    old_logprobs        [B, T] nats, by the training forward, before any weight moved
    old_values          [B, T] the value model's estimates, likewise
    advantages, returns [B, T] in the score's unit; advantages may be whitened, returns are not
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    mask: Tensor
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor


@dataclass(frozen=True)
class HeldOut:
    """What the looks at held-out data need."""

    prompts: list[Prompt]
    prompt_ids: list[list[int]]
    judge: Judge
    sequences: Sequences | None


def run_ppo(
    config: PPOConfig,
    folder: StageFolder,
    *,
    policy: PreTrainedModel,
    ref_policy: PreTrainedModel,
    value_model: PreTrainedModel,
    score: Score,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[Prompt],
    prompt_ids: list[list[int]],
    pretraining: Sequences | None,
    held_out: HeldOut,
    max_response_tokens: int,
    seed: int,
) -> None:
    """Train the policy; the moving average that the held-out judge liked best is kept."""
    name = folder.stage
    policy_optimizer = make_optimizer(policy, config)
    value_optimizer = make_optimizer(value_model, config, config.value_learning_rate)
    average = trainable_state(policy)  # the model that is looked at, chosen and kept
    best = trainable_state(policy)
    start, first = 0, None
    looks: list[dict[str, float]] = []
    if checkpoint := folder.resume():
        start = checkpoint.step
        load_training("policy", policy, policy_optimizer, checkpoint)
        load_training("value", value_model, value_optimizer, checkpoint)
        average, best = checkpoint.group("average"), checkpoint.group("best")
        looks, first = checkpoint.values["looks"], checkpoint.values["first"]
    else:
        looks.append(
            look(config, policy, average, tokenizer, held_out, score, seed, 0, max_response_tokens)
        )
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
                policy, asked, uniforms, stop_ids=[eos], temperature=config.temperature
            )
        sample_seconds = time.monotonic() - began

        # 2. Score each whole response. One that did not end gets a fixed low score instead.
        texts = [decode(tokenizer, response) for response in rollout.responses]
        scores = score([prompts[i] for i in picks], asked, rollout.responses, texts)
        if config.missing_eos_score is not None:
            finished = torch.tensor(rollout.finished)
            scores = torch.where(finished, scores, torch.tensor(config.missing_eos_score))

        # 3. Old log-probabilities and values by the training forward, before any weight moves.
        #    They are computed in the very groups of the first pass over the batch: other shapes
        #    round otherwise, and the first ratio would be 1 only nearly.
        order = minibatch_order(config, seed, step, epoch=0)
        groups = forward_groups(asked, rollout.responses, order, config.microbatch_tokens)
        temperature = config.temperature
        old_logprobs = forward_all(
            response_logprobs, policy, asked, rollout.responses, groups, config, temperature
        )
        ref_logprobs = forward_all(
            response_logprobs, ref_policy, asked, rollout.responses, groups, config, temperature
        )
        old_values = forward_all(
            response_values, value_model, asked, rollout.responses, groups, config
        )
        mask = response_mask(rollout.responses)
        if step == 0:
            refuse_moved_reference(old_logprobs, ref_logprobs, mask, config)

        # 4. Rewards: the KL penalty on every token, the score on the last; then advantages.
        rewards = shape_rewards(scores, old_logprobs, ref_logprobs, mask, kl_coef=config.kl_coef)
        advantages, returns = gae(
            rewards, old_values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        if config.whiten_advantages:
            advantages = whiten(advantages, mask)
        experience = Experience(
            asked, rollout.responses, mask, old_logprobs, old_values, advantages, returns
        )

        # 5. Improve policy and value, minibatch by minibatch; text and RL share one step.
        rate = scheduled_rate(config, step, config.num_iterations, config.learning_rate)
        value_rate = scheduled_rate(config, step, config.num_iterations, config.value_learning_rate)
        update_policy = step >= config.value_warmup_iterations
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
                    if not history:
                        refuse_bad_ratio(stats, config, where)
                    if config.ptx_coef and pretraining is not None:  # eq. 2, the second term
                        text_rows = next_text(pretraining, len(rows), update, config, seed)
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
                    if config.ema_decay:
                        update_average(average, policy, config.ema_decay)
                    else:
                        average = trainable_state(policy)
                history.append(stats)

        # 6. Say what happened.
        done = step + 1
        metrics = summarize(scores, old_logprobs, ref_logprobs, rewards, rollout, mask, history)
        metrics |= {
            "ppo/explained_variance": explained_variance(old_values, returns, mask),
            "ppo/kl_coef": config.kl_coef,
            "ppo/learning_rate": rate,
        }
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
                best = {key: value.clone() for key, value in average.items()}
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
            tensors |= {f"average/{key}": value for key, value in average.items()}
            tensors |= {f"best/{key}": value for key, value in best.items()}
            folder.save(done, tensors, {"looks": looks, "first": first})

    save_model(policy, tokenizer, folder.path / "model", best)
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


def minibatch_order(config: PPOConfig, seed: int, step: int, epoch: int) -> list[list[int]]:
    """The episodes of each minibatch of one pass: a fresh shuffle, cut in equal parts."""
    shuffled = numpy_generator(seed, "ppo/minibatch", step, epoch).permutation(config.batch_size)
    order: list[list[int]] = shuffled.reshape(config.num_minibatches, -1).tolist()
    return order


def forward_groups(
    prompts: list[list[int]], responses: list[list[int]], order: list[list[int]], budget: int
) -> list[list[int]]:
    """The microbatches of a whole pass, minibatch by minibatch."""
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    return [
        [rows[i] for i in group]
        for rows in order
        for group in split_by_tokens([lengths[row] for row in rows], budget)
    ]


def response_mask(responses: list[list[int]]) -> Tensor:
    """True on response tokens [B, T]."""
    lengths = torch.tensor([len(response) for response in responses])
    return torch.arange(int(lengths.max())) < lengths[:, None]


def forward_all(
    forward: Callable[..., Tensor],
    model: PreTrainedModel,
    prompts: list[list[int]],
    responses: list[list[int]],
    groups: list[list[int]],
    config: PPOConfig,
    temperature: float | None = None,
) -> Tensor:
    """A per-token quantity [B, T] over the whole batch, without gradients."""
    options = {} if temperature is None else {"temperature": temperature}
    found = torch.zeros(len(prompts), max(len(response) for response in responses))
    with torch.no_grad(), precision(config.precision):
        for group in groups:
            rows = make_rows([prompts[i] for i in group], [responses[i] for i in group])
            part = forward(model, rows, **options)
            found[group, : part.shape[1]] = part
    return found


def microbatches(experience: Experience, rows: list[int], budget: int) -> list[list[int]]:
    """Episodes of a minibatch in groups that fit into memory."""
    return forward_groups(experience.prompts, experience.responses, [rows], budget)


def policy_losses(
    policy: PreTrainedModel,
    experience: Experience,
    rows: list[int],
    config: PPOConfig,
    stats: dict[str, float],
) -> Iterator[Tensor]:
    """Clipped policy losses of microbatches; they sum to the token mean over the minibatch."""
    count = float(experience.mask[rows].sum())
    for group in microbatches(experience, rows, config.microbatch_tokens):
        batch = make_rows(
            [experience.prompts[i] for i in group], [experience.responses[i] for i in group]
        )
        width = batch.tokens.shape[1]
        with precision(config.precision):
            logits = response_logits(policy, batch)
        new_logprobs = token_logprobs(logits, batch.tokens, config.temperature)
        loss, found = policy_loss(
            new_logprobs,
            experience.old_logprobs[group, :width],
            experience.advantages[group, :width],
            batch.response_mask,
            clip_range=config.clip_range,
            denominator=count,
        )
        with torch.no_grad():
            found["entropy"] = masked_mean(entropy(logits), batch.response_mask)
        add_stats(stats, found, float(batch.response_mask.sum()) / count)
        stats["policy_loss"] = stats.get("policy_loss", 0.0) + float(loss.detach())
        yield loss


def value_losses(
    value_model: PreTrainedModel,
    experience: Experience,
    rows: list[int],
    config: PPOConfig,
    stats: dict[str, float],
) -> Iterator[Tensor]:
    """Clipped value losses of microbatches; they sum to the token mean over the minibatch."""
    count = float(experience.mask[rows].sum())
    for group in microbatches(experience, rows, config.microbatch_tokens):
        batch = make_rows(
            [experience.prompts[i] for i in group], [experience.responses[i] for i in group]
        )
        width = batch.tokens.shape[1]
        with precision(config.precision):
            values = response_values(value_model, batch)
        loss, found = value_loss(
            values,
            experience.old_values[group, :width],
            experience.returns[group, :width],
            batch.response_mask,
            clip_range=config.value_clip_range,
            denominator=count,
        )
        clipped = {"value_clip_fraction": found["value_clip_fraction"]}
        add_stats(stats, clipped, float(batch.response_mask.sum()) / count)
        stats["value_loss"] = stats.get("value_loss", 0.0) + float(loss.detach())
        yield loss


def add_stats(stats: dict[str, float], found: dict[str, Tensor], share: float) -> None:
    """Join a microbatch's statistics: extremes as extremes, means by their share of tokens."""
    for key, value in found.items():
        number = float(value)
        if key == "ratio_max":
            stats[key] = max(stats.get(key, number), number)
        elif key == "ratio_min":
            stats[key] = min(stats.get(key, number), number)
        else:
            stats[key] = stats.get(key, 0.0) + share * number


def next_text(
    pretraining: Sequences, num_episodes: int, update: int, config: PPOConfig, seed: int
) -> Tensor:
    """The pretraining sequences [N, L] of one optimizer step: ptx_ratio for each episode."""
    count = max(1, round(num_episodes * config.ptx_ratio))
    rows = batch_indices(len(pretraining), count, update, seed=seed, purpose="ptx")
    return torch.from_numpy(pretraining[rows].astype(np.int64))


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


def refuse_bad_ratio(stats: dict[str, float], config: PPOConfig, where: str) -> None:
    """On the first minibatch new and old log-probabilities are of the same weights: ratio 1."""
    gap = max(stats["ratio_max"] - 1, 1 - stats["ratio_min"])
    stats["first_ratio_gap"] = gap
    alarms = ratio_alarm(gap, ratio_tolerance(config.precision))
    if alarms:
        raise TrainingError(f"{where}: {alarms[0].describe()} Stopped before the optimizer step.")


def summarize(
    scores: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    rewards: Tensor,
    rollout: Generated,
    mask: Tensor,
    history: list[dict[str, float]],
) -> dict[str, float]:
    """One iteration in numbers; docs/metrics.md says what each means."""
    lengths = mask.sum(1).float()
    sampled = torch.zeros_like(old_logprobs)
    for row, values in enumerate(rollout.logprobs):
        sampled[row, : len(values)] = torch.tensor(values)
    metrics = {
        "ppo/score_mean": float(scores.mean()),
        "ppo/score_std": float(scores.std(correction=0)),
        "ppo/ref_kl": float((kl_k1(old_logprobs, ref_logprobs) * mask).sum(1).mean()),
        "ppo/ref_kl_k3": float((kl_k3(old_logprobs, ref_logprobs) * mask).sum(1).mean()),
        "ppo/rewards_mean": float((rewards * mask).sum(1).mean()),
        "ppo/length_mean": float(lengths.mean()),
        "ppo/truncated_fraction": 1 - sum(rollout.finished) / len(rollout.finished),
        "ppo/sampling_gap": float(((sampled - old_logprobs) * mask).abs().max()),
    }
    for key in sorted({key for stats in history for key in stats}):
        values = [stats[key] for stats in history if key in stats]
        pick = {"ratio_max": max, "ratio_min": min, "first_ratio_gap": max}.get(key)
        metrics[f"ppo/{key}"] = pick(values) if pick else sum(values) / len(values)
    metrics.setdefault("ppo/clip_fraction", 0.0)
    return metrics


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Share of the returns' variance that the values foresaw; 1 is perfect, below 0 is harmful."""
    spread = float(returns[mask].var(correction=0))
    left = float((returns - values)[mask].var(correction=0))
    return 1 - left / spread if spread > 0 else 0.0


@torch.no_grad()
def look(
    config: PPOConfig,
    policy: PreTrainedModel,
    average: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    held_out: HeldOut,
    score: Score,
    seed: int,
    step: int,
    max_response_tokens: int,
) -> dict[str, float]:
    """Measure the moving average on validation prompts: judge, reward model, text loss, length.

    InstructGPT chose its models by people, not by reward (appendix E.9); here the held-out judge
    stands for them. The same uniform numbers are used at every look.
    """
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
    load_trainable(policy, current)
    return found


def out_of_patience(looks: list[dict[str, float]], patience: int | None) -> bool:
    """Whether the last `patience` looks all stayed below an earlier one."""
    judged = [entry["ppo/valid_judge_score"] for entry in looks]
    return patience is not None and len(judged) - 1 - int(np.argmax(judged)) >= patience


def extremes(
    scores: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    prompts: list[list[int]],
    texts: list[str],
    tokenizer: PreTrainedTokenizerBase,
) -> list[dict[str, object]]:
    """The best and the worst response of the batch, for eyes."""
    kl = (old_logprobs - ref_logprobs).sum(1)
    return [
        {
            "kind": kind,
            "prompt": decode(tokenizer, prompts[row]),
            "response": texts[row],
            "score": float(scores[row]),
            "ref_kl": float(kl[row]),
        }
        for kind, row in (("best", int(scores.argmax())), ("worst", int(scores.argmin())))
    ]


def console_line(metrics: dict[str, float], speed: float) -> str:
    """The things a person wants to see, in fixed order, within 80 columns."""
    line = (
        f"score {metrics['ppo/score_mean']:+.2f}  kl {metrics['ppo/ref_kl']:.1f} nats  "
        f"len {metrics['ppo/length_mean']:.0f}  clip {metrics['ppo/clip_fraction']:.2f}"
    )
    if "ppo/ptx_loss" in metrics:
        line += f"  ptx {metrics['ppo/ptx_loss']:.2f}"
    if "ppo/valid_judge_score" in metrics:
        return line + f"  judge {metrics['ppo/valid_judge_score']:.3f}"
    return line + f"  {speed:,.0f} tok/s"
