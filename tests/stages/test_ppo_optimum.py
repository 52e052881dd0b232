"""The whole PPO loop against optima that are known beforehand.

With responses of one token every prompt is a bandit with a closed-form optimum (Ziegler et al.,
arXiv:1909.08593, section 2.1): the policy goes as reference(y | x) * exp(r(x, y) / kl_coef).
"""

import itertools
import json

import numpy as np
import pytest
import torch
from toys import WORDS, tiny_model, tiny_tokenizer

from preceptor.config import PPOConfig
from preceptor.data.dataset import Judgement
from preceptor.data.records import Prompt
from preceptor.generation import row_uniforms, sample
from preceptor.models.load import load_policy, scalar_from_policy
from preceptor.models.tokenizers import encode_prompt
from preceptor.stages.ppo import HeldOut, run_ppo
from preceptor.training.folder import StageFolder

PROMPTS = [Prompt(letter) for letter in "abcd"]
IDS = [encode_prompt(tiny_tokenizer(), prompt.prompt) for prompt in PROMPTS]
REWARDS = 2 * torch.rand(4, len(WORDS), generator=torch.Generator().manual_seed(7)) - 1
"""Score of each one-token response to each prompt, in -1..1."""


def of_the_table(prompts, prompt_ids, response_ids, texts):
    rows = [IDS.index(list(ids)) for ids in prompt_ids]
    return torch.stack([REWARDS[r, ids[0]] for r, ids in zip(rows, response_ids, strict=True)])


def train(path, score, *, length, **options):
    """Run PPO on four prompts and return the model of the last step."""
    count = itertools.count()

    def later_is_better(prompt, text):
        return Judgement(float(next(count)), {})

    tiny_model("llama").save_pretrained(path / "start")
    config = PPOConfig.model_validate(
        {
            "schedule": "linear",
            "final_fraction": 0.0,
            "warmup_fraction": 0.0,
            "missing_eos_score": None,
            "ema_decay": 0.0,
            "eval_every": options["num_iterations"],
            "checkpoint_every": options["num_iterations"],
        }
        | options
    )
    run_ppo(
        config,
        StageFolder(path / "ppo", "ppo", "inputs"),
        policy=tiny_model("llama"),
        ref_policy=tiny_model("llama").requires_grad_(False),
        value_model=scalar_from_policy(path / "start", 1),
        score=score,
        tokenizer=tiny_tokenizer(),
        prompts=PROMPTS,
        prompt_ids=IDS,
        pretraining=None,
        held_out=HeldOut(PROMPTS, IDS, later_is_better, None),
        max_response_tokens=length,
        seed=0,
    )
    done = json.loads((path / "ppo" / "done.json").read_text())
    assert done["summary"]["chosen_step"] == options["num_iterations"]
    return load_policy(path / "ppo" / "model")[0]


def first_token_distributions(model):
    """Of the response's first token, for each prompt [4, V]."""
    with torch.no_grad():
        return torch.stack(
            [model(torch.tensor([ids])).logits[0, -1].softmax(-1) for ids in IDS]
        ).double()


@pytest.mark.parametrize(
    "kl_coef",
    [pytest.param(0.2, marks=pytest.mark.slow), 0.5, pytest.param(2.0, marks=pytest.mark.slow)],
)
def test_it_reaches_the_optimum_of_a_bandit(tmp_path, kl_coef):
    trained = first_token_distributions(
        train(
            tmp_path,
            of_the_table,
            length=1,
            kl_coef=kl_coef,
            num_iterations=150,
            batch_size=384,
            num_minibatches=4,
            learning_rate=3e-3,
            value_learning_rate=3e-3,
        )
    )
    reference = first_token_distributions(tiny_model("llama"))
    optimum = reference * (REWARDS.double() / kl_coef).exp()
    optimum /= optimum.sum(1, keepdim=True)

    def distance(a, b):
        return 0.5 * (a - b).abs().sum(1)

    assert (distance(trained, optimum) < 0.02).all()
    assert (distance(reference, optimum) > 0.05).all()  # there was something to learn


def test_credit_lands_on_the_token_that_earned_it(tmp_path):
    """Only the fifth of eight tokens is paid for: it changes, those before and after it do not."""
    place, paid = 4, WORDS.index("q")

    def fifth_token(prompts, prompt_ids, response_ids, texts):
        return torch.tensor([float(len(r) > place and r[place] == paid) for r in response_ids])

    trained = train(
        tmp_path,
        fifth_token,
        length=8,
        kl_coef=0.1,
        num_iterations=100,
        batch_size=128,
        learning_rate=3e-3,
        value_learning_rate=3e-3,
    )

    def shares(model):
        uniforms = row_uniforms(1, "test", [(i,) for i in range(512)], 8)
        found = sample(model, IDS * 128, uniforms, stop_ids=[1]).responses
        return np.array([np.mean([r[t] == paid for r in found if len(r) > t]) for t in range(8)])

    before, after = shares(tiny_model("llama")), shares(trained)
    others = np.arange(8) != place
    assert after[place] > 0.8
    # One small network makes all places' words: a little of it shows beside the place.
    assert (np.abs(after - before)[others] < 0.15).all()
