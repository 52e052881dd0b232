"""An optimizer step at 135M weights: clipping in Adam's walk beside PyTorch's `clip_grad_norm_`.

    python benchmarks/clipping.py

Milliseconds, medians of alternating turns, and how far each norm is from that in fp64.
"""

import statistics
import time

import torch
from shapes import config_of
from torch import nn
from transformers import LlamaForCausalLM

from preceptor.config import TrainConfig
from preceptor.training.optimization import make_optimizer, take_step, total_norm

TURNS = 15
VOCABULARY = 49_152
"""SmolLM2's; its table is the largest gradient by far, and where one sum loses most digits."""
LARGEST = 1.0
"""The norm that is allowed; that of the gradients here is above 10,000."""


def main() -> None:
    config = config_of("SmolLM2-135M")
    config.vocab_size = VOCABULARY
    model = LlamaForCausalLM(config)
    optimizer = make_optimizer(model, TrainConfig())
    weights = list(model.parameters())
    gradients = [torch.randn_like(weight) for weight in weights]
    norms = {"clip_grad_norm_": nn.utils.get_total_norm, "ours": total_norm}

    def theirs() -> None:
        nn.utils.clip_grad_norm_(weights, LARGEST)
        optimizer.step()

    def ours() -> None:
        take_step(optimizer, learning_rate=1e-6, max_grad_norm=LARGEST, where="benchmark")

    spent: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for name, step in (("clip_grad_norm_", theirs), ("ours", ours)):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
            for what, run in ((f"norm, {name}", lambda n=name: norms[n](gradients)), (name, step)):
                began = time.perf_counter()
                run()
                spent.setdefault(what, []).append(1e3 * (time.perf_counter() - began))
    for what, found in spent.items():
        print(f"{what:<24} {statistics.median(found[1:]):.1f} ms")
    exact = sum(float(gradient.double().square().sum()) for gradient in gradients) ** 0.5
    for name, norm in norms.items():
        print(f"{name:<24} off by {abs(float(norm(gradients)) / exact - 1):.1e} of the norm")


if __name__ == "__main__":
    main()
