"""Supervised fine-tuning on demonstrations (InstructGPT section 3.5 and appendix C.1)."""

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import SFTConfig
from preceptor.data.batching import split_by_tokens
from preceptor.data.shards import PackedText
from preceptor.functional import masked_mean
from preceptor.generation import row_uniforms, sample
from preceptor.models.forward import make_rows, response_logprobs
from preceptor.models.load import load_scalar, save_model
from preceptor.models.precision import precision
from preceptor.randomness import batch_indices
from preceptor.stages.pretrain import next_text, sequence_losses
from preceptor.stages.reward import score_rows
from preceptor.training.folder import StageFolder
from preceptor.training.optimization import (
    accumulate,
    load_training,
    make_optimizer,
    scheduled_rate,
    take_step,
    trainable_weights,
    training_tensors,
)
from preceptor.training.progress import Progress

Pairs = tuple[Sequence[list[int]], Sequence[list[int]]]
"""Prompts and responses as ids; a response ends with the end token."""


def run_sft(
    config: SFTConfig,
    folder: StageFolder,
    *,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Pairs,
    valid: Pairs,
    valid_prompts: Sequence[list[int]],
    pretraining: PackedText | None,
    max_response_tokens: int,
    seed: int,
) -> None:
    """Fine-tune `policy` on demonstrations and leave the chosen epoch in the folder's model/.

    With a `ptx_fraction` f, f of a batch's examples are sequences of pretraining text, and the loss
    is (1 - f) times the demonstrations' mean per token plus f times the text's: the paper names
    the share (appendix C.3: 10 %) and no weights, and long text shall not drown short answers.

    Raises:
        ValueError: a `ptx_fraction` without pretraining text.
    """
    if config.ptx_fraction and pretraining is None:
        raise ValueError(
            f"{folder.stage}: ptx_fraction {config.ptx_fraction} needs pretraining text."
        )
    optimizer = make_optimizer(policy, config)
    start, best_value, chosen = 0, None, 0
    if checkpoint := folder.resume():
        start = checkpoint.step
        load_training("policy", policy, optimizer, checkpoint)
        best_value, chosen = checkpoint.values["best_value"], checkpoint.values["chosen"]
    steps_per_epoch = max(1, len(train[0]) // config.batch_size)
    num_steps = steps_per_epoch * config.num_epochs
    progress = Progress(folder.stage, num_steps, start)

    for step in range(start, num_steps):
        began = time.monotonic()
        # 1. The next demonstrations; every epoch is a fresh shuffle.
        rows = batch_indices(len(train[0]), config.batch_size, step, seed=seed, purpose="sft")
        prompts, responses = [train[0][i] for i in rows], [train[1][i] for i in rows]

        # 2. One step on the mean loss per response token, the end token included.
        where = f"{folder.stage} step {step + 1}"
        share = config.ptx_fraction
        loss = accumulate(
            demonstration_losses(policy, prompts, responses, config, 1 - share), where
        ) / (1 - share)
        text_metrics = {}
        if pretraining is not None and share:
            tokens = next_text(
                pretraining,
                num_text_sequences(len(rows), share),
                step,
                seed=seed,
                purpose="sft/ptx",
            )
            losses = sequence_losses(
                policy, tokens, config.microbatch_tokens, config.precision, weight=share
            )
            text_metrics = {"sft/ptx_loss": accumulate(losses, f"{where}, ptx") / share}
        rate = scheduled_rate(config, step, num_steps, config.learning_rate)
        norm = take_step(
            optimizer,
            learning_rate=rate,
            max_grad_norm=config.max_grad_norm,
            where=where,
        )

        # 3. At the end of an epoch: measure it, and keep it if it is the best so far.
        done = step + 1
        metrics = {
            "sft/loss": loss,
            "sft/learning_rate": rate,
            "sft/grad_norm": norm,
            "sft/epoch": done / steps_per_epoch,
        } | text_metrics
        if done % steps_per_epoch == 0:
            metrics |= measure_epoch(
                config, policy, tokenizer, valid, valid_prompts, max_response_tokens, seed
            )
            value = merit(config, metrics, done)
            if best_value is None or value > best_value:
                best_value, chosen = value, done
                folder.keep_best(done, trainable_weights(policy))
        seconds = time.monotonic() - began
        folder.log(done, metrics, {"seconds": seconds})
        held_out = metrics.get("sft/valid_loss")
        text = f"epoch {metrics['sft/epoch']:.1f}  loss {loss:.3f}"
        text += f"  held-out {held_out:.3f}" if held_out is not None else ""
        progress.step(done, text, always=held_out is not None)
        if done % config.checkpoint_every == 0 and done < num_steps:
            tensors = training_tensors("policy", policy, optimizer)
            values = {"best_value": best_value, "chosen": chosen}
            folder.save(done, tensors, values, best=chosen)

    save_model(policy, tokenizer, folder.path / "model", folder.best(chosen))
    chosen_line = next(line for line in folder.metrics() if line["step"] == chosen)
    folder.finish(
        {
            "steps": num_steps,
            "chosen_step": chosen,
            "chosen_by": config.choose_by,
            "valid_loss": chosen_line["sft/valid_loss"],
        }
    )


def demonstration_losses(
    policy: PreTrainedModel,
    prompts: Sequence[list[int]],
    responses: Sequence[list[int]],
    config: SFTConfig,
    weight: float = 1.0,
) -> Iterator[Tensor]:
    """Losses of microbatches that sum to weight * mean loss per counted token of the batch."""
    if config.loss_on_prompt:
        # All but the first token are predicted: the row is one long response to its first token.
        prompts, responses = (
            [p[:1] for p in prompts],
            [[*p[1:], *r] for p, r in zip(prompts, responses, strict=True)],
        )
    count = sum(len(r) for r in responses)
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    for group in split_by_tokens(lengths, config.microbatch_tokens):
        rows = make_rows([prompts[i] for i in group], [responses[i] for i in group])
        with precision(config.precision):
            logprobs = response_logprobs(policy, rows)
        yield -weight * masked_mean(logprobs, rows.response_mask, denominator=count)


def num_text_sequences(num_demonstrations: int, ptx_fraction: float) -> int:
    """Pretraining sequences beside so many demonstrations: ptx_fraction of all examples."""
    return max(1, round(num_demonstrations * ptx_fraction / (1 - ptx_fraction)))


@torch.no_grad()
def measure_epoch(
    config: SFTConfig,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    valid: Pairs,
    valid_prompts: Sequence[list[int]],
    max_response_tokens: int,
    seed: int,
) -> dict[str, float]:
    """Held-out loss, and the mean score of sampled responses where a reward model chooses."""
    loss = sum(float(part) for part in demonstration_losses(policy, *valid, config))
    metrics = {"sft/valid_loss": loss}
    if config.reward_model is not None:
        # InstructGPT appendix C.1: the reward model's score on validation prompts predicts human
        # preference better than validation loss does.
        uniforms = row_uniforms(
            seed, "sft/valid", [(i,) for i in range(len(valid_prompts))], max_response_tokens
        )
        eos = int(tokenizer.eos_token_id)
        with precision(config.precision):
            responses = sample(
                policy, valid_prompts, uniforms, stop_ids=[eos], spare_memory=config.spare_memory
            ).responses
        scores = score_rows(load_scalar(config.reward_model), valid_prompts, responses, config)
        metrics["sft/valid_score"] = float(scores.mean())
    return metrics


def merit(config: SFTConfig, metrics: dict[str, float], step: int) -> float:
    """What the choice of an epoch goes by; more is better."""
    if config.choose_by == "valid_loss":
        return -metrics["sft/valid_loss"]
    return metrics["sft/valid_score"] if config.choose_by == "reward_model" else float(step)
