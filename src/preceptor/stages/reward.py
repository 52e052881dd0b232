"""The K-wise reward model (InstructGPT section 3.5, eq. 1, and appendix C.2)."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import RewardConfig
from preceptor.data.batching import split_by_tokens
from preceptor.functional import ranking_loss
from preceptor.models.forward import make_rows, response_scores
from preceptor.models.load import save_model, scalar_head
from preceptor.models.precision import precision
from preceptor.randomness import batch_indices
from preceptor.statistics.agreement import ranking_accuracy
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


@dataclass(frozen=True)
class RankedPrompt:
    """One prompt with its K responses as ids, and a labeler's ranks (smaller is better)."""

    prompt: list[int]
    responses: list[list[int]]
    ranks: list[int]

    @property
    def has_pair(self) -> bool:
        return len(set(self.ranks)) > 1


def run_reward(
    config: RewardConfig,
    folder: StageFolder,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[RankedPrompt],
    valid: Sequence[RankedPrompt],
    demonstrations: tuple[list[list[int]], list[list[int]]],
    seed: int,
) -> None:
    """Train the scalar `model` on rankings and leave it, its bias set, in the folder's model/."""
    # Ties make no pair; a prompt of ties alone teaches nothing and is not counted in a batch.
    train = [item for item in train if item.has_pair]
    optimizer = make_optimizer(model, config)
    start = 0
    if checkpoint := folder.resume():
        start = checkpoint.step
        load_training("model", model, optimizer, checkpoint)
    num_steps = max(1, len(train) // config.batch_prompts) * config.num_epochs
    progress = Progress("reward", num_steps, start)

    for step in range(start, num_steps):
        began = time.monotonic()
        # 1. All pairs of a prompt stay in one batch element: shuffled apart they overfit.
        picks = batch_indices(len(train), config.batch_prompts, step, seed=seed, purpose="reward")
        batch = [train[i] for i in picks]

        # 2. One forward per response, the loss over all pairs of each prompt, one step.
        where = f"reward step {step + 1}"
        loss = accumulate(prompt_losses(model, batch, config), where)
        rate = scheduled_rate(config, step, num_steps, config.learning_rate)
        norm = take_step(
            optimizer, learning_rate=rate, max_grad_norm=config.max_grad_norm, where=where
        )

        # 3. Say what happened, look at held-out rankings, make it durable.
        done = step + 1
        metrics = {"reward/loss": loss, "reward/learning_rate": rate, "reward/grad_norm": norm}
        if done % config.eval_every == 0 or done == num_steps:
            metrics |= measure(model, valid, config)
        seconds = time.monotonic() - began
        folder.log(done, metrics, {"seconds": seconds})
        held_out = metrics.get("reward/valid_accuracy")
        text = f"loss {loss:.3f}" + (
            f"  held-out accuracy {held_out:.3f}" if held_out is not None else ""
        )
        progress.step(done, text, always=held_out is not None)
        if done % config.checkpoint_every == 0 and done < num_steps:
            folder.save(done, training_tensors("model", model, optimizer), {})

    # 4. Demonstrations shall score 0 on average (section 3.5); the bias lives in the model.
    mean = float(score_rows(model, *demonstrations, config).mean())
    with torch.no_grad():
        scalar_head(model).bias.sub_(mean)
    after = float(score_rows(model, *demonstrations, config).mean())
    save_model(model, tokenizer, folder.path / "model")
    last = folder.metrics()[-1]
    folder.finish(
        {
            "steps": num_steps,
            "demonstration_mean": after,
            "valid_accuracy": last["reward/valid_accuracy"],
            "valid_loss": last["reward/valid_loss"],
            "num_comparisons": sum(count_pairs(item.ranks) for item in train),
        }
    )


def prompt_losses(
    model: PreTrainedModel, batch: Sequence[RankedPrompt], config: RewardConfig
) -> Iterator[Tensor]:
    """Losses of microbatches of whole prompts; they sum to the mean over the batch's prompts."""
    sizes = [
        len(item.responses) * (len(item.prompt) + max(len(r) for r in item.responses))
        for item in batch
    ]
    for group in group_prompts(sizes, config.microbatch_tokens):
        items = [batch[i] for i in group]
        prompts = [item.prompt for item in items for _ in item.responses]
        responses = [response for item in items for response in item.responses]
        flat = scores_by_length(model, prompts, responses, config)
        scores, ranks, mask = as_table(flat, items)
        yield ranking_loss(scores, ranks, mask, denominator=len(batch))


def scores_by_length(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    responses: Sequence[list[int]],
    config: RewardConfig,
) -> Tensor:
    """Scores [B] with gradients; rows of like length share a pass, so that padding stays rare."""
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    order, parts = [], []
    for group in split_by_tokens(lengths, min(config.microbatch_tokens, 1024)):
        rows = make_rows([prompts[i] for i in group], [responses[i] for i in group])
        with precision(config.precision):
            parts.append(response_scores(model, rows))
        order += group
    place = torch.empty(len(order), dtype=torch.long)
    place[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[place]


def group_prompts(sizes: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Whole prompts together while their tokens stay within the budget."""
    group: list[int] = []
    total = 0
    for i, size in enumerate(sizes):
        if group and total + size > budget:
            yield group
            group, total = [], 0
        group.append(i)
        total += size
    if group:
        yield group


def as_table(flat: Tensor, items: Sequence[RankedPrompt]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, ranks and mask [P, K] from the flat scores of P prompts' responses."""
    width = max(len(item.responses) for item in items)
    index = torch.zeros(len(items), width, dtype=torch.long)
    ranks = torch.zeros(len(items), width, dtype=torch.long)
    mask = torch.zeros(len(items), width, dtype=torch.bool)
    offset = 0
    for row, item in enumerate(items):
        k = len(item.responses)
        index[row, :k] = torch.arange(offset, offset + k)
        ranks[row, :k] = torch.tensor(item.ranks)
        mask[row, :k] = True
        offset += k
    return flat[index], ranks, mask


@torch.no_grad()
def score_rows(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    responses: Sequence[list[int]],
    config: RewardConfig,
) -> Tensor:
    """Scores [B] of responses, in microbatches; the pass is the one that PPO uses."""
    scores = torch.zeros(len(prompts))
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    for group in split_by_tokens(lengths, config.microbatch_tokens):
        rows = make_rows([prompts[i] for i in group], [responses[i] for i in group])
        with precision(config.precision):
            scores[group] = response_scores(model, rows)
    return scores


@torch.no_grad()
def measure(
    model: PreTrainedModel, valid: Sequence[RankedPrompt], config: RewardConfig
) -> dict[str, float]:
    """Loss and accuracy on held-out rankings; equal scores count half, ties do not count."""
    counted = [item for item in valid if item.has_pair]
    loss = sum(float(part) for part in prompt_losses(model, counted, config))
    flat = score_rows(
        model,
        [item.prompt for item in counted for _ in item.responses],
        [response for item in counted for response in item.responses],
        config,
    ).tolist()
    correct, total, offset = 0.0, 0, 0
    for item in counted:
        own = flat[offset : offset + len(item.responses)]
        offset += len(item.responses)
        found, pairs = ranking_accuracy(own, item.ranks)
        correct, total = correct + found, total + pairs
    return {"reward/valid_loss": loss, "reward/valid_accuracy": correct / max(1, total)}


def count_pairs(ranks: Sequence[int]) -> int:
    """Strictly ordered pairs of one ranking."""
    return sum(1 for i, a in enumerate(ranks) for b in ranks[:i] if a != b)
