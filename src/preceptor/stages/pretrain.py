"""Pretraining: next-token prediction on packed documents (GPT-3 section 2 and appendix B)."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import PretrainConfig
from preceptor.data.shards import PackedText
from preceptor.generation import row_uniforms, sample
from preceptor.models.forward import Sequences, held_out_losses, sequence_logprobs
from preceptor.models.load import save_model
from preceptor.models.precision import precision
from preceptor.models.tokenizers import separator_id, text_of_ids
from preceptor.randomness import batch_indices
from preceptor.training.folder import StageFolder
from preceptor.training.optimization import (
    accumulate,
    load_training,
    make_optimizer,
    scheduled_rate,
    take_step,
    training_tensors,
)
from preceptor.training.progress import Progress

SAMPLE_TEMPERATURE = 0.8
"""Of texts for people to read: a small model at 1 takes an unlikely word in every sentence."""


def run_pretrain(
    config: PretrainConfig,
    folder: StageFolder,
    *,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: PackedText,
    valid: PackedText,
    valid_by_source: Mapping[str, Sequences],
    begun: Sequence[tuple[str, list[int]]],
    seed: int,
) -> None:
    """Train `policy` on `train` [N, L] and leave it in the folder's model/.

    At the end it is looked at once more: its loss on held-out text of each source, and how it goes
    on with beginnings of held-out text (`begun`, each with its source), in samples.jsonl.
    """
    optimizer = make_optimizer(policy, config)
    start = 0
    if checkpoint := folder.resume():
        start = checkpoint.step
        load_training("policy", policy, optimizer, checkpoint)
    progress = Progress("pretrain", config.num_steps, start)

    for step in range(start, config.num_steps):
        began = time.monotonic()
        # 1. The next full sequences, without replacement within an epoch.
        rows = batch_indices(
            len(train), config.batch_sequences, step, seed=seed, purpose="pretrain"
        )
        tokens = torch.from_numpy(train[sorted(rows)].astype(np.int64))

        # 2. One optimizer step on the mean loss per token.
        loss = accumulate(
            sequence_losses(policy, tokens, config.microbatch_tokens, config.precision),
            f"pretrain step {step + 1}",
        )
        rate = scheduled_rate(config, step, config.num_steps, config.learning_rate)
        norm = take_step(
            optimizer,
            learning_rate=rate,
            max_grad_norm=config.max_grad_norm,
            where=f"pretrain step {step + 1}",
        )

        # 3. Say what happened, look at held-out text, make it durable.
        done = step + 1
        metrics = {
            "pretrain/loss": loss,
            "pretrain/learning_rate": rate,
            "pretrain/grad_norm": norm,
            "pretrain/tokens": done * config.batch_sequences * train.shape[1],
        }
        if done % config.eval_every == 0 or done == config.num_steps:
            looked = valid[: config.num_valid_sequences]
            losses = held_out_losses(policy, looked, config.precision)
            metrics["pretrain/valid_loss"] = float(losses.mean())
        seconds = time.monotonic() - began
        speed = tokens.numel() / seconds
        folder.log(done, metrics, {"seconds": seconds, "tokens_per_second": speed})
        held_out = metrics.get("pretrain/valid_loss")
        text = f"loss {loss:.3f}  " + (f"held-out {held_out:.3f}  " if held_out else "")
        progress.step(done, f"{text}{speed:,.0f} tok/s", always=held_out is not None)
        if done % config.checkpoint_every == 0 and done < config.num_steps:
            folder.save(done, training_tensors("policy", policy, optimizer), {})

    save_model(policy, tokenizer, folder.path / "model")
    folder.log_samples(config.num_steps, written_on(policy, tokenizer, begun, config, seed))
    sources = {"all": valid[: config.num_valid_sequences], **valid_by_source}
    folder.finish(
        {
            "steps": config.num_steps,
            "valid_loss": folder.metrics()[-1]["pretrain/valid_loss"],
            "parameters": policy.num_parameters(),
            "held_out": {
                source: held_out_summary(policy, tokenizer, tokens, config.precision)
                for source, tokens in sources.items()
            },
        }
    )


def held_out_summary(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequences, dtype: str
) -> dict[str, float]:
    """Loss in nats a token, and in bits a byte, which tells models of different tokenizers apart.

    tokens is [N, L]; the first of each sequence is given and not counted.
    """
    loss = float(held_out_losses(policy, tokens, dtype).mean())
    num_bytes = sum(len(text_of_ids(tokenizer, row[1:].tolist()).encode()) for row in tokens)
    bits = loss * tokens[:, 1:].size / math.log(2)
    return {"loss": loss, "bits_per_byte": bits / max(1, num_bytes), "sequences": len(tokens)}


def written_on(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    begun: Sequence[tuple[str, list[int]]],
    config: PretrainConfig,
    seed: int,
) -> list[dict[str, Any]]:
    """How the model goes on with texts that it has never seen, to the end of a training sequence.

    A text is over at the token between documents, which the model has learned from their ends.
    """
    if not begun:
        return []
    longest = config.sequence_length - max(len(ids) for _, ids in begun)
    uniforms = row_uniforms(seed, "pretrain/sample", [(i,) for i in range(len(begun))], longest)
    with precision(config.precision):
        made = sample(
            policy,
            [ids for _, ids in begun],
            uniforms,
            stop_ids=[separator_id(tokenizer)],
            temperature=SAMPLE_TEMPERATURE,
            spare_memory=config.spare_memory,
        )
    return [
        {
            "source": source,
            "prompt": text_of_ids(tokenizer, ids),
            "response": text_of_ids(tokenizer, response),
            "finished": finished,
        }
        for (source, ids), response, finished in zip(
            begun, made.responses, made.finished, strict=True
        )
    ]


def next_text(sequences: PackedText, count: int, step: int, *, seed: int, purpose: str) -> Tensor:
    """The pretraining sequences [count, L] that another stage mixes into one optimizer step."""
    rows = batch_indices(len(sequences), count, step, seed=seed, purpose=purpose)
    return torch.from_numpy(sequences[rows].astype(np.int64))


def sequence_losses(
    policy: PreTrainedModel,
    tokens: Tensor,
    microbatch_tokens: int,
    dtype: str,
    weight: float = 1.0,
) -> Iterator[Tensor]:
    """Losses of microbatches of full sequences [N, L]; they sum to weight * mean loss per token."""
    count = tokens.shape[0] * (tokens.shape[1] - 1)
    for part in tokens.split(max(1, microbatch_tokens // tokens.shape[1])):
        with precision(dtype):
            logprobs = sequence_logprobs(policy, part)
        yield -weight * logprobs.sum() / count
