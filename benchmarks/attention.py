"""Plain attention products against PyTorch's fused kernel: `python benchmarks/attention.py`.

Training and forward passes of two model shapes in bf16, alternating, tokens/s (median of rounds).
"""

import argparse
import statistics
import time

import torch
from shapes import SHAPES, config_of
from transformers import LlamaForCausalLM

from preceptor.models import attention

BATCHES = {"miniature": 4, "SmolLM2-135M": 1}
"""Batches a round."""
LENGTHS = ((64, 32), (128, 16), (256, 8), (512, 4), (1024, 2))
"""(positions, rows)."""


def tokens_per_second(
    model: LlamaForCausalLM, length: int, rows: int, *, batches: int, train: bool
) -> float:
    """Of the trunk, forward or forward and backward."""
    ids = torch.randint(0, 512, (rows, length), generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    for _ in range(batches):
        with torch.set_grad_enabled(train), torch.autocast("cpu", dtype=torch.bfloat16):
            states = model.model(input_ids=ids, use_cache=False).last_hidden_state
        if train:
            states.float().sum().backward()
            model.zero_grad()
    return rows * length * batches / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_flush_denormal(True)
    attention.LONGEST = 10**9  # plain means plain here, also where training would not use it
    print(f"{'shape':14}{'length':>7}  {'pass':8}{'fused':>9}{'plain':>9}{'ratio':>7}")
    for name in SHAPES:
        torch.manual_seed(0)
        fused, plain = (
            LlamaForCausalLM(config_of(name, attn_implementation="sdpa")) for _ in range(2)
        )
        attention.prefer_plain_attention(plain)
        for length, rows in LENGTHS:
            for train in (True, False):
                speeds: tuple[list[float], list[float]] = ([], [])
                for number in range(rounds + 1):
                    for own, model in zip(speeds, (fused, plain), strict=True):
                        speed = tokens_per_second(
                            model, length, rows, batches=BATCHES[name], train=train
                        )
                        if number:  # the first round warms up
                            own.append(speed)
                a, b = statistics.median(speeds[0]), statistics.median(speeds[1])
                kind = "training" if train else "forward"
                print(f"{name:14}{length:7}  {kind:8}{a:9,.0f}{b:9,.0f}{b / a:7.2f}", flush=True)


if __name__ == "__main__":
    main()
