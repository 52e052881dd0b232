"""Layers with compiled kernels beside transformers' own, and the decoder beside layers.

    python benchmarks/layers.py [--precision fp32]

Milliseconds, medians of alternating turns: forward and backward of a packed row, forward alone, and
one step of sampling.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from shapes import config_of
from transformers import LlamaForCausalLM, PreTrainedModel

from preceptor.generation import row_uniforms, sample
from preceptor.models import kernels
from preceptor.models.attention import prefer_plain_attention
from preceptor.models.forward import make_rows, row_states
from preceptor.models.layers import fuse_layers
from preceptor.models.precision import precision
from preceptor.training.memory import keep_freed_memory

ROWS = {"miniature": (16, 128), "SmolLM2-135M": (16, 64)}
"""Rows and tokens of a pass; a third of the tokens are the prompt's."""
STEPS = 48
TURNS = 15


def model_of(name: str, *, fused: bool) -> PreTrainedModel:
    """The same weights with fused layers or without."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(config_of(name)).eval()
    prefer_plain_attention(model)
    if fused:
        fuse_layers(model)
    return model


def plainly(run: Callable[[], object]) -> object:
    """Where nobody takes a kernel, whatever layers a model has."""
    with (
        patch("preceptor.models.attention.takes", lambda *_: False),
        patch("preceptor.models.attention.available", lambda: False),
        patch("preceptor.models.vocabulary.takes", lambda *_: False),
    ):
        return run()


def compared(ways: dict[str, Callable[[], object]], scale: float = 1.0) -> str:
    """The median of each way, its turns between those of the others, and how they compare."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS + 2):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    found = [1e3 * scale * statistics.median(each[2:]) for each in seconds.values()]
    return " -> ".join(f"{each:.1f}" for each in found) + f"   {found[0] / found[-1]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    dtype = parser.parse_args().precision
    if why := kernels.missing():
        raise SystemExit(f"no kernels: {why}")
    keep_freed_memory()
    torch.set_flush_denormal(True)
    for name, (count, length) in ROWS.items():
        plain, fused = (model_of(name, fused=each) for each in (False, True))
        ids = torch.randint(2, 512, (count, length), generator=torch.Generator().manual_seed(1))
        cut = length // 3
        rows = make_rows([row[:cut].tolist() for row in ids], [row[cut:].tolist() for row in ids])
        every = torch.arange(len(rows.input_ids))

        def states(model: PreTrainedModel, rows=rows, every=every) -> torch.Tensor:
            with precision(dtype):
                return row_states(model, rows, every)

        both = {
            "plain": lambda p=plain, s=states: plainly(lambda: s(p).sum().backward()),
            "fused": lambda f=fused, s=states: s(f).sum().backward(),
        }
        print(f"{name}, {count * length} tokens, forward and backward  {compared(both)}")
        with torch.no_grad():
            alone = {
                "plain": lambda p=plain, s=states: plainly(lambda: s(p)),
                "fused": lambda f=fused, s=states: s(f),
            }
            print(f"{name}, {count * length} tokens, forward  {compared(alone)}")
        prompts = [row[:32].tolist() for row in ids]
        uniforms = row_uniforms(0, "x", [(i,) for i in range(count)], STEPS)

        def drawn(model: PreTrainedModel, prompts=prompts, uniforms=uniforms) -> object:
            with precision(dtype):
                return sample(model, prompts, uniforms, stop_ids=[1])

        steps = {
            "plain": lambda p=plain, d=drawn: plainly(lambda: d(p)),
            "fused": lambda f=fused, d=drawn: d(f),
        }
        print(f"{name}, {count} rows, a step of sampling  {compared(steps, 1 / STEPS)}", flush=True)


if __name__ == "__main__":
    main()
