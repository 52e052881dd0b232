"""Weights in the order in which a processor multiplies them, for as long as a batch is sampled.

A CPU's matrix product first puts a bf16 weight in an order of its own. For a batch of training that
is little beside the product; for one token of some responses it is half of the time (docs/log.md).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from preceptor.models.load import trunk
from preceptor.models.products import BF16, ordered, product

Product = Callable[[Tensor], Tensor]
"""[..., D] -> [..., N]"""

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers that are given one and the same tensor; of few rows one product is faster than three."""


@contextmanager
def ordered_weights(model: PreTrainedModel, spare: bool = False) -> Iterator[None]:
    """Within it the linear layers of the trunk multiply with ordered bf16 copies of their weights.

    Only under bf16 autocast on a CPU; elsewhere and to `spare` memory nothing is changed. What is
    computed is what is computed without it, up to the order of sums.
    """
    layers = [module for module in trunk(model).modules() if type(module) is nn.Linear]
    on_cpu = all(layer.weight.device.type == "cpu" for layer in layers)
    if spare or not (BF16 and torch.is_autocast_enabled("cpu") and on_cpu):
        yield
        return
    before = [layer.__dict__.get("forward") for layer in layers]  # somebody's own, if any
    try:
        for group in _groups(trunk(model)):
            for layer, ours in zip(group, _ordered_group(group), strict=True):
                layer.forward = ours  # type: ignore[assignment,method-assign]
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.__dict__.pop("forward", None)
            if own is not None:
                layer.forward = own  # type: ignore[method-assign]


def _groups(model: nn.Module) -> list[list[nn.Linear]]:
    """All linear layers, those that are given the same tensor together."""
    groups, taken = [], set()
    for parent in model.modules():
        for names in SIBLINGS:
            group = [
                module for name in names if type(module := getattr(parent, name, None)) is nn.Linear
            ]
            if len(group) == len(names) and len({layer.bias is None for layer in group}) == 1:
                groups.append(group)
                taken.update(group)
    alone = [m for m in model.modules() if type(m) is nn.Linear and m not in taken]
    return groups + [[layer] for layer in alone]


def _ordered_group(layers: list[nn.Linear]) -> list[Product]:
    """A product for each layer; the first that is given a tensor multiplies it for all."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
    together = _ordered(weight, torch.cat(biases) if biases else None)
    if len(layers) == 1:
        return [together]
    widths = [layer.out_features for layer in layers]
    given: Tensor | None = None
    parts: tuple[Tensor, ...] = ()

    def part(place: int, x: Tensor) -> Tensor:
        nonlocal given, parts
        if x is not given:
            given, parts = x, together(x).split(widths, dim=-1)
        return parts[place]

    return [partial(part, place) for place in range(len(layers))]


def _ordered(weight: Tensor, bias: Tensor | None) -> Product:
    own = ordered(weight.detach().to(torch.bfloat16))
    add = None if bias is None else bias.detach().to(torch.bfloat16)
    return lambda x: product(x.to(torch.bfloat16), own, add)
