"""The peers' side of the comparison: `python benchmarks/peers.py WORK FOLDER PEER`, in turns.

Their own trainers and their own loops; a callback ends the turn after so many of their steps.
bf16 is what their configuration calls bf16: autocast over fp32 weights.
"""

import os
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from turns import Turns
from works import EOS, PAD, WORKS, Work, read_inputs

MANY = 10**6


class Turned(TrainerCallback):
    """Ends the turn after `steps` optimizer steps and waits for the next."""

    def __init__(self, turns: Turns, steps: int, amount: float | None = None) -> None:
        self.turns, self.steps, self.amount = turns, steps, amount
        self.done, self.tokens = 0, 0.0

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.done += 1
        if self.done == self.steps:
            self.turns.end(self.tokens if self.amount is None else self.amount)
            self.done, self.tokens = 0, 0.0
            self.turns.begin()


def common(folder: Path, **options: Any) -> dict[str, Any]:
    """Nothing but training: no reports, no saving, no evaluation."""
    return {
        "output_dir": str(folder / "peer"),
        "use_cpu": True,
        "bf16": True,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": MANY,
        "save_strategy": "no",
        "learning_rate": 1e-6,
    } | options


def without(peer: str) -> dict[str, Any]:
    """What a peer's variant changes."""
    return {"gradient_checkpointing": False} if peer.endswith("no-checkpointing") else {}


def policy_of(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)


def scalar_of(folder: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        folder / "scalar", num_labels=1, dtype=torch.float32
    )


def ppo(work: Work, folder: Path, data: dict[str, Any], turns: Turns, peer: str) -> None:
    """trl's PPOTrainer; a turn is an iteration."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model", padding_side="left")
    options = common(
        folder,
        per_device_train_batch_size=work.batch,
        gradient_accumulation_steps=1,
        num_mini_batches=work.minibatches,
        num_ppo_epochs=1,
        total_episodes=MANY * work.batch,
        local_rollout_forward_batch_size=work.batch,
        num_sample_generations=0,
        response_length=work.response,
        stop_token="eos",
        temperature=1.0,
        kl_coef=0.05,
        **without(peer),
    )
    frozen = [policy_of(folder), scalar_of(folder)]
    for model in frozen:
        model.requires_grad_(False)
    dataset = Dataset.from_dict({"input_ids": data["prompts"]})
    PPOTrainer(
        args=PPOConfig(**options),
        processing_class=tokenizer,
        model=policy_of(folder),
        ref_model=frozen[0],
        reward_model=frozen[1],
        value_model=scalar_of(folder),
        train_dataset=dataset,
        eval_dataset=dataset.select(range(1)),
        callbacks=[Turned(turns, 1, 1)],
    ).train()


def rollout(work: Work, folder: Path, data: dict[str, Any], turns: Turns, peer: str) -> None:
    """transformers' generate on the whole batch, in bf16."""
    model = policy_of(folder).eval()
    prompts = data["prompts"]
    for number in range(MANY):
        start = number * work.batch % len(prompts)
        turns.begin()
        asked = torch.tensor(prompts[start : start + work.batch])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            model.generate(
                asked,
                attention_mask=torch.ones_like(asked),
                max_new_tokens=work.response,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                eos_token_id=EOS,
                pad_token_id=PAD,
            )
        turns.end(1)


def reward(work: Work, folder: Path, data: dict[str, Any], turns: Turns, peer: str) -> None:
    """trl's RewardTrainer on all pairs of the same rankings, eight a step, as is its default."""
    from trl import RewardConfig, RewardTrainer

    def pairs() -> Iterator[dict[str, list[int]]]:
        for prompt, responses in data["rankings"]:
            for better, worse in combinations(responses, 2):
                yield {"chosen_ids": prompt + better, "rejected_ids": prompt + worse}

    steps = 4 if work.shape == "6M" else 1
    options = common(folder, num_train_epochs=MANY, **without(peer))
    RewardTrainer(
        model=scalar_of(folder),
        args=RewardConfig(**options),
        processing_class=AutoTokenizer.from_pretrained(folder / "scalar"),
        train_dataset=Dataset.from_list(list(pairs())),
        callbacks=[Turned(turns, steps, 8 * steps)],
    ).train()


def sft_trainer(folder: Path, examples: list[Any], gate: Turned, peer: str) -> Any:
    """trl's SFTTrainer with packing, loss on responses alone.

    Its default packs whole examples into rows of 1,024 and then strings all eight rows of a step
    together. `trl-wrapped` keeps the rows, and cuts examples where one ends.
    """
    from trl import SFTConfig, SFTTrainer

    class Counted(SFTTrainer):
        def training_step(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            gate.tokens += float((inputs["input_ids"] != PAD).sum())
            return super().training_step(model, inputs, *rest, **options)

    rows = [
        {"input_ids": [*p, *r], "completion_mask": [0] * len(p) + [1] * len(r)} for p, r in examples
    ]
    options = common(
        folder,
        num_train_epochs=MANY,
        packing=True,
        packing_strategy="wrapped" if "wrapped" in peer else "bfd",
        completion_only_loss=True,  # by itself it looks for texts, and has a loss on all ids
        **without(peer),
    )
    return Counted(
        model=policy_of(folder),
        args=SFTConfig(**options),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        train_dataset=Dataset.from_list(rows),
        callbacks=[gate],
    )


def sft(work: Work, folder: Path, data: dict[str, Any], turns: Turns, peer: str) -> None:
    """A turn is an optimizer step; its tokens count."""
    sft_trainer(folder, data["examples"], Turned(turns, 1), peer).train()


def pretrain(work: Work, folder: Path, data: dict[str, Any], turns: Turns, peer: str) -> None:
    """transformers' Trainer on the same rows of text."""
    options = common(
        folder,
        per_device_train_batch_size=work.batch,
        num_train_epochs=MANY,
        optim="adamw_torch_fused",
    )
    rows = [{"input_ids": row, "labels": row} for row in data["sequences"]]
    Trainer(
        model=policy_of(folder),
        args=TrainingArguments(**options),
        train_dataset=Dataset.from_list(rows),
        callbacks=[Turned(turns, 1, work.batch * work.response)],
    ).train()


def main() -> None:
    """Load, and work in turns until there are no more."""
    name, folder, peer = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    torch.set_flush_denormal(True)  # as ours
    kinds = {"ppo": ppo, "rollout": rollout, "reward": reward, "sft": sft, "pretrain": pretrain}
    turns = Turns()
    work = WORKS[name]
    if work.kind != "rollout":
        turns.begin()  # the first turn has all that a trainer does before its first step
    kinds[work.kind](work, folder, read_inputs(folder), turns, peer)


if __name__ == "__main__":
    main()
