"""What a comparison costs the reward model: `python benchmarks/reward_passes.py`.

Forward and backward over prompts with K responses each, in bf16, alternating, three ways: one pass
a prompt (ours), a row for each response (K rows), and a row for each side of each pair (K (K - 1)
rows), which is what training on pairs does. Milliseconds a comparison, median of rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from shapes import SHAPES, config_of
from transformers import LlamaForCausalLM, PreTrainedModel

from preceptor.functional import ranking_loss
from preceptor.models.load import scalar_from_policy
from preceptor.models.precision import precision
from preceptor.stages.reward import RankedPrompt, as_table, score_grouped, score_separately

PROMPTS = {"miniature": 8, "SmolLM2-135M": 1}
"""Prompts a round."""
RATIOS = {"1:1": (32, 32), "4:1": (128, 32)}
"""Tokens of the prompt and of each response."""


def model_of(name: str) -> PreTrainedModel:
    """A reward model with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config_of(name)).save_pretrained(folder)
        return scalar_from_policy(folder, seed=0)


def items_of(num_prompts: int, k: int, prompt: int, response: int) -> list[RankedPrompt]:
    """Prompts of random tokens, each with K ranked responses."""
    generator = torch.Generator().manual_seed(0)

    def tokens(length: int) -> list[int]:
        drawn: list[int] = torch.randint(1, 512, (length,), generator=generator).tolist()
        return drawn

    return [
        RankedPrompt(tokens(prompt), [tokens(response) for _ in range(k)], [list(range(k))])
        for _ in range(num_prompts)
    ]


def as_pairs(items: list[RankedPrompt]) -> list[RankedPrompt]:
    """Every pair of a prompt's responses as an item of its own."""
    return [
        RankedPrompt(item.prompt, [item.responses[i], item.responses[j]], [[0, 1]])
        for item in items
        for j in range(len(item.responses))
        for i in range(j)
    ]


def milliseconds(
    model: PreTrainedModel,
    items: list[RankedPrompt],
    score: Callable[[PreTrainedModel, list[RankedPrompt]], torch.Tensor],
) -> float:
    """Of a comparison, forward and backward; four prompts, or sixteen pairs, at a time."""
    start = time.perf_counter()
    at_once = 4 if len(items[0].responses) > 2 else 16
    for first in range(0, len(items), at_once):
        part = items[first : first + at_once]
        with precision("bf16"):
            flat = score(model, part)
        scores, ranks, mask = as_table(flat, part)
        ranking_loss(scores, ranks, mask, denominator=len(items)).backward()
    model.zero_grad()
    return 1000 * (time.perf_counter() - start) / sum(item.pairs for item in items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_flush_denormal(True)
    print(f"{'shape':14}{'K':>3}{'lengths':>9}{'one pass':>11}{'K rows':>9}{'pairs':>9}   ms each")
    for name in SHAPES:
        torch.manual_seed(0)
        model = model_of(name)
        for k in (4, 9):
            for ratio, lengths in RATIOS.items():
                items = items_of(PROMPTS[name], k, *lengths)
                pairs = as_pairs(items)
                ways = (
                    (items, score_grouped),
                    (items, score_separately),
                    (pairs, score_separately),
                )
                found: list[list[float]] = [[], [], []]
                for number in range(rounds + 1):
                    for own, (given, score) in zip(found, ways, strict=True):
                        spent = milliseconds(model, given, score)
                        if number:  # the first round warms up
                            own.append(spent)
                one, single, two = (statistics.median(own) for own in found)
                print(
                    f"{name:14}{k:3}{ratio:>9}{one:11.2f}{single:9.2f}{two:9.2f}"
                    f"   {single / one:.1f} and {two / one:.1f} times as much",
                    flush=True,
                )


if __name__ == "__main__":
    main()
