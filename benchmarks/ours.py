"""Our side of the comparison: `python benchmarks/ours.py WORK FOLDER`, a turn for each line read.

The stages run as they do in a recipe; a turn ends where a stage logs its step.
"""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import product_peak
from safetensors.torch import load_file
from transformers import PreTrainedModel
from turns import Turns
from works import EOS, SHAPES, Work, read_inputs, work_named

from preceptor.config import LoRAConfig, PPOConfig, PretrainConfig, RewardConfig, SFTConfig
from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.generation import row_uniforms, sample
from preceptor.models.halves import Halved
from preceptor.models.load import (
    halved_base,
    load_frozen_policy,
    load_policy,
    scalar_from_policy,
    scalar_head,
    with_lora,
)
from preceptor.models.precision import precision
from preceptor.randomness import batch_indices
from preceptor.stages.ppo import HeldOut, run_ppo
from preceptor.stages.pretrain import run_pretrain
from preceptor.stages.reward import RankedPrompt, run_reward
from preceptor.stages.sft import run_sft
from preceptor.steps.scores import model_scores
from preceptor.training.folder import StageFolder
from preceptor.training.memory import keep_freed_memory

MANY = 10**6
"""More steps than anybody waits for."""


class Turned(StageFolder):
    """A stage's folder that ends the turn with every logged step, and waits for the next."""

    def __init__(
        self, path: Path, work: Work, turns: Turns, amount: float | Callable[[int], float]
    ) -> None:
        super().__init__(path, work.kind, input_hash="benchmark")
        self.work, self.turns, self.amount = work, turns, amount
        self.bf16_peak = float("nan")  # of the first turn, which warms up and is not counted

    def log(self, step: int, metrics: dict[str, float], timing: dict[str, float]) -> None:
        super().log(step, metrics, timing)
        parts = {k: v for k, v in timing.items() if k in ("sample_seconds", "update_seconds")}
        is_ppo = self.work.kind == "ppo"
        if is_ppo:
            parts["update_products"] = update_products(self.work, metrics["ppo/length_mean"])
            parts["bf16_peak"] = self.bf16_peak
        self.turns.end(self.amount(step) if callable(self.amount) else self.amount, **parts)
        self.turns.begin(self.measure_peak if is_ppo else None)

    def measure_peak(self) -> None:
        """It changes by twice from one second to the next where two threads may share a core."""
        self.bf16_peak = product_peak(torch.bfloat16)


def update_products(work: Work, response: float) -> float:
    """Operations of the update's matrix products, forward and backward of policy and value model.

    Six for each weight and token: blocks for all tokens, the vocabulary's for response tokens. Four
    for a weight that is frozen under adapters, which has no gradient of its own. What comes after
    attention in the last layer is computed for response tokens alone. Attention itself, adapters
    and padding are left out.
    """
    shape = SHAPES[work.shape]
    prompts, responses = work.batch * work.prompt, work.batch * response
    vocabulary = shape.vocabulary * shape.hidden_size
    before = shape.matrix_parameters() - shape.after_attention()
    of_two = before * (prompts + responses) + shape.after_attention() * responses
    return (4 if work.lora else 6) * (2 * of_two + vocabulary * responses)


def scalar_model(folder: Path, halved: Halved = "nothing") -> PreTrainedModel:
    """The scalar model of the comparison, with a bias as ours have."""
    model = scalar_from_policy(folder / "model", 0, halved)
    with torch.no_grad():
        scalar_head(model).weight.copy_(
            load_file(folder / "scalar/model.safetensors")["score.weight"]
        )
    return model


def ppo(work: Work, folder: Path, data: dict[str, Any], turns: Turns) -> None:
    """A turn is an iteration: sample, score, improve."""
    config = PPOConfig(
        num_iterations=MANY,
        batch_size=work.batch,
        num_minibatches=work.minibatches,
        learning_rate=1e-6,
        value_learning_rate=1e-6,
        kl_coef=0.05,
        old_logprobs="sampling",  # as the peer's
        missing_eos_score=None,
        ema_decay=0.0,
        eval_every=MANY,
        checkpoint_every=MANY,
        warmup_fraction=0.0,
        precision="bf16",
        lora=LoRAConfig() if work.lora else None,
        microbatch_tokens=256 if work.lora else 8192,  # memory only, never results
        spare_memory=work.spare,
    )
    # As in steps/train.py: with adapters the policy is the reference and the value model the judge.
    halved = halved_base(config.lora, config.precision)
    policy, tokenizer = load_policy(folder / "model", halved)
    policy = with_lora(policy, config.lora, 0)
    value_model = scalar_model(folder, halved)
    head = copy.deepcopy(scalar_head(value_model)).requires_grad_(False)
    value_model = with_lora(value_model, config.lora, 1)
    ref_policy = None
    if work.lora:
        score = model_scores(value_model, RewardConfig(precision="bf16"), head)
    else:
        ref_policy, _ = load_frozen_policy(folder / "model", config.precision)
        reward_model = scalar_model(folder, "blocks").requires_grad_(False)
        score = model_scores(reward_model, RewardConfig(precision="bf16"))
    prompts = data["prompts"]
    run_ppo(
        config,
        Turned(folder / "ours", work, turns, 1),
        policy=policy,
        ref_policy=ref_policy,
        value_model=value_model,
        score=score,
        tokenizer=tokenizer,
        prompts=[Prompt("") for _ in prompts],
        prompt_ids=prompts,
        pretraining=None,
        held_out=HeldOut([Prompt("")], prompts[:1], lambda *_: Judgement(0.0, {}), None),
        max_response_tokens=work.response,
        seed=0,
    )


def rollout(work: Work, folder: Path, data: dict[str, Any], turns: Turns) -> None:
    """A turn is one batch of responses; of requests that are served their tokens are counted."""
    policy, _ = load_policy(folder / "model")
    prompts = data["prompts"]
    for number in range(MANY):
        start = number * work.batch % len(prompts)
        turns.begin()
        keys = [(number, row) for row in range(work.batch)]
        uniforms = row_uniforms(0, "benchmark", keys, work.response)
        with precision("bf16"):
            found = sample(policy, prompts[start : start + work.batch], uniforms, stop_ids=[EOS])
        turns.end(sum(map(len, found.responses)) if work.kind == "serve" else 1)


def reward(work: Work, folder: Path, data: dict[str, Any], turns: Turns) -> None:
    """A turn is an optimizer step on so many ranked prompts."""
    items = [
        RankedPrompt(prompt, responses, [list(range(len(responses)))])
        for prompt, responses in data["rankings"]
    ]
    config = RewardConfig(
        num_epochs=MANY,
        batch_prompts=work.batch,
        eval_every=MANY,
        checkpoint_every=MANY,
        learning_rate=1e-5,
        precision="bf16",
    )
    policy, tokenizer = load_policy(folder / "model")
    amount = work.batch * work.k * (work.k - 1) / 2
    run_reward(
        config,
        Turned(folder / "ours", work, turns, amount),
        model=scalar_model(folder),
        tokenizer=tokenizer,
        train=items,
        valid=items[:1],
        demonstrations=([items[0].prompt], [items[0].responses[0]]),
        probes={},
        seed=0,
    )


def sft(work: Work, folder: Path, data: dict[str, Any], turns: Turns) -> None:
    """A turn is an optimizer step; tokens are those of prompts and responses, without padding."""
    policy, tokenizer = load_policy(folder / "model")
    prompts, responses = (list(part) for part in zip(*data["examples"], strict=True))
    lengths = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]

    def tokens(step: int) -> int:
        """Those of the very demonstrations of a step."""
        rows = batch_indices(len(prompts), work.batch, step - 1, seed=0, purpose="sft")
        return sum(lengths[row] for row in rows)

    config = SFTConfig(
        num_epochs=MANY,
        batch_size=work.batch,
        choose_by="last",
        checkpoint_every=MANY,
        learning_rate=1e-5,
        precision="bf16",
    )
    run_sft(
        config,
        Turned(folder / "ours", work, turns, tokens),
        policy=policy,
        tokenizer=tokenizer,
        train=(prompts, responses),
        valid=(prompts[:1], responses[:1]),
        valid_prompts=[],
        pretraining=None,
        max_response_tokens=work.response,
        seed=0,
    )


def pretrain(work: Work, folder: Path, data: dict[str, Any], turns: Turns) -> None:
    """A turn is an optimizer step on rows of text."""
    policy, tokenizer = load_policy(folder / "model")
    text = np.array(data["sequences"], dtype=np.int32)
    tokens = work.batch * work.response
    config = PretrainConfig(
        num_tokens=MANY * tokens,
        batch_tokens=tokens,
        sequence_length=work.response,
        eval_every=MANY,
        checkpoint_every=MANY,
        learning_rate=1e-5,
        precision="bf16",
    )
    run_pretrain(
        config,
        Turned(folder / "ours", work, turns, tokens),
        policy=policy,
        tokenizer=tokenizer,
        train=text,
        valid=text[:1],
        valid_by_source={},
        begun=[],
        seed=0,
    )


def main() -> None:
    """Load, and work in turns until there are no more."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_flush_denormal(True)  # as in a run
    keep_freed_memory(spare=work_named(name).spare)
    kinds = {"ppo": ppo, "reward": reward, "sft": sft, "pretrain": pretrain}
    kinds |= {"rollout": rollout, "serve": rollout}
    turns = Turns()
    work = work_named(name)
    if kinds[work.kind] is not rollout:
        turns.begin()  # the first turn has all that a stage does before its first step
    kinds[work.kind](work, folder, read_inputs(folder), turns)


if __name__ == "__main__":
    main()
