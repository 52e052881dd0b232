"""Plain attention products against PyTorch's fused kernel: `python benchmarks/attention.py`.

Training and forward passes of two model shapes in bf16, alternating, tokens/s (median of rounds).
"""

import argparse
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from preceptor.models import attention

SHAPES = {"miniature": (128, 4, 4, 4, 512, 4), "SmolLM2-135M": (576, 9, 3, 30, 1536, 1)}
"""Width, heads, key-value heads, layers, inner width; batches a round."""
LENGTHS = ((64, 32), (128, 16), (256, 8), (512, 4), (1024, 2))
"""(positions, rows)."""


def model_of(shape: tuple[int, ...]) -> LlamaForCausalLM:
    """A model with random weights and a small vocabulary: only its trunk is run."""
    width, heads, groups, layers, inner, _ = shape
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=512,
            hidden_size=width,
            num_attention_heads=heads,
            num_key_value_heads=groups,
            num_hidden_layers=layers,
            intermediate_size=inner,
            max_position_embeddings=2048,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="sdpa",
        )
    )


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
    for name, shape in SHAPES.items():
        torch.manual_seed(0)
        fused, plain = model_of(shape), model_of(shape)
        attention.prefer_plain_attention(plain)
        for length, rows in LENGTHS:
            for train in (True, False):
                speeds: tuple[list[float], list[float]] = ([], [])
                for number in range(rounds + 1):
                    for own, model in zip(speeds, (fused, plain), strict=True):
                        speed = tokens_per_second(
                            model, length, rows, batches=shape[-1], train=train
                        )
                        if number:  # the first round warms up
                            own.append(speed)
                a, b = statistics.median(speeds[0]), statistics.median(speeds[1])
                kind = "training" if train else "forward"
                print(f"{name:14}{length:7}  {kind:8}{a:9,.0f}{b:9,.0f}{b / a:7.2f}", flush=True)


if __name__ == "__main__":
    main()
