"""PPO on a model of a few thousand parameters, for the tests: twelve prompts of one letter."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from toys import tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from preceptor.config import PPOConfig
from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.models.halves import halve_frozen
from preceptor.models.load import save_model, scalar_from_policy, with_lora
from preceptor.models.tokenizers import encode_prompt
from preceptor.stages.ppo import HeldOut, run_ppo
from preceptor.training.folder import StageFolder

PROMPTS = [Prompt(letter) for letter in "abcdefghijkl"]
SMALL = {
    "num_iterations": 6,
    "batch_size": 8,
    "num_minibatches": 2,
    "learning_rate": 3e-3,
    "value_learning_rate": 3e-3,
    "eval_every": 2,
    "checkpoint_every": 1,
    "missing_eos_score": None,
    "ptx_sequence_length": 8,
    "ema_decay": 0.5,
    "warmup_fraction": 0.0,  # a fiftieth of so few iterations would be one or none, by rounding
}


def count_a(prompts, prompt_ids, response_ids, texts):
    """The score of a task with planted credit: how many a's, out of eight words."""
    return torch.tensor([text.split().count("a") / 8 for text in texts])


def judge_a(prompt, text):
    score = text.split().count("a") / 8
    return Judgement(score, {"task": score})


def text_sequences(seed=0):
    return np.random.default_rng(seed).integers(6, 32, size=(40, 8)).astype(np.int32)


def run(
    path: Path,
    *,
    start: PreTrainedModel | None = None,
    score: Any = count_a,
    judge: Any = judge_a,
    pretraining: Any = None,
    seed: int = 0,
    reference: bool = True,
    max_response_tokens: int = 8,
    **options: Any,
) -> tuple[list[dict[str, float]], str, bytes, PreTrainedModel | None]:
    """Metrics as rows and as text, the saved weights, and the reference as it is afterwards.

    `start` is policy, reference and (with a new head) value model, and stays as it is.
    """
    config = PPOConfig.model_validate(SMALL | options)
    tokenizer = tiny_tokenizer()
    source = path / "start"
    start = tiny_model("llama") if start is None else start
    save_model(start, tokenizer, source)
    policy = with_lora(copy.deepcopy(start), config.lora, 5)
    ref = copy.deepcopy(start) if reference else None
    if config.precision == "bf16":
        halved = "blocks" if config.lora is None else "all"
        for model in (policy, ref):
            if model is not None:
                halve_frozen(model.requires_grad_(False) if model is ref else model, halved)
    ids = [encode_prompt(tokenizer, p.prompt) for p in PROMPTS]
    folder = StageFolder(path / "ppo", "ppo", "inputs")
    run_ppo(
        config,
        folder,
        policy=policy,
        ref_policy=ref,
        value_model=scalar_from_policy(source, 1),
        score=score,
        tokenizer=tokenizer,
        prompts=PROMPTS,
        prompt_ids=ids,
        pretraining=pretraining,
        held_out=HeldOut(
            PROMPTS[:4], ids[:4], judge, None if pretraining is None else pretraining[:8]
        ),
        max_response_tokens=max_response_tokens,
        seed=seed,
    )
    metrics = (path / "ppo" / "metrics.jsonl").read_text()
    weights = (path / "ppo" / "model" / "model.safetensors").read_bytes()
    return [json.loads(line) for line in metrics.splitlines()], metrics, weights, ref
