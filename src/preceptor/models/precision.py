"""Matrix products in bf16 where the recipe asks for it; weights and sums stay fp32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def precision(name: str) -> AbstractContextManager[Any]:
    """The context in which forward passes of a stage run."""
    if name == "bf16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def ratio_tolerance(name: str) -> float:
    """How far the first minibatch's ratio may stand from 1: rounding, nothing else."""
    return 2e-2 if name == "bf16" else 1e-5


def sampling_tolerance(name: str) -> float:
    """How far a sampled token's log-probability may stand from the training forward's, in nats.

    A cached pass of one token multiplies other shapes than a pass of whole rows, and rounds
    otherwise. In bf16 this is a quarter of PPO's usual clip range, and no token is usually near it.
    """
    return 5e-2 if name == "bf16" else 1e-4
