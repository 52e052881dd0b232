"""Matrix products in bf16 where the recipe or the processor says so; weights and sums stay fp32."""

import platform
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch


def precision(name: str) -> AbstractContextManager[Any]:
    """The context in which forward passes of a stage run."""
    if is_bf16(name):
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def is_bf16(name: str) -> bool:
    """Whether a recipe's `precision` means bf16 here: by its word, or by the processor's."""
    return name == "bf16" or (name == "auto" and has_bf16())


def has_bf16() -> bool:
    """Whether this processor multiplies bf16 itself; where it does not, fp32 is faster."""
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and cast(
        bool, torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def ratio_tolerance(name: str) -> float:
    """How far the first minibatch's ratio may stand from 1: rounding, nothing else."""
    return 2e-2 if is_bf16(name) else 1e-5


def sampling_tolerance(name: str) -> float:
    """How far a sampled token's log-probability may stand from the training forward's, in nats.

    A cached pass of one token multiplies other shapes than a pass of whole rows, and rounds
    otherwise. In bf16 this is a quarter of PPO's usual clip range, and no token is usually near it.
    """
    return 5e-2 if is_bf16(name) else 1e-4
