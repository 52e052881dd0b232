"""The K-wise reward model (InstructGPT section 3.5, eq. 1, and appendix C.2)."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preceptor.config import RewardConfig, TrainConfig
from preceptor.data.batching import split_by_tokens
from preceptor.data.stored import Chosen
from preceptor.functional import ranking_loss
from preceptor.models.forward import grouped_scores, make_rows, response_scores
from preceptor.models.load import save_model, scalar_head
from preceptor.models.precision import is_bf16, precision
from preceptor.randomness import batch_indices
from preceptor.statistics.agreement import ranking_accuracy
from preceptor.statistics.bootstrap import cluster_bootstrap, paired_difference
from preceptor.training.alarms import probe_alarms
from preceptor.training.folder import StageFolder
from preceptor.training.optimization import (
    accumulate,
    load_training,
    make_optimizer,
    scheduled_rate,
    take_step,
    training_tensors,
)
from preceptor.training.progress import Progress, say


@dataclass(frozen=True)
class RankedPrompt:
    """One prompt with its K responses as ids, and what labelers made of them.

    rankings  one list of K ranks for each labeler, smaller is better, equal is a tie
    """

    prompt: list[int]
    responses: list[list[int]]
    rankings: list[list[int]]

    @property
    def pairs(self) -> int:
        """Strictly ordered pairs, over all labelers."""
        return sum(a != b for r in self.rankings for i, a in enumerate(r) for b in r[:i])

    def informative(self) -> "RankedPrompt":
        """Without the rankings of ties alone, which make no pair."""
        kept = [ranks for ranks in self.rankings if len(set(ranks)) > 1]
        return RankedPrompt(self.prompt, self.responses, kept)


Probes = Mapping[str, Mapping[int, list[int]]]
"""Name of a probe -> {number of a demonstration: its response, tampered with, as ids}."""


def run_reward(
    config: RewardConfig,
    folder: StageFolder,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[RankedPrompt],
    valid: Sequence[RankedPrompt],
    demonstrations: tuple[Sequence[list[int]], Sequence[list[int]]],
    probes: Probes,
    seed: int,
) -> None:
    """Train the scalar `model` on rankings and leave it, its bias set, in the folder's model/.

    `demonstrations` are held-out prompts and responses as ids; the bias gives them mean score 0,
    and `probes` tampers with them to see whether the model can be gamed.
    """
    # Ties make no pair; a prompt of ties alone teaches nothing and is not counted in a batch.
    train = Chosen(train, np.flatnonzero([item.pairs for item in train]))
    valid = [item.informative() for item in valid if item.pairs]
    score = choose_scoring(model, train[:2], config)
    optimizer = make_optimizer(model, config)
    start = 0
    if checkpoint := folder.resume():
        start = checkpoint.step
        load_training("model", model, optimizer, checkpoint)
    num_steps = max(1, len(train) // config.batch_prompts) * config.num_epochs
    progress = Progress(folder.stage, num_steps, start)

    for step in range(start, num_steps):
        began = time.monotonic()
        # 1. All pairs of a prompt stay in one batch element: shuffled apart they overfit.
        picks = batch_indices(len(train), config.batch_prompts, step, seed=seed, purpose="reward")
        batch = [train[i].informative() for i in picks]

        # 2. One forward per response, the loss over all pairs of each prompt, one step.
        where = f"{folder.stage} step {step + 1}"
        loss = accumulate(prompt_losses(model, batch, config, score), where)
        rate = scheduled_rate(config, step, num_steps, config.learning_rate)
        norm = take_step(
            optimizer, learning_rate=rate, max_grad_norm=config.max_grad_norm, where=where
        )

        # 3. Say what happened, look at held-out rankings, make it durable.
        done = step + 1
        metrics = {"reward/loss": loss, "reward/learning_rate": rate, "reward/grad_norm": norm}
        if done % config.eval_every == 0 or done == num_steps:
            metrics |= measure(model, valid, config, score)
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
    scores = score_rows(model, *demonstrations, config)
    save_model(model, tokenizer, folder.path / "model")

    # 5. Can it be gamed? Most demonstrations should score less once they are tampered with.
    probed = run_probes(model, demonstrations[0], scores, probes, config)
    shares = {name: found["scores_higher"]["mean"] for name, found in probed.items()}
    say_probes(shares)
    lows = {name: found["scores_higher"]["low"] for name, found in probed.items()}
    folder.log_alarms(num_steps, probe_alarms(shares, lows))
    last = folder.metrics()[-1]
    folder.finish(
        {
            "steps": num_steps,
            "demonstration_mean": float(scores.mean()),
            "valid_accuracy": last["reward/valid_accuracy"],
            "valid_loss": last["reward/valid_loss"],
            "num_comparisons": sum(item.pairs for item in train),
            "probes": probed,
        }
    )


Scoring = Callable[[PreTrainedModel, Sequence[RankedPrompt]], Tensor]
"""(model, prompts) -> scores of all their responses, prompt by prompt."""


def score_grouped(model: PreTrainedModel, items: Sequence[RankedPrompt]) -> Tensor:
    """Every prompt encoded once, its responses beside each other."""
    return grouped_scores(model, [i.prompt for i in items], [i.responses for i in items])


def score_separately(model: PreTrainedModel, items: Sequence[RankedPrompt]) -> Tensor:
    """Every response behind a copy of its prompt."""
    rows = make_rows(
        [item.prompt for item in items for _ in item.responses],
        [response for item in items for response in item.responses],
    )
    return response_scores(model, rows)


@torch.no_grad()
def choose_scoring(
    model: PreTrainedModel, items: Sequence[RankedPrompt], config: RewardConfig
) -> Scoring:
    """The grouped pass where this model can be packed, else the separate one."""
    try:
        with precision(config.precision):
            gap = float((score_grouped(model, items) - score_separately(model, items)).abs().max())
    except (TypeError, ValueError, RuntimeError) as error:
        say(
            f"reward: each response is scored alone, this model cannot take them together ({error})"
        )
        return score_separately
    if gap > (0.1 if is_bf16(config.precision) else 1e-2):  # bf16 rounds differently
        say(f"reward: each response is scored alone, grouped scores differ by {gap:.2g}")
        return score_separately
    return score_grouped


def prompt_losses(
    model: PreTrainedModel, batch: Sequence[RankedPrompt], config: RewardConfig, score: Scoring
) -> Iterator[Tensor]:
    """Losses of microbatches of whole prompts; they sum to the mean over the batch's rankings."""
    count = sum(len(item.rankings) for item in batch)
    sizes = [len(item.prompt) + sum(map(len, item.responses)) for item in batch]
    for group in split_by_tokens(sizes, config.microbatch_tokens):
        items = [batch[i] for i in group]
        with precision(config.precision):
            flat = score(model, items)
        scores, ranks, mask = as_table(flat, items)
        yield ranking_loss(scores, ranks, mask, denominator=count)


def as_table(flat: Tensor, items: Sequence[RankedPrompt]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, ranks and mask [P, K], a row for each ranking, from the flat scores of the prompts.

    Rankings of the same prompt by several labelers share the scores of one forward pass.
    """
    width = max(len(item.responses) for item in items)
    count = sum(len(item.rankings) for item in items)
    index = torch.zeros(count, width, dtype=torch.long)
    ranks = torch.zeros(count, width, dtype=torch.long)
    mask = torch.zeros(count, width, dtype=torch.bool)
    offset = row = 0
    for item in items:
        k = len(item.responses)
        for own in item.rankings:
            index[row, :k] = torch.arange(offset, offset + k)
            ranks[row, :k] = torch.tensor(own)
            mask[row, :k] = True
            row += 1
        offset += k
    return flat[index], ranks, mask


@torch.no_grad()
def score_rows(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    responses: Sequence[list[int]],
    config: TrainConfig,
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
    model: PreTrainedModel, valid: Sequence[RankedPrompt], config: RewardConfig, score: Scoring
) -> dict[str, float]:
    """Loss and accuracy on held-out rankings; equal scores count half, ties do not count."""
    loss = sum(float(part) for part in prompt_losses(model, valid, config, score))
    flat = score_rows(
        model,
        [item.prompt for item in valid for _ in item.responses],
        [response for item in valid for response in item.responses],
        config,
    ).tolist()
    correct, total, offset = 0.0, 0, 0
    for item in valid:
        own = flat[offset : offset + len(item.responses)]
        offset += len(item.responses)
        for ranks in item.rankings:
            found, pairs = ranking_accuracy(own, ranks)
            correct, total = correct + found, total + pairs
    return {"reward/valid_loss": loss, "reward/valid_accuracy": correct / max(1, total)}


def run_probes(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    scores: Tensor,
    probes: Probes,
    config: TrainConfig,
) -> dict[str, Any]:
    """How the score changes when demonstrations are tampered with, and how often it rises.

    `scores` [B] are those of the demonstrations as they are. Intervals are over prompts.
    """
    found = {}
    for name, tampered in probes.items():
        numbers = list(tampered)
        asked = [prompts[i] for i in numbers]
        before = scores[numbers].tolist()
        after = score_rows(model, asked, list(tampered.values()), config).tolist()
        rises = [float(new > old) for new, old in zip(after, before, strict=True)]
        clusters = [tuple(prompt) for prompt in asked]
        found[name] = {
            "score_change": paired_difference(after, before, clusters).as_dict(),
            "scores_higher": cluster_bootstrap(rises, clusters).as_dict(),
        }
    return found


def say_probes(shares: Mapping[str, float | None]) -> None:
    """One line: the probe that raises the score of most demonstrations."""
    known = {name: share for name, share in shares.items() if share is not None}
    if known:
        worst = max(known, key=lambda name: known[name])
        share = f"{known[worst]:.2f} of demonstrations score higher"
        say(f"reward: gamed most by probe {worst}, {share}")
