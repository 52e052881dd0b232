"""Plain attention products against PyTorch's fused kernel: `python benchmarks/attention.py`.

Training and forward passes of two model shapes in bf16, alternating, tokens/s (median of rounds).
Then a single query of several rows, as in sampling, in us a layer: by the fused kernel, by the
plain products, by these where keys and values are a part of a larger memory, and by our own kernel.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

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


QUERIES = ((64, 4, 1), (8, 4, 1), (16, 3, 3), (2, 3, 3))
"""(rows, key-value heads, heads for each of them) of a single query."""
KEYS = (48, 80, 112, 512, 1024)


def microseconds(work: Callable[[], object], rounds: int) -> float:
    """The median of what it takes, once it is warm."""
    taken = []
    for number in range(10 * rounds + 5):
        start = time.perf_counter()
        work()
        if number >= 5:
            taken.append(time.perf_counter() - start)
    return 1e6 * statistics.median(taken)


def single_queries(rounds: int) -> None:
    """Heads of 64; memory for 32 more positions is the larger one."""
    print(f"{'rows':>5}{'heads':>7}{'keys':>6}{'fused':>9}{'plain':>9}{'a part':>9}{'kernel':>9}")
    for rows, groups, each in QUERIES:
        for length in KEYS:
            query = torch.randn(rows, groups * each, 1, 64).bfloat16()
            mask = torch.zeros(rows, 1, 1, length).bfloat16()
            larger = [torch.randn(rows, groups, length + 32, 64).bfloat16() for _ in range(2)]
            part = [memory[:, :, :length] for memory in larger]
            key, value = (memory.contiguous() for memory in part)
            found = []
            for few, (k, v) in ((10**9, (key, value)), (0, (key, value)), (0, part)):
                attention.FEW = few
                given = partial(attention.plain_attention, query, k, v, mask, None)
                found.append(microseconds(given, rounds))
            seen = torch.ones(rows, 1, 1, length, dtype=torch.bool)
            ours = partial(attention.plain_attention, query, key, value, seen, None)
            found.append(microseconds(ours, rounds))
            heads = f"{groups}x{each}"
            told = "".join(f"{each:9,.0f}" for each in found)
            print(f"{rows:5}{heads:>7}{length:6}{told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--single", action="store_true", help="single queries alone")
    options = parser.parse_args()
    rounds = options.rounds
    torch.set_flush_denormal(True)
    single_queries(rounds)
    if options.single:
        return
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
